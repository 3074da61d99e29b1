package brick

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/internal/volume"
)

var (
	makeSteps   = []string{stepStaged, stepBrick, stepProject, stepLimit, stepOwner, stepMark, stepMade}
	quotaSteps  = []string{stepNewLimit, stepNewMark}
	trashSteps  = []string{stepEmptied, stepCleared, stepGone}
	repairSteps = []string{stepRepairNoted, stepRepairProject, stepRepairTree, stepRepairWalked, stepRepairLimit}
)

// stopMake is Make stopped dead after a step, and the host started again.
func stopMake(t *testing.T, step string) *rig {
	t.Helper()
	r := newRig(t)
	r.mustMake(request("other", 8*volume.MiB))
	r.killAt(step)
	_, err := r.host.Make(t.Context(), request("v1", 10*volume.MiB))
	killed(t, err)
	r.restart()
	return r
}

func TestMakeStoppedAnywhereIsUndoneByARestart(t *testing.T) {
	for _, step := range makeSteps {
		t.Run(step, func(t *testing.T) {
			r := stopMake(t, step)
			r.check()
			want := 1
			if step == stepMade {
				want = 2
			}
			if got := len(r.bricks()); got != want {
				t.Errorf("%d bricks, want %d", got, want)
			}
			r.mustRemove("v1", ToTrash)
			r.mustRemove("other", ToTrash)
			r.mustEmpty()
			r.checkEmpty()
		})
	}
}

func TestMakeStoppedAnywhereIsFinishedByTheNextCall(t *testing.T) {
	for _, step := range makeSteps {
		t.Run(step, func(t *testing.T) {
			r := stopMake(t, step)
			b := r.mustMake(request("v1", 10*volume.MiB))
			if b.Problem != "" || b.Quota.Bytes != 10*volume.MiB {
				t.Errorf("brick %+v", b)
			}
			r.check()
		})
	}
}

func TestMakeStoppedAnywhereIsFinishedWithoutARestart(t *testing.T) {
	for _, step := range makeSteps {
		t.Run(step, func(t *testing.T) {
			r := newRig(t)
			r.killAt(step)
			_, err := r.host.Make(t.Context(), request("v1", 10*volume.MiB))
			killed(t, err)
			r.host.options.after = func(string) error { return nil }
			r.mustMake(request("v1", 10*volume.MiB))
			r.check()
		})
	}
}

func TestMakeStoppedAnywhereIsUndoneByRemove(t *testing.T) {
	for _, step := range makeSteps {
		t.Run(step, func(t *testing.T) {
			r := newRig(t)
			r.killAt(step)
			_, err := r.host.Make(t.Context(), request("v1", 10*volume.MiB))
			killed(t, err)
			r.host.options.after = func(string) error { return nil }
			r.mustRemove("v1", ToTrash)
			r.mustEmpty()
			r.checkEmpty()
		})
	}
}

// TestMakeFailedAnywhereLeavesNothing is for errors, after which Make itself undoes what it did.
func TestMakeFailedAnywhereLeavesNothing(t *testing.T) {
	for _, step := range makeSteps[:len(makeSteps)-1] {
		t.Run(step, func(t *testing.T) {
			r := newRig(t)
			r.host.options.after = func(done string) error {
				if done == step {
					return volume.NewFieldError("test", step, "no fault")
				}
				return nil
			}
			if _, err := r.host.Make(t.Context(), request("v1", 10*volume.MiB)); err == nil {
				t.Fatal("Make succeeded")
			}
			r.checkEmpty()
		})
	}
}

func TestStagedBrickThatHoldsSomethingGoesToTheTrash(t *testing.T) {
	r := newRig(t)
	r.killAt(stepOwner)
	_, err := r.host.Make(t.Context(), request("v1", 10*volume.MiB))
	killed(t, err)
	writeFile(t, 10, r.disk.path, stagingDir, "v1", brickDir, "surprise")
	r.restart()
	r.check()
	if s := r.state(); s.Trash != 1 || s.Bricks != 0 {
		t.Errorf("state %+v", s)
	}
	r.mustEmpty()
	r.checkEmpty()
}

