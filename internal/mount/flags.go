package mount

import (
	"slices"
	"strconv"
	"strings"

	"bricklayer.csi/internal/volume"
)

// Flags are mount flags that have passed ParseFlags.
type Flags struct {
	// ReadOnly mounts the volume read-only at the client.
	ReadOnly bool
	client   []string // arguments of the client
	kernel   []string // options of the kernel's mount
	given    []string // what ParseFlags read
}

// Strings returns what ParseFlags reads as these flags.
func (f Flags) Strings() []string {
	given := slices.Clone(f.given)
	if f.ReadOnly && !slices.Contains(given, "ro") {
		given = append(given, "ro")
	}
	return given
}

// flag is one mount flag that a class may set: its name, why it is allowed, and
// how it is passed on. What is not in the list is refused: flags such as
// log-file, volfile, xlator-option, dump-fuse or fuse-mountopts would let a
// class write files on the node, load translators or lift nosuid.
type flag struct {
	name  string
	why   string
	check func(value string) bool // nil: takes no value
	says  string                  // what check allows
	put   func(f *Flags, value string)
}

func toClient(name string) func(*Flags, string) {
	return func(f *Flags, value string) { f.client = append(f.client, "--"+name+"="+value) }
}

func toKernel(name string) func(*Flags, string) {
	return func(f *Flags, _ string) { f.kernel = append(f.kernel, name) }
}

const (
	seconds  = "seconds from 0 to 86400"
	onOff    = "on or off, yes or no, true or false"
	logNames = "CRITICAL, ERROR, WARNING, INFO or DEBUG"
)

// flagList is the one list of mount flags.
var flagList = []flag{
	{name: "ro", why: "read-only at the client", put: func(f *Flags, _ string) { f.ReadOnly = true }},
	{name: "rw", why: "the default, which mount tables often spell out", put: func(*Flags, string) {}},
	{name: "noatime", why: "saves a write a read", put: toKernel("noatime")},
	{name: "relatime", why: "the kernel's default", put: toKernel("relatime")},
	{name: "nodiratime", why: "saves a write a directory read", put: toKernel("nodiratime")},
	{name: "nosuid", why: "hardening", put: toKernel("nosuid")},
	{name: "nodev", why: "hardening", put: toKernel("nodev")},
	{name: "noexec", why: "hardening", put: toKernel("noexec")},
	{name: "_netdev", why: "common in copied fstab lines; means nothing here", put: func(*Flags, string) {}},
	{name: "acl", why: "POSIX access control lists", put: func(f *Flags, _ string) { f.client = append(f.client, "--acl") }},
	{
		name: "direct-io-mode", why: "databases that bypass the page cache", check: oneOf("enable", "disable", "auto", "on", "off"),
		says: "enable, disable, auto, on or off", put: toClient("direct-io-mode"),
	},
	{name: "attribute-timeout", why: "trades freshness for speed", check: number(0, 86400), says: seconds, put: toClient("attribute-timeout")},
	{name: "entry-timeout", why: "trades freshness for speed", check: number(0, 86400), says: seconds, put: toClient("entry-timeout")},
	{name: "negative-timeout", why: "trades freshness for speed", check: number(0, 86400), says: seconds, put: toClient("negative-timeout")},
	{name: "gid-timeout", why: "how long group lists are kept", check: number(0, 86400), says: seconds, put: toClient("gid-timeout")},
	{name: "resolve-gids", why: "users in more than 93 groups", put: func(f *Flags, _ string) { f.client = append(f.client, "--resolve-gids") }},
	{name: "log-level", why: "finding faults", check: oneOf("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG"), says: logNames, put: toClient("log-level")},
	{name: "reader-thread-count", why: "many parallel readers", check: number(1, 64), says: "1 to 64", put: toClient("reader-thread-count")},
	{name: "fopen-keep-cache", why: "files read again and again", check: isBool, says: onOff, put: toClient("fopen-keep-cache")},
	{name: "kernel-writeback-cache", why: "small writes by one writer", check: isBool, says: onOff, put: toClient("kernel-writeback-cache")},
	{name: "auto-invalidation", why: "read-only data", check: isBool, says: onOff, put: toClient("auto-invalidation")},
	{name: "event-history", why: "finding faults", check: isBool, says: onOff, put: toClient("event-history")},
	{name: "use-readdirp", why: "large directories", check: isBool, says: onOff, put: toClient("use-readdirp")},
	{name: "lru-limit", why: "bounds the client's memory", check: number(0, 16777216), says: "0 to 16777216 inodes", put: toClient("lru-limit")},
	{name: "invalidate-limit", why: "bounds invalidations", check: number(0, 16777216), says: "0 to 16777216", put: toClient("invalidate-limit")},
	{name: "background-qlen", why: "depth of the kernel's queue", check: number(1, 65535), says: "1 to 65535", put: toClient("background-qlen")},
	{name: "congestion-threshold", why: "depth of the kernel's queue", check: number(1, 65535), says: "1 to 65535", put: toClient("congestion-threshold")},
}

// ParseFlags reads the mount flags of a class: each NAME or NAME=VALUE. The
// first that is not in the list, has a bad value or comes twice is refused
// with a *volume.FieldError that has the list.
func ParseFlags(given []string) (Flags, error) {
	f := Flags{given: slices.Clone(given)}
	seen := map[string]bool{}
	for _, text := range given {
		name, value, hasValue := strings.Cut(text, "=")
		i := slices.IndexFunc(flagList, func(known flag) bool { return known.name == name })
		if i < 0 {
			return Flags{}, volume.NewFieldError("mount_flags", text, allowedFlags())
		}
		known := flagList[i]
		switch {
		case seen[name]:
			return Flags{}, volume.NewFieldError("mount_flags", text, "each flag once")
		case known.check == nil && hasValue:
			return Flags{}, volume.NewFieldError("mount_flags", text, name+" without a value")
		case known.check != nil && !known.check(value):
			return Flags{}, volume.NewFieldError("mount_flags", text, name+"= and "+known.says)
		}
		seen[name] = true
		known.put(&f, value)
	}
	if seen["ro"] && seen["rw"] {
		return Flags{}, volume.NewFieldError("mount_flags", "ro, rw", "one of the two")
	}
	return f, nil
}

func allowedFlags() string {
	names := make([]string, len(flagList))
	for i, known := range flagList {
		names[i] = known.name
		if known.check != nil {
			names[i] += "="
		}
	}
	return strings.Join(names, ", ")
}

func number(least, most int) func(string) bool {
	return func(v string) bool {
		n, err := strconv.Atoi(v)
		return err == nil && v == strconv.Itoa(n) && n >= least && n <= most
	}
}

func oneOf(values ...string) func(string) bool {
	return func(v string) bool { return slices.Contains(values, v) }
}

func isBool(v string) bool {
	return slices.Contains([]string{"on", "off", "yes", "no", "true", "false"}, v)
}
