package agent_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"bricklayer.csi/internal/gluster"
)

func refusedFor(err error, reason gluster.Reason) bool {
	var g *gluster.Error
	return errors.As(err, &g) && g.Reason == reason
}

// awaitNode calls look until it returns nil.
func awaitNode(ctx context.Context, t *testing.T, what string, look func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := look()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-tick.C:
		}
	}
}