func TestRemoveStoppedIsFinishedByTheNextCall(t *testing.T) {
	for _, mode := range []RemoveMode{ToTrash, ToArchive} {
		t.Run(string(mode), func(t *testing.T) {
			r := newRig(t)
			r.mustMake(request("v1", 10*volume.MiB))
			r.killAt(stepRemoved)
			killed(t, r.host.Remove(t.Context(), RemoveRequest{Ref{"root1", "v1"}, mode}))
			r.restart()
			r.check()
			r.mustRemove("v1", mode)
			r.mustMake(request("v1", 10*volume.MiB))
			r.check()
			if mode == ToTrash {
				r.mustRemove("v1", mode)
				r.mustEmpty()
				r.checkEmpty()
			}
		})
	}
}

func TestEmptyingStoppedAnywhereIsResumed(t *testing.T) {
	for _, step := range trashSteps {
		t.Run(step, func(t *testing.T) {
			r := newRig(t)
			b := r.mustMake(request("v1", 10*volume.MiB))
			writeFile(t, 100, b.Path, "file")
			r.mustRemove("v1", ToTrash)
			r.killAt(step)
			killed(t, r.host.EmptyTrash(t.Context()))
			r.restart()
			// Made before the trash goes on: it must not get the old one's project
			// while that may still be cleared.
			r.mustMake(request("v1", 10*volume.MiB))
			r.check()
			r.mustEmpty()
			r.check()
			if got := r.bricks()[0].Quota.Bytes; got != 10*volume.MiB {
				t.Errorf("the new brick's quota became %d", got)
			}
			r.mustRemove("v1", ToTrash)
			r.mustEmpty()
			r.checkEmpty()
		})
	}
}

func TestSetQuotaStoppedAnywhereIsFinishedByTheNextCall(t *testing.T) {
	for _, step := range quotaSteps {
		for _, to := range []volume.Size{20 * volume.MiB, 5 * volume.MiB} {
			t.Run(step+" "+to.String(), func(t *testing.T) {
				r := newRig(t)
				ref := r.mustMake(request("v1", 10*volume.MiB)).Ref
				r.killAt(step)
				_, err := r.host.SetQuota(t.Context(), ref, Quota{Bytes: to})
				killed(t, err)
				r.restart()
				b, err := r.host.SetQuota(t.Context(), ref, Quota{Bytes: to})
				if err != nil {
					t.Fatal(err)
				}
				if b.Quota.Bytes != to || b.Problem != "" {
					t.Errorf("brick %+v", b)
				}
				r.check()
			})
		}
	}
}

func TestRepairStoppedAnywhereIsFinishedByTheNextCall(t *testing.T) {
	for _, step := range repairSteps {
		t.Run(step, func(t *testing.T) {
			r := newRig(t)
			r.mustMake(request("other", 8*volume.MiB))
			b := r.mustMake(request("v1", 10*volume.MiB))
			wipe(t, b.Path)
			want := []Expectation{{Ref: b.Ref, Quota: Quota{Bytes: 10 * volume.MiB}}}
			r.killAt(step)
			_, err := r.host.Repair(t.Context(), want)
			killed(t, err)
			r.restart()
			if _, err := r.host.Repair(t.Context(), want); err != nil {
				t.Fatal(err)
			}
			after := r.bricks()[1]
			if diff := cmp.Diff(b.Quota, after.Quota); diff != "" {
				t.Errorf("quota (-want +got):\n%s", diff)
			}
			if after.UsedInodes != healedInodes {
				t.Errorf("%d inodes are accounted, want %d", after.UsedInodes, healedInodes)
			}
			if there, err := exists(r.opened().dir, filepath.Join(volumesDir, "v1", repairName)); err != nil || there {
				t.Errorf("the note is still there: %t, %v", there, err)
			}
			r.mustRemove("v1", ToTrash)
			r.mustRemove("other", ToTrash)
			r.mustEmpty()
			r.restart()
			r.checkEmpty()
		})
	}
}
