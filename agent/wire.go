package agent

import (
	"errors"
	"slices"

	"google.golang.org/grpc/status"

	"bricklayer.csi/agent/agentpb"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/internal/wire"
)

type kindRow struct {
	kind volume.Kind
	pb   agentpb.Kind
}

// kinds is the one table between the kinds of this program and those on the wire.
var kinds = []kindRow{
	{volume.Internal, agentpb.Kind_KIND_INTERNAL},
	{volume.Invalid, agentpb.Kind_KIND_INVALID},
	{volume.NotFound, agentpb.Kind_KIND_NOT_FOUND},
	{volume.Exists, agentpb.Kind_KIND_EXISTS},
	{volume.OutOfRange, agentpb.Kind_KIND_OUT_OF_RANGE},
	{volume.Exhausted, agentpb.Kind_KIND_EXHAUSTED},
	{volume.Busy, agentpb.Kind_KIND_BUSY},
	{volume.Precondition, agentpb.Kind_KIND_PRECONDITION},
	{volume.Unavailable, agentpb.Kind_KIND_UNAVAILABLE},
	{volume.Denied, agentpb.Kind_KIND_DENIED},
	{volume.Unsupported, agentpb.Kind_KIND_UNSUPPORTED},
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

// toStatus turns an error into what travels. A status made by gRPC itself or
// by an interceptor stays as it is.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return wire.Status(kindOf(err), err, toFailure(err))
}

func toFailure(err error) *agentpb.Failure {
	f := &agentpb.Failure{}
	kind := kindOf(err)
	for _, k := range kinds {
		if k.kind == kind {
			f.Kind = k.pb
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
	if _, ok := errors.AsType[*protocolError](err); ok {
		f.Protocol = Protocol
	}
	if g, ok := errors.AsType[*gluster.Error](err); ok {
		f.Gluster = &agentpb.GlusterFailure{Reason: string(g.Reason), Command: wire.Clip(g.Command), Text: wire.Clip(g.Text)}
	}
	return f
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
	return wire.Carried(message, g)
}
