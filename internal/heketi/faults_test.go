package heketi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/heketi/heketi/pkg/glusterfs/api"

	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/heketi/heketitest"
	"bricklayer.csi/internal/volume"
)

// answer has every request answered in heketi's stead.
func answer(status int, body string) func(*heketitest.Server) {
	return func(s *heketitest.Server) {
		s.OnRequest(func(*http.Request) heketitest.Fault { return heketitest.Fault{Status: status, Body: body} })
	}
}

// Each trouble of heketi gets an error of the right kind that names it and says
// what to do, and no key.
func TestTroublesOfHeketi(t *testing.T) {
	tests := []struct {
		name    string
		trouble func(s *heketitest.Server)
		change  func(c *Config)
		kind    volume.Kind
		says    string
	}{
		{name: "down", trouble: (*heketitest.Server).Kill, kind: volume.Unavailable, says: "is heketi up"},
		{name: "nobody listens", change: func(c *Config) { c.URL = "http://127.0.0.1:1" }, kind: volume.Unavailable, says: "connection refused"},
		{name: "unknown host", change: func(c *Config) { c.URL = "http://no.such.host.invalid:8080" }, kind: volume.Unavailable, says: "no.such.host.invalid"},
		{name: "slow", trouble: func(s *heketitest.Server) {
			s.OnRequest(func(*http.Request) heketitest.Fault { return heketitest.Fault{Delay: time.Minute} })
		}, change: func(c *Config) { c.Timing.Request = 50 * time.Millisecond }, kind: volume.Unavailable, says: "no answer within 50ms"},
		{name: "wrong key", change: func(c *Config) { c.Key = key("s3cret-wrong") }, kind: volume.Denied, says: "signature is invalid"},
		{name: "unknown user", change: func(c *Config) { c.User = "root" }, kind: volume.Denied, says: "Unknown user"},
		{name: "not the administrator", change: func(c *Config) { c.User, c.Key = "user", key("userkey") }, kind: volume.Denied, says: `heketi's user "admin"`},
		{name: "clock", trouble: answer(401, "Invalid JWT token: Token used before issued (client and server clocks may differ)"), kind: volume.Denied, says: "clocks"},
		{name: "403", trouble: answer(403, "no"), kind: volume.Denied, says: "403"},
		{name: "404", trouble: answer(404, "404 page not found"), kind: volume.Precondition, says: "is the pool's URL heketi's"},
		{name: "409", trouble: answer(409, "something is in the way"), kind: volume.Busy, says: "409"},
		{name: "500", trouble: answer(500, "Unable to access db"), kind: volume.Unavailable, says: "Unable to access db"},
		{name: "502", trouble: answer(502, "<html>bad gateway</html>"), kind: volume.Unavailable, says: "502"},
		{name: "read-only", trouble: answer(503, "Service disabled for maintenance"), kind: volume.Unavailable, says: "heketi-cli server mode set normal"},
		{name: "a web page", trouble: answer(200, "<html>It works!</html>"), kind: volume.Unavailable, says: "not one of heketi's"},
		{name: "other JSON", trouble: answer(200, `{"status":"ok"}`), kind: volume.Unavailable, says: "no database of heketi's"},
		{name: "JSON of another form", trouble: answer(200, `{"volumeentries":7}`), kind: volume.Unavailable, says: "not one of heketi's"},
		{name: "null", trouble: answer(200, `null`), kind: volume.Unavailable, says: "no database of heketi's"},
		{name: "truncated", trouble: func(s *heketitest.Server) {
			s.OnRequest(func(*http.Request) heketitest.Fault { return heketitest.Fault{Truncate: true} })
		}, kind: volume.Unavailable, says: "broke off"},
		{name: "key echoed", trouble: answer(500, "your key is adminkey\x1b[31m\nlevel=ERROR forged"), kind: volume.Unavailable, says: "your key is [redacted] [31m level=ERROR"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, heketitest.Default(3))
			b := newBackend(t, s, func(c *Config) {
				if test.change != nil {
					test.change(c)
				}
			})
			if test.trouble != nil {
				test.trouble(s)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			spec := testSpec(t, "pvc-1", volume.GiB)
			_, create := b.Create(ctx, spec)
			_, get := b.Get(ctx, spec.Handle())
			for what, err := range map[string]error{"create": create, "get": get, "delete": b.Delete(ctx, spec.Handle())} {
				if !volume.Is(err, test.kind) || !strings.Contains(err.Error(), test.says) {
					t.Errorf("%s: %v (%v)\nwant %v that says %q", what, err, volume.KindOf(err), test.kind, test.says)
				}
				if err != nil && (strings.Contains(err.Error(), "adminkey") || strings.Contains(err.Error(), "s3cret") || strings.ContainsAny(err.Error(), "\x1b\n")) {
					t.Errorf("%s shows what it must not: %q", what, err.Error())
				}
			}
		})
	}
}

