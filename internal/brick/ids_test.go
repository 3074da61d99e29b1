package brick

import (
	"os"
	"path/filepath"
	"testing"

	"bricklayer.csi/internal/volume"
)

func TestProjectsAreTheSmallestFree(t *testing.T) {
	r := newRig(t)
	must(t, os.WriteFile(r.projects, []byte("# by hand\n1048577:/data\n7:/x\nnonsense\n 1048579:/y:z\n\n"), 0o600))
	project := func(name string) uint32 { return r.mustMake(request(name, volume.MiB)).ProjectID }
	if a, b, c := project("a"), project("b"), project("c"); a != FirstProject || b != FirstProject+2 || c != FirstProject+4 {
		t.Errorf("projects %d, %d, %d", a, b, c)
	}
	r.mustRemove("b", ToTrash)
	if d := project("d"); d != FirstProject+5 {
		t.Errorf("a project in the trash was given out: %d", d)
	}
	r.mustEmpty()
	soon(t, "nothing carries the project any more", func() bool {
		rec, err := r.opened().quotas.get(FirstProject + 2)
		must(t, err)
		return rec.empty()
	})
	if e := project("e"); e != FirstProject+2 {
		t.Errorf("project %d, want the one that became free", e)
	}
	r.check()
}

// TestProjectOfMovedDataIsNotGivenOut: an administrator moved files out of a
// brick before it was deleted; they still carry its project.
func TestProjectOfMovedDataIsNotGivenOut(t *testing.T) {
	r := newRig(t)
	b := r.mustMake(request("v1", 10*volume.MiB))
	kept := filepath.Join(b.Path, "kept")
	must(t, os.Mkdir(kept, 0o755))
	f, err := os.Open(kept)
	must(t, err)
	must(t, r.opened().quotas.setProject(f, b.ProjectID))
	must(t, f.Close())
	must(t, os.Rename(kept, filepath.Join(r.disk.path, "kept")))
	r.mustRemove("v1", ToTrash)
	r.mustEmpty()
	if again := r.mustMake(request("v1", 10*volume.MiB)); again.ProjectID == b.ProjectID {
		t.Errorf("project %d was given out while something carries it", b.ProjectID)
	}
	r.check()
}

func TestAdministratorsLimitsAreLeftAlone(t *testing.T) {
	r := newRig(t)
	q := r.opened().quotas
	must(t, q.setLimits(42, Quota{Bytes: volume.GiB}))
	must(t, q.setLimits(FirstProject+9, Quota{Bytes: volume.MiB})) // an orphan in our range
	r.restart()
	r.mustMake(request("v1", 10*volume.MiB))
	all, err := r.opened().quotas.all(1)
	must(t, err)
	limits := map[uint32]Quota{}
	for _, rec := range all {
		if rec.limit != (Quota{}) {
			limits[rec.project] = rec.limit
		}
	}
	if len(limits) != 2 || limits[42] != (Quota{Bytes: volume.GiB}) || limits[FirstProject].Bytes != 10*volume.MiB {
		t.Errorf("limits: %v", limits)
	}
}

func FuzzTrashNames(f *testing.F) {
	f.Add("v1.p1048576")
	f.Add("v1.p1")
	f.Add("v1.r0123")
	f.Add("v1.p99999999999999999999")
	f.Add(".p")
	f.Fuzz(func(t *testing.T, name string) {
		id := trashProject(name)
		if id != 0 && id < FirstProject {
			t.Errorf("%q: project %d is not ours", name, id)
		}
		if volume.CheckName(name) == nil && id != 0 {
			t.Errorf("the volume name %q reads as project %d", name, id)
		}
	})
}

func TestTrashNamesRoundTrip(t *testing.T) {
	for _, id := range []uint32{FirstProject, FirstProject + 1, 1<<32 - 1} {
		if got := trashProject(trashName("v-1_p", id, "")); got != id {
			t.Errorf("project %d reads back as %d", id, got)
		}
	}
	if got := trashProject(trashName("v1", 0, newID())); got != 0 {
		t.Errorf("no project reads back as %d", got)
	}
}
