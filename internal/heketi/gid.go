package heketi

import "bricklayer.csi/internal/volume"

// maxGID is the highest group ID that heketi takes: it refuses 2^31-1.
const maxGID = volume.MaxGID - 1

// chooseGID returns a group ID within the class's range that no volume in
// heketi has, those that are being made included. It starts at a place that
// depends on the name, so that two controllers rarely meet. It needs no record
// of its own: the caller holds the turn at heketi until heketi has written the
// volume down.
func chooseGID(v *view, name string, p volume.Parameters) (int, error) {
	used := map[int]bool{}
	for _, e := range v.Volumes {
		used[int(e.Info.Gid)] = true
	}
	return p.ChooseGID(name, maxGID, func(gid int) bool { return used[gid] })
}
