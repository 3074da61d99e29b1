//go:build lab

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// labRun runs a command line against the lab's nodes, with nothing of it faked.
func labRun(t *testing.T, env map[string]string, args ...string) (out, errs string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute) // cleanups call it too
	defer cancel()
	var stdout, stderr bytes.Buffer
	code = run(ctx, environment{
		in: strings.NewReader(""), out: &stdout, err: &stderr,
		getenv: func(name string) string { return env[name] },
		dial:   (*poolsOptions).dial,
	}, args)
	return stdout.String(), stderr.String(), code
}

func labEnv() map[string]string {
	l := lab.Current()
	return map[string]string{"BRICKLAYER_POOLS": l.PoolFile(), "BRICKLAYER_CERTS": filepath.Join(l.CertsDir(), "controller")}
}

// TestVolumeOnRealNodes is an administrator's whole story with one volume.
func TestVolumeOnRealNodes(t *testing.T) {
	labtest.CheckEmpty(t)
	must := func(args ...string) string {
		t.Helper()
		out, errs, code := labRun(t, labEnv(), args...)
		if code != exitOK {
			t.Fatalf("bricklayer %s: exit code %d\n%s", strings.Join(args, " "), code, errs)
		}
		return out
	}
	dir := filepath.Join(lab.Current().MountDir(), t.Name())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	must("volume", "create", "cli", "--size", "64MiB")
	t.Cleanup(func() { labRun(t, labEnv(), "volume", "delete", "cli", "--yes") })
	must("volume", "create", "cli", "--size", "64MiB")
	if out := must("volume", "list"); !strings.Contains(out, "bl1.plain.lab.cli ") {
		t.Errorf("list shows\n%s", out)
	}
	if out := must("volume", "get", "cli", "--health"); !strings.Contains(out, "no problem was found") {
		t.Errorf("health of a new volume:\n%s", out)
	}
	logs := t.TempDir()
	must("volume", "mount", "cli", dir, "--client-log-dir", logs)
	wantTotal := func(want uint64) {
		t.Helper()
		var fs syscall.Statfs_t
		if err := syscall.Statfs(dir, &fs); err != nil || fs.Blocks*uint64(fs.Bsize) != want {
			t.Errorf("df shows %d bytes (%v), want %d", fs.Blocks*uint64(fs.Bsize), err, want)
		}
	}
	wantTotal(64 << 20)
	if err := os.WriteFile(filepath.Join(dir, "file"), bytes.Repeat([]byte("x"), 1<<20), 0o600); err != nil {
		t.Error(err)
	}
	must("volume", "expand", "cli", "--size", "128MiB")
	wantTotal(128 << 20)
	must("volume", "unmount", dir, "--client-log-dir", logs)
	must("volume", "unmount", dir, "--client-log-dir", logs)
	must("volume", "delete", "cli", "--yes")
	if _, _, code := labRun(t, labEnv(), "volume", "get", "cli"); code != exitNotFound {
		t.Errorf("get of a deleted volume: exit code %d, want %d", code, exitNotFound)
	}
}

// TestWrongCertificate takes an agent's certificate for the controller's.
func TestWrongCertificate(t *testing.T) {
	env := labEnv()
	env["BRICKLAYER_CERTS"] = filepath.Join(lab.Current().CertsDir(), "n1")
	_, errs, code := labRun(t, env, "volume", "create", "never", "--timeout", "20s")
	if code == exitOK || !strings.Contains(errs, "certificate") {
		t.Errorf("exit code %d, and it said %q; want a failure that names the certificate", code, errs)
	}
	env["BRICKLAYER_CERTS"] = t.TempDir()
	if _, errs, code := labRun(t, env, "volume", "list"); code != exitLater || !strings.Contains(errs, "ca.crt") {
		t.Errorf("without certificates: exit code %d, and it said %q; want the missing file named", code, errs)
	}
}

// TestAgentInitRefuses runs the program on a node against disks that are not empty.
func TestAgentInitRefuses(t *testing.T) {
	l := lab.Current()
	onNode := func(args ...string) (string, int) {
		t.Helper()
		// The node sees the program where the lab shares it.
		script := `for program in /lab/bin/*/bricklayer; do :; done; exec "$program" "$@"`
		out, err := l.Exec(t.Context(), "n1", append([]string{"sh", "-c", script, "sh"}, args...)...)
		var failed *lab.ExitError
		switch {
		case err == nil:
			return string(out), exitOK
		case errors.As(err, &failed):
			return string(failed.Stderr), failed.Code
		}
		t.Fatal(err)
		return "", 0
	}
	if err := l.KillAgent(t.Context(), "n1"); err != nil { // it has the roots locked
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.StartAgent(context.WithoutCancel(t.Context()), "n1"); err != nil {
			t.Error(err)
		}
	})
	before, code := onNode("agent", "init", "--config", "/lab/agent.yaml", "-o", "json")
	if code != exitOK || !strings.Contains(before, `"root": "root1"`) {
		t.Fatalf("a root that is prepared already: exit code %d, %s", code, before)
	}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"mounted":      {[]string{"--format", "--root", "root1", "--device", "/dev/ubda"}, "/dev/ubda"},
		"no device":    {[]string{"--format", "--root", "root1", "--device", "/dev/null"}, "not a block device"},
		"unknown root": {[]string{"--root", "root9"}, "one of root1"},
	} {
		out, code := onNode(append([]string{"agent", "init", "--config", "/lab/agent.yaml"}, tc.args...)...)
		if code == exitOK || !strings.Contains(out, tc.want) {
			t.Errorf("%s: exit code %d, and it said %q; want %q in it", name, code, out, tc.want)
		}
	}
	if after, _ := onNode("agent", "init", "--config", "/lab/agent.yaml", "-o", "json"); after != before {
		t.Errorf("the root changed: %s, before %s", after, before)
	}
}
