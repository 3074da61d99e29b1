package heketi

import (
	"context"
	"maps"
	"math"
	"slices"

	"github.com/heketi/heketi/pkg/glusterfs/api"

	"bricklayer.csi/internal/volume"
)

// maxBricks is how many bricks heketi gives a volume (max_bricks_per_volume):
// it halves a volume's bricks until they fit, or become too many.
const maxBricks = 32

// space says how much of a device counts, in KiB.
type space func(s api.StorageSize, online bool) uint64

// freeNow is what a brick can take at once.
func freeNow(s api.StorageSize, online bool) uint64 {
	if !online {
		return 0
	}
	return s.Free
}

// whenEmpty is what a brick could ever take.
func whenEmpty(s api.StorageSize, _ bool) uint64 { return s.Total }

// Capacity implements volume.Backend.
func (b *Backend) Capacity(ctx context.Context, _ string, p volume.Parameters) (volume.Capacity, error) {
	allowed, err := b.clusters(p.Heketi)
	if err != nil {
		return volume.Capacity{}, err
	}
	if _, err := durability(p.Type); err != nil {
		return volume.Capacity{}, err
	}
	v, err := b.glance(ctx)
	if err != nil {
		return volume.Capacity{}, err
	}
	if len(allowed) == 0 {
		allowed = slices.Sorted(maps.Keys(v.Clusters))
	}
	c := volume.Capacity{Smallest: leastSize(p.Type)}
	for _, id := range allowed {
		if !v.Clusters[id].Info.File {
			continue
		}
		largest := v.largest(id, p, freeNow)
		c.Largest = max(c.Largest, largest)
		c.Available = min(volume.MaxSize, c.Available+max(largest, v.available(id, p)))
	}
	return c, nil
}

// rooms returns the space of the devices of a cluster, a node, in KiB.
func (v *view) rooms(cluster string, of space) map[string][]uint64 {
	rooms := map[string][]uint64{}
	for _, d := range v.Devices {
		n, known := v.Nodes[d.NodeID]
		if known && n.Info.ClusterId == cluster {
			online := n.State == api.EntryStateOnline && d.State == api.EntryStateOnline
			rooms[d.NodeID] = append(rooms[d.NodeID], of(d.Info.Storage, online))
		}
	}
	return rooms
}

// maxSnapFactor is the highest that heketi takes.
const maxSnapFactor = 100

// brickCost returns what a brick takes on a device, in KiB: its thin pool, with
// the class's snapfactor, and the pool's metadata, both in extents of 4 MiB.
func brickCost(brick uint64, p volume.Parameters) uint64 {
	const extent = 4096
	up := func(n uint64) uint64 { return (n + extent - 1) / extent * extent }
	pool := up(uint64(float64(brick) * min(maxSnapFactor, max(1, p.Heketi.SnapFactor))))
	return pool + up(uint64(float64(pool)*0.005))
}

// largest returns the size of the largest volume that fits a cluster, as
// heketi's placement goes: sets of equal bricks, 1, 2, 4 and so on of them, no
// node twice in a set.
func (v *view) largest(cluster string, p volume.Parameters, of space) volume.Size {
	rooms := v.rooms(cluster, of)
	width := p.Type.Bricks()
	data := uint64(max(1, p.Type.Data))
	var best volume.Size
	for sets := uint64(1); width > 0 && sets*uint64(width) <= maxBricks; sets *= 2 {
		fits := func(gib uint64) bool {
			brick := gib << 20 / sets / data
			if brick < uint64(minBrick/volume.KiB) {
				return false
			}
			cost := brickCost(brick, p)
			var bricks uint64
			for _, devices := range rooms {
				var here uint64
				for _, room := range devices {
					here += room / cost
				}
				bricks += min(here, sets)
			}
			return bricks >= sets*uint64(width)
		}
		best = max(best, volume.Size(bisect(sets*data, fits))*volume.GiB)
	}
	return best
}

// bisect returns the largest n from least up for which ok holds, given that it
// never holds again once it failed; 0 where it does not hold for least.
func bisect(least uint64, ok func(n uint64) bool) uint64 {
	if !ok(least) {
		return 0
	}
	low, high := least, least*2
	for high < uint64(volume.MaxSize/volume.GiB) && ok(high) {
		low, high = high, high*2
	}
	for high-low > 1 {
		if middle := low + (high-low)/2; ok(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

// available returns how much volume space fits a cluster in all: the largest
// total T such that sum over nodes of min(room, T) >= T * width, where T is
// what the bricks of one place in the sets take.
func (v *view) available(cluster string, p volume.Parameters) volume.Size {
	perNode := make([]float64, 0, len(v.Nodes))
	for _, devices := range v.rooms(cluster, freeNow) {
		var sum float64
		for _, room := range devices {
			sum += float64(room)
		}
		perNode = append(perNode, sum)
	}
	width := p.Type.Bricks()
	if len(perNode) < width || width == 0 {
		return 0
	}
	data := uint64(max(1, p.Type.Data))
	return volume.GiB * volume.Size(bisect(data, func(gib uint64) bool {
		cost := float64(brickCost(gib<<20/data, p))
		var have float64
		for _, room := range perNode {
			have += math.Min(room, cost)
		}
		return have >= cost*float64(width)
	}))
}
