//go:build lab

package plain_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/internal/volume/volumetest"
	"bricklayer.csi/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// callTime bounds one call in the lab.
const callTime = 2 * time.Minute

func labContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	t.Cleanup(cancel)
	return ctx
}

func TestBackendSuiteInTheLab(t *testing.T) {
	volumetest.Run(t, func(t *testing.T) volumetest.Fixture {
		t.Helper()
		return volumetest.Fixture{
			Backend: labtest.Backend(t), Second: labtest.Backend(t), Pool: labtest.PoolName,
			Types: []string{"replicate:3", "replicate:2", "replicate:3:arbiter:1", "disperse:2:1", "none"},
			Unit:  volume.GiB, Timeout: callTime, Leftovers: labtest.Leftovers,
		}
	})
}

// df on a client shows, to the byte, the size that the volume says it has.
func TestDfShowsTheSize(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes a volume of each type; make test-lab-long runs it")
	}
	b := labtest.Backend(t)
	for i, typ := range []string{"replicate:3", "replicate:2", "replicate:3:arbiter:1", "disperse:2:1", "none"} {
		t.Run(typ, func(t *testing.T) {
			spec := labtest.Spec(t, fmt.Sprintf("df-%d", i), volume.GiB, "volumetype", typ)
			v, err := b.Create(labContext(t), spec)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { mustDelete(t, b, v.Handle) })
			target := labtest.Mount(t, v)
			var s syscall.Statfs_t
			if err := syscall.Statfs(target, &s); err != nil {
				t.Fatal(err)
			}
			total, free := int64(s.Blocks)*s.Bsize, int64(s.Bavail)*s.Bsize
			t.Logf("%s: asked for %d, df shows %d bytes, %d free", typ, volume.GiB, total, free)
			if total != int64(v.Size) || v.Size != volume.GiB {
				t.Errorf("df shows %d bytes, the volume says %d, asked for %d", total, v.Size, volume.GiB)
			}
			info, err := os.Stat(target)
			if err != nil {
				t.Fatal(err)
			}
			if gid := int(info.Sys().(*syscall.Stat_t).Gid); gid != v.GID || info.Mode().Perm() != 0o775 || info.Mode()&os.ModeSetgid == 0 {
				t.Errorf("the root has gid %d and mode %v, want %d and 2775", gid, info.Mode(), v.GID)
			}
		})
	}
	labtest.CheckEmpty(t)
}

// Gluster takes the options of each profile, and the volume has them.
func TestProfilesInGluster(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes a volume of each profile; make test-lab-long runs it")
	}
	b := labtest.Backend(t)
	for _, profile := range volume.Profiles() {
		t.Run(string(profile), func(t *testing.T) {
			v, err := b.Create(labContext(t), labtest.Spec(t, "profile-"+string(profile), volume.GiB, "volumeprofile", string(profile)))
			if err != nil {
				t.Fatal(err)
			}
			defer mustDelete(t, b, v.Handle)
			info, err := lab.Current().Exec(labContext(t), "n1", "gluster", "volume", "info", v.Handle.Name)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range profile.Options() {
				if line := o.Key + ": " + o.Value + "\n"; !strings.Contains(string(info), line) {
					t.Errorf("the volume lacks %q:\n%s", line, info)
				}
			}
		})
	}
	labtest.CheckEmpty(t)
}

func mustDelete(t testing.TB, b volume.Backend, h volume.Handle) {
	t.Helper()
	_, err := persist(labContext(t), func(ctx context.Context) (volume.Volume, error) { return volume.Volume{}, b.Delete(ctx, h) })
	if err != nil {
		t.Errorf("delete %v: %v", h, err)
	}
}

// fill writes until the volume refuses and returns how many bytes it took.
func fill(t testing.TB, path string) (written int64, err error) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	block := make([]byte, volume.MiB)
	for err == nil {
		var n int
		n, err = f.Write(block)
		written += int64(n)
		if err == nil {
			err = f.Sync()
		}
	}
	_ = f.Close() // the error that counts is the refused write
	return written, err
}

// A writer beyond the limit gets ENOSPC or EDQUOT; its neighbour on the same
// roots writes on; after an expand there is room again.
func TestSizeIsEnforcedAndNeighboursAreSafe(t *testing.T) {
	b := labtest.Backend(t)
	var volumes []volume.Volume
	for _, name := range []string{"greedy", "neighbour"} {
		v, err := b.Create(labContext(t), labtest.Spec(t, name, 64*volume.MiB))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { mustDelete(t, b, v.Handle) })
		volumes = append(volumes, v)
	}
	greedy, neighbour := labtest.Mount(t, volumes[0]), labtest.Mount(t, volumes[1])
	written, err := fill(t, filepath.Join(greedy, "data"))
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		t.Fatalf("after %d bytes: %v, want ENOSPC or EDQUOT", written, err)
	}
	if written > 64<<20 || written < 48<<20 {
		t.Errorf("%d bytes went into a volume of %d", written, 64<<20)
	}
	if err := os.WriteFile(filepath.Join(neighbour, "data"), make([]byte, 16<<20), 0o600); err != nil {
		t.Errorf("the neighbour suffers: %v", err)
	}
	if _, err := b.Expand(labContext(t), volumes[0].Handle, volume.SizeRange{Required: 128 * volume.MiB}); err != nil {
		t.Fatal(err)
	}
	// The first file's copies may be of different length since the refused write, and
	// wait to be healed: Gluster may refuse to write on, with ENOTCONN, until they are.
	more, err := fill(t, filepath.Join(greedy, "more"))
	t.Logf("after the expand %d bytes more, then %v", more, err)
	if more < 32<<20 || err == nil {
		t.Errorf("after the expand the writer wrote %d bytes more and got %v", more, err)
	}
}

