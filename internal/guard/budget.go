package guard

import (
	"fmt"
	"sync"
	"time"

	"bricklayer.csi/agent"
)

// Budget is what a storage node must have to take another brick. Zero values
// mean the defaults. A brick process that is killed for want of memory takes
// volumes of other people with it, so a node says no before.
type Budget struct {
	// Reserve is the memory, in bytes, that stays available; by default a
	// twentieth of the node's, DefaultReserve at least.
	Reserve int64
	// PerBrick is the memory, in bytes, that a brick is expected to take.
	PerBrick int64
	// MaxPressure is the share of the last ten seconds, in percent, in which some
	// task may have waited for memory.
	MaxPressure int
	// MaxBricks is how many bricks a node may have; 0 means any number.
	MaxBricks int
}

// The defaults of a Budget.
const (
	DefaultReserve     = 256 << 20
	DefaultPerBrick    = 24 << 20 // 20 MiB resident at rest, see decision 6
	DefaultMultiplexed = 8 << 20  // of which a brick without a process of its own takes 4
	DefaultMaxPressure = 40
	reserveShare       = 20
)

func (b Budget) withDefaults() Budget {
	if b.PerBrick <= 0 {
		b.PerBrick = DefaultPerBrick
	}
	if b.MaxPressure <= 0 {
		b.MaxPressure = DefaultMaxPressure
	}
	return b
}

// reserve is what stays available on a node of that memory.
func (b Budget) reserve(total int64) int64 {
	if b.Reserve > 0 {
		return b.Reserve
	}
	return max(DefaultReserve, total/reserveShare)
}

// Shortage is why a node takes no further brick; its zero value is of one that may.
type Shortage struct {
	// What is short, and the Figures of the moment, in words.
	What, Figures string
}

// String returns both, or nothing.
func (s Shortage) String() string {
	if s.What == "" {
		return ""
	}
	return s.What + ": " + s.Figures
}

// Shortage returns why a node of that state takes no further brick. coming are
// bricks on their way there that its state may not show. What the node does not
// tell is no reason: an older agent, or a kernel without pressure stall information.
func (b Budget) Shortage(d agent.Description, coming int) Shortage {
	b = b.withDefaults()
	reserve := b.reserve(d.MemoryTotal)
	switch bricks := BricksOf(d) + coming; {
	case b.MaxBricks > 0 && bricks >= b.MaxBricks:
		return Shortage{"it has as many bricks as it may", fmt.Sprintf("%d%s, and %d are allowed (spec.guard.maxBricksPerNode)", BricksOf(d), and(coming), b.MaxBricks)}
	case d.MemoryPressure > float64(b.MaxPressure):
		return Shortage{"it is short of memory", fmt.Sprintf("its tasks waited for it %.0f %% of the last 10 s, and %d %% are allowed (spec.guard.maxPressure)", d.MemoryPressure, b.MaxPressure)}
	case d.MemoryTotal > 0 && d.MemoryAvailable-int64(coming+1)*b.PerBrick < reserve:
		return Shortage{"it is short of memory", fmt.Sprintf("%d MiB are available%s, a brick takes %d MiB (spec.guard.memoryPerBrick), and %d MiB stay free (spec.guard.memoryReserve)",
			d.MemoryAvailable>>20, and(coming), b.PerBrick>>20, reserve>>20)}
	}
	return Shortage{}
}

// Room returns how many more bricks a node of that state may take, and false
// where nothing that it tells bounds them.
func (b Budget) Room(d agent.Description) (bricks int, bounded bool) {
	b = b.withDefaults()
	if b.Shortage(d, 0) != (Shortage{}) {
		return 0, true
	}
	if d.MemoryTotal > 0 {
		bricks, bounded = int((d.MemoryAvailable-b.reserve(d.MemoryTotal))/b.PerBrick), true
	}
	if left := b.MaxBricks - BricksOf(d); b.MaxBricks > 0 && (!bounded || left < bricks) {
		bricks, bounded = left, true
	}
	return bricks, bounded
}

// Cure is what to do about a shortage.
const Cure = "free memory on the nodes that are named or take volumes off them, set brickMultiplex, add nodes, or change spec.guard of the pool"

func and(coming int) string {
	if coming == 0 {
		return ""
	}
	return fmt.Sprintf(" with %d more on their way there", coming)
}

// BricksOf counts a node's bricks: the directories of the pool, and processes of
// others where these are more.
func BricksOf(d agent.Description) int {
	directories := 0
	for _, r := range d.Roots {
		directories += r.Bricks
	}
	return max(directories, d.BrickProcesses)
}

// coming are bricks that were admitted, and that the nodes may not show yet:
// without them many creations at once would all see the same free memory.
type coming struct {
	mu       sync.Mutex
	arrivals []*arrival
}

// arrival is the bricks of one creation.
type arrival struct {
	nodes []string
	// ended is when the creation did; zero while it runs.
	ended time.Time
}

// settling is how long after a creation its bricks may still grow: a process
// signs in to glusterd before it has all of its memory, and the self-heal daemon
// is given the new volume then.
const settling = 5 * time.Second

// on returns how many bricks are on their way to a node whose state was asked
// for at that moment.
func (c *coming) on(node string, asked time.Time) (n int) {
	for _, a := range c.arrivals {
		if a.ended.IsZero() || asked.Before(a.ended.Add(settling)) {
			for _, to := range a.nodes {
				if to == node {
					n++
				}
			}
		}
	}
	return n
}

// forget drops what ended so long ago that no state of a node is older.
func (c *coming) forget() {
	const longAgo = 10 * time.Minute
	kept := c.arrivals[:0]
	for _, a := range c.arrivals {
		if a.ended.IsZero() || time.Since(a.ended) < longAgo {
			kept = append(kept, a)
		}
	}
	clear(c.arrivals[len(kept):])
	c.arrivals = kept
}

// Shortages tells of each node, by name, why it takes no further brick; empty
// where it may.
type Shortages func(node string, d agent.Description) string

// Shortage is one of Shortages, of a node whose state was asked for at that moment.
func (g *Guard) Shortage(node string, d agent.Description, asked time.Time) string {
	g.coming.mu.Lock()
	defer g.coming.mu.Unlock()
	return g.shortage(node, d, asked)
}

func (g *Guard) shortage(node string, d agent.Description, asked time.Time) string {
	return g.budget.Shortage(d, g.coming.on(node, asked)).String()
}

// Place has choose pick the nodes for the bricks of a creation, one at a time, so
// that no two count on the same memory. asked is when the nodes' states were asked
// for. The bricks count as coming until some time after done is called.
func (g *Guard) Place(asked time.Time, choose func(short Shortages) (nodes []string, err error)) (done func(), err error) {
	c := &g.coming
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget()
	nodes, err := choose(func(node string, d agent.Description) string {
		return g.shortage(node, d, asked)
	})
	if err != nil {
		return nil, err
	}
	a := &arrival{nodes: nodes}
	c.arrivals = append(c.arrivals, a)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		a.ended = time.Now()
	}, nil
}

// Short returns err, and counts it as a refusal for the budget's sake.
func (g *Guard) Short(err error) error { return g.refuse(ByBudget, err) }
