//go:build lab

package heketi_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bricklayer.csi/internal/heketi"
	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/internal/volume/volumetest"
	"bricklayer.csi/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// callTime bounds one call in the lab.
const callTime = 5 * time.Minute

func labContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	t.Cleanup(cancel)
	return ctx
}

// long skips a test that takes minutes where -short is given, as make test does.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes minutes: run it with make test-lab-long")
	}
}

// newBackend returns a backend over the lab's heketi, as a controller has it,
// with the lab's agents where gluster is set.
func newBackend(t testing.TB, gluster bool) *heketi.Backend {
	t.Helper()
	return labtest.Heketi(t, gluster)
}

// shortCases are the cases of the suite that -short leaves to run on real nodes. A
// volume costs a minute and more here; the real heketi without nodes passes all of
// them in seconds, and the tests in Kubernetes have a volume's whole life.
var shortCases = []string{"ManyCallersOneVolume"}

func TestBackendSuiteInTheLab(t *testing.T) {
	volumetest.Run(t, func(t *testing.T) volumetest.Fixture {
		t.Helper()
		if _, name, _ := strings.Cut(t.Name(), "/"); !slices.Contains(shortCases, name) {
			long(t)
		}
		return volumetest.Fixture{
			Backend: newBackend(t, true), Second: newBackend(t, false), Pool: labtest.PoolName, LVM: true,
			Types: []string{"replicate:3", "disperse:2:1", "none"},
			Unit:  volume.GiB, Timeout: callTime, Leftovers: labtest.HeketiLeftovers,
		}
	})
}

func checkEmpty(t testing.TB) {
	t.Helper()
	labtest.CheckHeketiEmpty(t)
}

func testSpec(t testing.TB, name string, parameters ...string) volume.Spec {
	t.Helper()
	return labtest.Spec(t, name, volume.GiB, append([]string{"lvm", "true"}, parameters...)...)
}

func mustCreate(t testing.TB, b *heketi.Backend, spec volume.Spec) volume.Volume {
	t.Helper()
	start := time.Now()
	v, err := b.Create(labContext(t), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("created %s (%s, %d bytes) in %.1f s", spec.Name, v.Type, v.Size, time.Since(start).Seconds())
	return v
}

func mustDelete(t testing.TB, b *heketi.Backend, h volume.Handle) {
	t.Helper()
	start := time.Now()
	if err := b.Delete(labContext(t), h); err != nil {
		t.Fatalf("delete %v: %v", h, err)
	}
	t.Logf("deleted %s in %.1f s", h.Name, time.Since(start).Seconds())
}

// A volume shows its options and its gid in Gluster, is mounted, written and
// expanded while mounted, and comes back with its data after its nodes were
// restarted; so does a volume on plain directories that is mounted beside it.
func TestVolumeOfHeketi(t *testing.T) {
	if testing.Short() {
		t.Skip("heketi takes minutes for it; make test-lab-long runs it")
	}
	b, l := newBackend(t, true), lab.Current()
	spec := testSpec(t, "whole", "volumeprofile", "database", "volumeoptions", "performance.read-ahead off", "gidMin", "4000", "gidMax", "4010")
	v := mustCreate(t, b, spec)
	info, err := l.Exec(labContext(t), "n1", "gluster", "volume", "info", v.Handle.Name)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"user.bricklayer.handle: " + v.Handle.String(), "performance.read-ahead: off", "auth.allow: ", "performance.strict-o-direct: on"} {
		if !strings.Contains(string(info), want) {
			t.Errorf("gluster volume info lacks %q:\n%s", want, info)
		}
	}
	target := labtest.Mount(t, v)
	df := func(when string) int64 {
		t.Helper()
		var s syscall.Statfs_t
		if err := syscall.Statfs(target, &s); err != nil {
			t.Fatal(err)
		}
		t.Logf("df shows %d MiB %s", int64(s.Blocks)*s.Bsize>>20, when)
		return int64(s.Blocks) * s.Bsize
	}
	before := df("of 1 GiB")
	st, err := os.Stat(target)
	if err != nil {
		t.Fatal(err)
	}
	if gid := int(st.Sys().(*syscall.Stat_t).Gid); gid != v.GID || st.Mode()&os.ModeSetgid == 0 {
		t.Errorf("the root has gid %d and mode %v, want %d", gid, st.Mode(), v.GID)
	}
	file := filepath.Join(target, "data")
	data := strings.Repeat("bricklayer\n", 100_000)
	if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	grown, err := b.Expand(labContext(t), v.Handle, volume.SizeRange{Required: 2 * volume.GiB})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("expanded in %.1f s", time.Since(start).Seconds())
	if after := df("of 2 GiB"); grown.Size != 2*volume.GiB || after < before*19/10 {
		t.Errorf("expanded to %d bytes, df went from %d to %d", grown.Size, before, after)
	}
	checkPlain := plainBeside(t, data)
	for _, n := range l.Nodes() {
		if err := l.Restart(labContext(t), n.Name); err != nil {
			t.Fatal(err)
		}
	}
	awaitHealthy(t, b, v.Handle)
	got, err := os.ReadFile(file)
	if err != nil || string(got) != data {
		t.Errorf("after the restart of all nodes: %d bytes, %v; want %d", len(got), err, len(data))
	}
	checkPlain()
	if err := os.Remove(file); err != nil {
		t.Error(err)
	}
	if _, err := l.Host(labContext(t), "umount", target); err != nil {
		t.Error(err)
	}
	mustDelete(t, b, v.Handle)
	checkEmpty(t)
}

