package heketi

import (
	"strconv"
	"strings"
	"time"

	"github.com/heketi/heketi/pkg/glusterfs/api"

	"bricklayer.csi/internal/mark"
	"bricklayer.csi/internal/volume"
)

// heketiOptions opens the options that heketi reads itself, one an entry.
const heketiOptions = "user.heketi."

// marks are what the options of a volume say of it. Size, type and group ID are
// no marks: heketi itself knows them, and better.
type marks struct {
	handle      volume.Handle
	fingerprint string
	class       string // empty where it is the same
	created     time.Time
}

// volumeOptions returns the entries of a new volume's options. heketi runs
// "gluster volume set VOLUME ENTRY" for each, about a second every time, and
// gluster takes several pairs: so everything is one entry. What the class says
// comes last, so that it may overrule ours.
func (b *Backend) volumeOptions(m marks, class []volume.Option) []string {
	pairs := []string{
		mark.Handle, m.handle.String(),
		mark.Fingerprint, m.fingerprint,
		mark.Created, strconv.FormatInt(m.created.Unix(), 10),
	}
	if m.class != "" {
		pairs = append(pairs, mark.Class, m.class)
	}
	if b.allow != "" && !sets(class, "auth.allow") {
		pairs = append(pairs, "auth.allow", quoted(b.allow))
	}
	var entries []string
	for _, o := range class {
		if strings.HasPrefix(o.Key, heketiOptions) {
			entries = append(entries, o.Key+" "+o.Value)
			continue
		}
		pairs = append(pairs, o.Key, quoted(o.Value))
	}
	return append([]string{strings.Join(pairs, " ")}, entries...)
}

// quoted puts a value in quotes that a shell would expand: heketi gives the
// command to one.
func quoted(value string) string {
	if strings.Contains(value, "*") {
		return `"` + value + `"`
	}
	return value
}

func sets(options []volume.Option, key string) bool {
	for _, o := range options {
		if o.Key == key {
			return true
		}
	}
	return false
}

// readMarks reads the marks among a volume's options. ok is false where there
// are none, or none of ours.
func readMarks(options []string) (m marks, ok bool) {
	for _, entry := range options {
		if !strings.HasPrefix(entry, mark.Handle+" ") {
			continue
		}
		words := strings.Fields(entry)
		for i := 0; i+1 < len(words); i += 2 {
			switch value := words[i+1]; words[i] {
			case mark.Handle:
				h, err := volume.ParseHandle(value)
				if err != nil {
					return marks{}, false
				}
				m.handle = h
			case mark.Fingerprint:
				m.fingerprint = value
			case mark.Class:
				m.class = value
			case mark.Created:
				if n, err := strconv.ParseInt(value, 10, 64); err == nil {
					m.created = time.Unix(n, 0).UTC()
				}
			}
		}
		return m, true
	}
	return marks{}, false
}

// durability returns a type as heketi has it, or Invalid where it has none such.
func durability(t volume.Type) (api.VolumeDurabilityInfo, error) {
	d := api.VolumeDurabilityInfo{}
	const allowed = "replicate:2, replicate:3, disperse:2:1, disperse:4:2, disperse:8:3, disperse:8:4 or none (heketi makes no others)"
	switch {
	case t.Durability == volume.Replicate && t.Arbiters == 0 && t.Replicas <= 3:
		d.Type, d.Replicate.Replica = api.DurabilityReplicate, t.Replicas
	case t.Durability == volume.Disperse && disperses[[2]int{t.Data, t.Redundancy}]:
		d.Type, d.Disperse.Data, d.Disperse.Redundancy = api.DurabilityEC, t.Data, t.Redundancy
	case t.Durability == volume.None:
		d.Type = api.DurabilityDistributeOnly
	default:
		return d, volume.NewFieldError("parameters.volumetype", t.String(), allowed)
	}
	return d, nil
}

var disperses = map[[2]int]bool{{2, 1}: true, {4, 2}: true, {8, 3}: true, {8, 4}: true}

// typeOf returns heketi's durability as our type; the zero type for what is
// neither.
func typeOf(d api.VolumeDurabilityInfo) volume.Type {
	switch d.Type {
	case api.DurabilityReplicate:
		return volume.Type{Durability: volume.Replicate, Replicas: d.Replicate.Replica}
	case api.DurabilityEC:
		return volume.Type{Durability: volume.Disperse, Data: d.Disperse.Data, Redundancy: d.Disperse.Redundancy}
	case api.DurabilityDistributeOnly:
		return volume.Type{Durability: volume.None}
	}
	return volume.Type{}
}

// minBrick is the least size of a brick in heketi, unless its administrator
// said otherwise (brick_min_size_gb).
const minBrick = volume.GiB

// leastSize returns the least size of a volume of that type, and the least by
// which it can grow: an expansion is another set of bricks.
func leastSize(t volume.Type) volume.Size {
	return max(1, volume.Size(t.Data)) * minBrick
}

// unit is what a volume's size is a multiple of in heketi.
const unit = volume.GiB
