// Package volumetest owns the one suite that every volume.Backend passes, real
// or fake, and the check that nothing is left over when a test ends.
//
// It refuses to know which backend it tests: what differs is in the Fixture.
package volumetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"bricklayer.csi/internal/volume"
)

// Fixture is a backend under test with what the suite must know of it.
type Fixture struct {
	Backend volume.Backend
	// Second is another backend over the same storage, as a second controller
	// would be; nil where the storage can have only one.
	Second volume.Backend
	// Pool is the pool's name, LVM the switch that selects the backend.
	Pool string
	LVM  bool
	// Types are the volume types that the pool can hold, as volumetype values.
	Types []string
	// Unit is a convenient size of a volume, in bytes; a few of them fit the pool.
	Unit volume.Size
	// Timeout bounds one call.
	Timeout time.Duration
	// Leftovers lists everything that exists on the storage and belongs to a
	// volume: Gluster volumes, brick directories, quotas, logical volumes. It
	// is empty where there is no volume. Trash that is being emptied is waited for.
	Leftovers func(ctx context.Context) ([]string, error)
}

// suite is a Fixture in a running test.
type suite struct {
	Fixture
	t *testing.T
}

// Run runs the suite. newFixture is called once a case, so that fakes start
// empty; for the real thing it may return the same fixture each time.
func Run(t *testing.T, newFixture func(t *testing.T) Fixture) {
	t.Helper()
	cases := []struct {
		name string
		run  func(s *suite)
	}{
		{"CreateTwiceGivesOneVolume", (*suite).createTwice},
		{"EveryTypeShowsItsSize", (*suite).everyType},
		{"OtherSpecConflicts", (*suite).otherSpec},
		{"DefaultsOfThePoolChange", (*suite).defaultsChange},
		{"MissingVolume", (*suite).missing},
		{"ExpandGrowsAndNeverShrinks", (*suite).expand},
		{"UndoLeavesReadyVolumesAlone", (*suite).undo},
		{"TooLarge", (*suite).tooLarge},
		{"CapacityFalls", (*suite).capacity},
		{"ListIsSortedAndOnlyReady", (*suite).list},
		{"ManyCallersOneVolume", (*suite).manyCallers},
		{"EndedContextLeavesNothingWrong", (*suite).endedContext},
		{"HealthOfAHealthyVolume", (*suite).health},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{Fixture: newFixture(t), t: t}
			s.empty("before the test")
			c.run(s)
			s.empty("after the test")
		})
	}
}

func (s *suite) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), s.Timeout)
	s.t.Cleanup(cancel)
	return ctx
}

// empty fails the test where something is left on the storage.
func (s *suite) empty(when string) {
	s.t.Helper()
	left, err := s.Leftovers(s.context())
	if err != nil {
		s.t.Fatalf("look for leftovers %s: %v", when, err)
	}
	if len(left) > 0 {
		s.t.Fatalf("left over %s: %q", when, left)
	}
}

func (s *suite) spec(name string, size volume.Size, extra ...string) volume.Spec {
	s.t.Helper()
	return Spec(s.t, name, size, append([]string{"pool", s.Pool, "lvm", strconv.FormatBool(s.LVM), "volumetype", s.Types[0]}, extra...)...)
}

