package brick

import (
	"testing"
	"time"

	"bricklayer.csi/internal/volume"
)

func TestPolicyOfThePoolGoesBeforeTheHosts(t *testing.T) {
	r := newRig(t, func(o *Options) { o.OvercommitPercent = 50 })
	first := r.state()
	total := first.Total
	within := func(what string, percent volume.Size) {
		t.Helper()
		// Others may use the file system that tests lend themselves.
		s, want := r.state(), first.Available+total/100*(percent-50)
		if off := s.Available + s.Committed - want; off > total/100 || off < -total/100 {
			t.Errorf("%s: %d available, %d committed of %d bytes; want %d", what, s.Available, s.Committed, total, want)
		}
	}
	set := func(p Policy) {
		t.Helper()
		if err := r.host.SetPolicy(p); err != nil {
			t.Fatal(err)
		}
		if got := r.host.Told(); got != p {
			t.Errorf("told %+v, want %+v", got, p)
		}
	}
	within("as in the options", 50)
	set(Policy{OvercommitPercent: 200})
	within("as told", 200)
	r.mustMake(request("v1", total))
	set(Policy{TrashEntriesPerSecond: 7})
	if s := r.state(); s.Available != 0 || s.Committed < total {
		t.Errorf("after the overcommitment ended: %+v", s)
	}
	_, err := r.host.Make(t.Context(), request("v2", 10*volume.MiB))
	wantKind(t, err, volume.Exhausted)
	set(Policy{})
	r.mustRemove("v1", ToTrash)
	r.mustEmpty()
	within("as in the options again", 50)
	r.check()
}

func TestPolicyThatIsNotAllowedChangesNothing(t *testing.T) {
	r := newRig(t)
	good := Policy{OvercommitPercent: 150, TrashEntriesPerSecond: 20}
	if err := r.host.SetPolicy(good); err != nil {
		t.Fatal(err)
	}
	for _, p := range []Policy{{OvercommitPercent: -1}, {OvercommitPercent: MaxOvercommitPercent + 1}, {TrashEntriesPerSecond: -1}, {TrashEntriesPerSecond: MaxTrashEntriesPerSec + 1}} {
		wantKind(t, r.host.SetPolicy(p), volume.Invalid)
	}
	if got := r.host.Told(); got != good {
		t.Errorf("told %+v, want %+v", got, good)
	}
}

func TestToldPaceHoldsForTheTrash(t *testing.T) {
	r := newRig(t)
	b := r.mustMake(request("v1", 10*volume.MiB))
	for _, name := range []string{"a", "b", "c"} {
		writeFile(t, 0, b.Path, name)
	}
	r.mustRemove("v1", ToTrash)
	if err := r.host.SetPolicy(Policy{TrashEntriesPerSecond: 20}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r.mustEmpty()
	if took := time.Since(began); took < 150*time.Millisecond { // three files at 20 a second
		t.Errorf("it took %v", took)
	}
}
