package brick

import (
	"errors"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"bricklayer.csi/internal/volume"
)

// TestAnyOrderOfOperationsAndCrashes makes, grows, removes, empties, wipes and
// repairs a few volumes in any order, each stopped dead at any step or not, and
// compares what is there with what must be.
func TestAnyOrderOfOperationsAndCrashes(t *testing.T) {
	r := newRig(t)
	rapid.Check(t, func(t *rapid.T) {
		outer := r.reporter
		r.reporter = t
		defer func() { r.reporter = outer }()
		m := &machine{rig: r, sizes: map[string]volume.Size{}}
		t.Repeat(map[string]func(*rapid.T){
			"make": m.make, "grow": m.grow, "remove": m.remove, "empty": m.empty, "wipe": m.wipe,
			"": m.compare,
		})
		for name := range m.sizes {
			r.mustRemove(name, ToTrash)
		}
		r.mustEmpty()
		r.restart()
		r.checkEmpty()
	})
}

var allSteps = func() []string {
	all := []string{"never", "never", "never", "never", stepRemoved}
	for _, steps := range [][]string{makeSteps, quotaSteps, trashSteps, repairSteps} {
		all = append(all, steps...)
	}
	return all
}()

// machine is a root and the sizes of the volumes that must be on it.
type machine struct {
	*rig
	sizes map[string]volume.Size
}

func (m *machine) draw(t *rapid.T) (name string, size volume.Size) {
	m.killAt(rapid.SampledFrom(allSteps).Draw(t, "killed after"))
	return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "volume"),
		volume.Size(rapid.IntRange(1, 8).Draw(t, "MiB")) * volume.MiB
}

// was returns whether the operation was done, and fails on errors other than kills.
func (m *machine) was(done error) bool {
	if done != nil && !errors.Is(done, errKilled) {
		m.Fatalf("%v", done)
	}
	return done == nil
}

func (m *machine) make(t *rapid.T) {
	name, size := m.draw(t)
	_, err := m.host.Make(t.Context(), request(name, size))
	if was, there := m.sizes[name]; there {
		// The mark holds the size at creation, whatever it has grown to.
		if err == nil && m.made(name) != size || err != nil && !volume.Is(err, volume.Exists) {
			t.Fatalf("make %s of %v where there is one, grown to %v: %v", name, size, was, err)
		}
		return
	}
	m.was(err)
	m.restart()
	if len(m.named(name)) > 0 {
		m.sizes[name] = size
	} else if err == nil {
		t.Fatalf("%s was made and is not there", name)
	}
}

func (m *machine) made(name string) volume.Size { return m.named(name)[0].Mark.Size }

func (m *machine) named(name string) []Brick {
	bricks, err := m.host.Bricks(m.Context(), name)
	if err != nil {
		m.Fatal(err)
	}
	return bricks
}

func (m *machine) grow(t *rapid.T) {
	name, size := m.draw(t)
	ref := Ref{"root1", name}
	_, err := m.host.SetQuota(t.Context(), ref, Quota{Bytes: size})
	if _, there := m.sizes[name]; !there {
		if !volume.Is(err, volume.NotFound) {
			t.Fatalf("grow %s that is not there: %v", name, err)
		}
		return
	}
	if !m.was(err) {
		m.restart()
		if _, err := m.host.SetQuota(t.Context(), ref, Quota{Bytes: size}); err != nil {
			t.Fatalf("repeated: %v", err)
		}
	}
	m.sizes[name] = size
}

func (m *machine) remove(t *rapid.T) {
	name, _ := m.draw(t)
	m.was(m.host.Remove(t.Context(), RemoveRequest{Ref{"root1", name}, ToTrash}))
	m.restart()
	if len(m.named(name)) == 0 {
		delete(m.sizes, name)
	}
}

func (m *machine) empty(t *rapid.T) {
	m.draw(t)
	if m.was(m.host.EmptyTrash(t.Context())) && m.state().Trash != 0 {
		t.Fatal("there is something left in the trash")
	}
}

// wipe takes the project from a brick, as a heal after a wipe would, and has it repaired.
func (m *machine) wipe(t *rapid.T) {
	name, _ := m.draw(t)
	for _, b := range m.named(name) {
		wipe(m.rig, b.Path)
		want := []Expectation{{Ref: b.Ref, Quota: Quota{Bytes: m.sizes[name]}}}
		_, err := m.host.Repair(t.Context(), want)
		if !m.was(err) {
			m.restart()
			if _, err := m.host.Repair(t.Context(), want); err != nil {
				t.Fatalf("repeated: %v", err)
			}
		}
	}
}

// compare is what must be true between any two operations, after a restart.
func (m *machine) compare(t *rapid.T) {
	m.restart()
	m.check()
	sizes := map[string]volume.Size{}
	for _, b := range m.bricks() {
		sizes[b.Ref.Volume] = b.Quota.Bytes
	}
	if !maps.Equal(sizes, m.sizes) {
		t.Fatalf("bricks are %v, want %v", sizes, m.sizes)
	}
}