// Spec returns the specification of a volume of at least size bytes; parameters
// are those of a StorageClass, keys and values in turn. Of a key that comes twice
// the last value counts.
func Spec(t testing.TB, name string, size volume.Size, parameters ...string) volume.Spec {
	t.Helper()
	given := map[string]string{}
	for i := 0; i+1 < len(parameters); i += 2 {
		given[parameters[i]] = parameters[i+1]
	}
	p, err := volume.ParseParameters(given)
	if err != nil {
		t.Fatal(err)
	}
	r, err := volume.NewSizeRange(int64(size), 0)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := volume.NewSpec(name, r, p)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// defaultsChange is a request that is repeated after the defaults of the pool changed:
// the volume that is there is the answer, as it was made.
func (s *suite) defaultsChange() {
	class := map[string]string{"pool": s.Pool, "lvm": strconv.FormatBool(s.LVM), "volumetype": s.Types[0]}
	first := s.spec("defaults", s.Unit)
	with := func(defaults, class map[string]string) volume.Spec {
		p, err := volume.ParseOver(defaults, class)
		if err != nil {
			s.t.Fatal(err)
		}
		again := first
		again.Parameters = p
		return again
	}
	made := s.create(with(map[string]string{"volumeoptions": "performance.quick-read off"}, class))
	for what, spec := range map[string]volume.Spec{
		"other defaults": with(map[string]string{"volumeoptions": "performance.read-ahead off", "gidMin": "5000"}, class),
		"no defaults":    first,
		"in the class": with(nil, map[string]string{
			"pool": s.Pool, "lvm": strconv.FormatBool(s.LVM), "volumetype": s.Types[0], "volumeoptions": "performance.quick-read off",
		}),
	} {
		again, err := s.Backend.Create(s.context(), spec)
		if err != nil || again.Fingerprint != made.Fingerprint || again.Size != made.Size || again.GID != made.GID {
			s.t.Errorf("%s: %+v, %v; want %+v", what, again, err, made)
		}
	}
	other := map[string]string{"pool": s.Pool, "lvm": strconv.FormatBool(s.LVM), "volumetype": s.Types[0], "gidMin": "3000"}
	_, err := s.Backend.Create(s.context(), with(map[string]string{"volumeoptions": "performance.quick-read off"}, other))
	s.wantKind("create with another class", err, volume.Exists)
	s.delete(made.Handle)
}

// create creates a volume that must succeed.
func (s *suite) create(spec volume.Spec) volume.Volume {
	s.t.Helper()
	v, err := s.Backend.Create(s.context(), spec)
	if err != nil {
		s.t.Fatalf("create %s: %v", spec.Name, err)
	}
	s.check(v, spec)
	return v
}

func (s *suite) check(v volume.Volume, spec volume.Spec) {
	s.t.Helper()
	switch {
	case v.Handle != spec.Handle():
		s.t.Errorf("handle %v, want %v", v.Handle, spec.Handle())
	case v.State != volume.Ready:
		s.t.Errorf("%v is not ready", v.Handle)
	case !spec.Size.Holds(v.Size):
		s.t.Errorf("%v has %d bytes, asked for %d to %d", v.Handle, v.Size, spec.Size.Required, spec.Size.Limit)
	case v.Fingerprint != spec.Parameters.Fingerprint():
		s.t.Errorf("%v has fingerprint %q, want %q", v.Handle, v.Fingerprint, spec.Parameters.Fingerprint())
	case len(v.Servers) == 0:
		s.t.Errorf("%v has no servers", v.Handle)
	case v.GID < spec.Parameters.GIDMin || v.GID > spec.Parameters.GIDMax:
		s.t.Errorf("%v has gid %d, outside %d to %d", v.Handle, v.GID, spec.Parameters.GIDMin, spec.Parameters.GIDMax)
	}
}

// delete deletes a volume as a caller does: while it is told Busy, it comes
// again. An interrupted call may have left a transaction running.
func (s *suite) delete(h volume.Handle) {
	s.t.Helper()
	ctx := s.context()
	tick := time.NewTicker(s.Timeout / 100)
	defer tick.Stop()
	err := s.Backend.Delete(ctx, h)
	for volume.Is(err, volume.Busy) && ctx.Err() == nil {
		<-tick.C
		err = s.Backend.Delete(ctx, h)
	}
	if err != nil {
		s.t.Fatalf("delete %v: %v", h, err)
	}
}

func (s *suite) wantKind(what string, err error, want volume.Kind) {
	s.t.Helper()
	if !volume.Is(err, want) {
		s.t.Errorf("%s: got %v (%v), want %v", what, err, volume.KindOf(err), want)
	}
}

func (s *suite) createTwice() {
	spec := s.spec("twice", s.Unit)
	first := s.create(spec)
	second := s.create(spec)
	if first.Size != second.Size || first.GID != second.GID || fmt.Sprint(first.Bricks) != fmt.Sprint(second.Bricks) {
		s.t.Errorf("the second call returned %+v, the first %+v", second, first)
	}
	got, err := s.Backend.Get(s.context(), first.Handle)
	if err != nil {
		s.t.Fatal(err)
	}
	s.check(got, spec)
	s.delete(first.Handle)
	s.delete(first.Handle)
	_, err = s.Backend.Get(s.context(), first.Handle)
	s.wantKind("get a deleted volume", err, volume.NotFound)
}

func (s *suite) everyType() {
	for i, text := range s.Types {
		spec := s.spec(fmt.Sprintf("type-%d", i), s.Unit, "volumetype", text)
		v := s.create(spec)
		if v.Type != spec.Parameters.Type {
			s.t.Errorf("type %v, want %v", v.Type, spec.Parameters.Type)
		}
		if len(v.Bricks) < v.Type.Bricks() {
			s.t.Errorf("%v has the bricks %q, want at least %d", v.Handle, v.Bricks, v.Type.Bricks())
		}
		s.delete(v.Handle)
	}
}

func (s *suite) otherSpec() {
	v := s.create(s.spec("taken", s.Unit))
	for what, other := range map[string]volume.Spec{
		"another size":    s.spec("taken", 2*v.Size),
		"another gid":     s.spec("taken", s.Unit, "gidMin", "5000"),
		"another options": s.spec("taken", s.Unit, "volumeoptions", "performance.read-ahead off"),
	} {
		_, err := s.Backend.Create(s.context(), other)
		s.wantKind("create with "+what, err, volume.Exists)
	}
	if got, err := s.Backend.Get(s.context(), v.Handle); err != nil || got.Size != v.Size {
		s.t.Errorf("after the conflicts: %+v, %v", got, err)
	}
	s.delete(v.Handle)
}

func (s *suite) missing() {
	h := s.spec("nobody", s.Unit).Handle()
	_, err := s.Backend.Get(s.context(), h)
	s.wantKind("get", err, volume.NotFound)
	_, err = s.Backend.Expand(s.context(), h, volume.SizeRange{Required: s.Unit})
	s.wantKind("expand", err, volume.NotFound)
	_, err = s.Backend.Health(s.context(), h)
	s.wantKind("health", err, volume.NotFound)
	if err := s.Backend.Undo(s.context(), h); err != nil {
		s.t.Errorf("undo: %v", err)
	}
	s.delete(h)
}

func (s *suite) expand() {
	spec := s.spec("grows", s.Unit)
	v := s.create(spec)
	larger := volume.SizeRange{Required: 2 * v.Size}
	for range 2 {
		got, err := s.Backend.Expand(s.context(), v.Handle, larger)
		if err != nil {
			s.t.Fatal(err)
		}
		if got.Size < larger.Required {
			s.t.Errorf("expanded to %d bytes, asked for %d", got.Size, larger.Required)
		}
	}
	got, err := s.Backend.Expand(s.context(), v.Handle, volume.SizeRange{Required: v.Size})
	if err != nil || got.Size < larger.Required {
		s.t.Errorf("expand to less: %+v, %v; want the size kept", got.Size, err)
	}
	_, err = s.Backend.Expand(s.context(), v.Handle, volume.SizeRange{Required: v.Size, Limit: v.Size})
	s.wantKind("expand within a limit below the present size", err, volume.OutOfRange)
	c, err := s.Backend.Capacity(s.context(), s.Pool, spec.Parameters)
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = s.Backend.Expand(s.context(), v.Handle, volume.SizeRange{Required: got.Size + c.Largest + s.Unit})
	if !volume.Is(err, volume.Exhausted) && !volume.Is(err, volume.OutOfRange) {
		s.t.Errorf("expand beyond the pool: %v (%v)", err, volume.KindOf(err))
	}
	after, err := s.Backend.Get(s.context(), v.Handle)
	if err != nil || after.Size != got.Size {
		s.t.Errorf("after a refused expand the size is %d (%v), want %d", after.Size, err, got.Size)
	}
	if again := s.create(spec); again.Size != got.Size {
		s.t.Errorf("a repeated create after an expand returned %d bytes, want %d", again.Size, got.Size)
	}
	s.delete(v.Handle)
}

func (s *suite) undo() {
	v := s.create(s.spec("stays", s.Unit))
	s.wantKind("undo a ready volume", s.Backend.Undo(s.context(), v.Handle), volume.Precondition)
	if _, err := s.Backend.Get(s.context(), v.Handle); err != nil {
		s.t.Errorf("after undo: %v", err)
	}
	s.delete(v.Handle)
}

func (s *suite) tooLarge() {
	p := s.spec("huge", s.Unit).Parameters
	before, err := s.Backend.Capacity(s.context(), s.Pool, p)
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = s.Backend.Create(s.context(), s.spec("huge", volume.MaxSize/2))
	s.wantKind("create half an EiB", err, volume.OutOfRange)
	v := s.create(s.spec("first", s.Unit))
	now, err := s.Backend.Capacity(s.context(), s.Pool, p)
	if err != nil {
		s.t.Fatal(err)
	}
	if beyond := now.Largest + s.Unit/2; beyond <= before.Largest {
		_, err = s.Backend.Create(s.context(), s.spec("second", beyond))
		s.wantKind("create what would fit an empty pool", err, volume.Exhausted)
	}
	s.delete(v.Handle)
}

func (s *suite) capacity() {
	spec := s.spec("takes-room", s.Unit)
	before, err := s.Backend.Capacity(s.context(), s.Pool, spec.Parameters)
	if err != nil {
		s.t.Fatal(err)
	}
	if before.Available < before.Largest || before.Largest < s.Unit || before.Smallest <= 0 {
		s.t.Errorf("capacity of an empty pool: %+v", before)
	}
	v := s.create(spec)
	after, err := s.Backend.Capacity(s.context(), s.Pool, spec.Parameters)
	if err != nil {
		s.t.Fatal(err)
	}
	if after.Available > before.Available-s.Unit/2 {
		s.t.Errorf("a volume of %d bytes took %d to %d", v.Size, before.Available, after.Available)
	}
	s.delete(v.Handle)
}

func (s *suite) list() {
	var handles []volume.Handle
	for _, name := range []string{"list-c", "list-a", "list-b"} {
		handles = append(handles, s.create(s.spec(name, s.Unit)).Handle)
	}
	got, err := s.Backend.List(s.context(), s.Pool)
	if err != nil {
		s.t.Fatal(err)
	}
	want := []volume.Handle{handles[1], handles[2], handles[0]}
	if len(got) != len(want) {
		s.t.Fatalf("listed %d volumes, want %d", len(got), len(want))
	}
	for i, v := range got {
		if v.Handle != want[i] || v.State != volume.Ready || v.Size < s.Unit {
			s.t.Errorf("entry %d is %+v, want %v", i, v, want[i])
		}
	}
	for _, h := range handles {
		s.delete(h)
	}
}

// manyCallers has two controllers create one volume at the same moment, as two
// replicas without leader election would. Callers that are told to come again do.
func (s *suite) manyCallers() {
	second := s.Second
	if second == nil {
		second = s.Backend
	}
	spec := s.spec("one", s.Unit)
	var wg sync.WaitGroup
	made := make([]volume.Volume, 4)
	errs := make([]error, len(made))
	ctx := s.context()
	for i := range made {
		backend := []volume.Backend{s.Backend, second}[i%2]
		wg.Go(func() {
			for errs[i] = errNotYet; errs[i] != nil && ctx.Err() == nil; {
				made[i], errs[i] = backend.Create(ctx, spec)
			}
		})
	}
	wg.Wait()
	for i, v := range made {
		if errs[i] != nil {
			s.t.Fatalf("caller %d never got the volume: %v", i, errs[i])
		}
		if fmt.Sprint(v.Bricks) != fmt.Sprint(made[0].Bricks) || v.GID != made[0].GID {
			s.t.Errorf("caller %d got %+v, caller 0 %+v", i, v, made[0])
		}
	}
	s.delete(spec.Handle())
}

var errNotYet = errors.New("not called yet")

func (s *suite) endedContext() {
	spec := s.spec("hurried", s.Unit)
	for _, part := range []time.Duration{0, s.Timeout / 1000, s.Timeout / 200, s.Timeout / 50} {
		ctx, cancel := context.WithTimeout(context.Background(), part)
		_, err := s.Backend.Create(ctx, spec)
		cancel()
		if err == nil {
			break // it was quicker
		}
		if k := volume.KindOf(err); k.Definite() {
			s.t.Errorf("create in %v failed for certain (%v): %v", part, k, err)
		}
	}
	// What was broken off may still hold a lock for a moment: the answer is then
	// that the call be repeated.
	ctx := s.context()
	for err := errNotYet; err != nil; {
		if _, err = s.Backend.Create(ctx, spec); err != nil && (volume.KindOf(err).Definite() || ctx.Err() != nil) {
			s.t.Fatalf("create, after some that were broken off: %v", err)
		}
	}
	s.delete(spec.Handle())
}

func (s *suite) health() {
	v := s.create(s.spec("healthy", s.Unit))
	h, err := s.Backend.Health(s.context(), v.Handle)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(h.Problems) > 0 {
		s.t.Errorf("a new volume has problems: %+v", h.Problems)
	}
	s.delete(v.Handle)
}
