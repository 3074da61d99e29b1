package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/kubernetes"

	"bricklayer.csi/agent"
	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/api/client/versioned"
)

var update = flag.Bool("update", false, "write the golden files and the reference anew")

// golden compares got with a file, or writes the file with -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; make it with `make generate`", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not up to date; if the change is meant, run `make generate`:\n%s", path, diff)
	}
}

// fakeAgents are the agents of a fake cluster.
type fakeAgents struct{ *agenttest.Cluster }

func (f fakeAgents) Node(t agent.Target) (agent.Node, error) { return f.Cluster.Node(t.Node), nil }
func (fakeAgents) Keep([]agent.Target) error                 { return nil }
func (fakeAgents) Close() error                              { return nil }
func (fakeAgents) CertificateExpires() (time.Time, error) {
	return time.Now().Add(365 * 24 * time.Hour), nil
}

// command runs command lines against a fake cluster and a pool file.
type command struct {
	// program is the name by which it is called; empty is bricklayer.
	program string
	cluster *agenttest.Cluster
	env     map[string]string
	in      string
	// kubernetes is what --kubernetes finds.
	kubernetes kubernetes.Interface
	// storagePools is what --pools-from=api finds.
	storagePools versioned.Interface
}

const testPool = `apiVersion: bricklayer.csi/v1alpha1
kind: StoragePool
metadata: {name: lab}
spec:
  nodes:
  - {name: n1, address: 10.90.0.11, zone: z1, roots: [{name: root1, path: /bricks/root1}]}
  - {name: n2, address: 10.90.0.12, zone: z2, roots: [{name: root1, path: /bricks/root1}]}
  - {name: n3, address: 10.90.0.13, zone: z3, roots: [{name: root1, path: /bricks/root1}]}
  clientNetworks: [10.90.0.0/24]
`

func newCommand(t *testing.T) *command {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pool.yaml")
	if err := os.WriteFile(file, []byte(testPool), 0o600); err != nil {
		t.Fatal(err)
	}
	return &command{cluster: agenttest.New(agenttest.Default(3)), env: map[string]string{"BRICKLAYER_POOLS": file}}
}

// run returns what a command line wrote and its exit code.
func (c *command) run(args ...string) (out, errs string, code int) {
	var stdout, stderr bytes.Buffer
	env := environment{
		in: strings.NewReader(c.in), out: &stdout, err: &stderr,
		getenv:     func(name string) string { return c.env[name] },
		program:    c.program,
		kubernetes: c.kubernetes, storagePools: c.storagePools,
		dial: func(_ *poolsOptions, pool string) (agents, error) {
			if pool != "lab" {
				return nil, errors.New("no certificate for pool " + pool)
			}
			return fakeAgents{c.cluster}, nil
		},
	}
	code = run(context.Background(), env, args)
	return stdout.String(), stderr.String(), code
}

// must fails the test unless the command line succeeds, and returns its output.
func (c *command) must(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, code := c.run(args...)
	if code != exitOK {
		t.Fatalf("bricklayer %s: exit code %d\n%s", strings.Join(args, " "), code, errs)
	}
	return out
}

func TestVolumeFromCreateToDelete(t *testing.T) {
	c := newCommand(t)
	created := c.must(t, "volume", "create", "data", "--size", "1GiB", "--type", "replicate:3")
	if again := c.must(t, "volume", "create", "data", "--size", "1GiB", "-p", "volumetype=replicate:3"); again != created {
		t.Errorf("a repeated create showed\n%s\nafter\n%s", again, created)
	}
	if _, errs, code := c.run("volume", "create", "data", "--size", "2GiB"); code != exitExists || !strings.Contains(errs, "1073741824") {
		t.Errorf("another size gave exit code %d and %q, want %d and the size that it has", code, errs, exitExists)
	}
	if out := c.must(t, "volume", "get", "bl1.plain.lab.data", "--health"); !strings.Contains(out, "no problem was found") {
		t.Errorf("health of a new volume:\n%s", out)
	}
	if out := c.must(t, "volume", "expand", "data", "--size", "3GiB"); !strings.Contains(out, "3GiB (3221225472 bytes)") {
		t.Errorf("expanded to 3GiB, but shown as\n%s", out)
	}
	if out := c.must(t, "volume", "list"); strings.Count(out, "\n") != 2 || !strings.Contains(out, "bl1.plain.lab.data") {
		t.Errorf("list shows\n%s", out)
	}
	c.in = "no\n"
	if _, errs, code := c.run("volume", "delete", "data"); code != exitUsage || !strings.Contains(errs, "nothing was deleted") {
		t.Errorf("a delete that nobody confirmed: exit code %d, %q", code, errs)
	}
	c.in = ""
	if _, _, code := c.run("volume", "delete", "data"); code != exitUsage {
		t.Errorf("a delete without a terminal: exit code %d, want %d", code, exitUsage)
	}
	c.in = "data\n"
	c.must(t, "volume", "delete", "data")
	c.must(t, "volume", "delete", "data", "--yes")
	if _, _, code := c.run("volume", "get", "data"); code != exitNotFound {
		t.Errorf("get of a deleted volume: exit code %d, want %d", code, exitNotFound)
	}
	c.cluster.CheckEmpty(t)
}

