package brick

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/volume"
)

func TestRootIsRefusedWithoutItsMarker(t *testing.T) {
	r := newRig(t)
	r.mustMake(request("v1", 10*volume.MiB))
	marker := filepath.Join(r.disk.path, MarkerName)
	good, err := os.ReadFile(marker)
	must(t, err)
	for name, text := range map[string]string{
		"none":        "",
		"not JSON":    "pool1\n",
		"other pool":  strings.Replace(string(good), `"pool1"`, `"pool2"`, 1),
		"other root":  strings.Replace(string(good), `"root1"`, `"root2"`, 1),
		"no ID":       `{"version":1,"pool":"pool1","root":"root1"}`,
		"newer":       strings.Replace(string(good), `"version": 1`, `"version": 2`, 1),
		"new field":   strings.Replace(string(good), `{`, `{"colour":"red",`, 1),
		"twice":       string(good) + string(good),
		"enormous":    string(good) + strings.Repeat(" ", maxJSON),
		"a directory": "directory", "a link": "link", "a FIFO": "fifo",
	} {
		t.Run(name, func(t *testing.T) {
			r.reporter = t
			replaceMarker(t, marker, text, good)
			_, err := r.host.Make(t.Context(), request("v2", volume.MiB))
			wantKind(t, err, volume.Precondition)
			for _, part := range []string{"root1", r.disk.path} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q lacks %q", err, part)
				}
			}
			if _, err := r.host.Bricks(t.Context(), ""); !volume.Is(err, volume.Precondition) {
				t.Errorf("Bricks: %v", err)
			}
			if s := r.host.States(t.Context())[0]; s.Problem == "" || s.Name != "root1" {
				t.Errorf("state %+v", s)
			}
			wantKind(t, r.host.Remove(t.Context(), RemoveRequest{Ref{"root1", "v1"}, ToTrash}), volume.Precondition)
		})
		r.reporter = t
		must(t, os.RemoveAll(marker))
		must(t, os.WriteFile(marker, good, 0o600))
		r.check() // it is back without a restart
	}
}

func replaceMarker(t *testing.T, marker, text string, good []byte) {
	t.Helper()
	must(t, os.Remove(marker))
	switch text {
	case "":
	case "directory":
		must(t, os.Mkdir(marker, 0o755))
	case "link":
		elsewhere := filepath.Join(t.TempDir(), "marker")
		must(t, os.WriteFile(elsewhere, good, 0o600))
		must(t, os.Symlink(elsewhere, marker))
	case "fifo":
		must(t, unix.Mkfifo(marker, 0o600))
	default:
		must(t, os.WriteFile(marker, []byte(text), 0o600))
	}
}

func TestTwoAgentsCannotShareARoot(t *testing.T) {
	r := newRig(t)
	r.mustMake(request("v1", 10*volume.MiB))
	second, err := New(r.options)
	must(t, err)
	defer closing(t, second)
	_, err = second.Make(t.Context(), request("v2", volume.MiB))
	wantKind(t, err, volume.Precondition)
	if !strings.Contains(err.Error(), "other agent") {
		t.Errorf("%v", err)
	}
	must(t, r.host.Close())
	if _, err := second.Make(t.Context(), request("v2", volume.MiB)); err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
}

// TestRootIsReplacedWhileRunning stands for an unmount: the path leads to
// another directory from one moment to the next.
func TestRootIsReplacedWhileRunning(t *testing.T) {
	d := newDisk(t)
	path := filepath.Join(t.TempDir(), "root")
	must(t, os.Symlink(d.path, path))
	c := RootConfig{"root1", path}
	r := &rig{reporter: t, disk: d, options: Options{Pool: testPool, Roots: []RootConfig{c}, openQuotas: d.openQuotas}}
	r.init(c)
	r.restart()
	defer closing(t, r.host)
	b := r.mustMake(request("v1", 10*volume.MiB))

	empty := t.TempDir()
	repoint(t, path, empty)
	_, err := r.host.Make(t.Context(), request("v2", volume.MiB))
	wantKind(t, err, volume.Precondition)
	if !strings.Contains(err.Error(), "is the disk mounted?") {
		t.Errorf("%v", err)
	}
	entries, err := os.ReadDir(empty)
	if err != nil || len(entries) > 0 {
		t.Errorf("something was written to the system disk: %v, %v", entries, err)
	}

	other := t.TempDir()
	_, err = Init(t.Context(), InitOptions{Pool: testPool, Root: RootConfig{"root2", other}, AnyDirectory: true, NoQuota: true})
	must(t, err)
	repoint(t, path, other)
	_, err = r.host.Make(t.Context(), request("v2", volume.MiB))
	wantKind(t, err, volume.Precondition)

	repoint(t, path, d.path)
	if got := r.bricks(); len(got) != 1 || got[0].ProjectID != b.ProjectID {
		t.Errorf("bricks after it was mounted again: %+v", got)
	}
	r.check()
}

func repoint(t *testing.T, link, to string) {
	t.Helper()
	must(t, os.Remove(link))
	must(t, os.Symlink(to, link))
}

