//go:build lab

package gluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/internal/volume"
)

// A suite runs the whole Cluster interface on real nodes.
type suite struct {
	c *CLI
	// hosts are the nodes' addresses; dir is a directory on each of them, on the
	// brick root, below which the bricks are made.
	hosts []string
	dir   string
}

func (s *suite) bricks(name string, n int) []Brick {
	list := make([]Brick, n)
	for i := range list {
		list[i] = Brick{Host: s.hosts[i], Path: s.dir + "/" + name}
	}
	return list
}

// replica returns a request for a volume on all three nodes.
func (s *suite) replica(name string) CreateRequest {
	return CreateRequest{Name: name, Replica: 3, Bricks: s.bricks(name, 3)}
}

// create makes a volume that is gone when the test ends.
func (s *suite) create(t *testing.T, r CreateRequest) {
	t.Helper()
	if err := s.c.CreateVolume(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.remove(t, r.Name) })
}

func (s *suite) remove(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.c.StopVolume(ctx, name); err != nil && reason(err) != NotStarted && reason(err) != NotFound {
		t.Errorf("clean up: %v", err)
	}
	// A peer that has just come back is seen by each of the others in its own time.
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.c.DeleteVolume(ctx, name)
		if err == nil || reason(err) == NotFound {
			return
		}
		if reason(err) != PeerDown || ctx.Err() != nil {
			t.Errorf("clean up: %v", err)
			return
		}
		<-tick.C
	}
}

func reason(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

func want(t *testing.T, what string, err error, r Reason) {
	t.Helper()
	if reason(err) != r {
		t.Errorf("%s: %v, want %s", what, err, r)
	}
}

// online waits until as many bricks of the volume are online, and returns all.
func (s *suite) online(t *testing.T, name string, n int) []BrickStatus {
	t.Helper()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Minute); ; {
		status, err := s.c.VolumeStatus(t.Context(), name)
		if err != nil && reason(err) != Locked {
			t.Fatal(err)
		}
		up := 0
		for _, b := range status {
			if b.Online {
				up++
			}
		}
		if err == nil && up == n {
			return status
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s: %d bricks are online, want %d: %+v", name, up, n, status)
		}
	}
}

// life runs a volume of each type from its making to its end.
func (s *suite) life(t *testing.T) {
	arbiter := s.replica("gl-arbiter")
	arbiter.Arbiter, arbiter.Bricks[2].Arbiter = 1, true
	for _, r := range []CreateRequest{
		s.replica("gl-replica"),
		arbiter,
		{Name: "gl-disperse", Disperse: 3, Redundancy: 1, Bricks: s.bricks("gl-disperse", 3)},
		{Name: "gl-none", Bricks: s.bricks("gl-none", 1)},
	} {
		t.Run(r.Name, func(t *testing.T) { s.live(t, r) })
	}
}

