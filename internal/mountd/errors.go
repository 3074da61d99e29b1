package mountd

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/mountd/mountpb"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/internal/wire"
)

type kindRow struct {
	kind volume.Kind
	pb   mountpb.Kind
}

// kinds is the one table between the kinds of this program and those on the wire.
var kinds = []kindRow{
	{volume.Internal, mountpb.Kind_KIND_INTERNAL},
	{volume.Invalid, mountpb.Kind_KIND_INVALID},
	{volume.NotFound, mountpb.Kind_KIND_NOT_FOUND},
	{volume.Exists, mountpb.Kind_KIND_EXISTS},
	{volume.OutOfRange, mountpb.Kind_KIND_OUT_OF_RANGE},
	{volume.Exhausted, mountpb.Kind_KIND_EXHAUSTED},
	{volume.Busy, mountpb.Kind_KIND_BUSY},
	{volume.Precondition, mountpb.Kind_KIND_PRECONDITION},
	{volume.Unavailable, mountpb.Kind_KIND_UNAVAILABLE},
	{volume.Denied, mountpb.Kind_KIND_DENIED},
	{volume.Unsupported, mountpb.Kind_KIND_UNSUPPORTED},
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

// toStatus turns an error of a Mounter into what travels.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	f := &mountpb.Failure{}
	kind := volume.KindOf(err)
	for _, row := range kinds {
		if row.kind == kind {
			f.Kind = row.pb
		}
	}
	for _, fault := range faults {
		if errors.Is(err, fault.err) {
			f.Fault = fault.pb
		}
	}
	cause := err
	if e, ok := errors.AsType[*volume.Error](err); ok {
		f.Op, f.On, f.Next = wire.Clip(e.Op), wire.Clip(e.On), wire.Clip(e.Next)
		cause = e.Err
	}
	if cause != nil {
		f.Message = wire.Clip(cause.Error())
	}
	return wire.Status(kind, err, f)
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
			return wire.Carried(f.GetMessage(), fault.err)
		}
	}
	if f.GetMessage() == "" {
		return nil
	}
	return errors.New(f.GetMessage())
}
