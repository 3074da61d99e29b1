package main

import (
	"context"

	"bricklayer.csi/agent"
	"bricklayer.csi/bench"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
)

// timedDial reaches agents whose calls are timed.
func timedDial(dial func(o *poolsOptions, pool string) (agents, error)) func(o *poolsOptions, pool string) (agents, error) {
	return func(o *poolsOptions, pool string) (agents, error) {
		a, err := dial(o, pool)
		if err != nil {
			return nil, err
		}
		return timedAgents{a}, nil
	}
}

// timedAgents have each call tell bench of which step it is.
type timedAgents struct{ agents }

func (a timedAgents) Node(t agent.Target) (agent.Node, error) {
	n, err := a.agents.Node(t)
	if err != nil {
		return nil, err
	}
	return timedNode{n}, nil
}

// timedNode tells of the calls that volumes are made, expanded and deleted with.
type timedNode struct{ agent.Node }

func (n timedNode) Describe(ctx context.Context) (agent.Description, error) {
	defer bench.During(ctx, bench.StepLook)()
	return n.Node.Describe(ctx)
}

func (n timedNode) Bricks(ctx context.Context, volume string) ([]brick.Brick, error) {
	defer bench.During(ctx, bench.StepLook)()
	return n.Node.Bricks(ctx, volume)
}

func (n timedNode) Volume(ctx context.Context, name string) (gluster.Volume, error) {
	defer bench.During(ctx, bench.StepLook)()
	return n.Node.Volume(ctx, name)
}

func (n timedNode) Volumes(ctx context.Context) ([]gluster.Volume, error) {
	defer bench.During(ctx, bench.StepLook)()
	return n.Node.Volumes(ctx)
}

func (n timedNode) MakeBrick(ctx context.Context, r brick.MakeRequest) (brick.Brick, error) {
	defer bench.During(ctx, bench.StepBricks)()
	return n.Node.MakeBrick(ctx, r)
}

func (n timedNode) RemoveBrick(ctx context.Context, r brick.RemoveRequest) error {
	defer bench.During(ctx, bench.StepBricks)()
	return n.Node.RemoveBrick(ctx, r)
}

func (n timedNode) SetQuota(ctx context.Context, ref brick.Ref, q brick.Quota) (brick.Brick, error) {
	defer bench.During(ctx, bench.StepBricks)()
	return n.Node.SetQuota(ctx, ref, q)
}

func (n timedNode) CreateVolume(ctx context.Context, r gluster.CreateRequest) error {
	defer bench.During(ctx, bench.StepCreate)()
	return n.Node.CreateVolume(ctx, r)
}

func (n timedNode) SetOptions(ctx context.Context, name string, options []gluster.Option) error {
	defer bench.During(ctx, bench.StepSet)()
	return n.Node.SetOptions(ctx, name, options)
}

func (n timedNode) StartVolume(ctx context.Context, name string) error {
	defer bench.During(ctx, bench.StepStart)()
	return n.Node.StartVolume(ctx, name)
}

func (n timedNode) VolumeStatus(ctx context.Context, name string) ([]gluster.BrickStatus, error) {
	defer bench.During(ctx, bench.StepStatus)()
	return n.Node.VolumeStatus(ctx, name)
}

func (n timedNode) StopVolume(ctx context.Context, name string) error {
	defer bench.During(ctx, bench.StepStop)()
	return n.Node.StopVolume(ctx, name)
}

func (n timedNode) DeleteVolume(ctx context.Context, name string) error {
	defer bench.During(ctx, bench.StepDelete)()
	return n.Node.DeleteVolume(ctx, name)
}
