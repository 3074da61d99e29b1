package plain

import (
	"fmt"
	"testing"

	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/internal/volume"
)

// BenchmarkPlace has four roots a node, three zones, and room that differs.
func BenchmarkPlace(b *testing.B) {
	for _, nodes := range []int{3, 500} {
		rooms := make([][]volume.Size, nodes)
		for i := range rooms {
			for j := range 4 {
				rooms[i] = append(rooms[i], volume.Size(1+(7*i+3*j)%50)*volume.TiB)
			}
		}
		from := candidatesFor(rooms...)
		for i := range from {
			from[i].zone = fmt.Sprintf("zone%d", i/4%3)
		}
		for _, kind := range []string{"replicate:3", "replicate:3:arbiter:1"} {
			t := mustType(b, kind)
			b.Run(fmt.Sprintf("nodes=%d/type=%s", nodes, kind), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := place("pvc-1", t, 10*volume.GiB, from, "zone1"); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkAvailable is what capacity is published from.
func BenchmarkAvailable(b *testing.B) {
	rooms := make([][]volume.Size, 500)
	for i := range rooms {
		rooms[i] = []volume.Size{volume.Size(1+i%50) * volume.TiB}
	}
	from := candidatesFor(rooms...)
	t := mustType(b, "replicate:3")
	b.ReportAllocs()
	for b.Loop() {
		if available(t, from) == 0 {
			b.Fatal("no room")
		}
	}
}

// BenchmarkCreateAndDelete is what a volume costs the controller itself: the nodes
// are in memory and answer at once.
func BenchmarkCreateAndDelete(b *testing.B) {
	backend := newBackend(b, agenttest.New(agenttest.Default(3)))
	spec := testSpec(b, "pvc-1", volume.GiB)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := backend.Create(b.Context(), spec); err != nil {
			b.Fatal(err)
		}
		if err := backend.Delete(b.Context(), spec.Handle()); err != nil {
			b.Fatal(err)
		}
	}
}
