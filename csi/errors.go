package csi

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"bricklayer.csi/internal/volume"
)

// codeOf is the one table from our kinds of error to gRPC codes.
//
// The code decides what an orchestrator does next: after Canceled,
// DeadlineExceeded, Unavailable and Aborted external-provisioner takes a
// volume for still being made and calls again; after all others it takes it
// for certainly not made, and forgets it. So a fault of our own, whose outcome
// nobody knows, is Unavailable and not Internal.
var codeOf = map[volume.Kind]codes.Code{
	volume.Internal:     codes.Unavailable,
	volume.Invalid:      codes.InvalidArgument,
	volume.NotFound:     codes.NotFound,
	volume.Exists:       codes.AlreadyExists,
	volume.OutOfRange:   codes.OutOfRange,
	volume.Exhausted:    codes.ResourceExhausted,
	volume.Busy:         codes.Aborted,
	volume.Precondition: codes.FailedPrecondition,
	volume.Unavailable:  codes.Unavailable,
	volume.Denied:       codes.PermissionDenied,
	volume.Unsupported:  codes.Unimplemented,
}

// maxMessage bounds an error's text: gRPC carries it in a header.
const maxMessage = 2048

// toStatus gives an error its gRPC code. An error of ours is judged by its kind
// even where a status of some other server (an agent) is among its causes;
// other errors that are a status stay as they are.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	var ours interface{ ErrorKind() volume.Kind }
	if s, ok := status.FromError(err); ok && !errors.As(err, &ours) {
		return s.Err()
	}
	text := strings.ToValidUTF8(err.Error(), "?")
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "..."
	}
	return status.Error(toCode(err), text)
}

func toCode(err error) codes.Code {
	var token *tokenError
	kind := volume.KindOf(err)
	switch {
	case errors.As(err, &token):
		return codes.Aborted // so says the spec of a bad starting_token
	case kind == volume.Internal && errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case kind == volume.Internal && errors.Is(err, context.Canceled):
		return codes.Canceled
	}
	if code, known := codeOf[kind]; known {
		return code
	}
	return codes.Unavailable
}
