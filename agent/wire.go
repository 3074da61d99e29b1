package agent

import (
	"errors"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"bricklayer.csi/agent/agentpb"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

type kindRow struct {
	kind volume.Kind
	pb   agentpb.Kind
	code codes.Code
}

// kinds is the one table between the kinds of this program, those on the wire,
// and the gRPC codes that go with them for whoever looks at the wire.
var kinds = []kindRow{
	{volume.Internal, agentpb.Kind_KIND_INTERNAL, codes.Internal},
	{volume.Invalid, agentpb.Kind_KIND_INVALID, codes.InvalidArgument},
	{volume.NotFound, agentpb.Kind_KIND_NOT_FOUND, codes.NotFound},
	{volume.Exists, agentpb.Kind_KIND_EXISTS, codes.AlreadyExists},
	{volume.OutOfRange, agentpb.Kind_KIND_OUT_OF_RANGE, codes.OutOfRange},
	{volume.Exhausted, agentpb.Kind_KIND_EXHAUSTED, codes.ResourceExhausted},
	{volume.Busy, agentpb.Kind_KIND_BUSY, codes.Aborted},
	{volume.Precondition, agentpb.Kind_KIND_PRECONDITION, codes.FailedPrecondition},
	{volume.Unavailable, agentpb.Kind_KIND_UNAVAILABLE, codes.Unavailable},
	{volume.Denied, agentpb.Kind_KIND_DENIED, codes.PermissionDenied},
	{volume.Unsupported, agentpb.Kind_KIND_UNSUPPORTED, codes.Unimplemented},
}

// kindFromPB returns the kind; one that a newer agent made up is Internal, of
// which nobody concludes that anything did or did not happen.
func kindFromPB(pb agentpb.Kind) volume.Kind {
	i := slices.IndexFunc(kinds, func(k kindRow) bool { return k.pb == pb })
	if i < 0 {
		return volume.Internal
	}
	return kinds[i].kind
}

// maxFailureText bounds each text of a failure, so that the whole fits HTTP
// trailers, for which 8 KiB are common.
const maxFailureText = 1024

// clip also sees to it that the text is UTF-8, as the wire demands: an error
// may quote a file's name, which can be any bytes.
func clip(s string) string {
	if len(s) > maxFailureText {
		s = s[:maxFailureText] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// toStatus turns an error into what travels. A status made by gRPC itself or
// by an interceptor stays as it is.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	failure, code := toFailure(err)
	s, detailErr := status.New(code, clip(err.Error())).WithDetails(failure)
	if detailErr != nil {
		return status.Error(codes.Internal, clip(errors.Join(err, detailErr).Error()))
	}
	return s.Err()
}

func toFailure(err error) (*agentpb.Failure, codes.Code) {
	f, code := &agentpb.Failure{}, codes.Internal
	kind := kindOf(err)
	for _, k := range kinds {
		if k.kind == kind {
			f.Kind, code = k.pb, k.code
		}
	}
	cause := err
	if e, ok := errors.AsType[*volume.Error](err); ok {
		f.Op, f.On, f.Next = clip(e.Op), clip(e.On), clip(e.Next)
		cause = e.Err
	}
	if cause != nil {
		f.Message = clip(cause.Error())
	}
	if _, ok := errors.AsType[*protocolError](err); ok {
		f.Protocol = Protocol
	}
	if g, ok := errors.AsType[*gluster.Error](err); ok {
		f.Gluster = &agentpb.GlusterFailure{Reason: string(g.Reason), Command: clip(g.Command), Text: clip(g.Text)}
	}
	return f, code
}

// fromFailure rebuilds the error that an agent returned.
func fromFailure(node string, f *agentpb.Failure) error {
	if f.GetProtocol() != 0 {
		return WrongProtocol(node, int(f.GetProtocol()))
	}
	e := &volume.Error{Kind: kindFromPB(f.GetKind()), Op: f.GetOp(), On: f.GetOn(), Next: f.GetNext()}
	if f.GetMessage() != "" {
		e.Err = errors.New(f.GetMessage())
	}
	if g := f.GetGluster(); g != nil {
		e.Err = carried(f.GetMessage(), &gluster.Error{Reason: gluster.Reason(g.GetReason()), Command: g.GetCommand(), Text: g.GetText()})
	}
	return At(node, "", "", e)
}

// carried gives glusterd's own error, under the words that stood around it.
func carried(message string, g *gluster.Error) error {
	if message == "" || message == g.Error() {
		return g
	}
	return &carriedError{message: message, cause: g}
}

type carriedError struct {
	message string
	cause   error
}

func (e *carriedError) Error() string { return e.message }
func (e *carriedError) Unwrap() error { return e.cause }
