package mountd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/mount/mounttest"
	"bricklayer.csi/internal/mountd"
	"bricklayer.csi/internal/volume"
)

var source = mount.Source{Servers: []string{"n1", "n2"}, Volume: "there"}

// realDir returns a new directory without symbolic links in its path.
func realDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// start serves a mounter for directories below dir, until stop or the test's end.
func start(t *testing.T, m mount.Mounter, socket, dir string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	s, err := mountd.NewServer(ctx, mountd.Options{
		Endpoint: "unix://" + socket, Dirs: []string{dir}, Mounts: m, StopWithin: 5 * time.Second,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	ended := false
	stop = func() {
		cancel()
		if ended {
			return
		}
		ended = true
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func dial(t *testing.T, socket string) *mountd.Client {
	t.Helper()
	c, err := mountd.Dial("unix://" + socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// serve returns a client of a service over m, and the directory for mounts.
func serve(t *testing.T, m mount.Mounter) (c *mountd.Client, dir string) {
	t.Helper()
	dir = realDir(t)
	socket := filepath.Join(t.TempDir(), "m.sock")
	start(t, m, socket, dir)
	return dial(t, socket), dir
}

func mkdir(t *testing.T, path ...string) string {
	t.Helper()
	dir := filepath.Join(path...)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSuite has the service behave as the mounter behind it.
func TestSuite(t *testing.T) {
	f := mounttest.NewFake()
	f.Volume = func(name string) (mount.Usage, error) {
		if name != "there" {
			return mount.Usage{}, &volume.Error{Kind: volume.NotFound, Op: "find volume", On: name}
		}
		return mount.Usage{Total: 100, Available: 50, Files: 10}, nil
	}
	c, dir := serve(t, f)
	made := 0
	mounttest.Run(t, mounttest.Env{
		Mounter: c, Source: source,
		Missing: mount.Source{Servers: []string{"n1"}, Volume: "missing"},
		Dir: func(t *testing.T) string {
			t.Helper()
			made++
			return mkdir(t, dir, fmt.Sprint(made))
		},
		KillClient: func(t *testing.T, _ string) {
			t.Helper()
			f.Break("there", mount.ErrStale)
		},
		Hold: func(t *testing.T, target string) func() {
			t.Helper()
			f.Use(target, true)
			return func() { f.Use(target, false) }
		},
	})
}

func TestHostileRequests(t *testing.T) {
	f := mounttest.NewFake()
	c, dir := serve(t, f)
	ctx := t.Context()
	outside := realDir(t)
	staged, target := mkdir(t, dir, "staged"), mkdir(t, dir, "target")
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	mkdir(t, outside, "in")
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want := func(what string, err error, kind volume.Kind) {
		t.Helper()
		if !volume.Is(err, kind) {
			t.Errorf("%s: got %v (%v); want %v", what, err, volume.KindOf(err), kind)
		}
	}
	for _, path := range []string{"", "relative", "/", dir, outside, "/etc", dir + "/../x", dir + "x/y", dir + "/a//b", dir + "/a\nb", dir + "/x/", dir + "/" + strings.Repeat("a", 4096)} {
		want("mount at "+path, c.Glusterfs(ctx, source, path, mount.Flags{}), volume.Invalid)
		want("bind at "+path, c.Bind(ctx, staged, path, false), volume.Invalid)
		want("bind from "+path, c.Bind(ctx, path, target, false), volume.Invalid)
		want("unmount "+path, c.Unmount(ctx, path), volume.Invalid)
		_, err := c.Usage(ctx, path)
		want("usage of "+path, err, volume.Invalid)
	}
	for what, path := range map[string]string{"link": dir + "/link", "behind a link": dir + "/link/in", "file": dir + "/file", "nothing": dir + "/none"} {
		want("mount at a "+what, c.Glusterfs(ctx, source, path, mount.Flags{}), volume.Precondition)
	}
	for _, src := range []mount.Source{
		{},
		{Volume: "there"},
		{Servers: []string{"n1"}},
		{Servers: []string{"--volfile=/x"}, Volume: "there"},
		{Servers: []string{"n1,n2"}, Volume: "there/../x"},
		{Servers: []string{"n1", "n1"}, Volume: "there"},
	} {
		want(fmt.Sprintf("mount of %+v", src), c.Glusterfs(ctx, src, target, mount.Flags{}), volume.Invalid)
	}
	f.Add(mount.Mount{Target: dir + "/disk", Root: "/", Type: "xfs", Source: "/dev/sdb1", Device: "8:17"})
	f.Add(mount.Mount{Target: outside, Root: "/", Type: "fuse.glusterfs", Source: "n1:/other", Device: "0:99"})
	want("bind what is not mounted", c.Bind(ctx, staged, target, false), volume.Precondition)
	want("bind a disk", c.Bind(ctx, dir+"/disk", target, false), volume.Precondition)
	want("unmount a disk", c.Unmount(ctx, dir+"/disk"), volume.Precondition)
	table, err := c.Mounts(ctx)
	if err != nil || len(table) != 1 || table[0].Source != "/dev/sdb1" {
		t.Errorf("the table: %+v, %v; want the disk alone", table, err)
	}
}

func TestFaultsAndDetailsTravel(t *testing.T) {
	f := mounttest.NewFake()
	c, dir := serve(t, f)
	target := mkdir(t, dir, "v")
	if err := c.Glusterfs(t.Context(), source, target, mount.Flags{}); err != nil {
		t.Fatal(err)
	}
	for _, fault := range []error{mount.ErrSilent, mount.ErrDisconnected, fmt.Errorf("%w; it ended at noon", mount.ErrStale)} {
		f.Break("there", fault)
		_, err := c.Usage(t.Context(), target)
		cause := fault
		if inner := errors.Unwrap(fault); inner != nil {
			cause = inner
		}
		if !errors.Is(err, cause) || !volume.Is(err, volume.Unavailable) || !strings.Contains(err.Error(), fault.Error()) {
			t.Errorf("got %v; want %v", err, fault)
		}
	}
	for _, kind := range volume.Kinds() {
		given := &volume.Error{Kind: kind, Op: "try", On: "it", Err: errors.New("a fault"), Next: "do something"}
		f.FailNext("Bind", given)
		err := c.Bind(t.Context(), target, mkdir(t, dir, "w"), false)
		if volume.KindOf(err) != kind || err.Error() != given.Error() {
			t.Errorf("%v: got %v (%v)", kind, err, volume.KindOf(err))
		}
	}
	f.SetReady(&volume.Error{Kind: volume.Precondition, Err: errors.New("no /dev/fuse")})
	if err := c.Ready(t.Context()); !volume.Is(err, volume.Precondition) {
		t.Errorf("ready: %v", err)
	}
}

// TestTheServiceComesAndGoes has no service, then one, then none, then another.
func TestTheServiceComesAndGoes(t *testing.T) {
	f := mounttest.NewFake()
	dir, socket := realDir(t), filepath.Join(t.TempDir(), "m.sock")
	c := dial(t, socket)
	_, err := c.Mounts(t.Context())
	if !volume.Is(err, volume.Unavailable) || !strings.Contains(err.Error(), "bricklayer mountd") {
		t.Errorf("got %v; want Unavailable, and what to do", err)
	}
	for range 2 {
		stop := start(t, f, socket, dir)
		limit := time.NewTimer(20 * time.Second)
		tick := time.NewTicker(20 * time.Millisecond)
		for err := c.Ready(t.Context()); err != nil; err = c.Ready(t.Context()) {
			select {
			case <-tick.C:
			case <-limit.C:
				t.Fatal(err)
			}
		}
		tick.Stop()
		limit.Stop()
		stop()
		if err := c.Ready(t.Context()); !volume.Is(err, volume.Unavailable) {
			t.Errorf("after its end: %v", err)
		}
	}
	if _, err := mountd.Dial("tcp://1.2.3.4:5"); !volume.Is(err, volume.Invalid) {
		t.Errorf("dial over TCP: %v", err)
	}
}

// stubborn mounts until it is told to stop, and takes its time to tidy up.
type stubborn struct {
	*mounttest.Fake
	began, tidy chan struct{}
}

func (s *stubborn) Glusterfs(ctx context.Context, _ mount.Source, _ string, _ mount.Flags) error {
	s.began <- struct{}{}
	<-ctx.Done()
	<-s.tidy
	return ctx.Err()
}

// TestATargetIsFreeOnlyWhenItIsTidy abandons a mount: the next call for its
// target has to wait until the first has tidied up, other targets have not.
func TestATargetIsFreeOnlyWhenItIsTidy(t *testing.T) {
	s := &stubborn{Fake: mounttest.NewFake(), began: make(chan struct{}), tidy: make(chan struct{})}
	c, dir := serve(t, s)
	target, other := mkdir(t, dir, "v"), mkdir(t, dir, "w")
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { gone <- c.Glusterfs(ctx, source, target, mount.Flags{}) }()
	<-s.began
	leave()
	if err := <-gone; !volume.Is(err, volume.Unavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v; want Unavailable, canceled", err)
	}
	if err := c.Unmount(t.Context(), other); err != nil {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Unmount(short, target); err == nil {
		t.Error("the target is free although its mount is not tidied up")
	}
	close(s.tidy)
	if err := c.Unmount(t.Context(), target); err != nil {
		t.Error(err)
	}
}

// faulty panics.
type faulty struct{ *mounttest.Fake }

func (faulty) Ready(context.Context) error { panic("a fault") }

func TestAPanicEndsOneCallOnly(t *testing.T) {
	c, _ := serve(t, faulty{mounttest.NewFake()})
	for range 2 {
		if err := c.Ready(t.Context()); !volume.Is(err, volume.Internal) || strings.Contains(err.Error(), "goroutine") {
			t.Errorf("got %v; want an internal error without a stack", err)
		}
	}
}

func TestBadOptions(t *testing.T) {
	dir := realDir(t)
	good := func() mountd.Options {
		return mountd.Options{Endpoint: "unix://" + dir + "/m.sock", Dirs: []string{dir}, Mounts: mounttest.NewFake()}
	}
	for name, change := range map[string]func(*mountd.Options){
		"no endpoint":          func(o *mountd.Options) { o.Endpoint = "" },
		"no directory":         func(o *mountd.Options) { o.Dirs = nil },
		"the root directory":   func(o *mountd.Options) { o.Dirs = []string{"/"} },
		"a relative directory": func(o *mountd.Options) { o.Dirs = []string{"kubelet"} },
		"a missing directory":  func(o *mountd.Options) { o.Dirs = []string{dir, dir + "/none"} },
		"no mounter":           func(o *mountd.Options) { o.Mounts = nil },
	} {
		o := good()
		change(&o)
		if _, err := mountd.NewServer(t.Context(), o); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool { return e.Name() == "m.sock" }) {
		t.Errorf("a refused server left %v, %v", left, err)
	}
}
