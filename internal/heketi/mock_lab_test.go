//go:build lab

package heketi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/internal/heketi"
	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/internal/volume/volumetest"
	"bricklayer.csi/lab"
)

// The real heketi with its mock executor, which does nothing on any node: it
// holds the fake heketi to the real one's answers, and takes seconds.
func TestBackendSuiteOnHeketiWithoutNodes(t *testing.T) {
	url, cli := startMock(t, 6, 8)
	newMock := func(t *testing.T) *heketi.Backend {
		t.Helper()
		b, err := heketi.New(heketi.Config{
			Pool: "lab", URL: url, User: "admin", Key: heketi.FileKey(filepath.Join(filepath.Dir(cli[0]), "key")),
			Timing: heketi.Timing{FirstPoll: 5 * time.Millisecond, LastPoll: 50 * time.Millisecond, Cache: time.Millisecond},
		}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	volumetest.Run(t, func(t *testing.T) volumetest.Fixture {
		t.Helper()
		return volumetest.Fixture{
			Backend: newMock(t), Second: newMock(t), Pool: "lab", LVM: true,
			Types: []string{"replicate:3", "replicate:2", "disperse:2:1", "disperse:4:2", "none"},
			Unit:  volume.GiB, Timeout: 20 * time.Second,
			Leftovers: func(ctx context.Context) ([]string, error) {
				return labtest.HeketiDumped(ctx, func(ctx context.Context) ([]byte, error) {
					return exec.CommandContext(ctx, cli[1], append(cli[2:], "db", "dump")...).Output()
				})
			},
		}
	})
}

// startMock starts a heketi with its mock executor and that many nodes, which
// refuses more than so many operations at once. It returns its address, and its configuration file, client and the client's flags.
func startMock(t *testing.T, nodes, limit int) (url string, cli []string) {
	t.Helper()
	programs, err := lab.Current().HeketiPrograms(labContext(t))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	dir := t.TempDir()
	var list []any
	for i := range nodes {
		address := []string{fmt.Sprintf("10.99.0.%d", i+1)}
		list = append(list, map[string]any{
			"node":    map[string]any{"hostnames": map[string]any{"manage": address, "storage": address}, "zone": i + 1},
			"devices": []string{"/dev/vdb"},
		})
	}
	for name, content := range map[string]any{
		"heketi.json": map[string]any{
			"port": port, "use_auth": true,
			"jwt":       map[string]any{"admin": map[string]any{"key": "adminkey"}, "user": map[string]any{"key": "userkey"}},
			"glusterfs": map[string]any{"executor": "mock", "db": filepath.Join(dir, "heketi.db"), "loglevel": "warning", "max_inflight_operations": limit},
		},
		"topology.json": map[string]any{"clusters": []any{map[string]any{"nodes": list}}},
	} {
		text, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "key"), []byte("adminkey\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "heketi"), "--config", filepath.Join(dir, "heketi.json"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	url = "http://127.0.0.1:" + port
	awaitHello(t, url)
	cli = []string{filepath.Join(dir, "heketi.json"), filepath.Join(programs, "heketi-cli"), "-s", url, "--user", "admin", "--secret", "adminkey"}
	load := exec.CommandContext(t.Context(), cli[1], append(cli[2:], "topology", "load", "--json", filepath.Join(dir, "topology.json"))...)
	if out, err := load.CombinedOutput(); err != nil || strings.Contains(string(out), "Unable to") {
		t.Fatalf("load the topology: %v\n%s", err, out)
	}
	return url, cli
}

// serveHTTP serves until the test ends, and returns the address.
func serveHTTP(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func awaitHello(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/hello", nil)
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := http.DefaultClient.Do(r); err == nil {
			answer.Body.Close()
			return
		}
		timer := time.NewTimer(50 * time.Millisecond)
		<-timer.C
	}
	t.Fatal("heketi does not answer " + url)
}
