package gluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func bricks(volume string, nodes ...int) []Brick {
	var list []Brick
	for _, n := range nodes {
		list = append(list, Brick{Host: "10.90.0.1" + string(rune('0'+n)), Path: "/bricks/root1/volumes/" + volume + "/brick"})
	}
	return list
}

func one(t *testing.T, file string) []byte {
	t.Helper()
	answers, err := take("test", output(t, file), 1)
	if err != nil {
		t.Fatal(err)
	}
	return answers[0]
}

func TestParseVolumes(t *testing.T) {
	got, err := parseVolumes("volume info", one(t, "info-all.xml"))
	if err != nil {
		t.Fatal(err)
	}
	arbiter := bricks("arb", 1, 2, 3)
	arbiter[2].Arbiter = true
	defaults := map[string]string{
		"cluster.granular-entry-heal": "on", "storage.fips-mode-rchecksum": "on",
		"transport.address-family": "inet", "nfs.disable": "on", "performance.client-io-threads": "off",
	}
	few := map[string]string{"storage.fips-mode-rchecksum": "on", "transport.address-family": "inet", "nfs.disable": "on"}
	want := map[string]Volume{
		"arb": {
			Name: "arb", ID: "0204d504-4483-404a-adc9-dcd3ddeb3b88", Status: StatusStarted,
			Replica: 3, Arbiter: 1, Distribute: 1, Bricks: arbiter, Options: defaults,
		},
		"disp": {
			Name: "disp", ID: "7dda81cc-3080-40c5-a52c-68440050a69d", Status: StatusStarted,
			Disperse: 3, Redundancy: 1, Distribute: 1, Bricks: bricks("disp", 1, 2, 3), Options: few,
		},
		"none": {
			Name: "none", ID: "2b8f7595-0f4e-4459-93bc-c6ed6f786451", Status: StatusStarted,
			Distribute: 1, Bricks: bricks("none", 2), Options: few,
		},
	}
	found := map[string]Volume{}
	for _, v := range got {
		found[v.Name] = v
	}
	if len(found) != 6 {
		t.Errorf("%d volumes, want 6", len(found))
	}
	for name := range want {
		if diff := cmp.Diff(want[name], found[name]); diff != "" {
			t.Errorf("volume %s (-want +got):\n%s", name, diff)
		}
	}
	if got := found["r3"].Options["user.bricklayer.odd"]; got != `<&>"%s,;=:é x` {
		t.Errorf("an odd value comes back as %q", got)
	}
}

func TestParseVolumeShapes(t *testing.T) {
	tests := []struct {
		file                string
		status              Status
		replica, distribute int
		bricks              int
	}{
		{"info-created.xml", StatusCreated, 3, 1, 3},
		{"info-peerdown.xml", StatusStopped, 3, 1, 3},
		{"info-distribute.xml", StatusCreated, 0, 2, 2},
		{"info-distrep.xml", StatusCreated, 2, 2, 4},
	}
	for _, test := range tests {
		got, err := parseVolumes("volume info", one(t, test.file))
		if err != nil || len(got) != 1 {
			t.Errorf("%s: %d volumes, error %v", test.file, len(got), err)
			continue
		}
		v := got[0]
		if v.Status != test.status || v.Replica != test.replica || v.Distribute != test.distribute || len(v.Bricks) != test.bricks {
			t.Errorf("%s: %+v, want %+v", test.file, v, test)
		}
	}
	if got, err := parseVolumes("volume info", one(t, "info-none-yet.xml")); err != nil || len(got) != 0 {
		t.Errorf("no volumes yet: %v, error %v", got, err)
	}
}

