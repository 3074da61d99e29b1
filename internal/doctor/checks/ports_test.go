package checks

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/hosttest"
)

// client has a Gluster client run whose connections are the lines given: remote
// address, state and repetitions as the kernel writes them. All are the client's own.
func client(t *testing.T, m *hosttest.Machine, connections ...string) {
	t.Helper()
	m.Process(70, "/usr/sbin/glusterfs", "--process-name", "fuse", "--volfile-server=10.90.0.11", "--volfile-id=v", "/mnt/v")
	if err := os.MkdirAll(filepath.Join(m.Root, "/proc/70/fd"), 0o755); err != nil {
		t.Fatal(err)
	}
	table := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	for i, c := range connections {
		f := strings.Fields(c)
		table += fmt.Sprintf("   %d: 0100005A:C350 %s %s 00000000:00000000 01:00000014 %s     0        0 %d 2 0 100 0 0 10 0\n", i, f[0], f[1], f[2], 500+i)
		if err := os.Symlink(fmt.Sprintf("socket:[%d]", 500+i), filepath.Join(m.Root, fmt.Sprintf("/proc/70/fd/%d", 10+i))); err != nil {
			t.Fatal(err)
		}
	}
	m.Write("/proc/70/net/tcp", table)
}

func TestPorts(t *testing.T) {
	// 10.90.0.11:24007 and 10.90.0.12:49152.
	const glusterd, brick = "0B005A0A:5DC7", "0C005A0A:C000"
	for name, c := range map[string]struct {
		connections []string
		closed      []string
		object, has string // of the one finding; none where empty
	}{
		"all established":         {connections: []string{glusterd + " 01 00000000", brick + " 01 00000000"}},
		"just begun":              {connections: []string{brick + " 02 00000001"}},
		"a brick does not answer": {connections: []string{glusterd + " 01 00000000", brick + " 02 00000004"}, object: "mount /mnt/v", has: "10.90.0.12:49152 does not answer: asked 5 times"},
		"glusterd refuses":        {closed: []string{"10.90.0.11:24007"}, object: "server 10.90.0.11", has: "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			m := hosttest.New(t)
			m.Closed = c.closed
			client(t, m, c.connections...)
			r := look(t, glusterPorts, m.Host)
			if c.object == "" {
				quiet(t, r, doctor.StatusFine)
				return
			}
			if f := only(t, r); f.Object != c.object || len(f.Evidence) != 1 || !strings.Contains(f.Evidence[0], c.has) {
				t.Errorf("found %+v", f)
			}
		})
	}
}

// Only what the client itself waits for counts, and what cannot be read is unknown.
func TestPortsOfOthers(t *testing.T) {
	m := hosttest.New(t)
	quiet(t, look(t, glusterPorts, m.Host), doctor.StatusSkipped)
	client(t, m, "0C005A0A:C000 02 00000004")
	if err := os.Remove(filepath.Join(m.Root, "/proc/70/fd/10")); err != nil {
		t.Fatal(err)
	}
	quiet(t, look(t, glusterPorts, m.Host), doctor.StatusFine)
	m.Write("/proc/70/net/tcp", "0: 0100005A:C350 nonsense 02 0 0 0 0 0 1\n")
	quiet(t, look(t, glusterPorts, m.Host), doctor.StatusUnknown)
}

func TestParseKernelAddress(t *testing.T) {
	for in, want := range map[string]string{
		"0B005A0A:5DC7":                         "10.90.0.11:24007",
		"0000000000000000FFFF00000B005A0A:5DC7": "10.90.0.11:24007",
		"B80D01200000000000000000010000 00:1":   "",
		"B80D0120000000000000000001000000:0001": "[2001:db8::1]:1",
		"0B005A0A":                              "",
		"0B005A:5DC7":                           "",
		"0B005A0A:5DC700":                       "",
	} {
		got, err := parseKernelAddress(in)
		if want == "" && err == nil || want != "" && (err != nil || got.String() != want) {
			t.Errorf("%q is %v, %v; want %q", in, got, err, want)
		}
	}
}

// With one of two peers gone a node says that quorum is lost, with one of three that a peer is.
func TestQuorum(t *testing.T) {
	for nodes, lost := range map[int]bool{2: true, 3: false} {
		c := agenttest.New(agenttest.Default(nodes))
		c.SetState("n2", agenttest.Off)
		r := lookSite(t, glusterPeers, pool(t, c))
		got := false
		for _, f := range r.Findings {
			got = got || strings.HasPrefix(f.Object, "quorum as storage node n1")
		}
		if got != lost {
			t.Errorf("%d nodes: quorum lost is %t, want %t: %+v", nodes, got, lost, r.Findings)
		}
	}
}
