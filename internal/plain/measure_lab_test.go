//go:build lab

package plain_test

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"bricklayer.csi/bench/stats"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/internal/plain"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/lab"
)

var (
	pairs    = flag.Int("pairs", 3, "how many pairs of creates TestCreateBesideBareCommands compares")
	existing = flag.String("existing", "1", "comma-separated: with how many volumes existing it compares them")
	density  = flag.Int("density", 0, "with how many volumes TestBrickMultiplexing compares the settings; 0 skips it")
)

// byHand makes a volume as an administrator does: directories and quotas on all
// nodes at once, then the two gluster commands.
func byHand(ctx context.Context, name string) error {
	l := lab.Current()
	prepare := fmt.Sprintf(`set -e; mkdir -p /bricks/root1/hand/%[1]s/brick
xfs_quota -x -c "project -s -p /bricks/root1/hand/%[1]s/brick $1" -c "limit -p bhard=64m $1" /bricks/root1 >/dev/null`, name)
	project := fmt.Sprint(5000 + len(name)*1000 + int(name[len(name)-1]))
	errs := make([]error, len(l.Nodes()))
	var wg sync.WaitGroup
	bricks := make([]string, len(l.Nodes()))
	for i, n := range l.Nodes() {
		bricks[i] = fmt.Sprintf("%s:/bricks/root1/hand/%s/brick", n.Address, name)
		wg.Go(func() { _, errs[i] = l.Exec(ctx, n.Name, "sh", "-c", prepare, "sh", project) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	_, err := l.Exec(ctx, "n1", "sh", "-c", fmt.Sprintf(
		"gluster --mode=script volume create %[1]s replica 3 %[2]s && gluster --mode=script volume start %[1]s", name, strings.Join(bricks, " ")))
	return err
}

func removeByHand(ctx context.Context, name string) error {
	l := lab.Current()
	if _, err := l.Exec(ctx, "n1", "sh", "-c", fmt.Sprintf(
		"gluster --mode=script volume stop %[1]s force && gluster --mode=script volume delete %[1]s", name)); err != nil {
		return err
	}
	for _, n := range l.Nodes() {
		project := fmt.Sprint(5000 + len(name)*1000 + int(name[len(name)-1]))
		if _, err := l.Exec(ctx, n.Name, "sh", "-c", fmt.Sprintf(
			`rm -rf /bricks/root1/hand/%s && rmdir /bricks/root1/hand 2>/dev/null; xfs_quota -x -c "limit -p bhard=0 $1" /bricks/root1`, name), "sh", project); err != nil {
			return err
		}
	}
	return nil
}

// TestCreateBesideBareCommands takes both ways in turn, so that the machine's
// moods hit both, and prints the ratio pair by pair. It fails only where ours
// takes three times as long: then a step has crept in that does not belong
// there. With no volume existing whoever is first in a pair also pays for the
// start of the self-heal daemon.
func TestCreateBesideBareCommands(t *testing.T) {
	for text := range strings.SplitSeq(*existing, ",") {
		var n int
		if _, err := fmt.Sscan(text, &n); err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprintf("%d volumes existing", n), func(t *testing.T) {
			b := labtest.Backend(t)
			crowd := makeCrowd(t, b, n)
			defer removeCrowd(t, b, crowd)
			ratios := make([]float64, 0, *pairs)
			for i := range *pairs {
				ours, hand := pair(t, b, i)
				ratios = append(ratios, ours.Seconds()/hand.Seconds())
				t.Logf("pair %d: ours %.2f s, bare commands %.2f s, ratio %.2f", i, ours.Seconds(), hand.Seconds(), ratios[i])
			}
			median := stats.Median(ratios)
			t.Logf("with %d volumes existing: create / bare commands, median of %d pairs = %.2f", n, *pairs, median)
			if median > 3 {
				t.Errorf("a create takes %.2f times as long as the bare commands", median)
			}
		})
	}
	labtest.CheckEmpty(t)
}

// pair makes and removes a volume each way, ours first in even pairs.
func pair(t *testing.T, b *plain.Backend, i int) (ours, hand time.Duration) {
	t.Helper()
	spec := labtest.Spec(t, fmt.Sprintf("ours-%d", i), 64*volume.MiB)
	name := fmt.Sprintf("hand-%d", i)
	makeOurs := func() {
		began := time.Now()
		if _, err := b.Create(labContext(t), spec); err != nil {
			t.Fatal(err)
		}
		ours = time.Since(began)
	}
	makeHand := func() {
		began := time.Now()
		if err := byHand(labContext(t), name); err != nil {
			t.Fatal(err)
		}
		hand = time.Since(began)
	}
	if i%2 == 0 {
		makeOurs()
		makeHand()
	} else {
		makeHand()
		makeOurs()
	}
	mustDelete(t, b, spec.Handle())
	if err := removeByHand(labContext(t), name); err != nil {
		t.Fatal(err)
	}
	return ours, hand
}

func makeCrowd(t *testing.T, b *plain.Backend, n int) []volume.Handle {
	t.Helper()
	handles := make([]volume.Handle, n)
	began := time.Now()
	inParallel(n, func(i int) {
		spec := labtest.Spec(t, fmt.Sprintf("crowd-%03d", i), 16*volume.MiB)
		handles[i] = spec.Handle()
		if _, err := persist(t.Context(), func(ctx context.Context) (volume.Volume, error) { return b.Create(ctx, spec) }); err != nil {
			t.Errorf("create %s: %v", spec.Name, err)
		}
	})
	if n > 0 {
		t.Logf("%d volumes made in %v", n, time.Since(began).Round(time.Second))
	}
	return handles
}

func removeCrowd(t *testing.T, b *plain.Backend, handles []volume.Handle) {
	t.Helper()
	inParallel(len(handles), func(i int) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		if _, err := persist(ctx, func(ctx context.Context) (volume.Volume, error) {
			return volume.Volume{}, b.Delete(ctx, handles[i])
		}); err != nil {
			t.Errorf("delete %v: %v", handles[i], err)
		}
	})
}

// inParallel calls f for 0 to n-1, a few at a time.
func inParallel(n int, f func(i int)) {
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	wg.Wait()
}

// TestBrickMultiplexing compares what many volumes cost a storage node with and
// without brick multiplexing. It takes long, so it runs only when asked.
func TestBrickMultiplexing(t *testing.T) {
	if *density == 0 {
		t.Skip("run it with -density 100")
	}
	for _, multiplex := range []bool{false, true} {
		config := labtest.Config(t)
		config.BrickMultiplex = &multiplex
		b := labtest.NewBackend(config)
		if err := b.Configure(labContext(t)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		crowd := makeCrowd(t, b, *density)
		made := time.Since(began)
		for _, n := range config.Nodes {
			d, err := n.Agent.Describe(labContext(t))
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("multiplex %v: %s runs %d brick processes with %v resident for %d bricks; %v of %v available",
				multiplex, n.Name, d.BrickProcesses, mib(d.BrickMemory), *density, mib(d.MemoryAvailable), mib(d.MemoryTotal))
		}
		began = time.Now()
		removeCrowd(t, b, crowd)
		t.Logf("multiplex %v: made in %v, removed in %v", multiplex, made.Round(time.Second), time.Since(began).Round(time.Second))
	}
	node := labtest.Config(t).Nodes[0].Agent
	if err := node.SetOptions(labContext(t), gluster.AllVolumes, []gluster.Option{{Key: "cluster.brick-multiplex", Value: "off"}}); err != nil {
		t.Error(err)
	}
	labtest.CheckEmpty(t)
}

func mib(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }
