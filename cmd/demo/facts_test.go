package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/lab"
)

func TestParseBricks(t *testing.T) {
	nodes := []lab.Node{{Name: "n1", Address: netip.MustParseAddr("10.90.0.11")}, {Name: "n2", Address: netip.MustParseAddr("10.90.0.12")}}
	got, err := parseBricks(nodes, []string{"10.90.0.12:/b/x", "10.90.0.11:/b/y"})
	if want := []brick{{"n2", "/b/x"}, {"n1", "/b/y"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, bad := range [][]string{nil, {"10.90.0.13:/b"}, {"10.90.0.11"}, {"10.90.0.11:b"}, {""}} {
		if got, err := parseBricks(nodes, bad); err == nil {
			t.Errorf("%q: %v, want an error", bad, got)
		}
	}
}

func TestParseQuota(t *testing.T) {
	const report = "#0                  12          0          0     00 [--------]\n" +
		"#77                 60          0    1048576     00 [--------]\n#1048576             0          0     65536     00 [--------]\n\n#78 1 0 many\n"
	if got, err := parseQuota(report, 77); err != nil || got != gib {
		t.Errorf("got %d, %v", got, err)
	}
	for project, want := range map[int64]string{7: "no project 7", 78: "invalid syntax"} {
		if got, err := parseQuota(report, project); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("project %d: %d, %v; want %q", project, got, err, want)
		}
	}
}

func TestParseTools(t *testing.T) {
	m, err := parseMount("/dev/ubdc /bricks/root1 xfs rw,noatime,prjquota\n")
	if want := (mounted{"/dev/ubdc", "/bricks/root1", "xfs", "rw,noatime,prjquota"}); err != nil || m != want {
		t.Errorf("got %v, %v", m, err)
	}
	if _, err := parseMount("/dev/ubdc\n"); err == nil {
		t.Error("a line of one word is a mount")
	}
	lv, err := parseLVS("  brick_1|vg_1|1024.00m|\n", 4)
	if d := cmp.Diff([]string{"brick_1", "vg_1", "1024.00m", ""}, lv); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	for _, bad := range []string{"", "a|b", "a|b|c|d|e", "a|b|c|d\ne|f|g|h"} {
		if lv, err := parseLVS(bad, 4); err == nil {
			t.Errorf("%q: %v, want an error", bad, lv)
		}
	}
	for out, want := range map[string]int64{"projid = 1048576\n": 1048576, "1B-blocks\n1006632960\n": 1006632960} {
		if got, err := lastNumber(out); err != nil || got != want {
			t.Errorf("%q: %d, %v", out, got, err)
		}
	}
	for _, bad := range []string{"", "projid = none"} {
		if got, err := lastNumber(bad); err == nil {
			t.Errorf("%q: %d, want an error", bad, got)
		}
	}
}

func TestParseOptions(t *testing.T) {
	const mounts = "10.90.0.11:/v /var/lib/kubelet/p fuse.glusterfs rw,relatime 0 0\nbroken\n"
	if got, err := parseOptions(mounts, "/var/lib/kubelet/p"); err != nil || got != "fuse.glusterfs: rw,relatime" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := parseOptions(mounts, "/var/lib"); err == nil {
		t.Errorf("%q, want an error", got)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]string{
		"1073741824": "1024 MiB", "1006108672": "959.5 MiB", "262144": "256 KiB", "": `""`, "1g": `"1g"`,
	} {
		if got := sizeOf(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestBrief(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 2)
	if got := brief("/mounts/vg_" + id + "/brick_" + id); got != "/mounts/vg_012345…/brick_012345…" {
		t.Error(got)
	}
}

func TestOptions(t *testing.T) {
	good := options{name: "demo", report: "r.md", rounds: 4, seconds: 3}
	if err := good.validate(); err != nil {
		t.Error(err)
	}
	for want, o := range map[string]options{
		"-rounds 0":   {name: "demo", report: "r", seconds: 3},
		"-seconds -1": {name: "demo", report: "r", rounds: 1, seconds: -1},
		"-report":     {name: "demo", rounds: 1, seconds: 1},
		`"Demo"`:      {name: "Demo", report: "r", rounds: 1, seconds: 1},
	} {
		if err := o.validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}
