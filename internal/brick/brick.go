// Package brick owns brick roots on this host: their markers, the brick
// directories below them with their marks, XFS project quotas, and the trash.
//
// It reaches files through os.Root below a configured root only, refuses a root
// without its marker, and does not know Gluster, the network, or claims.
package brick

import (
	"slices"

	"bricklayer.csi/internal/volume"
)

// Ref names one brick directory on a node.
type Ref struct {
	// Root is the root's name in the node's configuration.
	Root string
	// Volume is the Gluster volume's name.
	Volume string
}

// Quota bounds a brick directory. Zero is no bound.
type Quota struct {
	Bytes  volume.Size `json:"bytes"`
	Inodes int64       `json:"inodes"`
}

// Mark is what is written beside a brick directory: whose it is and what it is
// part of. It is the same on every brick of a volume, so that any one of them
// tells where the others are.
type Mark struct {
	// Handle is the volume's handle.
	Handle string `json:"handle"`
	// Size is the volume's size in bytes when the brick was made.
	Size volume.Size `json:"size"`
	// Type is the volumetype.
	Type string `json:"type"`
	// Fingerprint is that of the parameters.
	Fingerprint string `json:"fingerprint"`
	// GID owns the volume's root.
	GID int `json:"gid"`
	// OnDelete is what a deletion does with the data, also where Gluster has
	// forgotten the volume already. Empty means that it removes them.
	OnDelete volume.OnDelete `json:"onDelete,omitempty"`
	// Layout lists all of the volume's bricks in Gluster's order.
	Layout []Place `json:"layout"`
}

// Removal says where the brick directory of a deleted volume goes.
func (m Mark) Removal() RemoveMode {
	if m.OnDelete == volume.ArchiveData || m.OnDelete == volume.RetainVolume {
		return ToArchive
	}
	return ToTrash
}

// Same reports whether two marks are of one volume. What its deletion does is no
// part of that.
func (m Mark) Same(other Mark) bool {
	return m.Handle == other.Handle && m.Size == other.Size && m.Type == other.Type &&
		m.Fingerprint == other.Fingerprint && m.GID == other.GID && slices.Equal(m.Layout, other.Layout)
}

// Place is where one brick of a layout lies.
type Place struct {
	Node string `json:"node"`
	Root string `json:"root"`
}

// MakeRequest asks for a brick directory.
type MakeRequest struct {
	Ref   Ref
	Mark  Mark
	Quota Quota
	// Enforce false makes the directory without a quota, for classes that say "quota: none".
	Enforce bool
	// Mode is given to the brick directory, which becomes the volume's root, as
	// chmod(2) takes it, setgid included; zero means 0755. Its group is the mark's.
	Mode uint32
}

// RemoveMode says where a removed brick directory goes.
type RemoveMode string

// Where a removed brick directory goes.
const (
	// ToTrash empties it in the background; its quota counts until it is empty.
	ToTrash RemoveMode = "trash"
	// ToArchive keeps it, quota and all, below the root's archive directory.
	ToArchive RemoveMode = "archive"
)

// RemoveRequest asks to take a brick directory away.
type RemoveRequest struct {
	Ref  Ref
	Mode RemoveMode
}

// Brick is a brick directory that is there.
type Brick struct {
	Ref  Ref
	Mark Mark
	// Path is the brick directory itself, as Gluster is told: ROOT/volumes/NAME/brick.
	Path string
	// Quota is what is in force now, read from the file system.
	Quota Quota
	// Used is what the quota accounts, in bytes and inodes; zero without quota.
	Used       volume.Size
	UsedInodes int64
	// ProjectID is the directory's XFS project; 0 where it has none.
	ProjectID uint32
	// Problem says in words what is wrong with it, such as a quota that is not
	// in force; empty where nothing is.
	Problem string
}

// RootState is a brick root at one moment. Sizes are bytes.
type RootState struct {
	Name string
	Path string
	// Problem says in words why the root cannot be used now; empty where it can.
	Problem string
	// Blank is true where there is no marker, and hence none of ours: Init may make it
	// a root. Whether it may says only Init, which looks at what is there.
	Blank bool
	// ID is the root's identity from its marker.
	ID string
	// FileSystem is the type, such as "xfs"; Options are its mount options.
	FileSystem string
	Options    []string
	// Quota is true where project quotas are enforced.
	Quota bool
	// Total, Used and Free are the file system's.
	Total, Used, Free volume.Size
	// Committed is the sum of the quotas of all brick directories, trash and archive included.
	Committed volume.Size
	// Available is the largest quota that MakeBrick would still promise: Total
	// by the overcommit, less Committed, less the reserve, less what lies on the
	// file system outside of all quotas.
	Available volume.Size
	// Bricks is how many brick directories there are, Trash how many wait to be emptied.
	Bricks, Trash int
	// GIDs are the group IDs of the volumes with a brick here.
	GIDs []int
}
