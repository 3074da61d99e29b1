//go:build lab

package heketi_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/heketi/heketi/client/api/go-client"
	"github.com/heketi/heketi/pkg/glusterfs/api"

	"bricklayer.csi/internal/heketi"
	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/internal/lifecycle"
	"bricklayer.csi/internal/lifecycle/lifecycletest"
	"bricklayer.csi/internal/volume"
)

const (
	stormVolumes = 40
	stormLimit   = 2
	stormTime    = 20 * time.Second
)

// Forty volumes are created, and deleted, at once on a real heketi without
// nodes that refuses more operations than the pool's limit. It never has to
// refuse one of ours, no volume is lost or made twice, and every caller has an
// answer before its deadline. Without our limit it does refuse: that is seen first.
func TestStormOnHeketiWithoutNodes(t *testing.T) {
	direct, cli := startMock(t, 6, stormLimit)
	var refused atomic.Int64
	through := countRefusals(t, direct, &refused)
	refuseBareStorm(t, direct)

	b, err := heketi.New(heketi.Config{
		Pool: labtest.PoolName, URL: through, User: "admin", Key: heketi.FileKey(filepath.Join(filepath.Dir(cli[0]), "key")), MaxInFlight: stormLimit,
		Timing: heketi.Timing{FirstPoll: 10 * time.Millisecond, LastPoll: 200 * time.Millisecond},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := lifecycletest.OnePool{Pool: b.Pool, Name: volume.Heketi, Backing: b, HeketiURL: b.URL}.Service()
	specs := make([]volume.Spec, stormVolumes)
	for i := range specs {
		specs[i] = testSpec(t, fmt.Sprintf("storm-%d", i))
	}
	most := watchInFlight(t, direct)
	storm := func(what string, call func(ctx context.Context, spec volume.Spec) error) {
		began := time.Now()
		var wg sync.WaitGroup
		for _, spec := range specs {
			for range 2 { // two callers a volume
				wg.Go(func() {
					untilAnswered(t, what+" "+spec.Name, func(ctx context.Context) error { return call(ctx, spec) })
				})
			}
		}
		wg.Wait()
		t.Logf("%s: %d volumes in %.1f s", what, stormVolumes, time.Since(began).Seconds())
	}
	storm("create", func(ctx context.Context, spec volume.Spec) error {
		_, err := s.Create(ctx, spec)
		return err
	})
	wantVolumes(t, s, direct, stormVolumes)
	storm("delete", func(ctx context.Context, spec volume.Spec) error { return s.Delete(ctx, spec.Handle()) })
	wantVolumes(t, s, direct, 0)
	t.Logf("heketi had at most %d operations in flight, and refused %d", most.Load(), refused.Load())
	if refused.Load() > 0 || most.Load() > stormLimit {
		t.Errorf("heketi refused %d requests and had %d operations in flight; the limit is %d", refused.Load(), most.Load(), stormLimit)
	}
}

// countRefusals puts a proxy before heketi that counts what it refuses as too much.
func countRefusals(t *testing.T, direct string, refused *atomic.Int64) string {
	t.Helper()
	to, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.StatusCode == http.StatusTooManyRequests {
			refused.Add(1)
		}
		return nil
	}
	return serveHTTP(t, proxy)
}

// refuseBareStorm sees that heketi refuses where nobody limits what it is asked.
func refuseBareStorm(t *testing.T, direct string) {
	t.Helper()
	var refused atomic.Int64
	var wg sync.WaitGroup
	ids := make(chan string, stormVolumes)
	bare := func() *client.Client {
		return client.NewClientWithOptions(direct, "admin", "adminkey", client.ClientOptions{PollDelay: 20})
	}
	for range stormVolumes {
		wg.Go(func() {
			r := &api.VolumeCreateRequest{Size: 1, Durability: api.VolumeDurabilityInfo{Type: api.DurabilityReplicate}}
			r.Durability.Replicate.Replica = 3
			v, err := bare().VolumeCreate(r)
			if err != nil {
				refused.Add(1)
				return
			}
			ids <- v.Id
		})
	}
	wg.Wait()
	close(ids)
	for id := range ids {
		if err := bare().VolumeDelete(id); err != nil {
			t.Errorf("delete %s: %v", id, err)
		}
	}
	t.Logf("of %d bare creates at once heketi refused %d", stormVolumes, refused.Load())
	if refused.Load() == 0 {
		t.Error("heketi took all bare creates at once, so this test shows nothing")
	}
}

// watchInFlight asks heketi again and again how many operations it has in
// flight, until the test ends, and keeps the highest answer.
func watchInFlight(t *testing.T, direct string) *atomic.Uint64 {
	t.Helper()
	var most atomic.Uint64
	c := client.NewClient(direct, "admin", "adminkey")
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if info, err := c.OperationsInfo(); err == nil {
				most.Store(max(most.Load(), info.InFlight))
			}
		}
	})
	t.Cleanup(func() { stop(); wg.Wait() })
	return &most
}

// untilAnswered calls as an orchestrator does, again and again, each time for so
// long, until the answer is certain. Each answer must come before its deadline.
func untilAnswered(t *testing.T, what string, call func(ctx context.Context) error) {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), stormTime)
		err := call(ctx)
		late := ctx.Err()
		cancel()
		switch {
		case late != nil:
			t.Errorf("%s was answered after its deadline: %v", what, err)
			return
		case err == nil:
			return
		case volume.KindOf(err).Definite():
			t.Errorf("%s: %v", what, err)
			return
		}
		timer := time.NewTimer(50 * time.Millisecond)
		<-timer.C
	}
}

// wantVolumes compares what is listed with what heketi itself lists.
func wantVolumes(t *testing.T, s *lifecycle.Service, direct string, n int) {
	t.Helper()
	all, err := s.List(labContext(t))
	list, listErr := client.NewClient(direct, "admin", "adminkey").VolumeList()
	if err := errors.Join(err, listErr); err != nil || len(all) != n || len(list.Volumes) != n {
		t.Errorf("%d volumes are listed, heketi has %v (%v); want %d", len(all), list, err, n)
	}
}