// What heketi says of a create that fails is passed on, with its kind, and
// nothing is left.
func TestCreateRefused(t *testing.T) {
	tests := []struct {
		name       string
		parameters []string
		size       volume.Size
		limit      volume.Size
		fail       string
		kind       volume.Kind
		says       string
	}{
		{name: "bad option", parameters: []string{"volumeoptions", "bad.option on"}, kind: volume.Invalid, says: "bad.option does not exist"},
		{name: "no space on the node", fail: "Volume group has insufficient free space (3 extents): 256 required", kind: volume.Exhausted, says: "add devices"},
		{name: "node down", fail: "dial tcp 10.90.0.12:22: connect: no route to host", kind: volume.Unavailable, says: "no route to host"},
		{name: "another transaction", fail: "volume create: pvc-1: failed: Another transaction is in progress", kind: volume.Busy, says: "transaction"},
		{name: "too large now", size: 61 * volume.GiB, kind: volume.OutOfRange, says: "the largest that has one now"},
		{name: "no GiB in the range", size: volume.GiB + 1, limit: volume.GiB + 2, kind: volume.OutOfRange, says: "multiple of 1GiB"},
		{name: "too small for its type", parameters: []string{"volumetype", "disperse:2:1"}, size: 1, limit: volume.GiB, kind: volume.OutOfRange, says: "limit"},
		{name: "another heketi", parameters: []string{"resturl", "http://elsewhere:8080"}, kind: volume.Invalid, says: "parameters.resturl"},
		{name: "four replicas", parameters: []string{"volumetype", "replicate:4"}, kind: volume.Invalid, says: "parameters.volumetype"},
		{name: "odd disperse", parameters: []string{"volumetype", "disperse:3:2"}, kind: volume.Invalid, says: "disperse:8:4"},
		{name: "unknown cluster", parameters: []string{"clusterid", strings.Repeat("e", 32)}, kind: volume.Invalid, says: "a cluster that heketi has"},
		{name: "more snapshots than disk", parameters: []string{"snapfactor", "100"}, kind: volume.OutOfRange, says: "when all devices are empty"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, heketitest.Default(3))
			if test.fail != "" {
				s.OnStep(func(step heketitest.Step) error {
					if step.What == "gluster create" {
						return errors.New("Unable to execute command on 10.90.0.11: " + test.fail)
					}
					return nil
				})
			}
			spec := testSpec(t, "pvc-1", max(test.size, 1), test.parameters...)
			spec.Size.Limit = test.limit
			_, err := newService(t, s).Create(testContext(t), spec)
			if !volume.Is(err, test.kind) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v (%v)\nwant %v that says %q", err, volume.KindOf(err), test.kind, test.says)
			}
			checkEmpty(t, s)
		})
	}
}

