package mountd

import (
	"context"
	"errors"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/mountd/mountpb"
	"bricklayer.csi/internal/volume"
)

type kindRow struct {
	kind volume.Kind
	pb   mountpb.Kind
	code codes.Code
}

// kinds is the one table between the kinds of this program, those on the wire,
// and the gRPC codes that go with them for whoever looks at the wire.
var kinds = []kindRow{
	{volume.Internal, mountpb.Kind_KIND_INTERNAL, codes.Internal},
	{volume.Invalid, mountpb.Kind_KIND_INVALID, codes.InvalidArgument},
	{volume.NotFound, mountpb.Kind_KIND_NOT_FOUND, codes.NotFound},
	{volume.Exists, mountpb.Kind_KIND_EXISTS, codes.AlreadyExists},
	{volume.OutOfRange, mountpb.Kind_KIND_OUT_OF_RANGE, codes.OutOfRange},
	{volume.Exhausted, mountpb.Kind_KIND_EXHAUSTED, codes.ResourceExhausted},
	{volume.Busy, mountpb.Kind_KIND_BUSY, codes.Aborted},
	{volume.Precondition, mountpb.Kind_KIND_PRECONDITION, codes.FailedPrecondition},
	{volume.Unavailable, mountpb.Kind_KIND_UNAVAILABLE, codes.Unavailable},
	{volume.Denied, mountpb.Kind_KIND_DENIED, codes.PermissionDenied},
	{volume.Unsupported, mountpb.Kind_KIND_UNSUPPORTED, codes.Unimplemented},
}

// faults are the errors that callers tell apart by errors.Is.
var faults = []struct {
	err error
	pb  mountpb.Fault
}{
	{mount.ErrStale, mountpb.Fault_FAULT_STALE},
	{mount.ErrDisconnected, mountpb.Fault_FAULT_DISCONNECTED},
	{mount.ErrSilent, mountpb.Fault_FAULT_SILENT},
}

// maxText bounds each text of a failure, so that the whole fits HTTP trailers,
// for which 8 KiB are common.
const maxText = 1024

// clip also sees to it that the text is UTF-8, as the wire demands: an error
// may quote a path, which can be any bytes.
func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// toStatus turns an error of a Mounter into what travels.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	f, code := &mountpb.Failure{}, codes.Internal
	kind := volume.KindOf(err)
	for _, row := range kinds {
		if row.kind == kind {
			f.Kind, code = row.pb, row.code
		}
	}
	for _, fault := range faults {
		if errors.Is(err, fault.err) {
			f.Fault = fault.pb
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
	s, detailErr := status.New(code, clip(err.Error())).WithDetails(f)
	if detailErr != nil {
		return status.Error(codes.Internal, clip(errors.Join(err, detailErr).Error()))
	}
	return s.Err()
}

// fromStatus rebuilds the error that the service returned, or says why there is none.
func (c *Client) fromStatus(ctx context.Context, op, on string, err error) error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	for _, detail := range s.Details() {
		if f, ok := detail.(*mountpb.Failure); ok {
			return fromFailure(f)
		}
	}
	e := &volume.Error{Kind: volume.Unavailable, Op: op, On: on, Err: errors.New("mount service on " + c.path + ": " + s.Message())}
	switch {
	case ctx.Err() != nil:
		e.Err = ctx.Err()
	case s.Code() == codes.Unavailable:
		e.Next = "see whether 'bricklayer mountd' runs on this node"
	case s.Code() == codes.Unimplemented:
		e.Kind, e.Next = volume.Unsupported, "the mount service is older than the node service: drain this node and restart it"
	default:
		e.Kind = volume.Internal
	}
	return e
}

func fromFailure(f *mountpb.Failure) error {
	e := &volume.Error{Kind: volume.Internal, Op: f.GetOp(), On: f.GetOn(), Next: f.GetNext(), Err: cause(f)}
	if i := slices.IndexFunc(kinds, func(row kindRow) bool { return row.pb == f.GetKind() }); i >= 0 {
		e.Kind = kinds[i].kind
	}
	return e
}

// cause gives the fault of a mount that does not answer, under the words that
// stood around it.
func cause(f *mountpb.Failure) error {
	for _, fault := range faults {
		if fault.pb == f.GetFault() {
			return &carriedError{message: f.GetMessage(), cause: fault.err}
		}
	}
	if f.GetMessage() == "" {
		return nil
	}
	return errors.New(f.GetMessage())
}

type carriedError struct {
	message string
	cause   error
}

func (e *carriedError) Error() string { return e.message }
func (e *carriedError) Unwrap() error { return e.cause }
