package brick

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/internal/volume"
)

func TestState(t *testing.T) {
	r := newRig(t)
	empty := r.state()
	if empty.Total <= 0 || empty.Free <= 0 || empty.Available <= 0 || empty.Available >= empty.Total ||
		empty.FileSystem == "" || len(empty.Options) == 0 || empty.ID == "" || !empty.Quota {
		t.Errorf("empty root: %+v", empty)
	}
	for i, gid := range []int{3000, 2000, 3000} {
		req := request(fmt.Sprintf("v%d", i), 10*volume.MiB)
		req.Mark.GID = gid
		r.mustMake(req)
	}
	r.mustRemove("v1", ToArchive)
	r.mustMake(request("gone", 10*volume.MiB))
	r.mustRemove("gone", ToTrash)
	s := r.state()
	if s.Bricks != 2 || s.Trash != 1 || s.Committed != 40*volume.MiB {
		t.Errorf("state: %+v", s)
	}
	if diff := cmp.Diff([]int{3000}, s.GIDs); diff != "" {
		t.Errorf("GIDs (-want +got):\n%s", diff)
	}
}

func TestStateOfARootThatIsNotThere(t *testing.T) {
	h, err := New(Options{Pool: testPool, Roots: []RootConfig{{"root1", t.TempDir()}, {"root2", "/nowhere/at/all"}}})
	must(t, err)
	defer closing(t, h)
	for _, s := range h.States(t.Context()) {
		if s.Problem == "" || s.Name == "" || s.Path == "" {
			t.Errorf("state: %+v", s)
		}
	}
}

// BenchmarkWith200Bricks measures what an agent asks often.
func BenchmarkWith200Bricks(b *testing.B) {
	r := newRig(b)
	for i := range 200 {
		req := request(fmt.Sprintf("v%d", i), 64*volume.KiB)
		req.Mark.GID = 2000 + i
		r.mustMake(req)
	}
	b.Run("States", func(b *testing.B) {
		for b.Loop() {
			r.state()
		}
	})
	b.Run("Bricks", func(b *testing.B) {
		for b.Loop() {
			r.bricks()
		}
	})
	b.Run("Bricks of one volume", func(b *testing.B) {
		for b.Loop() {
			if _, err := r.host.Bricks(b.Context(), "v77"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Make", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			r.mustMake(request(fmt.Sprintf("new%d", n), 64*volume.KiB))
		}
	})
	b.Run("Repair of what is in order", func(b *testing.B) {
		var want []Expectation
		for _, brick := range r.bricks()[:200] {
			want = append(want, Expectation{Ref: brick.Ref, Quota: brick.Quota})
		}
		for b.Loop() {
			if changed, err := r.host.Repair(b.Context(), want); err != nil || len(changed) > 0 {
				b.Fatal(changed, err)
			}
		}
	})
}