func (s *suite) live(t *testing.T, r CreateRequest) {
	ctx := t.Context()
	s.create(t, r)
	v, err := s.c.Volume(ctx, r.Name)
	if err != nil {
		t.Fatal(err)
	}
	shape := Volume{
		Name: r.Name, ID: v.ID, Status: StatusCreated, Replica: r.Replica, Arbiter: r.Arbiter,
		Disperse: r.Disperse, Redundancy: r.Redundancy, Distribute: 1, Bricks: r.Bricks, Options: v.Options,
	}
	if diff := cmp.Diff(shape, v); diff != "" || v.ID == "" {
		t.Errorf("as created (-want +got):\n%s", diff)
	}
	options := []Option{
		{"user.bricklayer.handle", "bl1.plain.lab." + r.Name},
		{"user.bricklayer.size", "1073741824"},
		{"user.bricklayer.odd", `<&>"'%s;=,é--xml`},
		{"user.bricklayer.dash", "--mode=x"},
		{"auth.allow", "10.90.0.0/24"},
		{"storage.reserve", "0"},
	}
	if err := s.c.SetOptions(ctx, r.Name, options); err != nil {
		t.Fatal(err)
	}
	if err := s.c.StartVolume(ctx, r.Name); err != nil {
		t.Fatal(err)
	}
	for i, b := range s.online(t, r.Name, len(r.Bricks)) {
		if b.Brick != r.Bricks[i] || b.PID == 0 || b.SizeTotal == 0 || b.SizeFree == 0 || b.InodesTotal == 0 {
			t.Errorf("brick %d: %+v", i, b)
		}
	}
	if v, err = s.c.Volume(ctx, r.Name); err != nil || v.Status != StatusStarted {
		t.Errorf("as started: %+v, error %v", v, err)
	}
	for _, o := range options {
		if v.Options[o.Key] != o.Value {
			t.Errorf("option %s is %q, want %q", o.Key, v.Options[o.Key], o.Value)
		}
	}
	s.heals(t, r)
	if err := s.c.StopVolume(ctx, r.Name); err != nil {
		t.Fatal(err)
	}
	if err := s.c.DeleteVolume(ctx, r.Name); err != nil {
		t.Fatal(err)
	}
	_, err = s.c.Volume(ctx, r.Name)
	want(t, "a deleted volume", err, NotFound)
}

func (s *suite) heals(t *testing.T, r CreateRequest) {
	t.Helper()
	heal, err := s.c.HealInfo(t.Context(), r.Name)
	if err != nil {
		t.Fatal(err)
	}
	if r.Replica+r.Disperse == 0 {
		if len(heal) != 0 {
			t.Errorf("a volume without copies heals %+v", heal)
		}
		return
	}
	if len(heal) != len(r.Bricks) {
		t.Errorf("%d bricks, want %d", len(heal), len(r.Bricks))
	}
	for _, h := range heal {
		if !h.Connected || h.Pending != 0 || h.SplitBrain != 0 {
			t.Errorf("%+v, want nothing to heal", h)
		}
	}
}

// refusals provokes what can be provoked without doing harm to a node.
func (s *suite) refusals(t *testing.T) {
	ctx := t.Context()
	const none = "gl-nosuch"
	_, err := s.c.Volume(ctx, none)
	want(t, "info", err, NotFound)
	_, err = s.c.VolumeStatus(ctx, none)
	want(t, "status", err, NotFound)
	_, err = s.c.HealInfo(ctx, none)
	want(t, "heal info", err, NotFound)
	want(t, "start", s.c.StartVolume(ctx, none), NotFound)
	want(t, "stop", s.c.StopVolume(ctx, none), NotFound)
	want(t, "delete", s.c.DeleteVolume(ctx, none), NotFound)
	want(t, "set", s.c.SetOptions(ctx, none, []Option{{"user.a", "b"}}), NotFound)

	s.create(t, s.replica("gl-one"))
	want(t, "create again", s.c.CreateVolume(ctx, s.replica("gl-one")), Exists)
	other := s.replica("gl-other")
	other.Bricks = s.bricks("gl-one", 3)
	want(t, "create on its bricks", s.c.CreateVolume(ctx, other), BrickInUse)
	other.Bricks = s.bricks("gl-one/below", 3)
	want(t, "create below its bricks", s.c.CreateVolume(ctx, other), BrickInUse)
	other.Bricks = s.bricks("no/such/parent", 3)
	want(t, "create where nothing is", s.c.CreateVolume(ctx, other), BrickMissing)
	other.Bricks = s.bricks("gl-other", 3)
	other.Bricks[2].Host = "10.90.0.250"
	want(t, "create on a stranger", s.c.CreateVolume(ctx, other), PeerDown)
	other.Bricks[2].Host = "127.0.0.1"
	want(t, "create on a loopback address", s.c.CreateVolume(ctx, other), BrickRefused)

	_, err = s.c.VolumeStatus(ctx, "gl-one")
	want(t, "status of one not started", err, NotStarted)
	_, err = s.c.HealInfo(ctx, "gl-one")
	want(t, "heal info of one not started", err, NotStarted)
	want(t, "stop one not started", s.c.StopVolume(ctx, "gl-one"), NotStarted)
	for _, o := range []Option{{"no.such", "on"}, {"storage.owner-gid", "abc"}, {"performance.write-behind", "maybe"}} {
		want(t, "set "+o.Key, s.c.SetOptions(ctx, "gl-one", []Option{{"user.half", "1"}, o}), BadOption)
	}
	if v, err := s.c.Volume(ctx, "gl-one"); err != nil || v.Options["user.half"] != "" {
		t.Errorf("half of the options were set: %v, error %v", v.Options, err)
	}
	if err := s.c.StartVolume(ctx, "gl-one"); err != nil {
		t.Fatal(err)
	}
	want(t, "start again", s.c.StartVolume(ctx, "gl-one"), AlreadyStarted)
	want(t, "delete one started", s.c.DeleteVolume(ctx, "gl-one"), NotStopped)
	s.remove(t, "gl-one")
	want(t, "create on what it left", s.c.CreateVolume(ctx, s.replica("gl-one")), BrickInUse)
}

