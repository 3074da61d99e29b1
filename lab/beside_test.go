//go:build lab

package lab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const besideName = "beside"

func takeDown(t *testing.T, name string) {
	t.Helper()
	var told bytes.Buffer
	// Not the test's context, which ends before its clean-up.
	if err := Down(context.WithoutCancel(t.Context()), name, &told); err != nil {
		t.Fatalf("down: %v\n%s", err, told.String())
	}
}

// leftOver lists what can be seen of a lab on this host.
func leftOver(t *testing.T, name string, ino uint64) []string {
	t.Helper()
	var list []string
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if p.alive() && (ino != 0 && netnsOf(p.pid) == ino || strings.Contains(strings.Join(cmdline(p.pid), " "), paths{name}.state()+"/")) {
			list = append(list, "process "+p.name)
		}
	}
	ms, err := mounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		if below(m.Mountpoint, paths{name}.state()) || m.Mountpoint == (paths{name}).netns() {
			list = append(list, "mount "+m.Mountpoint)
		}
	}
	for _, p := range []string{paths{name}.state(), paths{name}.netns(), paths{name}.lock()} {
		if exists(p) {
			list = append(list, "file "+p)
		}
	}
	return list
}

// One node and one small disk: what a second lab costs, and a configuration that
// is not the default.
func besideConfig(t *testing.T) Config {
	t.Helper()
	c, err := ParseConfig([]byte("nodes: 1\nmemoryMiB: 700\ndisks: [{name: root1, sizeGiB: 2, use: brickRoot}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	c.Name = besideName
	return c
}

func TestSideBySideAndDown(t *testing.T) {
	if testing.Short() {
		t.Skip("it boots nodes for minutes; make test-lab-long runs it")
	}
	t.Cleanup(func() { takeDown(t, besideName) })
	takeDown(t, besideName)
	first := up(t, Current().Config())
	if err := first.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	makeVolume(t, first, "stays")
	kept := t.TempDir()
	if _, err := first.Host(t.Context(), "mount", "-t", "glusterfs", first.nodes[0].Address.String()+":/stays", kept); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(kept, syscall.MNT_DETACH) })
	before := leaders(t, first)

	second := up(t, besideConfig(t))
	ino := second.netns
	makeVolume(t, second, "goes")
	mounted := t.TempDir()
	if _, err := second.Host(t.Context(), "mount", "-t", "glusterfs", second.nodes[0].Address.String()+":/goes", mounted); err != nil {
		t.Fatal(err)
	}
	argv, err := second.HostArgv("sleep", "600")
	if err != nil {
		t.Fatal(err)
	}
	sleeper := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	if got := onNode(t, first, "n1", "gluster", "--mode=script", "volume", "list"); got != "stays\n" {
		t.Errorf("the first lab's volumes: %q", got)
	}
	grow(t)

	takeDown(t, besideName)
	if err := sleeper.Wait(); err == nil {
		t.Error("a process started in the lab was not ended")
	}
	if d := cmp.Diff([]string(nil), leftOver(t, besideName, ino)); d != "" {
		t.Errorf("left over:\n%s", d)
	}
	if entries, err := os.ReadDir(mounted); err != nil || len(entries) != 0 {
		t.Errorf("the client mount is still there: %v %v", entries, err)
	}
	if err := os.WriteFile(filepath.Join(kept, "f"), []byte("x"), 0o600); err != nil {
		t.Errorf("the other lab's mount: %v", err)
	}
	if d := cmp.Diff(before, leaders(t, first)); d != "" {
		t.Errorf("the other lab's nodes were touched:\n%s", d)
	}
}

// grow gives the second lab one node and one disk more.
func grow(t *testing.T) {
	t.Helper()
	c := besideConfig(t)
	c.Nodes = 2
	c.Disks = append(c.Disks, Disk{Name: "root2", SizeGiB: 2, Use: UseBrickRoot})
	l := up(t, c)
	for _, n := range l.Nodes() {
		if got := onNode(t, l, n.Name, "findmnt", "-no", "SOURCE,FSTYPE", "/bricks/root2"); !strings.HasPrefix(got, "/dev/ubdc xfs") {
			t.Errorf("node %s: /bricks/root2 is %q", n.Name, got)
		}
	}
	if _, err := Up(t.Context(), besideConfig(t), nil); err == nil || !strings.Contains(err.Error(), "nodes") {
		t.Errorf("to become smaller was not refused: %v", err)
	}
}

func TestDownOfWhatIsNotThere(t *testing.T) {
	takeDown(t, "never-was")
	if got := leftOver(t, "never-was", 0); len(got) != 0 {
		t.Errorf("down made %v", got)
	}
}

// A lab that was interrupted at some step on its way up.
func TestDownOfHalfALab(t *testing.T) {
	p := paths{"half"}
	t.Cleanup(func() { takeDown(t, p.name) })
	for name, build := range map[string]func() error{
		"state only":            func() error { return os.MkdirAll(p.share("n1"), 0o755) },
		"name without mount":    func() error { return os.WriteFile(p.netns(), nil, 0o600) },
		"namespace only":        func() error { return bindNetns(p.netns(), "") },
		"damaged configuration": func() error { return writeFile(p.config(), []byte("{"), 0o600) },
		"damaged record":        func() error { return writeFile(p.pid("n1"), []byte("{"), 0o600) },
		"record of a process of somebody else": func() error {
			rec, err := newPIDRecord(os.Getppid(), 1, nil)
			if err != nil {
				return err
			}
			rec.Start--
			return rec.save(p.pid("n1"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := build(); err != nil {
				t.Fatal(err)
			}
			takeDown(t, p.name)
			if got := leftOver(t, p.name, 0); len(got) != 0 {
				t.Errorf("left over: %v", got)
			}
		})
	}
}

// Ctrl-C while the nodes boot: the next up goes on from there.
func TestUpAfterInterruptedUp(t *testing.T) {
	if testing.Short() {
		t.Skip("it boots nodes for minutes; make test-lab-long runs it")
	}
	t.Cleanup(func() { takeDown(t, besideName) })
	takeDown(t, besideName)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := Up(ctx, besideConfig(t), callOn{"booting", cancel}); !errors.Is(err, context.Canceled) {
		t.Fatalf("up after its context ended: %v", err)
	}
	up(t, besideConfig(t))
}

// callOn is a writer that calls do when it is told a certain word.
type callOn struct {
	word string
	do   func()
}

func (c callOn) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(c.word)) {
		c.do()
	}
	return len(p), nil
}
