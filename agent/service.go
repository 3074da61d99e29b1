package agent

import (
	"context"

	"bricklayer.csi/agent/agentpb"
)

// service turns calls on the wire into calls of a Node. It only converts: the
// Node checks (Checker), and the interceptors in server.go do the rest.
type service struct {
	agentpb.UnimplementedAgentServer
	node Node
}

// answer returns the response where there is no error, and no response else,
// as gRPC demands.
func answer[T any](response *T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return response, nil
}

func (s service) Describe(ctx context.Context, _ *agentpb.DescribeRequest) (*agentpb.DescribeResponse, error) {
	d, err := s.node.Describe(ctx)
	return answer(descriptionToPB(d), err)
}

func (s service) Bricks(ctx context.Context, r *agentpb.BricksRequest) (*agentpb.BricksResponse, error) {
	all, err := s.node.Bricks(ctx, r.GetVolume())
	return answer(&agentpb.BricksResponse{Bricks: mapSlice(all, brickToPB)}, err)
}

func (s service) MakeBrick(ctx context.Context, r *agentpb.MakeBrickRequest) (*agentpb.MakeBrickResponse, error) {
	b, err := s.node.MakeBrick(ctx, makeFromPB(r))
	return answer(&agentpb.MakeBrickResponse{Brick: brickToPB(b)}, err)
}

func (s service) RemoveBrick(ctx context.Context, r *agentpb.RemoveBrickRequest) (*agentpb.RemoveBrickResponse, error) {
	return answer(&agentpb.RemoveBrickResponse{}, s.node.RemoveBrick(ctx, removeFromPB(r)))
}

func (s service) SetQuota(ctx context.Context, r *agentpb.SetQuotaRequest) (*agentpb.SetQuotaResponse, error) {
	b, err := s.node.SetQuota(ctx, refFromPB(r.GetRef()), quotaFromPB(r.GetQuota()))
	return answer(&agentpb.SetQuotaResponse{Brick: brickToPB(b)}, err)
}

func (s service) InitRoot(ctx context.Context, r *agentpb.InitRootRequest) (*agentpb.InitRootResponse, error) {
	return answer(&agentpb.InitRootResponse{}, s.node.InitRoot(ctx, r.GetRoot()))
}

func (s service) SetPolicy(ctx context.Context, r *agentpb.SetPolicyRequest) (*agentpb.SetPolicyResponse, error) {
	return answer(&agentpb.SetPolicyResponse{}, s.node.SetPolicy(ctx, policyFromPB(r.GetPolicy())))
}

func (s service) CreateVolume(ctx context.Context, r *agentpb.CreateVolumeRequest) (*agentpb.CreateVolumeResponse, error) {
	return answer(&agentpb.CreateVolumeResponse{}, s.node.CreateVolume(ctx, createFromPB(r)))
}

func (s service) StartVolume(ctx context.Context, r *agentpb.StartVolumeRequest) (*agentpb.StartVolumeResponse, error) {
	return answer(&agentpb.StartVolumeResponse{}, s.node.StartVolume(ctx, r.GetName()))
}

func (s service) StopVolume(ctx context.Context, r *agentpb.StopVolumeRequest) (*agentpb.StopVolumeResponse, error) {
	return answer(&agentpb.StopVolumeResponse{}, s.node.StopVolume(ctx, r.GetName()))
}

func (s service) DeleteVolume(ctx context.Context, r *agentpb.DeleteVolumeRequest) (*agentpb.DeleteVolumeResponse, error) {
	return answer(&agentpb.DeleteVolumeResponse{}, s.node.DeleteVolume(ctx, r.GetName()))
}

func (s service) SetOptions(ctx context.Context, r *agentpb.SetOptionsRequest) (*agentpb.SetOptionsResponse, error) {
	return answer(&agentpb.SetOptionsResponse{}, s.node.SetOptions(ctx, r.GetName(), mapSlice(r.GetOptions(), optionFromPB)))
}

func (s service) Volume(ctx context.Context, r *agentpb.VolumeRequest) (*agentpb.VolumeResponse, error) {
	v, err := s.node.Volume(ctx, r.GetName())
	return answer(&agentpb.VolumeResponse{Volume: volumeToPB(v)}, err)
}

func (s service) Volumes(ctx context.Context, _ *agentpb.VolumesRequest) (*agentpb.VolumesResponse, error) {
	all, err := s.node.Volumes(ctx)
	return answer(&agentpb.VolumesResponse{Volumes: mapSlice(all, volumeToPB)}, err)
}

func (s service) VolumeStatus(ctx context.Context, r *agentpb.VolumeStatusRequest) (*agentpb.VolumeStatusResponse, error) {
	all, err := s.node.VolumeStatus(ctx, r.GetName())
	return answer(&agentpb.VolumeStatusResponse{Bricks: mapSlice(all, statusToPB)}, err)
}

func (s service) HealInfo(ctx context.Context, r *agentpb.HealInfoRequest) (*agentpb.HealInfoResponse, error) {
	all, err := s.node.HealInfo(ctx, r.GetName())
	return answer(&agentpb.HealInfoResponse{Bricks: mapSlice(all, healToPB)}, err)
}

func (s service) Peers(ctx context.Context, _ *agentpb.PeersRequest) (*agentpb.PeersResponse, error) {
	all, err := s.node.Peers(ctx)
	return answer(&agentpb.PeersResponse{Peers: mapSlice(all, peerToPB)}, err)
}

func (s service) ProbePeer(ctx context.Context, r *agentpb.ProbePeerRequest) (*agentpb.ProbePeerResponse, error) {
	return answer(&agentpb.ProbePeerResponse{}, s.node.ProbePeer(ctx, r.GetHost()))
}
