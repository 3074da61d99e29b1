// Package wire owns how an error of ours travels over gRPC between two of our own
// processes: its code, the bounds of its texts, and a cause that is known again on
// the other side.
//
// It refuses to know what the services are: each has messages and kinds of its own.
package wire

import (
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"bricklayer.csi/internal/volume"
)

// codeOf are the codes that go with our kinds for whoever looks at the wire. What
// orchestrators are told is another matter, see package csi.
var codeOf = map[volume.Kind]codes.Code{
	volume.Internal:     codes.Internal,
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

// maxText bounds each text of a failure, so that the whole fits HTTP trailers,
// for which 8 KiB are common.
const maxText = 1024

// Clip bounds a text and sees to it that it is UTF-8, as the wire demands: an
// error may quote a path, which can be any bytes.
func Clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// Status returns the error of that kind as it travels, with a failure beside its text.
func Status(kind volume.Kind, err error, failure protoadapt.MessageV1) error {
	code, known := codeOf[kind]
	if !known {
		code = codes.Internal
	}
	s, detailErr := status.New(code, Clip(err.Error())).WithDetails(failure)
	if detailErr != nil {
		return status.Error(codes.Internal, Clip(errors.Join(err, detailErr).Error()))
	}
	return s.Err()
}

// Carried returns a cause under the words that stood around it on the other side.
func Carried(message string, cause error) error { return &carriedError{message: message, cause: cause} }

type carriedError struct {
	message string
	cause   error
}

func (e *carriedError) Error() string { return e.message }
func (e *carriedError) Unwrap() error { return e.cause }