func TestRootThatIsNoMountPointAnyMore(t *testing.T) {
	d := fakeDisk(t)
	_, err := Init(t.Context(), InitOptions{Pool: testPool, Root: RootConfig{"root1", d.path}, openQuotas: d.openQuotas})
	wantKind(t, err, volume.Precondition)
	if !strings.Contains(err.Error(), "mount point") {
		t.Errorf("%v", err)
	}
	m, err := Init(t.Context(), InitOptions{Pool: testPool, Root: RootConfig{"root1", d.path}, openQuotas: d.openQuotas, AnyDirectory: true})
	must(t, err)
	m.MountPoint = true // as if it had been one
	dir, err := os.OpenRoot(d.path)
	must(t, err)
	defer dir.Close()
	must(t, writeJSON(dir, MarkerName, m))
	h, err := New(Options{Pool: testPool, Roots: []RootConfig{{"root1", d.path}}, openQuotas: d.openQuotas})
	must(t, err)
	defer closing(t, h)
	_, err = h.Make(t.Context(), request("v1", volume.MiB))
	wantKind(t, err, volume.Precondition)
}

func TestInit(t *testing.T) {
	d := newDisk(t)
	options := InitOptions{Pool: testPool, Root: RootConfig{"root1", d.path}, AnyDirectory: !d.mounted, openQuotas: d.openQuotas}
	first, err := Init(t.Context(), options)
	must(t, err)
	if again, err := Init(t.Context(), options); err != nil || again != first {
		t.Errorf("again: %+v, %v; first %+v", again, err, first)
	}
	options.Root.Name = "root2"
	_, err = Init(t.Context(), options)
	wantKind(t, err, volume.Exists)
	options.Root.Name, options.Pool = "root1", "pool2"
	_, err = Init(t.Context(), options)
	wantKind(t, err, volume.Exists)

	for name, o := range map[string]InitOptions{
		"no pool":       {Root: RootConfig{"root1", d.path}},
		"root name":     {Pool: testPool, Root: RootConfig{"Root 1", d.path}},
		"relative path": {Pool: testPool, Root: RootConfig{"root1", "bricks"}},
		"unclean path":  {Pool: testPool, Root: RootConfig{"root1", d.path + "/../x"}},
		"system":        {Pool: testPool, Root: RootConfig{"root1", "/"}},
	} {
		if _, err := Init(t.Context(), o); !volume.Is(err, volume.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = Init(t.Context(), InitOptions{Pool: testPool, Root: RootConfig{"root1", filepath.Join(d.path, "none")}})
	wantKind(t, err, volume.Precondition)
}

func TestInitRefusesADirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	o := InitOptions{Pool: testPool, Root: RootConfig{"root1", dir}, AnyDirectory: true, NoQuota: true}
	writeFile(t, 1, dir, "somebody's")
	_, err := Init(t.Context(), o)
	wantKind(t, err, volume.Precondition)
	if !strings.Contains(err.Error(), "somebody's") {
		t.Errorf("%v", err)
	}
	must(t, os.Remove(filepath.Join(dir, "somebody's")))
	must(t, os.MkdirAll(filepath.Join(dir, volumesDir, "v1"), 0o755)) // a root that lost its marker
	_, err = Init(t.Context(), o)
	wantKind(t, err, volume.Precondition)
	must(t, os.Remove(filepath.Join(dir, volumesDir, "v1")))
	must(t, os.Mkdir(filepath.Join(dir, "lost+found"), 0o700))
	if _, err := Init(t.Context(), o); err != nil {
		t.Errorf("what mkfs and an interrupted Init leave: %v", err)
	}
}

func TestInitRefusesAFileSystemWithoutQuotas(t *testing.T) {
	d := fakeDisk(t) // ext4, tmpfs or the like, seen as it is
	o := InitOptions{Pool: testPool, Root: RootConfig{"root1", d.path}, AnyDirectory: true}
	_, err := Init(t.Context(), o)
	wantKind(t, err, volume.Precondition)
	if !strings.Contains(err.Error(), "prjquota") {
		t.Errorf("%v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	root := RootConfig{"root1", "/bricks/root1"}
	for name, o := range map[string]Options{
		"no pool":       {Roots: []RootConfig{root}},
		"name twice":    {Pool: testPool, Roots: []RootConfig{root, {"root1", "/bricks/root2"}}},
		"path twice":    {Pool: testPool, Roots: []RootConfig{root, {"root2", "/bricks/root1"}}},
		"relative":      {Pool: testPool, Roots: []RootConfig{{"root1", "bricks"}}},
		"overcommit":    {Pool: testPool, Policy: Policy{OvercommitPercent: -1}},
		"trash rate":    {Pool: testPool, Policy: Policy{TrashEntriesPerSecond: 1 << 30}},
		"newline":       {Pool: testPool, Roots: []RootConfig{{"root1", "/bricks\n/root1"}}},
		"trailing /":    {Pool: testPool, Roots: []RootConfig{{"root1", "/bricks/"}}},
		"no root name":  {Pool: testPool, Roots: []RootConfig{{"", "/bricks"}}},
		"name of 41 by": {Pool: testPool, Roots: []RootConfig{{strings.Repeat("a", 41), "/bricks"}}},
	} {
		if _, err := New(o); !volume.Is(err, volume.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTwoRootsCannotShareAFileSystem is about XFS; elsewhere there are no
// project IDs that could meet.
func TestTwoRootsCannotShareAFileSystem(t *testing.T) {
	d := newDisk(t)
	if !d.mounted {
		t.Skip("needs XFS: runs with the build tag lab")
	}
	o := Options{Pool: testPool}
	for _, name := range []string{"root1", "root2"} {
		c := RootConfig{name, filepath.Join(d.path, name)}
		must(t, os.Mkdir(c.Path, 0o755))
		_, err := Init(t.Context(), InitOptions{Pool: testPool, Root: c, AnyDirectory: true})
		must(t, err)
		o.Roots = append(o.Roots, c)
	}
	h, err := New(o)
	must(t, err)
	defer closing(t, h)
	// Whichever is opened first serves.
	var problems []string
	for _, s := range h.States(t.Context()) {
		if s.Problem != "" {
			problems = append(problems, s.Problem)
		}
	}
	if len(problems) != 1 || !strings.Contains(problems[0], "file system of its own") {
		t.Errorf("problems: %q", problems)
	}
}

// A host makes a root of an empty file system while it runs, and takes it up at once.
func TestInitWhileRunning(t *testing.T) {
	d := newDisk(t)
	o := Options{Pool: testPool, Roots: []RootConfig{{"root1", d.path}}, openQuotas: d.openQuotas, anyDirectory: !d.mounted}
	h, err := New(o)
	must(t, err)
	defer closing(t, h)
	if s := h.States(t.Context())[0]; !s.Blank || !strings.Contains(s.Problem, MarkerName) {
		t.Fatalf("before: %+v", s)
	}
	wantKind(t, h.Init(t.Context(), "root2"), volume.NotFound)
	writeFile(t, 1, d.path, "somebody's")
	err = h.Init(t.Context(), "root1")
	wantKind(t, err, volume.Precondition)
	if !strings.Contains(err.Error(), `it is not empty: ["somebody's"]`) || !strings.Contains(err.Error(), d.path) {
		t.Errorf("%v", err)
	}
	must(t, os.Remove(filepath.Join(d.path, "somebody's")))
	must(t, os.MkdirAll(filepath.Join(d.path, "lost+found"), 0o700))
	must(t, h.Init(t.Context(), "root1"))
	first := h.States(t.Context())[0]
	if first.Blank || first.Problem != "" || first.ID == "" {
		t.Fatalf("after: %+v", first)
	}
	if _, err := h.Make(t.Context(), request("v1", volume.MiB)); err != nil {
		t.Error(err)
	}
	must(t, h.Init(t.Context(), "root1"))
	if s := h.States(t.Context())[0]; s.ID != first.ID || s.Bricks != 1 {
		t.Errorf("after the second: %+v, first %+v", s, first)
	}
}

// From afar nothing is allowed that an administrator may allow on the host.
func TestInitFromAfarWantsAMountPointWithQuotas(t *testing.T) {
	d := fakeDisk(t)
	h, err := New(Options{Pool: testPool, Roots: []RootConfig{{"root1", d.path}}, openQuotas: d.openQuotas})
	must(t, err)
	defer closing(t, h)
	err = h.Init(t.Context(), "root1")
	wantKind(t, err, volume.Precondition)
	if !strings.Contains(err.Error(), "it is not a mount point") {
		t.Errorf("%v", err)
	}
	h, err = New(Options{Pool: testPool, Roots: []RootConfig{{"root1", d.path}}, anyDirectory: true}) // the file system's own quotas
	must(t, err)
	defer closing(t, h)
	err = h.Init(t.Context(), "root1")
	wantKind(t, err, volume.Precondition)
	if !strings.Contains(err.Error(), "prjquota") {
		t.Errorf("%v", err)
	}
	if entries, err := os.ReadDir(d.path); err != nil || len(entries) > 0 {
		t.Errorf("something was written: %v, %v", entries, err)
	}
	if s := h.States(t.Context())[0]; !s.Blank {
		t.Errorf("%+v", s)
	}
	other := t.TempDir()
	_, err = Init(t.Context(), InitOptions{Pool: "pool2", Root: RootConfig{"root1", other}, AnyDirectory: true, NoQuota: true})
	must(t, err)
	h, err = New(Options{Pool: testPool, Roots: []RootConfig{{"root1", other}}, openQuotas: d.openQuotas, anyDirectory: true})
	must(t, err)
	defer closing(t, h)
	wantKind(t, h.Init(t.Context(), "root1"), volume.Exists)
	if s := h.States(t.Context())[0]; s.Blank || s.Problem == "" {
		t.Errorf("another pool's root: %+v", s)
	}
}
