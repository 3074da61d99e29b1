package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/api/v1alpha1"
)

// endingAgents have a controller's certificate that ends within the hour.
type endingAgents struct{ fakeAgents }

func (endingAgents) CertificateExpires() (time.Time, error) { return time.Now().Add(time.Hour), nil }

// TestUpkeepAppliesSettingsUntilTheyHold starts while no node answers.
//
//nolint:forbidigo // the time of synctest does not really pass
func TestUpkeepAppliesSettingsUntilTheyHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := agenttest.New(agenttest.Default(3))
		set := 0
		cluster.Fail(func(_ context.Context, c agenttest.Call) error {
			if c.Verb == agenttest.SetOptions && c.Moment == agenttest.After {
				set++
			}
			return nil
		})
		for _, n := range []string{"n1", "n2", "n3"} {
			cluster.SetState(n, agenttest.Off)
		}
		var log bytes.Buffer
		p := newPools(func(string) (agents, error) { return endingAgents{fakeAgents{cluster}}, nil }, slog.New(slog.NewTextHandler(&log, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.upkeep(ctx) }()

		yes := true
		pool := poolResource("lab", "n1", "n2", "n3")
		pool.Spec.BrickMultiplex = &yes
		p.set([]v1alpha1.StoragePool{pool})
		synctest.Wait()
		if set != 0 {
			t.Fatal("options were set while no node answers")
		}
		for _, n := range []string{"n1", "n2", "n3"} {
			cluster.SetState(n, agenttest.Up)
		}
		time.Sleep(tryAgain)
		synctest.Wait()
		if set != 1 {
			t.Errorf("the pool's settings were applied %d times once nodes answer, want once", set)
		}
		time.Sleep(lookAgain)
		synctest.Wait()
		if set != 1 {
			t.Errorf("settings that hold were applied again (%d times)", set)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, want := range []string{"could not be applied", "certificate ends soon"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log does not say %q:\n%s", want, log.String())
			}
		}
	})
}