// Many volumes at once, with a storage node restarted in the middle: all of
// them come to be, none twice, and all go away again. Callers do as an
// orchestrator does: they come again until they have their answer.
func TestStormWithARestart(t *testing.T) {
	const callers = 20
	const volumes = 100
	if testing.Short() {
		t.Skip("it takes a quarter of an hour; make test-lab-long runs it")
	}
	s := labtest.Service(t)
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()

	specs := make(chan volume.Spec, volumes)
	for i := range volumes {
		specs <- labtest.Spec(t, fmt.Sprintf("storm-%03d", i), 16*volume.MiB)
	}
	close(specs)
	var (
		mu    sync.Mutex
		made  []volume.Volume
		began = time.Now()
	)
	var wg sync.WaitGroup
	restarted := make(chan error, 1)
	wg.Go(func() {
		if !waitFor(ctx, func() bool { mu.Lock(); defer mu.Unlock(); return len(made) >= volumes/4 }) {
			restarted <- ctx.Err()
			return
		}
		restarted <- lab.Current().Restart(ctx, "n2")
	})
	for range callers {
		wg.Go(func() {
			for spec := range specs {
				v, err := persist(ctx, func(ctx context.Context) (volume.Volume, error) { return s.Create(ctx, spec) })
				if err != nil {
					t.Errorf("create %s: %v", spec.Name, err)
					continue
				}
				mu.Lock()
				made = append(made, v)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := <-restarted; err != nil {
		t.Errorf("restart n2: %v", err)
	}
	t.Logf("%d volumes in %v", len(made), time.Since(began).Round(time.Second))
	listed, err := s.List(ctx)
	if err != nil || len(listed) != volumes {
		t.Errorf("%d volumes are listed (%v), want %d", len(listed), err, volumes)
	}
	began = time.Now()
	handles := make(chan volume.Handle, volumes)
	for i := range volumes {
		handles <- labtest.Spec(t, fmt.Sprintf("storm-%03d", i), 16*volume.MiB).Handle()
	}
	close(handles)
	for range callers {
		wg.Go(func() {
			for h := range handles {
				_, err := persist(ctx, func(ctx context.Context) (volume.Volume, error) { return volume.Volume{}, s.Delete(ctx, h) })
				if err != nil {
					t.Errorf("delete %v: %v", h, err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("deleted in %v", time.Since(began).Round(time.Second))
	labtest.CheckEmpty(t)
}

// persist repeats a call as an orchestrator does: a minute at a time, with
// back-off, until it succeeds, fails for certain, or ctx ends.
func persist(ctx context.Context, call func(ctx context.Context) (volume.Volume, error)) (v volume.Volume, err error) {
	for wait := time.Second; ; wait = min(2*wait, 15*time.Second) {
		attempt, cancel := context.WithTimeout(ctx, time.Minute)
		v, err = call(attempt)
		cancel()
		if err == nil || volume.KindOf(err).Definite() {
			return v, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return v, err
		}
	}
}

// waitFor returns true once ok holds, or false when ctx ends first.
func waitFor(ctx context.Context, ok func() bool) bool {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// What was written is there after every storage node was restarted at once.
func TestDataSurvivesARestartOfAllNodes(t *testing.T) {
	b := labtest.Backend(t)
	v, err := b.Create(labContext(t), labtest.Spec(t, "survivor", 128*volume.MiB))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustDelete(t, b, v.Handle) })
	target := labtest.Mount(t, v)
	path := filepath.Join(target, "data")
	data := make([]byte, 32<<20)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, n := range lab.Current().Nodes() {
		wg.Go(func() {
			if err := lab.Current().Restart(labContext(t), n.Name); err != nil {
				t.Errorf("restart %s: %v", n.Name, err)
			}
		})
	}
	wg.Wait()
	var sum [sha256.Size]byte
	if !waitFor(labContext(t), func() bool {
		f, err := os.Open(path)
		if err != nil {
			return false
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return false
		}
		copy(sum[:], h.Sum(nil))
		return true
	}) {
		t.Fatal("the file cannot be read after the restart")
	}
	if sum != sha256.Sum256(data) {
		t.Error("the file is not what was written")
	}
}
