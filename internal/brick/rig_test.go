package brick

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"bricklayer.csi/internal/pause"
	"bricklayer.csi/internal/volume"
)

// disk is where a test's root lies: a directory with a made-up quota table, or
// (build tag lab) an XFS file system.
type disk struct {
	path string
	// openQuotas is nil where the file system's own quotas are used.
	openQuotas func(*openRoot) quotas
	// mounted is true where path is a mount point.
	mounted bool
	// enforces is true where going beyond a limit fails.
	enforces bool
}

// TestMain says how often the state machine runs; the flag itself goes before this.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", machineRuns); err != nil {
		panic(err)
	}
	m.Run()
}

const testPool = "pool1"

// reporter is what a rig needs of a *testing.T, a *testing.B or a *rapid.T.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Fatal(args ...any)
	Context() context.Context
}

// rig is a host with one root on a disk of its own.
type rig struct {
	reporter
	disk     disk
	host     *Host
	options  Options
	projects string
}

func newRig(tb testing.TB, change ...func(*Options)) *rig {
	tb.Helper()
	r := &rig{reporter: tb, disk: newDisk(tb), projects: filepath.Join(tb.TempDir(), "projects")}
	r.options = Options{
		Pool: testPool, Roots: []RootConfig{{Name: "root1", Path: r.disk.path}},
		Policy:     Policy{TrashEntriesPerSecond: MaxTrashEntriesPerSec},
		openQuotas: r.disk.openQuotas, projectsFile: r.projects,
	}
	if testing.Verbose() {
		r.options.Logger = slog.New(slog.NewTextHandler(tb.Output(), nil))
	}
	for _, c := range change {
		c(&r.options)
	}
	r.init(r.options.Roots[0])
	r.restart()
	tb.Cleanup(func() { closing(tb, r.host) })
	return r
}