func TestOutputFormats(t *testing.T) {
	c := newCommand(t)
	c.must(t, "volume", "create", "data", "--size", "1GiB")
	c.must(t, "volume", "create", "logs", "--size", "512MiB", "--type", "replicate:2")
	for _, format := range []string{"table", "json", "yaml"} {
		golden(t, filepath.Join("testdata", "list."+format), stable(c.must(t, "volume", "list", "-o", format)))
		golden(t, filepath.Join("testdata", "get."+format), stable(c.must(t, "volume", "get", "data", "--health", "-o", format)))
		golden(t, filepath.Join("testdata", "pool-status."+format), c.must(t, "pool", "status", "-o", format))
		golden(t, filepath.Join("testdata", "pool-check."+format), c.must(t, "pool", "check", c.env["BRICKLAYER_POOLS"], "-o", format))
	}
}

var timestamp = regexp.MustCompile(`\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z`)

// stable hides what differs from run to run.
func stable(out string) string { return timestamp.ReplaceAllString(out, "2030-01-02T03:04:05Z") }

func TestBadInput(t *testing.T) {
	c := newCommand(t)
	pool := c.env["BRICKLAYER_POOLS"]
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"unknown verb":        {[]string{"volumes"}, exitUsage, "did you mean volume?"},
		"unknown sub-verb":    {[]string{"volume", "lsit"}, exitUsage, "did you mean list?"},
		"unknown flag":        {[]string{"volume", "list", "--colour"}, exitUsage, "--colour"},
		"flag without value":  {[]string{"volume", "create", "a", "--size"}, exitUsage, "--size"},
		"no name":             {[]string{"volume", "create"}, exitUsage, "it takes NAME"},
		"two names":           {[]string{"volume", "create", "a", "b"}, exitUsage, "it takes NAME"},
		"size without number": {[]string{"volume", "create", "a", "--size", "big"}, exitUsage, `size: "big"`},
		"size zero":           {[]string{"volume", "create", "a", "--size", "0"}, exitUsage, "above zero"},
		"size negative":       {[]string{"volume", "create", "a", "--size=-1"}, exitUsage, `size: "-1"`},
		"size beyond all":     {[]string{"volume", "create", "a", "--size", "9223372036854775807"}, exitUsage, "1EiB"},
		"size beyond pool":    {[]string{"volume", "create", "a", "--size", "1PiB"}, exitFailed, "21474836480 bytes when it is empty"},
		"bad type":            {[]string{"volume", "create", "a", "--type", "raid5"}, exitUsage, "disperse:D:R"},
		"misspelt parameter":  {[]string{"volume", "create", "a", "-p", "volumtype=none"}, exitUsage, "did you mean volumetype?"},
		"no parameter":        {[]string{"volume", "create", "a", "-p", "x"}, exitUsage, "KEY=VALUE"},
		"parameter twice":     {[]string{"volume", "create", "a", "--type", "none", "-p", "VolumeType=none"}, exitUsage, "given twice"},
		"option injection":    {[]string{"volume", "create", "a", "-p", "volumeoptions=a.b c\n--force"}, exitUsage, "volumeoptions"},
		"lvm":                 {[]string{"volume", "create", "a", "-p", "lvm=true"}, exitFailed, "it names no heketi"},
		"name with slash":     {[]string{"volume", "create", "a/b"}, exitUsage, "name:"},
		"name with dots":      {[]string{"volume", "create", "../a"}, exitUsage, "name:"},
		"name with newline":   {[]string{"volume", "create", "a\nb"}, exitUsage, `"a\nb"`},
		"name not UTF-8":      {[]string{"volume", "create", "\xff"}, exitUsage, "name:"},
		"name too long":       {[]string{"volume", "create", strings.Repeat("a", 4096)}, exitUsage, "name:"},
		"name like a flag":    {[]string{"volume", "create", "--", "-a"}, exitUsage, "name:"},
		"unknown pool":        {[]string{"volume", "create", "a", "--pool", "other"}, exitUsage, "one of lab"},
		"unknown pool get":    {[]string{"volume", "get", "a", "--pool", "other"}, exitNotFound, "other"},
		"unknown pool list":   {[]string{"volume", "list", "--pool", "other"}, exitUsage, "one of lab"},
		"pool with slash":     {[]string{"volume", "delete", "a", "--yes", "--pool", "../x"}, exitUsage, "pool:"},
		"forged handle":       {[]string{"volume", "delete", "--yes", "bl1.plain.lab.../x"}, exitNotFound, "volume_id"},
		"foreign handle":      {[]string{"volume", "delete", "--yes", "bl1.plain.other.x"}, exitFailed, "configure the pool again"},
		"absent volume":       {[]string{"volume", "get", "a"}, exitNotFound, "bl1.plain.lab.a"},
		"expand absent":       {[]string{"volume", "expand", "a", "--size", "2GiB"}, exitNotFound, "bl1.plain.lab.a"},
		"expand to nothing":   {[]string{"volume", "expand", "a"}, exitUsage, "--size is missing"},
		"bad output":          {[]string{"volume", "list", "-o", "xml"}, exitUsage, "table, json or yaml"},
		"bad timeout":         {[]string{"volume", "list", "--timeout", "0s"}, exitUsage, "--timeout"},
		"bad log level":       {[]string{"volume", "list", "--log-level", "loud"}, exitUsage, "debug, info, warn or error"},
		"bad log format":      {[]string{"controller", "--log-format", "xml"}, exitUsage, "text or json"},
		"no pools":            {[]string{"volume", "list", "--pools", "/nonexistent"}, exitFailed, "/nonexistent"},
		"bad mount flag":      {[]string{"volume", "mount", "a", "/mnt", "--mount-flag", "log-file=/etc/passwd"}, exitUsage, "log-file"},
		"mount at root":       {[]string{"volume", "unmount", "/"}, exitUsage, "no directory to mount at"},
		"mount nowhere":       {[]string{"volume", "unmount", "/nonexistent/dir/x"}, exitFailed, "/nonexistent/dir"},
		"bad endpoint":        {[]string{"controller", "--endpoint", "tcp://0.0.0.0:1"}, exitUsage, "unix://"},
		"bad node ID":         {[]string{"node", "--node-id", "a b", "--endpoint", "unix:///tmp/never.sock"}, exitUsage, "node ID"},
		"agent without file":  {[]string{"agent", "--config", "/nonexistent"}, exitFailed, "/nonexistent"},
		"agent of no kind":    {[]string{"agent", "--config", pool}, exitUsage, "agent"},
		"init without disk":   {[]string{"agent", "init", "--format", "--root", "root1"}, exitUsage, "--device"},
		"init of all":         {[]string{"agent", "init", "--format", "--device", "/dev/null"}, exitUsage, "--root"},
		"init disk unasked":   {[]string{"agent", "init", "--device", "/dev/null"}, exitUsage, "--format"},
		"certs nowhere":       {[]string{"certs", "--pool", pool}, exitUsage, "--dir"},
		"certs for nobody":    {[]string{"certs", "--dir", "/nonexistent"}, exitUsage, "--pool"},
		"certs of no pool":    {[]string{"certs", "--pool", pool, "--name", "other", "--dir", "/nonexistent"}, exitUsage, "one of lab"},
		"certs for ever":      {[]string{"certs", "--pool", pool, "--dir", "/nonexistent", "--renew-before", "100000h"}, exitUsage, "--renew-before"},
		"pool check":          {[]string{"pool", "check", "/nonexistent"}, exitFailed, "/nonexistent"},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, code := c.run(tc.args...)
			if code != tc.code || !strings.Contains(errs, tc.want) {
				t.Errorf("exit code %d, want %d; it said %q, want %q in it", code, tc.code, errs, tc.want)
			}
			if out != "" {
				t.Errorf("a failure wrote a result: %q", out)
			}
		})
	}
	c.cluster.CheckEmpty(t)
}

