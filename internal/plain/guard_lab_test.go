//go:build lab

package plain_test

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/internal/lifecycle/lifecycletest"
	"bricklayer.csi/internal/plain"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/lab"
)

var room = flag.Int("room", 30, "for how many bricks a node TestStormOnLittleMemory leaves memory")

// inGuests runs a script on every node at once and returns what each wrote.
func inGuests(t *testing.T, script string, args ...string) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	out := map[string]string{}
	for _, n := range lab.Current().Nodes() {
		all.Go(func() {
			text, err := lab.Current().Exec(ctx, n.Name, append([]string{"sh", "-c", script, "sh"}, args...)...)
			mu.Lock()
			defer mu.Unlock()
			if out[n.Name] = strings.TrimSpace(string(text)); err != nil {
				t.Errorf("on %s: %v\n%s", n.Name, err, text)
			}
		})
	}
	all.Wait()
	return out
}

// squeeze leaves so much memory available on every node, in MiB, until the test
// ends: the kernel keeps the rest to itself, and kills processes as it would on a
// node that has no more.
func squeeze(t *testing.T, leave int) {
	t.Helper()
	const kept = `kept=/proc/sys/vm/min_free_kbytes; before=/tmp/bricklayer-test-min-free; `
	inGuests(t, kept+`
set -e
cat $kept >$before
for i in 1 2 3 4 5 6; do
  more=$(($(awk '/^MemAvailable/ {print $2}' /proc/meminfo) - $1 * 1024))
  if [ ${more#-} -lt 4096 ]; then break; fi
  echo $(($(cat $kept) + more * 2 / 3)) >$kept
done`, strconv.Itoa(leave))
	t.Cleanup(func() { inGuests(t, kept+`if [ -e $before ]; then cat $before >$kept; rm $before; fi`) })
	t.Logf("memory available, in MiB: %v", available(t))
}

func available(t *testing.T) map[string]string {
	t.Helper()
	return inGuests(t, `awk '/^MemAvailable/ {print int($2/1024)}' /proc/meminfo`)
}

// killed returns how often each node's kernel has killed a process for want of
// memory since it booted, and the names of the last few.
func killed(t *testing.T) map[string]string {
	t.Helper()
	return inGuests(t, `dmesg | grep -c 'Out of memory: Killed' || true; dmesg | grep 'Out of memory: Killed' | sed 's/.*(\([^)]*\)).*/\1/' | sort | uniq -c | tr -s ' \n' '  '`)
}

// answers are what the callers of a storm were told.
type answers struct {
	made      []volume.Handle
	exhausted int
	others    map[string]int
	last      string
	took      time.Duration
}

