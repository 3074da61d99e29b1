package agenttest

import (
	"testing"
	"time"

	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/mark"
	"bricklayer.csi/internal/volume"
)

// Started is a volume that a test has to itself.
type Started struct {
	Name   string
	Bricks []gluster.Brick
	s      *suite
}

// StartedVolume makes a replicated volume on the first three nodes, marked as
// the plain backend marks its own, and starts it. The test calls Remove in the end.
func StartedVolume(t *testing.T, nodes []Member, name string) *Started {
	t.Helper()
	s := &suite{T: t, nodes: nodes, volumes: []string{name}}
	s.remember()
	v := &Started{Name: name, s: s}
	three := mustParse(s, "replicate:3")
	v.Bricks = s.create(name, three).Bricks
	layout := make([]brick.Place, three.Bricks())
	for i := range layout {
		layout[i] = brick.Place{Node: nodes[i].Name, Root: nodes[i].Root}
	}
	s.must("set options", nodes[0].SetOptions(t.Context(), name, mark.Volume{
		Handle: volume.Handle{Backend: volume.Plain, Pool: nodes[0].Pool, Name: name},
		Size:   size, Type: three, Enforce: true, OnDelete: volume.DeleteData,
		Fingerprint: "0123456789abcdef", GID: volume.MinGID, Layout: layout, Created: time.Now(),
	}.Options()))
	s.must("start", nodes[0].StartVolume(t.Context(), name))
	s.awaitOnline(name, v.Bricks)
	return v
}

// Remove removes the volume and everything that was made for it.
func (v *Started) Remove() { v.s.clean() }

// Quota returns the brick at a position as its node sees it.
func (v *Started) Quota(t *testing.T, position int) brick.Brick {
	t.Helper()
	all, err := v.s.nodes[position].Bricks(t.Context(), v.Name)
	if err != nil || len(all) != 1 {
		t.Fatalf("bricks of %s on %s: %v %v", v.Name, v.s.nodes[position].Name, all, err)
	}
	return all[0]
}