// crowd has many callers change one volume: each is served or told Locked.
func (s *suite) crowd(t *testing.T) {
	s.create(t, s.replica("gl-crowd"))
	var all sync.WaitGroup
	var mu sync.Mutex
	count := map[Reason]int{}
	for i := range 6 {
		all.Go(func() {
			err := s.c.SetOptions(t.Context(), "gl-crowd", []Option{{"user.a", fmt.Sprint(i)}})
			mu.Lock()
			defer mu.Unlock()
			if err != nil && (reason(err) != Locked || volume.KindOf(err) != volume.Busy) {
				t.Errorf("caller %d: %v", i, err)
			}
			count[reason(err)]++
		})
	}
	all.Wait()
	if count[""] == 0 {
		t.Errorf("nobody was served: %v", count)
	}
	t.Logf("served or locked: %v", count)
}

// walk lists volumes while others are deleted: those that stay are always listed.
func (s *suite) walk(t *testing.T) {
	ctx := t.Context()
	for i := range 4 {
		s.create(t, CreateRequest{Name: fmt.Sprintf("gl-walk%d", i), Bricks: s.bricks(fmt.Sprintf("gl-walk%d", i), 1)})
	}
	s.create(t, CreateRequest{Name: "gl-walkz", Bricks: s.bricks("gl-walkz", 1)})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 4 {
			if err := s.c.DeleteVolume(ctx, fmt.Sprintf("gl-walk%d", i)); err != nil {
				t.Error(err)
			}
		}
	}()
	for looks := 0; ; looks++ {
		volumes, err := s.c.Volumes(ctx)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, v := range volumes {
			found = found || v.Name == "gl-walkz"
		}
		if !found {
			t.Errorf("look %d: the volume that stays is not among %d", looks, len(volumes))
		}
		select {
		case <-done:
			t.Logf("%d looks", looks+1)
			return
		default:
		}
	}
}

func (s *suite) peers(t *testing.T) {
	peers, err := s.c.Peers(t.Context())
	if err != nil || len(peers) != len(s.hosts) {
		t.Fatalf("%+v, error %v", peers, err)
	}
	local := 0
	for _, p := range peers {
		if p.Local {
			local++
		}
		if !p.Connected || p.State != InCluster || p.UUID == "" {
			t.Errorf("%+v", p)
		}
	}
	if local != 1 {
		t.Errorf("%d peers are local, want 1: %+v", local, peers)
	}
	if v, err := s.c.Version(t.Context()); err != nil {
		t.Errorf("%q, error %v", v, err)
	}
}

func (s *suite) run(t *testing.T) {
	t.Run("peers", s.peers)
	t.Run("life", s.life)
	t.Run("refusals", s.refusals)
	t.Run("crowd", s.crowd)
	t.Run("walk", s.walk)
}
