package heketi_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/heketi"
)

// telling is a node that tells its peers, or hangs.
type telling struct {
	heketi.Cluster
	peers []gluster.Peer
}

func (n telling) Peers(ctx context.Context) ([]gluster.Peer, error) {
	if n.peers == nil {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return n.peers, nil
}

func TestANodeThatHangsDoesNotKeepTheOthersPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peers := []gluster.Peer{{UUID: "a", Local: true}, {UUID: "b"}}
		began := time.Now()
		got, err := heketi.AnyOf{telling{}, telling{peers: peers}, telling{}, telling{peers: peers}}.Peers(t.Context())
		if err != nil || len(got) != 4 {
			t.Errorf("%v, %v", got, err)
		}
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("it took %v", took)
		}
		if _, err := (heketi.AnyOf{telling{}, telling{}}).Peers(t.Context()); err == nil {
			t.Error("nobody tells, and that is no error")
		}
	})
}
