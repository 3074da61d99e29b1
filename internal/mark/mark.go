// Package mark owns the options user.bricklayer.* by which Gluster itself
// remembers what a plain volume is: how they are written and how they are read.
//
// The backend writes them and judges volumes by them; the agents read them to
// put right what a brick has lost. It refuses to know how either goes about it.
package mark

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// The options.
const (
	Handle      = volume.MarkPrefix + "handle"
	Size        = volume.MarkPrefix + "size" // bytes
	Type        = volume.MarkPrefix + "type"
	Fingerprint = volume.MarkPrefix + "fingerprint"
	Class       = volume.MarkPrefix + "class" // only where the pool's defaults make the fingerprint another
	GID         = volume.MarkPrefix + "gid"
	Quota       = volume.MarkPrefix + "quota"  // enforce or none
	Layout      = volume.MarkPrefix + "layout" // NODE/ROOT of each brick, in Gluster's order
	OnDelete    = volume.MarkPrefix + "on-delete"
	Created     = volume.MarkPrefix + "created"  // seconds since 1970
	Released    = volume.MarkPrefix + "released" // likewise; set once onDelete "retain" let the volume go
)

// Volume is what the marks of a plain volume say.
type Volume struct {
	Handle volume.Handle
	// Size is what df shows, in bytes.
	Size        volume.Size
	Type        volume.Type
	Fingerprint string
	// Class is the fingerprint of the class alone; empty where it is the same.
	Class string
	GID   int
	// Enforce is false where the class says "quota: none".
	Enforce  bool
	OnDelete volume.OnDelete
	// Layout is where the bricks lie, in Gluster's order.
	Layout  []brick.Place
	Created time.Time
	// Released is true once a deletion has let the volume go and kept its data.
	Released bool
}

// Options returns the marks of a new volume.
func (v Volume) Options() []gluster.Option {
	quota := "enforce"
	if !v.Enforce {
		quota = "none"
	}
	places := make([]string, len(v.Layout))
	for i, p := range v.Layout {
		places[i] = p.Node + "/" + p.Root
	}
	options := []gluster.Option{
		{Key: Handle, Value: v.Handle.String()},
		SizeOption(v.Size),
		{Key: Type, Value: v.Type.String()},
		{Key: Fingerprint, Value: v.Fingerprint},
		{Key: GID, Value: strconv.Itoa(v.GID)},
		{Key: Quota, Value: quota},
		{Key: Layout, Value: strings.Join(places, ",")},
		{Key: OnDelete, Value: string(v.OnDelete)},
		{Key: Created, Value: strconv.FormatInt(v.Created.Unix(), 10)},
	}
	if v.Class != "" {
		options = append(options, gluster.Option{Key: Class, Value: v.Class})
	}
	return options
}

// SizeOption returns the mark of a size (bytes), which an expansion changes.
func SizeOption(size volume.Size) gluster.Option {
	return gluster.Option{Key: Size, Value: strconv.FormatInt(int64(size), 10)}
}

// ReleasedOption returns the mark of a volume that was let go at that moment.
func ReleasedOption(at time.Time) gluster.Option {
	return gluster.Option{Key: Released, Value: strconv.FormatInt(at.Unix(), 10)}
}

// Brick returns what is written beside each brick directory of the volume.
func (v Volume) Brick() brick.Mark {
	return brick.Mark{
		Handle: v.Handle.String(), Size: v.Size, Type: v.Type.String(),
		Fingerprint: v.Fingerprint, GID: v.GID, OnDelete: v.OnDelete, Layout: v.Layout,
	}
}

// Read reads the marks of a Gluster volume. ok is false where it has none; an
// error means that they are not as we wrote them. Its kind is Internal.
func Read(info gluster.Volume) (v Volume, ok bool, err error) {
	handle, ok := info.Options[Handle]
	if !ok {
		return Volume{}, false, nil
	}
	r := reader{options: info.Options}
	v.Handle, err = volume.ParseHandle(handle)
	r.check(Handle, err == nil)
	v.Type, err = volume.ParseType(info.Options[Type])
	r.check(Type, err == nil && v.Type.Bricks() == len(info.Bricks))
	v.Size = volume.Size(r.number(Size))
	r.check(Size, err != nil || v.Size > 0 && v.Size <= volume.MaxSize && v.Size%v.Type.SizeUnit() == 0)
	v.GID = int(r.number(GID))
	r.check(GID, v.GID >= 0 && v.GID <= volume.MaxGID)
	v.Created = time.Unix(r.number(Created), 0).UTC()
	v.Fingerprint, v.Class = info.Options[Fingerprint], info.Options[Class]
	v.Enforce = info.Options[Quota] != "none"
	v.OnDelete = volume.OnDelete(info.Options[OnDelete])
	v.Layout, ok = readLayout(info.Options[Layout])
	r.check(Layout, ok && len(v.Layout) == len(info.Bricks))
	_, v.Released = info.Options[Released]
	if len(r.faults) > 0 {
		return Volume{}, false, &volume.Error{
			Kind: volume.Internal, Op: "read the marks", On: "volume " + info.Name,
			Err:  fmt.Errorf("these options are not as we wrote them: %s", strings.Join(r.faults, ", ")),
			Next: "put the options user.bricklayer.* of the volume right by hand",
		}
	}
	return v, true, nil
}

// reader collects the options that do not read.
type reader struct {
	options map[string]string
	faults  []string
}

func (r *reader) check(key string, ok bool) {
	if !ok {
		r.faults = append(r.faults, volume.NewFieldError(key, r.options[key], "what was set when the volume was made").Error())
	}
}

func (r *reader) number(key string) int64 {
	n, err := strconv.ParseInt(r.options[key], 10, 64)
	r.check(key, err == nil)
	return n
}

func readLayout(text string) ([]brick.Place, bool) {
	var layout []brick.Place
	for place := range strings.SplitSeq(text, ",") {
		node, root, ok := strings.Cut(place, "/")
		if !ok || node == "" || root == "" || strings.Contains(root, "/") {
			return nil, false
		}
		layout = append(layout, brick.Place{Node: node, Root: root})
	}
	return layout, true
}