func TestNodesDown(t *testing.T) {
	c := newCommand(t)
	for _, n := range []string{"n1", "n2", "n3"} {
		c.cluster.SetState(n, agenttest.Off)
	}
	out, errs, code := c.run("volume", "create", "a", "--timeout", "5s")
	if code != exitLater || out != "" || !strings.Contains(errs, "n1") {
		t.Errorf("exit code %d (want %d), output %q, error %q (want the node named)", code, exitLater, out, errs)
	}
}

func TestInterrupted(t *testing.T) {
	c := newCommand(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr bytes.Buffer
	env := environment{
		in: strings.NewReader(""), out: &stderr, err: &stderr, getenv: func(n string) string { return c.env[n] },
		dial: func(*poolsOptions, string) (agents, error) { return fakeAgents{c.cluster}, nil },
	}
	if code := run(ctx, env, []string{"volume", "list"}); code != exitInterrupted {
		t.Errorf("exit code %d, want %d\n%s", code, exitInterrupted, stderr.String())
	}
}

func TestCertsAreMadeListedAndKept(t *testing.T) {
	c := newCommand(t)
	dir := filepath.Join(t.TempDir(), "certs")
	first := c.must(t, "certs", "--pool", c.env["BRICKLAYER_POOLS"], "--dir", dir)
	if n := strings.Count(first, " new\n"); n != 5 {
		t.Errorf("%d certificates are new, want 5 (CA, controller, three nodes):\n%s", n, first)
	}
	if again := c.must(t, "certs", "--pool", c.env["BRICKLAYER_POOLS"], "--dir", dir); strings.Contains(again, " new\n") {
		t.Errorf("a second run made some anew:\n%s", again)
	}
	if listed := c.must(t, "certs", "--list", "--dir", dir, "-o", "json"); strings.Count(listed, `"file"`) != 5 {
		t.Errorf("listed:\n%s", listed)
	}
}

func TestVersion(t *testing.T) {
	c := newCommand(t)
	if out := c.must(t, "version", "-o", "json"); !strings.Contains(out, `"version": "`+version+`"`) {
		t.Errorf("version shows %s", out)
	}
}