// closing closes a host when a test is done with it.
func closing(t reporter, h *Host) {
	t.Helper()
	if err := h.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func (r *rig) init(c RootConfig) Marker {
	r.Helper()
	m, err := Init(r.Context(), InitOptions{
		Pool: testPool, Root: c, AnyDirectory: !r.disk.mounted, openQuotas: r.disk.openQuotas,
	})
	if err != nil {
		r.Fatalf("Init: %v", err)
	}
	return m
}

// restart is what a killed and restarted agent sees: nothing but the disk.
func (r *rig) restart() {
	r.Helper()
	if r.host != nil {
		if err := r.host.Close(); err != nil {
			r.Fatalf("Close: %v", err)
		}
	}
	h, err := New(r.options)
	if err != nil {
		r.Fatalf("New: %v", err)
	}
	r.host = h
}

// killAt makes the next operation stop dead after the step.
func (r *rig) killAt(step string) {
	r.Helper()
	r.options.after = func(done string) error {
		if done == step {
			return errKilled
		}
		return nil
	}
	r.restart()
	r.options.after = nil
}

func request(name string, bytes volume.Size) MakeRequest {
	return MakeRequest{
		Ref:     Ref{Root: "root1", Volume: name},
		Mark:    testMark(name, bytes),
		Quota:   Quota{Bytes: bytes, Inodes: 5000},
		Enforce: true, Mode: 0o2775,
	}
}

func testMark(name string, bytes volume.Size) Mark {
	return Mark{
		Handle: volume.Handle{Backend: volume.Plain, Pool: testPool, Name: name}.String(),
		Size:   bytes, Type: "replicate:3", Fingerprint: "f1", GID: 2345,
		Layout: []Place{{"n1", "root1"}, {"n2", "root1"}, {"n3", "root1"}},
	}
}

func (r *rig) mustMake(req MakeRequest) Brick {
	r.Helper()
	b, err := r.host.Make(r.Context(), req)
	if err != nil {
		r.Fatalf("Make: %v", err)
	}
	return b
}

func (r *rig) mustRemove(name string, mode RemoveMode) {
	r.Helper()
	if err := r.host.Remove(r.Context(), RemoveRequest{Ref: Ref{"root1", name}, Mode: mode}); err != nil {
		r.Fatalf("Remove: %v", err)
	}
}

func (r *rig) mustEmpty() {
	r.Helper()
	if err := r.host.EmptyTrash(r.Context()); err != nil {
		r.Fatalf("EmptyTrash: %v", err)
	}
}

func (r *rig) state() RootState {
	r.Helper()
	s := r.host.States(r.Context())[0]
	if s.Problem != "" {
		r.Fatalf("State: %s", s.Problem)
	}
	return s
}

func (r *rig) bricks() []Brick {
	r.Helper()
	all, err := r.host.Bricks(r.Context(), "")
	if err != nil {
		r.Fatalf("Bricks: %v", err)
	}
	return all
}

// wantKind fails the test unless err is of that kind.
func wantKind(t reporter, err error, want volume.Kind) {
	t.Helper()
	if err == nil || volume.KindOf(err) != want {
		t.Fatalf("error is %v (%v), want kind %v", err, volume.KindOf(err), want)
	}
}

// opened returns the root as the host has it open.
func (r *rig) opened() *openRoot {
	r.Helper()
	o, done, err := r.host.roots[0].begin(r.Context(), "look")
	if err != nil {
		r.Fatalf("open: %v", err)
	}
	done()
	return o
}

// check is the consistency of a root between operations: what lies in place is
// whole, each with a project of its own that is limited as its mark says;
// nothing is staged; no limit is without a directory that carries it.
func (r *rig) check() {
	r.Helper()
	o := r.opened()
	owners := map[uint32]string{}
	for _, b := range r.bricks() {
		if b.Problem != "" {
			r.Errorf("brick %s: %s", b.Ref.Volume, b.Problem)
		}
		r.own(owners, b.ProjectID, b.Ref.Volume)
	}
	for _, dir := range []string{trashDir, archiveDir} {
		for _, name := range r.names(dir) {
			id, err := o.projectOf(filepath.Join(dir, name, brickDir))
			if missing(err) {
				id = trashProject(name)
			}
			r.own(owners, id, dir+"/"+name)
		}
	}
	// XFS frees the inodes of removed files a little later, and only then is the
	// limit of a wiped brick an orphan that can be seen.
	soon(r, "no project has a limit and no directory", func() bool {
		if err := o.clearOrphans(); err != nil {
			r.Fatal(err)
		}
		records, err := o.quotas.all(FirstProject)
		if err != nil {
			r.Fatal(err)
		}
		return !slices.ContainsFunc(records, func(rec record) bool {
			return rec.limit != (Quota{}) && owners[rec.project] == ""
		})
	})
	if staged := r.names(stagingDir); len(staged) > 0 {
		r.Errorf("staged: %q", staged)
	}
}

func (r *rig) own(owners map[uint32]string, id uint32, name string) {
	r.Helper()
	if id == 0 {
		return
	}
	if other := owners[id]; other != "" {
		r.Errorf("%s and %s share project %d", other, name, id)
	}
	owners[id] = name
}

// checkEmpty is check, and that nothing at all is left.
func (r *rig) checkEmpty() {
	r.Helper()
	r.check()
	for _, dir := range layoutDirs {
		if names := r.names(dir); len(names) > 0 {
			r.Errorf("%s holds %q", dir, names)
		}
	}
	if s := r.state(); s.Committed != 0 || s.Bricks != 0 || s.Trash != 0 {
		r.Errorf("state of an empty root: %+v", s)
	}
}

func (r *rig) names(dir string) []string {
	r.Helper()
	names, err := subdirectories(r.opened().dir, dir)
	if err != nil {
		r.Fatal(err)
	}
	return names
}

// soon waits for a condition that nothing announces.
func soon(t reporter, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !is() {
		if err := pause.For(ctx, 5*time.Millisecond); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

func killed(t reporter, err error) {
	t.Helper()
	if !errors.Is(err, errKilled) {
		t.Fatalf("the operation was not stopped at its step: %v", err)
	}
}

func writeFile(t reporter, size int, elements ...string) {
	t.Helper()
	name := filepath.Join(elements...)
	if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
		t.Fatal(fmt.Errorf("write %s: %w", name, err))
	}
}
