package heketi_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/heketi"
	"bricklayer.csi/internal/volume"
)

// telling is a node that answers after some time, or hangs.
type telling struct {
	heketi.Cluster
	peers []gluster.Peer
	after time.Duration
}

func (n telling) wait(ctx context.Context) error {
	var answers <-chan time.Time
	if n.peers != nil {
		answers = time.After(n.after)
	}
	select {
	case <-answers:
		return nil
	case <-ctx.Done():
		return &volume.Error{Kind: volume.Unavailable, Err: context.Cause(ctx)}
	}
}

func (n telling) Peers(ctx context.Context) ([]gluster.Peer, error) {
	return n.peers, n.wait(ctx)
}

func (n telling) Volume(ctx context.Context, _ string) (gluster.Volume, error) {
	return gluster.Volume{}, n.wait(ctx)
}

func TestANodeThatHangsDoesNotKeepTheOthers(t *testing.T) {
	peers := []gluster.Peer{{UUID: "a", Local: true}, {UUID: "b"}}
	hangs, tells := telling{}, telling{peers: peers}
	slow := telling{peers: peers, after: 20 * time.Second}
	for _, c := range []struct {
		name  string
		nodes heketi.AnyOf
		took  time.Duration // of both questions, at most
		peers int
	}{
		{"two of four", heketi.AnyOf{hangs, tells, hangs, tells}, 7 * time.Second, 4},
		{"all slow", heketi.AnyOf{slow, slow}, 41 * time.Second, 4},
		{"all hang", heketi.AnyOf{hangs, hangs}, 2 * time.Minute, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ask := func() context.Context {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					t.Cleanup(cancel)
					return ctx
				}
				got, err := c.nodes.Peers(ask())
				if len(got) != c.peers || (err == nil) != (c.peers > 0) {
					t.Errorf("peers: %v, %v", got, err)
				}
				if _, err := c.nodes.Volume(ask(), "v"); (err == nil) != (c.peers > 0) {
					t.Errorf("volume: %v", err)
				}
				if took := time.Since(began); took > c.took {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}