// 40 volumes made and deleted at once: none lost, none double, and heketi never
// runs more than it is allowed, whatever else it does.
func TestStorm(t *testing.T) {
	const callers = 40
	c := heketitest.Default(6)
	c.Step = 10 * time.Millisecond
	s := newServer(t, c)
	services := []*Backend{newBackend(t, s), newBackend(t, s)}
	gids := sync.Map{}
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			spec := testSpec(t, fmt.Sprintf("pvc-%d", i), volume.GiB)
			for again := true; again; {
				ctx, cancel := context.WithTimeout(t.Context(), stormTime)
				v, err := services[i%2].Create(ctx, spec)
				if ctx.Err() != nil {
					t.Errorf("caller %d was answered after its deadline: %v", i, err)
				}
				cancel()
				if again = volume.Is(err, volume.Busy) || volume.Is(err, volume.Unavailable); err != nil && !again {
					t.Errorf("caller %d: %v", i, err)
				}
				if err == nil {
					if other, twice := gids.LoadOrStore(v.GID, i); twice && i%2 == other.(int)%2 {
						t.Errorf("callers %d and %v share gid %d", i, other, v.GID)
					}
				}
			}
		})
	}
	wg.Wait()
	if all, err := services[0].List(testContext(t), "lab"); err != nil || len(all) != callers {
		t.Errorf("listed %d volumes, %v; want %d", len(all), err, callers)
	}
	if n := s.Calls("POST /volumes"); n != callers {
		t.Errorf("heketi was asked for %d volumes, want %d", n, callers)
	}
	for i := range callers {
		wg.Go(func() {
			h := testSpec(t, fmt.Sprintf("pvc-%d", i), volume.GiB).Handle()
			for {
				ctx, cancel := context.WithTimeout(t.Context(), stormTime)
				err := services[i%2].Delete(ctx, h)
				cancel()
				if err == nil {
					return
				}
				if volume.KindOf(err).Definite() {
					t.Errorf("caller %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	checkEmpty(t, s)
	// Two controllers that look at the same moment may each add one.
	if most := s.Most(); most > 5 {
		t.Errorf("heketi had %d operations running, 4 are allowed", most)
	}
}

// stormTime is each caller's; a tenth of it is ours to answer in.
const stormTime = 5 * time.Second

// Who waits in vain is told so in time, with how many wait.
func TestQueueIsAnswered(t *testing.T) {
	const callers = 10
	c := heketitest.Default(3)
	c.Step = time.Minute
	s := newServer(t, c)
	b := newBackend(t, s, func(c *Config) { c.MaxInFlight = 1 })
	var wg sync.WaitGroup
	for i := range callers {
		spec := testSpec(t, fmt.Sprintf("pvc-%d", i), volume.GiB)
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
			defer cancel()
			_, err := b.Create(ctx, spec)
			if err == nil || volume.KindOf(err).Definite() || ctx.Err() != nil {
				t.Errorf("got %v (%v), context %v; want Busy in time", err, volume.KindOf(err), ctx.Err())
			}
		})
	}
	wg.Wait()
	if n := s.Most(); n != 1 {
		t.Errorf("heketi had %d operations running, want 1", n)
	}
}

// A volume that we did not make keeps its name and its bricks.
func TestForeignVolumeIsLeftAlone(t *testing.T) {
	s := newServer(t, heketitest.Default(3))
	other := newBackend(t, s, func(c *Config) { c.Pool = "other" })
	theirs, err := other.Create(testContext(t), otherPool(testSpec(t, "pvc-1", volume.GiB)))
	if err != nil {
		t.Fatal(err)
	}
	spec := testSpec(t, "pvc-1", volume.GiB)
	c := newService(t, s)
	if _, err := c.Create(testContext(t), spec); !volume.Is(err, volume.Exists) || !strings.Contains(err.Error(), "bl1.heketi.other.pvc-1") {
		t.Errorf("create: %v, want Exists naming the owner", err)
	}
	if _, err := c.Get(testContext(t), spec.Handle()); !volume.Is(err, volume.NotFound) {
		t.Errorf("get: %v, want NotFound", err)
	}
	if err := c.Delete(testContext(t), spec.Handle()); !volume.Is(err, volume.Precondition) {
		t.Errorf("delete: %v, want Precondition", err)
	}
	if got, err := other.Get(testContext(t), theirs.Handle); err != nil || got.State != volume.Ready {
		t.Errorf("the other volume: %+v, %v", got, err)
	}
}

func otherPool(s volume.Spec) volume.Spec {
	s.Parameters.Pool = "other"
	return s
}

// heketi's database was put back to yesterday's: volumes that it does not know
// are alive in Gluster, and the other way round.
func TestDatabaseFromYesterday(t *testing.T) {
	s := newServer(t, heketitest.Default(3))
	agents := func(c *Config) { c.Gluster = s.Gluster() }
	yesterday, err := s.Backup()
	if err != nil {
		t.Fatal(err)
	}
	spec := testSpec(t, "pvc-1", volume.GiB)
	mustCreate(t, newBackend(t, s, agents), spec)
	today, err := s.Backup()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Restore(yesterday); err != nil {
		t.Fatal(err)
	}
	c := newService(t, s, agents)
	_, get := c.Get(testContext(t), spec.Handle())
	_, create := c.Create(testContext(t), spec)
	for what, err := range map[string]error{"get": get, "create": create, "delete": c.Delete(testContext(t), spec.Handle())} {
		if !volume.Is(err, volume.Precondition) && !volume.Is(err, volume.Exists) || !strings.Contains(err.Error(), "older") {
			t.Errorf("%s a volume that heketi has forgotten: %v (%v)", what, err, volume.KindOf(err))
		}
	}
	if _, err := s.Gluster().Volume(testContext(t), "pvc-1"); err != nil {
		t.Fatalf("the forgotten volume is gone: %v", err)
	}
	if err := s.Restore(today); err != nil {
		t.Fatal(err)
	}
	s.RemoveGlusterVolume("pvc-1")
	if _, err := c.Create(testContext(t), spec); !volume.Is(err, volume.Exists) || !strings.Contains(err.Error(), "Gluster has no such volume") {
		t.Errorf("create over a volume that only heketi has: %v", err)
	}
	h, err := c.Health(testContext(t), spec.Handle())
	if err != nil || len(h.Problems) != 1 || h.Problems[0].Kind != volume.NotStarted {
		t.Errorf("health of a volume that only heketi has: %+v, %v", h, err)
	}
	if err := c.Delete(testContext(t), spec.Handle()); err != nil {
		t.Errorf("delete a volume that only heketi has: %v", err)
	}
	checkEmpty(t, s)
}

// heketi undoes a create that failed because the name is taken in Gluster by
// deleting what has the name. We do not let it come to that.
func TestTakenInGluster(t *testing.T) {
	s := newServer(t, heketitest.Default(3))
	s.AddGlusterVolume(gluster.Volume{Name: "pvc-1", Status: gluster.StatusStarted})
	g := s.Gluster()
	b := newBackend(t, s, func(c *Config) { c.Gluster = g })
	spec := testSpec(t, "pvc-1", volume.GiB)
	if _, err := b.Create(testContext(t), spec); !volume.Is(err, volume.Exists) {
		t.Errorf("got %v, want Exists", err)
	}
	g.Err = &gluster.Error{Reason: gluster.DaemonDown, Text: "down"}
	if _, err := b.Create(testContext(t), spec); !volume.Is(err, volume.Unavailable) {
		t.Errorf("while no agent answers: %v, want Unavailable", err)
	}
	if n := s.Calls("POST /volumes"); n != 0 {
		t.Errorf("heketi was asked %d times", n)
	}
	if _, err := s.Gluster().Volume(testContext(t), "pvc-1"); err != nil {
		t.Errorf("the other volume is gone: %v", err)
	}
}

func TestHealth(t *testing.T) {
	s := newServer(t, heketitest.Default(3))
	g := s.Gluster()
	b := newBackend(t, s, func(c *Config) { c.Gluster = g })
	spec := testSpec(t, "pvc-1", volume.GiB)
	mustCreate(t, b, spec)
	check := func(what string, want ...volume.ProblemKind) {
		t.Helper()
		h, err := b.Health(testContext(t), spec.Handle())
		if err != nil {
			t.Fatal(err)
		}
		var got []volume.ProblemKind
		for _, p := range h.Problems {
			got = append(got, p.Kind)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s\n%+v", what, diff, h.Problems)
		}
	}
	check("healthy")
	g.Down = []string{"10.90.0.11"}
	check("one brick down", volume.BrickDown)
	g.Down = append(g.Down, "10.90.0.12")
	check("two bricks down", volume.BrickDown, volume.BrickDown, volume.QuorumLost)
	g.Down, g.Err = nil, errors.New("agents are down")
	check("agents down", volume.Unknown)
	g.Err = nil
	s.SetNodeState("10.90.0.13", api.EntryStateOffline)
	b.views.outdate()
	check("node offline in heketi", volume.BrickDown)
}

// A class may name clusters of its pool only, and the volume goes where there is room.
func TestClusters(t *testing.T) {
	second := "c2000000000000000000000000000002"
	c := heketitest.Default(3)
	c.Clusters = append(c.Clusters, heketitest.ClusterConfig{ID: second, Nodes: []heketitest.NodeConfig{
		{Host: "10.91.0.11", Devices: []volume.Size{100 * volume.GiB}},
		{Host: "10.91.0.12", Devices: []volume.Size{100 * volume.GiB}},
		{Host: "10.91.0.13", Devices: []volume.Size{100 * volume.GiB}},
	}})
	s := newServer(t, c)
	b := newBackend(t, s)
	if v := mustCreate(t, b, testSpec(t, "large", 80*volume.GiB)); !strings.HasPrefix(v.Servers[0], "10.91.") {
		t.Errorf("the large volume is on %q", v.Servers)
	}
	if v := mustCreate(t, b, testSpec(t, "named", volume.GiB, "clusterid", second)); !strings.HasPrefix(v.Servers[0], "10.91.") {
		t.Errorf("the class's cluster is not used: %q", v.Servers)
	}
	narrow := newBackend(t, s, func(c *Config) { c.ClusterIDs = []string{heketitest.ClusterID} })
	if v := mustCreate(t, narrow, testSpec(t, "pool", volume.GiB)); !strings.HasPrefix(v.Servers[0], "10.90.") {
		t.Errorf("the pool's cluster is not used: %q", v.Servers)
	}
	if _, err := narrow.Create(testContext(t), testSpec(t, "outside", volume.GiB, "clusterid", second)); !volume.Is(err, volume.Invalid) {
		t.Errorf("a cluster outside the pool: %v, want Invalid", err)
	}
	both, err := b.Capacity(testContext(t), "lab", testSpec(t, "x", volume.GiB).Parameters)
	if err != nil || both.Largest < 50*volume.GiB || both.Available <= both.Largest {
		t.Errorf("capacity of two clusters: %+v, %v", both, err)
	}
}

func TestGIDsAreTheirOwnAndRunOut(t *testing.T) {
	s := newServer(t, heketitest.Default(3))
	narrow := []string{"gidMin", "5000", "gidMax", "5002"}
	seen := map[int]bool{}
	for _, name := range []string{"a", "b", "c"} {
		v := mustCreate(t, newBackend(t, s), testSpec(t, name, volume.GiB, narrow...)) // a new controller each time
		if seen[v.GID] || v.GID < 5000 || v.GID > 5002 {
			t.Errorf("%s got gid %d", name, v.GID)
		}
		seen[v.GID] = true
	}
	_, err := newService(t, s).Create(testContext(t), testSpec(t, "d", volume.GiB, narrow...))
	if !volume.Is(err, volume.Exhausted) || !strings.Contains(err.Error(), "gidMax") {
		t.Errorf("got %v, want Exhausted naming gidMax", err)
	}
	if _, err := newBackend(t, s).Create(testContext(t), testSpec(t, "e", volume.GiB, "gidMin", "2147483647", "gidMax", "2147483647")); err == nil || !strings.Contains(err.Error(), "2147483646") {
		t.Errorf("a gid that heketi refuses: %v", err)
	}
}

// An operation that heketi could not write down as done stays pending; nobody
// is kept waiting beyond his time, and is told what to do.
func TestLostOperation(t *testing.T) {
	s := newServer(t, heketitest.Default(3))
	s.OnStep(func(step heketitest.Step) error {
		if step.What == "finalize" {
			return errors.New("write /var/lib/heketi/heketi.db: no space left on device")
		}
		return nil
	})
	spec := testSpec(t, "pvc-1", volume.GiB)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for range 2 {
		_, err := newService(t, s).Create(ctx, spec)
		if err == nil || volume.KindOf(err).Definite() && !strings.Contains(err.Error(), "no space left") {
			t.Errorf("got %v (%v)", err, volume.KindOf(err))
		}
	}
	old := operationEntry{ID: "x", Timestamp: time.Now().Add(-time.Hour).Unix()}
	if err := old.busy("create volume", "volume x", context.DeadlineExceeded); !strings.Contains(err.Error(), "restart it") {
		t.Errorf("of an old operation: %v", err)
	}
	s.OnStep(nil)
	s.Restart()
	if _, err := newService(t, s).Create(testContext(t), spec); err != nil {
		t.Fatal(err)
	}
	wantOne(t, s, spec, volume.GiB)
}

// Many questions at once are one request.
func TestReadsAreShared(t *testing.T) {
	s := newServer(t, heketitest.Default(3))
	b := newBackend(t, s, func(c *Config) { c.Timing.Cache = time.Minute })
	v := mustCreate(t, b, testSpec(t, "pvc-1", volume.GiB))
	before := s.Calls("GET /db/dump")
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := b.Get(testContext(t), v.Handle); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := s.Calls("GET /db/dump") - before; n > 2 {
		t.Errorf("100 questions were %d requests", n)
	}
}
