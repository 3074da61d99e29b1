package plain

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bricklayer.csi/internal/volume"
)

func candidatesFor(rooms ...[]volume.Size) []candidate {
	var out []candidate
	for i, roots := range rooms {
		n := &Node{Name: fmt.Sprintf("n%d", i+1)}
		for j, room := range roots {
			out = append(out, candidate{node: n, root: fmt.Sprintf("root%d", j+1), zone: n.Name, room: room})
		}
	}
	return out
}

func mustType(t testing.TB, text string) volume.Type {
	t.Helper()
	typ, err := volume.ParseType(text)
	if err != nil {
		t.Fatal(err)
	}
	return typ
}

// Two bricks of a set never share a node, however much room one node has.
func TestPlaceNeverTwiceOnANode(t *testing.T) {
	const g = volume.GiB
	from := candidatesFor([]volume.Size{100 * g, 100 * g, 100 * g}, []volume.Size{1 * g})
	if _, err := place("v", mustType(t, "replicate:3"), g, from, anywhere); !errors.Is(err, errNoPlace) {
		t.Errorf("three replicas were placed on two nodes: %v", err)
	}
	chosen, err := place("v", mustType(t, "replicate:2"), g, from, anywhere)
	if err != nil || chosen[0].node == chosen[1].node {
		t.Errorf("got %v, %v", chosen, err)
	}
}

func TestPlaceSpreadsOverZonesBeforeRoom(t *testing.T) {
	const g = volume.GiB
	from := candidatesFor([]volume.Size{90 * g}, []volume.Size{80 * g}, []volume.Size{70 * g}, []volume.Size{2 * g}, []volume.Size{1 * g})
	for i := range from {
		from[i].zone = "a"
	}
	from[3].zone, from[4].zone = "b", "c"
	chosen, err := place("v", mustType(t, "replicate:3"), g, from, anywhere)
	if err != nil {
		t.Fatal(err)
	}
	zones := map[string]bool{}
	for _, c := range chosen {
		zones[c.zone] = true
	}
	if len(zones) != 3 {
		t.Errorf("placed in %d zones, there are 3: %v", len(zones), chosen)
	}
}

// The zone near the user wins over room, and loses against spreading.
func TestPlaceGoesNearTheUser(t *testing.T) {
	const g = volume.GiB
	from := candidatesFor([]volume.Size{90 * g}, []volume.Size{80 * g}, []volume.Size{3 * g}, []volume.Size{2 * g})
	for i, zone := range []string{"a", "a", "b", "b"} {
		from[i].zone = zone
	}
	for _, test := range []struct {
		typ, near string
		size      volume.Size
		want      string
	}{
		{"none", "b", g, "n3"},
		{"none", anywhere, g, "n1"},
		{"none", "elsewhere", g, "n1"},
		{"none", "b", 4 * g, "n1"}, // no room there
		{"replicate:2", "b", g, "n3 n1"},
		{"replicate:3", "b", g, "n3 n1 n4"},
	} {
		chosen, err := place("v", mustType(t, test.typ), test.size, from, test.near)
		var names []string
		for _, c := range chosen {
			names = append(names, c.node.Name)
		}
		if got := strings.Join(names, " "); err != nil || got != test.want {
			t.Errorf("%s of %d bytes near %q lies on %s, %v; want %s", test.typ, test.size, test.near, got, err, test.want)
		}
	}
}

func TestPlaceGivesTheArbiterTheSmallRoot(t *testing.T) {
	const g = volume.GiB
	chosen, err := place("v", mustType(t, "replicate:3:arbiter:1"), 16*g, candidatesFor([]volume.Size{1 * g}, []volume.Size{20 * g}, []volume.Size{20 * g}), anywhere)
	if err != nil || chosen[2].node.Name != "n1" {
		t.Errorf("got %v, %v; want the arbiter on n1", chosen, err)
	}
}

func TestEqualRootsShareTheWork(t *testing.T) {
	from := candidatesFor([]volume.Size{volume.TiB, volume.TiB}, []volume.Size{volume.TiB, volume.TiB}, []volume.Size{volume.TiB, volume.TiB})
	first := map[string]int{}
	for i := range 300 {
		chosen, err := place(fmt.Sprintf("pvc-%d", i), mustType(t, "none"), volume.GiB, from, anywhere)
		if err != nil {
			t.Fatal(err)
		}
		first[chosen[0].node.Name+"/"+chosen[0].root]++
	}
	for _, c := range from {
		if n := first[c.node.Name+"/"+c.root]; n < 20 {
			t.Errorf("%s/%s took %d of 300 volumes", c.node.Name, c.root, n)
		}
	}
}

// What Capacity promises can be placed, and nothing beyond that is promised.
func TestCapacityTellsTheTruth(t *testing.T) {
	types := []string{"none", "replicate:2", "replicate:3", "replicate:3:arbiter:1", "disperse:2:1", "disperse:4:2"}
	rapid.Check(t, func(t *rapid.T) {
		rooms := rapid.SliceOfN(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) volume.Size {
			return volume.Size(rapid.Int64Range(0, int64(volume.TiB)).Draw(t, "room"))
		}), 1, 3), 1, 8).Draw(t, "rooms")
		typ, err := volume.ParseType(rapid.SampledFrom(types).Draw(t, "type"))
		if err != nil {
			t.Fatal(err)
		}
		from := candidatesFor(rooms...)
		most := largest(typ, from)
		if most > 0 {
			if _, err := place("v", typ, most, from, anywhere); err != nil {
				t.Fatalf("the largest volume, %d bytes, has no place", most)
			}
		}
		if _, err := place("v", typ, most+typ.SizeUnit(), from, anywhere); err == nil {
			t.Fatalf("a volume larger than the largest, %d bytes, has a place", most)
		}
		var raw, needed volume.Size
		for _, c := range from {
			raw += c.room
		}
		all := available(typ, from)
		for i := range typ.Bricks() {
			needed += typ.BrickQuota(i, all)
		}
		if all < most || all > 0 && needed > raw {
			t.Fatalf("available %d, largest %d, raw %d, needed %d", all, most, raw, needed)
		}
	})
}
