package volume

import (
	"maps"
	"slices"
	"strings"
)

// Profile names a set of Gluster options for one kind of use. What each option was
// measured to do, and what it risks, is in docs/benchmarks.md.
type Profile string

// The profiles. Their options are Gluster's own names, from "gluster volume set
// help" of release 10.
const (
	// General leaves Gluster's defaults.
	General Profile = "general"
	// SmallFiles is for many small files: attributes and missing names are kept by
	// clients until a storage node tells them of a change.
	SmallFiles Profile = "small-files"
	// Database is for files that are written in small pieces with fsync, by one
	// client: it keeps nothing that another layer keeps better.
	Database Profile = "database"
	// BigFiles is for large files that are read and written from end to end. Gluster's
	// read-ahead is not in it: the kernel reads ahead, and beside that it costs a quarter.
	BigFiles Profile = "big-files"
)

// profiles holds the options of each.
var profiles = map[Profile][]Option{
	General: {},
	SmallFiles: {
		{"features.cache-invalidation", "on"},
		{"features.cache-invalidation-timeout", "600"},
		{"network.inode-lru-limit", "200000"},
		{"performance.cache-invalidation", "on"},
		{"performance.md-cache-timeout", "600"},
		{"performance.nl-cache", "on"},
		{"performance.nl-cache-timeout", "600"},
	},
	Database: {
		{"performance.open-behind", "off"},
		{"performance.quick-read", "off"},
		{"performance.stat-prefetch", "off"},
		{"performance.strict-o-direct", "on"},
		{"performance.write-behind", "off"},
	},
	BigFiles: {
		{"client.event-threads", "4"},
		{"performance.client-io-threads", "on"},
		{"server.event-threads", "4"},
	},
}

// Profiles returns the names of all profiles, sorted.
func Profiles() []Profile { return slices.Sorted(maps.Keys(profiles)) }

// Options returns what the profile sets, sorted by key.
func (p Profile) Options() []Option { return slices.Clone(profiles[p]) }

// profilesAllowed names them in words.
func profilesAllowed() string {
	var names []string
	for _, p := range Profiles() {
		names = append(names, string(p))
	}
	return strings.Join(names, ", ")
}

// GlusterOptions returns what a new volume gets on account of its class, sorted by
// key: the profile's options, and over them the class's own.
func (p Parameters) GlusterOptions() []Option {
	options := p.Profile.Options()
	for _, own := range p.Options {
		if i := slices.IndexFunc(options, func(o Option) bool { return o.Key == own.Key }); i >= 0 {
			options[i] = own
			continue
		}
		options = append(options, own)
	}
	slices.SortFunc(options, byKey)
	return options
}
