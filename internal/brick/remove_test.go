package brick

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bricklayer.csi/internal/volume"
)

func TestRemoveOfNothingIsNoError(t *testing.T) {
	r := newRig(t)
	r.mustRemove("v1", ToTrash)
	r.mustRemove("v1", ToArchive)
	r.checkEmpty()
}

func TestRemoveToTheArchiveKeepsDataAndQuota(t *testing.T) {
	r := newRig(t)
	b := r.mustMake(request("v1", 10*volume.MiB))
	writeFile(t, 10, b.Path, "precious")
	r.mustRemove("v1", ToArchive)
	r.mustEmpty()
	r.restart()
	r.check()
	names := r.names(archiveDir)
	if len(names) != 1 || !strings.HasPrefix(names[0], "v1-2") {
		t.Fatalf("the archive holds %q", names)
	}
	if _, err := os.Stat(filepath.Join(r.disk.path, archiveDir, names[0], brickDir, "precious")); err != nil {
		t.Error(err)
	}
	if s := r.state(); s.Committed != 10*volume.MiB || s.Bricks != 0 {
		t.Errorf("state %+v", s)
	}
	again := r.mustMake(request("v1", 10*volume.MiB))
	if again.ProjectID == b.ProjectID {
		t.Errorf("project %d was given out twice", b.ProjectID)
	}
	r.check()
}

func TestRemoveAsksGlusterFirst(t *testing.T) {
	var asked string
	used, fault := true, error(nil)
	r := newRig(t, func(o *Options) {
		o.InUse = func(_ context.Context, path string) (bool, error) { asked = path; return used, fault }
	})
	b := r.mustMake(request("v1", 10*volume.MiB))
	err := r.host.Remove(t.Context(), RemoveRequest{b.Ref, ToTrash})
	wantKind(t, err, volume.Precondition)
	if asked != b.Path || !strings.Contains(err.Error(), b.Path) {
		t.Errorf("asked for %q: %v", asked, err)
	}
	fault = &volume.Error{Kind: volume.Unavailable, Op: "ask", Err: errors.New("glusterd is down")}
	wantKind(t, r.host.Remove(t.Context(), RemoveRequest{b.Ref, ToTrash}), volume.Unavailable)
	if len(r.bricks()) != 1 {
		t.Error("the brick is gone")
	}
	used, fault = false, nil
	r.mustRemove("v1", ToTrash)
	r.mustEmpty()
	r.checkEmpty()
}

func TestRemoveRefusesWhatIsNotOurs(t *testing.T) {
	r := newRig(t)
	foreign := filepath.Join(r.disk.path, volumesDir, "foreign")
	must(t, os.MkdirAll(filepath.Join(foreign, "data"), 0o755))
	wantKind(t, r.host.Remove(t.Context(), RemoveRequest{Ref{"root1", "foreign"}, ToTrash}), volume.Precondition)
	victim := t.TempDir()
	must(t, os.Symlink(victim, filepath.Join(r.disk.path, volumesDir, "link")))
	wantKind(t, r.host.Remove(t.Context(), RemoveRequest{Ref{"root1", "link"}, ToTrash}), volume.Precondition)
	for name, req := range map[string]RemoveRequest{
		"name": {Ref{"root1", "../x"}, ToTrash},
		"mode": {Ref{"root1", "v1"}, "shred"},
	} {
		if err := r.host.Remove(t.Context(), req); !volume.Is(err, volume.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantKind(t, r.host.Remove(t.Context(), RemoveRequest{Ref{"root9", "v1"}, ToTrash}), volume.NotFound)
	if _, err := os.Stat(filepath.Join(foreign, "data")); err != nil {
		t.Error(err)
	}
	_, err := r.host.Make(t.Context(), request("foreign", volume.MiB))
	wantKind(t, err, volume.Exists)
}
