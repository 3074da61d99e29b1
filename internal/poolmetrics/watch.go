package poolmetrics

import (
	"context"
	"sync"
	"time"

	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/operator"
)

// DefaultPeriod is how often Watch looks: as often as Prometheus usually scrapes.
const DefaultPeriod = 30 * time.Second

// Pool is a pool to be looked at.
type Pool struct {
	// Resource has its defaults.
	Resource v1alpha1.StoragePool
	Members  operator.Members
}

// Watch looks at pools that no operator looks after until ctx ends: it looks at
// those that list returns, all at once, then waits for the period. What it saw is
// forgotten at the end.
func (c *Collector) Watch(ctx context.Context, period time.Duration, list func() []Pool) {
	defer c.Clear()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		c.look(ctx, list())
		timer.Reset(period)
	}
}

// look looks at these pools, and forgets all others.
func (c *Collector) look(ctx context.Context, pools []Pool) {
	listed := make(map[string]bool, len(pools))
	for i := range pools {
		listed[pools[i].Resource.Name] = true
	}
	before := map[string]v1alpha1.StoragePoolStatus{}
	c.mu.Lock()
	for name, s := range c.seen {
		before[name] = s.Status
		if !listed[name] {
			delete(c.seen, name)
		}
	}
	c.mu.Unlock()
	var looking sync.WaitGroup
	for i := range pools {
		p := &pools[i]
		looking.Go(func() {
			s := operator.Look(ctx, &p.Resource, before[p.Resource.Name], p.Members)
			if ctx.Err() == nil { // what was seen then is the end, not the pool
				c.Seen(s)
			}
		})
	}
	looking.Wait()
}
