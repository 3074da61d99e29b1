package brick

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/volume"
)

// healedInodes is how many inodes a wiped and healed brick has that can be
// given a project: itself, two directories, two files (one linked twice).
const healedInodes = 5

// wipe makes a brick directory as a replaced disk and self-heal would: anew,
// with contents, without a project.
func wipe(t reporter, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"", "dir", ".glusterfs"} {
		if err := os.Mkdir(filepath.Join(path, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, 100, path, "one")
	writeFile(t, 100, path, "dir", "two")
	if err := os.Link(filepath.Join(path, "dir", "two"), filepath.Join(path, ".glusterfs", "gfid")); err != nil {
		t.Fatal(err)
	}
}

func TestRepairGivesAWipedBrickItsQuotaBack(t *testing.T) {
	r := newRig(t)
	b := r.mustMake(request("v1", 10*volume.MiB))
	wipe(t, b.Path)
	victim := t.TempDir()
	if err := os.Symlink(victim, filepath.Join(b.Path, "link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(b.Path, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := r.bricks()[0]; got.Problem == "" || got.Quota != (Quota{}) {
		t.Errorf("wiped brick: %+v", got)
	}
	// The space stays promised across a restart, and nobody is given it.
	r.restart()
	if s := r.state(); s.Committed < 10*volume.MiB {
		t.Errorf("committed %d", s.Committed)
	}
	want := []Expectation{{Ref: b.Ref, Quota: Quota{Bytes: 10 * volume.MiB}}}
	got, err := r.host.Repair(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	expect := []Repaired{{
		Ref: b.Ref, Project: true, Limit: true, To: Quota{10 * volume.MiB, 5000},
		Files: healedInodes - 1, Skipped: 2,
	}}
	if diff := cmp.Diff(expect, got); diff != "" {
		t.Errorf("Repair (-want +got):\n%s", diff)
	}
	if again, err := r.host.Repair(t.Context(), want); err != nil || len(again) > 0 {
		t.Errorf("second Repair: %v, %v", again, err)
	}
	r.restart()
	r.check()
	r.mustRemove("v1", ToTrash)
	r.mustEmpty()
	r.checkEmpty()
}

func TestRepairGivesALostLimitBack(t *testing.T) {
	r := newRig(t)
	b := r.mustMake(request("v1", 10*volume.MiB))
	if err := r.opened().quotas.setLimits(b.ProjectID, Quota{}); err != nil {
		t.Fatal(err)
	}
	if got := r.bricks()[0]; got.Problem == "" {
		t.Error("no problem is seen")
	}
	got, err := r.host.Repair(t.Context(), []Expectation{{Ref: b.Ref, Quota: Quota{Bytes: 10 * volume.MiB}}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Repaired{{Ref: b.Ref, Limit: true, To: b.Quota}}, got); diff != "" {
		t.Errorf("Repair (-want +got):\n%s", diff)
	}
	r.check()
}

func TestRepairRaisesWhatIsBelowTheExpectation(t *testing.T) {
	r := newRig(t)
	b := r.mustMake(request("v1", 10*volume.MiB))
	got, err := r.host.Repair(t.Context(), []Expectation{{Ref: b.Ref, Quota: Quota{Bytes: 20 * volume.MiB}}})
	must(t, err)
	want := []Repaired{{Ref: b.Ref, Mark: true, Limit: true, From: b.Quota, To: Quota{20 * volume.MiB, 5000}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Repair (-want +got):\n%s", diff)
	}
	r.restart()
	r.check()
}

func TestRepairNeverLowersALimit(t *testing.T) {
	r := newRig(t)
	b := r.mustMake(request("v1", 10*volume.MiB))
	got, err := r.host.Repair(t.Context(), []Expectation{{Ref: b.Ref, Quota: Quota{Bytes: 5 * volume.MiB}}})
	if err != nil || len(got) > 0 {
		t.Errorf("Repair: %v, %v", got, err)
	}
	r.check()
}

func TestRepairWritesALostMark(t *testing.T) {
	r := newRig(t)
	req := request("v1", 10*volume.MiB)
	b := r.mustMake(req)
	name := filepath.Join(r.disk.path, volumesDir, "v1", markName)
	for _, text := range []string{"", "{", `{"version":9}`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := r.bricks()[0]; got.Problem == "" {
			t.Errorf("mark %q: no problem is seen", text)
		}
		err := r.host.Remove(t.Context(), RemoveRequest{b.Ref, ToTrash})
		wantKind(t, err, volume.Precondition)
		got, err := r.host.Repair(t.Context(), []Expectation{{Ref: b.Ref, Quota: Quota{Bytes: 10 * volume.MiB, Inodes: 5000}, Mark: &req.Mark}})
		if err != nil || len(got) != 1 || !got[0].Mark || got[0].Project || got[0].Limit {
			t.Errorf("mark %q: Repair: %+v, %v", text, got, err)
		}
		r.mustMake(req)
		r.check()
	}
}

func TestRepairOfWhatIsNotThere(t *testing.T) {
	r := newRig(t)
	b := r.mustMake(request("v1", 10*volume.MiB))
	if err := r.opened().quotas.setLimits(b.ProjectID, Quota{}); err != nil {
		t.Fatal(err)
	}
	got, err := r.host.Repair(t.Context(), []Expectation{
		{Ref: Ref{"root1", "v9"}, Quota: Quota{Bytes: volume.MiB}},
		{Ref: b.Ref, Quota: Quota{Bytes: 10 * volume.MiB}},
	})
	wantKind(t, err, volume.NotFound)
	if len(got) != 1 {
		t.Errorf("the brick that is there was not repaired: %v", got)
	}
	r.check()
}

func TestRepairLeavesBricksWithoutQuotaAlone(t *testing.T) {
	r := newRig(t)
	req := request("v1", 10*volume.MiB)
	req.Enforce = false
	b := r.mustMake(req)
	got, err := r.host.Repair(t.Context(), []Expectation{{Ref: b.Ref}})
	if err != nil || len(got) > 0 {
		t.Errorf("Repair: %v, %v", got, err)
	}
}
