package volume

import (
	"fmt"
	"hash/fnv"
)

// Rank is a rendezvous hash: each combination of names has its own place, the
// same in every controller, so that what is chosen by it for many volumes
// spreads evenly and is chosen alike by all.
func Rank(parts ...string) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	// FNV's last bytes hardly reach the high bits; mix (the finaliser of MurmurHash3).
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return x
}

// ChooseGID returns a group ID from GIDMin to GIDMax, and at most most, that is
// not taken. It starts at a place that depends on the volume's name, so that
// two controllers rarely meet in one. Exhausted where all are taken.
func (p Parameters) ChooseGID(name string, most int, taken func(gid int) bool) (int, error) {
	most = min(most, p.GIDMax)
	span := most - p.GIDMin + 1
	start := int(Rank("gid", name) % uint64(max(1, span)))
	for i := range span {
		gid := p.GIDMin + (start+i)%span
		if !taken(gid) {
			return gid, nil
		}
	}
	return 0, &Error{
		Kind: Exhausted, Op: "choose a group ID", On: "volume " + name,
		Err:  fmt.Errorf("every ID from gidMin %d to gidMax %d belongs to a volume", p.GIDMin, most),
		Next: "widen gidMin and gidMax in the StorageClass",
	}
}
