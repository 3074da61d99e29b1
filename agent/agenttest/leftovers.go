package agenttest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// Leftovers is everything that is there in a whole cluster: what a test that
// has deleted its volumes must find empty. Entries are sorted.
type Leftovers struct {
	// Bricks, Trash and Archive are directories, as NODE:PATH.
	Bricks, Trash, Archive []string
	// Quotas and Projects are those in force, as "NODE ROOT project ID: BYTES".
	Quotas, Projects []string
	// Volumes are those that Gluster has.
	Volumes []string
	// Locks are transactions that never ended.
	Locks []string
}

// Empty reports whether nothing is there.
func (l Leftovers) Empty() bool { return l.String() == "" }

// String returns one line an entry.
func (l Leftovers) String() string {
	var b strings.Builder
	for _, part := range []struct {
		name    string
		entries []string
	}{
		{"brick", l.Bricks},
		{"trash", l.Trash},
		{"archive", l.Archive},
		{"quota", l.Quotas},
		{"project", l.Projects},
		{"volume", l.Volumes},
		{"lock", l.Locks},
	} {
		for _, e := range part.entries {
			fmt.Fprintf(&b, "%s %s\n", part.name, e)
		}
	}
	return b.String()
}

// Leftovers returns everything that is there, on nodes that are down too.
func (c *Cluster) Leftovers() Leftovers {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := Leftovers{Volumes: slices.Sorted(maps.Keys(c.volumes)), Locks: slices.Sorted(maps.Keys(c.locked))}
	for _, n := range c.nodes {
		for _, r := range n.roots {
			r.each(func(where string, b *fakeBrick) {
				path := fmt.Sprintf("%s:%s/%s/%s", n.cfg.Name, r.cfg.Path, where, b.ref.Volume)
				switch where {
				case "volumes":
					l.Bricks = append(l.Bricks, path)
				case "trash":
					l.Trash = append(l.Trash, path)
				case "archive":
					l.Archive = append(l.Archive, path)
				}
				if b.projectID != 0 {
					l.Projects = append(l.Projects, fmt.Sprintf("%s %s project %d", n.cfg.Name, r.cfg.Name, b.projectID))
				}
				if b.quota.Bytes != 0 {
					l.Quotas = append(l.Quotas, fmt.Sprintf("%s %s project %d: %v", n.cfg.Name, r.cfg.Name, b.projectID, b.quota.Bytes))
				}
			})
		}
	}
	for _, list := range []*[]string{&l.Bricks, &l.Trash, &l.Archive, &l.Quotas, &l.Projects} {
		slices.Sort(*list)
	}
	return l
}

// CheckEmpty fails the test where anything is left over.
func (c *Cluster) CheckEmpty(t testing.TB) {
	t.Helper()
	if l := c.Leftovers(); !l.Empty() {
		t.Errorf("left over:\n%s", l)
	}
}
