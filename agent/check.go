package agent

import (
	"encoding/hex"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// Limits on what one request may carry. They are far above what a volume of
// ours needs and far below what would trouble a storage node.
const (
	maxOptions     = 64
	maxOptionKey   = 128
	maxOptionValue = 4096
	maxPath        = 1024
	maxHost        = 253
	maxMode        = 0o7777
	maxInodes      = int64(1) << 48
)

// Checker validates every field of a request before anything is done with it.
// The server applies it to what came over the wire although the client is one
// of ours, and so does the fake, so that both refuse the same.
type Checker struct {
	// Pool and Node are the agent's own; a request for another pool is refused.
	Pool, Node string
	// Roots are the names of the node's brick roots.
	Roots []string
}

// Ref checks a reference to a brick directory on this node.
func (c Checker) Ref(r brick.Ref) error {
	if err := c.Root(r.Root); err != nil {
		return err
	}
	return volume.CheckName(r.Volume)
}

// Root checks the name of a brick root of this node.
func (c Checker) Root(name string) error {
	if slices.Contains(c.Roots, name) {
		return nil
	}
	return &volume.Error{
		Kind: volume.NotFound, Op: "find brick root", On: "node " + c.Node,
		Err:  volume.NewFieldError("root", name, strings.Join(c.Roots, ", ")),
		Next: "the pool names a brick root that the agent's configuration does not have: make the two agree",
	}
}

// BrickVolume checks the name for which Bricks is asked; empty means all.
func (c Checker) BrickVolume(name string) error {
	if name == "" {
		return nil
	}
	return volume.CheckName(name)
}

// Make checks a request to make a brick directory.
func (c Checker) Make(r brick.MakeRequest) error {
	if err := c.Ref(r.Ref); err != nil {
		return err
	}
	if err := c.mark(r.Ref, r.Mark); err != nil {
		return err
	}
	if err := c.Quota(r.Quota); err != nil {
		return err
	}
	if r.Enforce && r.Quota.Bytes == 0 {
		return volume.NewFieldError("quota.bytes", "0", "above 0 where the quota is enforced")
	}
	if r.Mode > maxMode {
		return volume.NewFieldError("mode", strconv.FormatUint(uint64(r.Mode), 8), "0 to 7777, octal")
	}
	return nil
}

func (c Checker) mark(ref brick.Ref, m brick.Mark) error {
	h, err := volume.ParseHandle(m.Handle)
	if err != nil {
		return volume.NewFieldError("mark.handle", m.Handle, "a handle, bl1.BACKEND.POOL.VOLUME")
	}
	if h.Pool != c.Pool || h.Name != ref.Volume || h.Backend != volume.Plain {
		return volume.NewFieldError("mark.handle", m.Handle,
			volume.Handle{Backend: volume.Plain, Pool: c.Pool, Name: ref.Volume}.String())
	}
	if m.Size <= 0 || m.Size > volume.MaxSize {
		return volume.NewFieldError("mark.size", strconv.FormatInt(int64(m.Size), 10), "1 byte to 1EiB")
	}
	t, err := volume.ParseType(m.Type)
	if err != nil || t.String() != m.Type {
		return volume.NewFieldError("mark.type", m.Type, "a volumetype in full, such as replicate:3")
	}
	if raw, err := hex.DecodeString(m.Fingerprint); err != nil || len(raw) != 8 {
		return volume.NewFieldError("mark.fingerprint", m.Fingerprint, "16 hexadecimal digits")
	}
	if err := checkGID("mark.gid", m.GID); err != nil {
		return err
	}
	switch m.OnDelete {
	case "", volume.DeleteData, volume.RetainVolume, volume.ArchiveData:
	default:
		return volume.NewFieldError("mark.on_delete", string(m.OnDelete), "delete, retain or archive")
	}
	return c.layout(ref, m.Layout, t)
}

func (c Checker) layout(ref brick.Ref, places []brick.Place, t volume.Type) error {
	if len(places) != t.Bricks() {
		return volume.NewFieldError("mark.layout", strconv.Itoa(len(places))+" bricks",
			strconv.Itoa(t.Bricks())+" bricks for "+t.String())
	}
	for i, p := range places {
		if !isLabel(p.Node) || !isLabel(p.Root) {
			return volume.NewFieldError("mark.layout["+strconv.Itoa(i)+"]", p.Node+"/"+p.Root,
				"a node's and a root's name: each a DNS label")
		}
	}
	if !slices.Contains(places, brick.Place{Node: c.Node, Root: ref.Root}) {
		return volume.NewFieldError("mark.layout", "", "a layout that has a brick on node "+c.Node+", root "+ref.Root)
	}
	return nil
}

// Quota checks a quota's numbers.
func (c Checker) Quota(q brick.Quota) error {
	if q.Bytes < 0 || q.Bytes > volume.MaxSize {
		return volume.NewFieldError("quota.bytes", strconv.FormatInt(int64(q.Bytes), 10), "0 to 1EiB")
	}
	if q.Inodes < 0 || q.Inodes > maxInodes {
		return volume.NewFieldError("quota.inodes", strconv.FormatInt(q.Inodes, 10), "0 to 2^48")
	}
	return nil
}

// SetQuota checks a request to set a quota.
func (c Checker) SetQuota(ref brick.Ref, q brick.Quota) error {
	if err := c.Ref(ref); err != nil {
		return err
	}
	return c.Quota(q)
}

// Remove checks a request to take a brick directory away.
func (c Checker) Remove(r brick.RemoveRequest) error {
	if r.Mode != brick.ToTrash && r.Mode != brick.ToArchive {
		return volume.NewFieldError("mode", string(r.Mode), string(brick.ToTrash)+" or "+string(brick.ToArchive))
	}
	return c.Ref(r.Ref)
}

// Volume checks the name of one Gluster volume.
func (c Checker) Volume(name string) error {
	if name == gluster.AllVolumes || name == "help" {
		return volume.NewFieldError("volume", name, "the name of one volume; to gluster this word means something else")
	}
	return volume.CheckName(name)
}

// Options checks options and the volume that they are for, which may be all.
func (c Checker) Options(name string, options []gluster.Option) error {
	if name != gluster.AllVolumes {
		if err := volume.CheckName(name); err != nil {
			return err
		}
	}
	if len(options) == 0 || len(options) > maxOptions {
		return volume.NewFieldError("options", strconv.Itoa(len(options))+" options", "1 to "+strconv.Itoa(maxOptions))
	}
	for _, o := range options {
		if !isOptionKey(o.Key) {
			return volume.NewFieldError("options", o.Key, "keys such as auth.allow, of a-z, 0-9, ., - and _")
		}
		if !isArgument(o.Value, maxOptionValue) || strings.ContainsAny(o.Value, " ") {
			return volume.NewFieldError("options."+o.Key, o.Value,
				"1 to "+strconv.Itoa(maxOptionValue)+" printable characters without spaces, not beginning with -")
		}
	}
	return nil
}

// Peer checks the address of a node to take into the trusted pool, which another
// node must be able to use as it is.
func (c Checker) Peer(host string) error {
	ip, err := netip.ParseAddr(host)
	if err == nil && (ip.IsLoopback() || ip.IsUnspecified() || ip.Zone() != "") || host == "localhost" || !isHost(host) {
		return volume.NewFieldError("host", host, "the IP address or DNS name of another node, not loopback")
	}
	return nil
}

// Create checks a request to create a Gluster volume. Its bricks must be brick
// directories of that very volume, so that no call, however it came about,
// turns another path of a storage node into a brick.
func (c Checker) Create(r gluster.CreateRequest) error {
	if err := c.Volume(r.Name); err != nil {
		return err
	}
	if err := checkCounts(r); err != nil {
		return err
	}
	seen := make(map[string]bool, len(r.Bricks))
	for i, b := range r.Bricks {
		field := "bricks[" + strconv.Itoa(i) + "]"
		if !isHost(b.Host) {
			return volume.NewFieldError(field+".host", b.Host, "an IP address or a DNS name")
		}
		if !isArgument(b.Path, maxPath) || path.Clean(b.Path) != b.Path || !path.IsAbs(b.Path) ||
			!strings.HasSuffix(b.Path, BrickPath("", r.Name)) {
			return volume.NewFieldError(field+".path", b.Path, "ROOT"+BrickPath("", r.Name))
		}
		if seen[b.String()] {
			return volume.NewFieldError(field, b.String(), "each brick once")
		}
		seen[b.String()] = true
	}
	return nil
}

// BrickPath returns where the brick directory of a volume lies below a root.
func BrickPath(root, volumeName string) string {
	return root + "/volumes/" + volumeName + "/brick"
}

func checkCounts(r gluster.CreateRequest) error {
	n := len(r.Bricks)
	bad := func(field string, value int, allowed string) error {
		return volume.NewFieldError(field, strconv.Itoa(value), allowed)
	}
	switch {
	case r.Replica != 0 && r.Disperse != 0:
		return bad("disperse", r.Disperse, "0 where replica is set")
	case r.Replica < 0 || r.Replica == 1:
		return bad("replica", r.Replica, "0, or 2 and more")
	case r.Replica != 0 && r.Replica != n:
		return bad("bricks", n, "as many as replica says: "+strconv.Itoa(r.Replica))
	case r.Arbiter != 0 && (r.Arbiter != 1 || r.Replica != 3):
		return bad("arbiter", r.Arbiter, "0, or 1 with replica 3")
	case r.Disperse != 0 && (r.Disperse != n || r.Disperse < 0):
		return bad("disperse", r.Disperse, "the number of bricks: "+strconv.Itoa(n))
	case r.Disperse == 0 && r.Redundancy != 0,
		r.Disperse != 0 && (r.Redundancy < 1 || 2*r.Redundancy >= r.Disperse):
		return bad("redundancy", r.Redundancy, "0 without disperse, else at least 1 and below half of disperse")
	case n == 0:
		return bad("bricks", n, "at least one")
	}
	return nil
}

func checkGID(field string, gid int) error {
	if gid < 0 || gid > volume.MaxGID {
		return volume.NewFieldError(field, strconv.Itoa(gid), "0 to "+strconv.Itoa(volume.MaxGID))
	}
	return nil
}

// isLabel reports whether s is a DNS label as Kubernetes has them (RFC 1123).
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	if s == "" || len(s) > maxHost {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}

func isOptionKey(s string) bool {
	return s != "" && len(s) <= maxOptionKey && s[0] != '-' && strings.Contains(s, ".") &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789.-_") == ""
}

// isArgument reports whether s can be one argument of a command and one line
// of a log: nothing invisible, nothing that reads as a flag.
func isArgument(s string, most int) bool {
	if s == "" || len(s) > most || s[0] == '-' {
		return false
	}
	for _, r := range s {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