func TestParseStatus(t *testing.T) {
	got, err := parseStatus("volume status", "q22", one(t, "status-brick-down.xml"))
	if err != nil {
		t.Fatal(err)
	}
	b := bricks("q22", 1, 2, 3)
	want := []BrickStatus{
		{Brick: b[0], Online: true, PID: 6489, SizeTotal: 21407727616, SizeFree: 21221167104, InodesTotal: 10485760, InodesFree: 10479785},
		{Brick: b[1], Online: true, PID: 3834, SizeTotal: 21407727616, SizeFree: 21221019648, InodesTotal: 10485760, InodesFree: 10479516},
		{Brick: b[2], SizeTotal: 21407727616, SizeFree: 21221167104, InodesTotal: 10485760, InodesFree: 10479787},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Without detail the daemons are listed too; they are no bricks.
	if got, err := parseStatus("volume status", "r3", one(t, "status-r3.xml")); err != nil || len(got) != 3 {
		t.Errorf("%d bricks among bricks and daemons, error %v; want 3", len(got), err)
	}
}

func TestStatusNamesBricksOfPeersThatAreDown(t *testing.T) {
	found, err := parseStatus("volume status", "q21", one(t, "status-peerdown.xml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 2 {
		t.Fatalf("the recorded answer has %d bricks, want 2", len(found))
	}
	all := bricks("q21", 1, 2, 3)
	all[2].Arbiter = true
	got := complete(found, all)
	for i, want := range []bool{true, true, false} {
		if got[i].Brick != all[i] || got[i].Online != want {
			t.Errorf("brick %d: %+v, want %v online %v", i, got[i], all[i], want)
		}
	}
}

func TestParseHeal(t *testing.T) {
	up := func(b Brick, pending, split int64) BrickHeal {
		return BrickHeal{Brick: b, Connected: true, Pending: pending, SplitBrain: split}
	}
	q41, q22 := bricks("q41", 1, 2, 3), bricks("q22", 1, 2, 3)
	for file, want := range map[string][]BrickHeal{
		"heal-splitbrain.xml":        {up(q41[0], 6, 1), up(q41[1], 6, 1), up(q41[2], 0, 1)},
		"heal-pending-brickdown.xml": {up(q41[0], 7, 0), up(q41[1], 7, 0), {Brick: q41[2]}},
		"heal-brick-down.xml":        {up(q22[0], 1, 0), up(q22[1], 1, 0), {Brick: q22[2]}},
	} {
		got, err := parseHeal("volume heal", one(t, file))
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}

func TestParsePeers(t *testing.T) {
	got, err := parsePeers("pool list", one(t, "pool-list-peerdown.xml"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Peer{
		{UUID: "427cfb76-bb3a-4412-b78f-07de154e08e3", Hostname: "10.90.0.12", Names: []string{"10.90.0.12"}, Connected: true, State: InCluster},
		{UUID: "99065ba2-3a55-4c5c-9c5c-8eab427a1a8a", Hostname: "10.90.0.13", Names: []string{"10.90.0.13"}, State: InCluster},
		{UUID: "e957ba54-c448-4953-9b6f-72e16380418d", Hostname: "localhost", Names: []string{"localhost"}, Local: true, Connected: true, State: InCluster},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseVersion(t *testing.T) {
	if got, err := ParseVersion("--version", recorded(t, "version.txt")); err != nil || got != "10.3" {
		t.Errorf("%q, error %v; want 10.3", got, err)
	}
	for _, bad := range []string{"", "glusterfs", "glusterfs \n", "glusterfs x", "bash: gluster: not found", "glusterfs 1\x00"} {
		if got, err := ParseVersion("--version", []byte(bad)); err == nil {
			t.Errorf("%q gives %q, want an error", bad, got)
		}
	}
}

func TestParseBrick(t *testing.T) {
	for text, want := range map[string]Brick{
		"h:/a":              {Host: "h", Path: "/a"},
		"fe80::1:/a/b":      {Host: "fe80::1", Path: "/a/b"},
		"10.0.0.1:/a:/b":    {Host: "10.0.0.1", Path: "/a:/b"},
		"n1.example.com:/x": {Host: "n1.example.com", Path: "/x"},
	} {
		if got, ok := ParseBrick(text); !ok || got != want || got.String() != text {
			t.Errorf("%q gives %+v, %v", text, got, ok)
		}
	}
	for _, bad := range []string{"", ":/a", "/a", "h:a", "h"} {
		if got, ok := ParseBrick(bad); ok {
			t.Errorf("%q gives %+v, want none", bad, got)
		}
	}
}
