package volume

import (
	"strconv"
	"strings"
)

// The keys of a volume context: all that a worker node needs to mount a volume.
// It is what CSI calls volume_context and a PersistentVolume volumeAttributes.
const (
	ContextServers = "servers" // hosts that serve the volume file, separated by commas
	ContextVolume  = "volume"  // the Gluster volume's name
	ContextGID     = "gid"     // the group that owns the volume's root
)

// Context returns the volume's context, the same from every front end.
func (v Volume) Context() map[string]string {
	return map[string]string{
		ContextServers: strings.Join(v.Servers, ","),
		ContextVolume:  v.Handle.Name,
		ContextGID:     strconv.Itoa(v.GID),
	}
}

// LooksLikeHandle reports whether an ID that does not parse may yet be a handle
// of another version: to say that its volume is deleted would lose it.
func LooksLikeHandle(id string) bool {
	return strings.HasPrefix(id, "bl") && strings.Count(id, ".") >= 3
}
