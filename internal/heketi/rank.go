package heketi

import "hash/fnv"

// rank is a rendezvous hash: each pair of names has its own place, the same in
// every controller.
func rank(parts ...string) uint64 {
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