// storm has callers ask for volumes, each as an orchestrator does: until it is made,
// or refused for certain.
func storm(t *testing.T, b *plain.Backend, name string, volumes, callers int, patience time.Duration) (a answers) {
	t.Helper()
	s := lifecycletest.OnePool{Pool: labtest.PoolName, Name: volume.Plain, Backing: b}.Service()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	specs := make(chan volume.Spec, volumes)
	for i := range volumes {
		specs <- labtest.Spec(t, fmt.Sprintf("%s-%03d", name, i), 16*volume.MiB)
	}
	close(specs)
	a.others = map[string]int{}
	began := time.Now()
	var mu sync.Mutex
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for spec := range specs {
				v, err := persist(ctx, func(ctx context.Context) (volume.Volume, error) { return s.Create(ctx, spec) })
				mu.Lock()
				switch {
				case err == nil:
					a.made = append(a.made, v.Handle)
				case volume.Is(err, volume.Exhausted):
					a.exhausted, a.last = a.exhausted+1, err.Error()
				default:
					a.others[volume.KindOf(err).String()]++
					a.last = err.Error()
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	a.took = time.Since(began)
	t.Logf("%d volumes asked for by %d callers: %d made, %d refused for want of room, others %v, in %v: %.1f answers and %.2f volumes a second; the last refusal: %s",
		volumes, callers, len(a.made), a.exhausted, a.others, a.took.Round(time.Second), float64(volumes)/a.took.Seconds(), float64(len(a.made))/a.took.Seconds(), a.last)
	t.Logf("memory available, in MiB: %v; processes killed: %v", available(t), killed(t))
	return a
}

// A storm of claims on nodes with little memory: as many volumes are made as the
// memory bears, the rest is refused with figures, and no process is killed.
func TestStormOnLittleMemory(t *testing.T) {
	const callers, volumes = 20, 300
	if testing.Short() {
		t.Skip("it takes minutes; make test-lab-long runs it")
	}
	before := killed(t)
	squeeze(t, (guard.DefaultReserve+*room*guard.DefaultPerBrick)>>20)
	b := labtest.Backend(t)
	a := storm(t, b, "little", volumes, callers, 20*time.Minute)
	if len(a.made)+a.exhausted != volumes || len(a.made) == 0 || a.exhausted == 0 {
		t.Errorf("%d made and %d refused of %d, others %v", len(a.made), a.exhausted, volumes, a.others)
	}
	if !strings.Contains(a.last, "short of memory") || !strings.Contains(a.last, "MiB are available") {
		t.Errorf("the refusal has no figures: %s", a.last)
	}
	for node, now := range killed(t) {
		if now != before[node] {
			t.Errorf("%s killed processes: %s, before %s", node, now, before[node])
		}
	}
	for _, h := range a.made {
		if health, err := b.Health(labContext(t), h); err != nil || len(health.Problems) > 0 {
			t.Errorf("%v: %+v, %v", h, health.Problems, err)
		}
	}
	removeCrowd(t, b, a.made)
	labtest.CheckEmpty(t)
}

// What becomes of the nodes without the guard is told, not judged: it is why there is one.
func TestStormWithoutTheGuard(t *testing.T) {
	const callers, volumes = 20, 60
	if testing.Short() {
		t.Skip("it takes minutes and kills processes; make test-lab-long runs it")
	}
	squeeze(t, 300)
	config := labtest.Config(t)
	config.Guard = guard.Settings{Operations: callers, Failures: 1 << 30, Budget: guard.Budget{Reserve: 1, PerBrick: 1, MaxPressure: 100}}
	b := labtest.NewBackend(config)
	a := storm(t, b, "unguarded", volumes, callers, 6*time.Minute)
	down := 0
	for _, h := range a.made {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if health, err := b.Health(ctx, h); err != nil || len(health.Problems) > 0 {
			down++
		}
		cancel()
	}
	t.Logf("of %d volumes that were made %d are not whole any more", len(a.made), down)
	t.Logf("glusterd: %v", inGuests(t, `pidof glusterd >/dev/null && echo runs || echo "does not run"`))

	// The nodes are as new after a restart, which also takes the squeeze away.
	var all sync.WaitGroup
	for _, n := range lab.Current().Nodes() {
		all.Go(func() {
			if err := lab.Current().Restart(labContext(t), n.Name); err != nil {
				t.Errorf("restart %s: %v", n.Name, err)
			}
		})
	}
	all.Wait()
	handles := make([]volume.Handle, volumes)
	for i := range volumes {
		handles[i] = labtest.Spec(t, fmt.Sprintf("unguarded-%03d", i), 16*volume.MiB).Handle()
	}
	removeCrowd(t, b, handles)
	labtest.CheckEmpty(t)
}

// Claims of another class come to their turn though a storm of one class came first.
func TestStormOfOneClass(t *testing.T) {
	const many, few = 16, 3
	if testing.Short() {
		t.Skip("it takes a minute; make test-lab-long runs it")
	}
	config := labtest.Config(t)
	config.Guard.Operations = 2
	b := labtest.NewBackend(config)
	var mu sync.Mutex
	var order []string
	var all sync.WaitGroup
	create := func(class, typ string, i int) {
		all.Go(func() {
			spec := labtest.Spec(t, fmt.Sprintf("%s-%02d", class, i), 16*volume.MiB, "volumetype", typ)
			_, err := persist(t.Context(), func(ctx context.Context) (volume.Volume, error) { return b.Create(ctx, spec) })
			if err != nil {
				t.Errorf("create %s: %v", spec.Name, err)
			}
			mu.Lock()
			order = append(order, class)
			mu.Unlock()
		})
	}
	for i := range many {
		create("storm", "none", i)
	}
	if !waitFor(labContext(t), func() bool { s := b.Admission().State(); return s.Running+s.Waiting == many }) {
		t.Fatal("the storm does not wait")
	}
	for i := range few {
		create("other", "replicate:2", i)
	}
	all.Wait()
	t.Logf("they were done in this order: %v", order)
	last := strings.LastIndex(strings.Join(order, " "), "other")
	if after := strings.Count(strings.Join(order, " ")[last:], "storm"); after < few {
		t.Errorf("%d of the storm were done after the last of the other class, want %d at least", after, few)
	}
	var handles []volume.Handle
	for i := range many {
		handles = append(handles, labtest.Spec(t, fmt.Sprintf("storm-%02d", i), 16*volume.MiB).Handle())
	}
	for i := range few {
		handles = append(handles, labtest.Spec(t, fmt.Sprintf("other-%02d", i), 16*volume.MiB).Handle())
	}
	removeCrowd(t, b, handles)
	labtest.CheckEmpty(t)
}