// plainBeside mounts a volume on plain directories with those data in it. The
// function that it returns checks them and takes the volume away.
func plainBeside(t *testing.T, data string) (check func()) {
	t.Helper()
	b := labtest.Backend(t)
	v, err := b.Create(labContext(t), labtest.Spec(t, "plain-beside", 64*volume.MiB))
	if err != nil {
		t.Fatal(err)
	}
	target := labtest.Mount(t, v)
	file := filepath.Join(target, "data")
	if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		awaitHealthy(t, b, v.Handle)
		if got, err := os.ReadFile(file); err != nil || string(got) != data {
			t.Errorf("the plain volume after the restart of all nodes: %d bytes, %v; want %d", len(got), err, len(data))
		}
		if _, err := lab.Current().Host(labContext(t), "umount", target); err != nil {
			t.Error(err)
		}
		if err := b.Delete(labContext(t), v.Handle); err != nil {
			t.Errorf("delete %v: %v", v.Handle, err)
		}
	}
}

// awaitHealthy waits until nothing is wrong with a volume.
func awaitHealthy(t testing.TB, b volume.Backend, h volume.Handle) {
	t.Helper()
	ctx := labContext(t)
	for {
		health, err := b.Health(ctx, h)
		if err == nil && len(health.Problems) == 0 {
			return
		}
		timer := time.NewTimer(time.Second)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			t.Fatalf("not healthy: %+v, %v", health, err)
		}
	}
}

// killAfter runs a call and kills heketi a while after it began; then heketi is
// started again. It returns what the call said.
func killAfter(t *testing.T, d time.Duration, call func(ctx context.Context) error) error {
	t.Helper()
	l := lab.Current()
	var wg sync.WaitGroup
	var said error
	wg.Go(func() { said = call(labContext(t)) })
	timer := time.NewTimer(d)
	<-timer.C
	if err := l.KillHeketi(labContext(t)); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if err := l.StartHeketi(labContext(t)); err != nil {
		t.Fatal(err)
	}
	t.Logf("heketi killed after %v, the call said: %v", d, said)
	if said != nil && volume.KindOf(said).Definite() && !stuck(said) {
		t.Errorf("a call during which heketi was killed failed for certain: %v", said)
	}
	return said
}

// heketi is killed at many moments of a create, an expansion and a delete; the
// repeated call ends where it should, and nothing is left over.
func TestHeketiKilled(t *testing.T) {
	long(t)
	moments := []time.Duration{200 * time.Millisecond, 2 * time.Second, 6 * time.Second, 14 * time.Second}
	for _, d := range moments {
		t.Run("create "+d.String(), func(t *testing.T) {
			b := newBackend(t, true)
			spec := testSpec(t, "killed")
			killAfter(t, d, func(ctx context.Context) error {
				_, err := b.Create(ctx, spec)
				return err
			})
			v := mustCreate(t, newBackend(t, true), spec)
			awaitHealthy(t, b, v.Handle)
			killAfter(t, d, func(ctx context.Context) error { return b.Delete(ctx, v.Handle) })
			mustDelete(t, newBackend(t, true), v.Handle)
			checkEmpty(t)
		})
	}
}

// stuck reports whether err is the one state of an expansion that heketi can
// neither finish nor take back.
func stuck(err error) bool {
	return volume.Is(err, volume.Precondition) && strings.Contains(err.Error(), "remove-brick")
}

// An expansion during which heketi is killed is taken back and done again. If it
// had come so far that heketi cannot take it back, that is said, and the volume
// can be deleted all the same.
func TestHeketiKilledInExpansion(t *testing.T) {
	long(t)
	for _, d := range []time.Duration{300 * time.Millisecond, 3 * time.Second, 8 * time.Second, 12 * time.Second} {
		t.Run(d.String(), func(t *testing.T) {
			b := newBackend(t, true)
			v := mustCreate(t, b, testSpec(t, "grown"))
			killAfter(t, d, func(ctx context.Context) error {
				_, err := b.Expand(ctx, v.Handle, volume.SizeRange{Required: 2 * volume.GiB})
				return err
			})
			got, err := newBackend(t, true).Expand(labContext(t), v.Handle, volume.SizeRange{Required: 2 * volume.GiB})
			t.Logf("the repeated call: %d bytes, %v", got.Size, err)
			if !stuck(err) && (err != nil || got.Size != 2*volume.GiB) {
				t.Errorf("the repeated call: %d bytes, %v", got.Size, err)
			}
			mustDelete(t, newBackend(t, true), v.Handle)
			checkEmpty(t)
		})
	}
}

// Volumes of many callers at once: none lost, none double.
func TestStormInTheLab(t *testing.T) {
	long(t)
	const callers = 8
	b := newBackend(t, true)
	var wg sync.WaitGroup
	each := func(call func(ctx context.Context, spec volume.Spec) error) {
		for i := range callers {
			spec := testSpec(t, fmt.Sprintf("storm-%d", i))
			wg.Go(func() {
				for {
					ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
					err := call(ctx, spec)
					if ctx.Err() != nil {
						t.Errorf("%s was answered after its deadline: %v", spec.Name, err)
					}
					cancel()
					if err == nil {
						return
					}
					if volume.KindOf(err).Definite() {
						t.Errorf("%s: %v", spec.Name, err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	start := time.Now()
	each(func(ctx context.Context, spec volume.Spec) error {
		_, err := b.Create(ctx, spec)
		return err
	})
	all, err := b.List(labContext(t), labtest.PoolName)
	if err != nil || len(all) != callers {
		t.Errorf("listed %d volumes, %v; want %d", len(all), err, callers)
	}
	t.Logf("%d volumes created in %.0f s", callers, time.Since(start).Seconds())
	each(func(ctx context.Context, spec volume.Spec) error { return b.Delete(ctx, spec.Handle()) })
	t.Logf("and deleted in %.0f s", time.Since(start).Seconds())
	checkEmpty(t)
}
