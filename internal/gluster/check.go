package gluster

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"bricklayer.csi/internal/volume"
)

// Limits of what this package hands to the command line.
const (
	maxName  = 255
	maxHost  = 253
	maxPath  = 1024
	maxKey   = 128
	maxValue = 4096
	maxSet   = 128  // options in one command
	maxList  = 1024 // bricks of one volume
)

// checkName refuses what is not the name of one volume. Foreign volumes may
// have names that we would not give, so it allows what glusterd does; "all" and
// "help" mean something else to the command line.
func checkName(name string) error {
	const allowed = "1 to 255 of A-Z, a-z, 0-9, - and _, not beginning with -, not all or help"
	ok := name != "" && len(name) <= maxName && name[0] != '-'
	for i := 0; ok && i < len(name); i++ {
		ok = isAlnum(name[i]) || name[i] == '-' || name[i] == '_'
	}
	if !ok || strings.EqualFold(name, AllVolumes) || strings.EqualFold(name, "help") {
		return volume.NewFieldError("volume", name, allowed)
	}
	return nil
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// checkHost refuses hosts that gluster could read as something else.
func checkHost(field, host string) error {
	ok := host != "" && len(host) <= maxHost && host[0] != '-'
	for i := 0; ok && i < len(host); i++ {
		ok = isAlnum(host[i]) || strings.IndexByte(".-_:", host[i]) >= 0
	}
	if !ok {
		return volume.NewFieldError(field, host, "a host name or an IP address")
	}
	return nil
}

// checkBrick refuses bricks that gluster or a shell of an administrator who
// copies them could read in another way.
func checkBrick(field string, b Brick) error {
	if err := checkHost(field+".host", b.Host); err != nil {
		return err
	}
	ok := len(b.Path) > 1 && len(b.Path) <= maxPath && b.Path[0] == '/' && path.Clean(b.Path) == b.Path
	for i := 0; ok && i < len(b.Path); i++ {
		ok = b.Path[i] > ' ' && b.Path[i] < 0x7f
	}
	if !ok {
		return volume.NewFieldError(field+".path", b.Path,
			"an absolute, clean path of at most 1024 bytes of ASCII without blanks or control characters, not /")
	}
	return nil
}

// check refuses requests that make no volume, before gluster is asked.
func (r CreateRequest) check() error {
	if err := checkName(r.Name); err != nil {
		return err
	}
	set := 1
	switch {
	case r.Replica < 0 || r.Replica == 1 || r.Replica > maxList || r.Replica > 0 && r.Disperse != 0:
		return volume.NewFieldError("replica", strconv.Itoa(r.Replica), "0, or 2 and more where disperse is 0")
	case r.Arbiter < 0 || r.Arbiter > 1 || r.Arbiter == 1 && r.Replica != 3:
		return volume.NewFieldError("arbiter", strconv.Itoa(r.Arbiter), "0, or 1 where replica is 3")
	case r.Disperse < 0 || r.Disperse > maxList || r.Disperse > 0 && r.Disperse < 3:
		return volume.NewFieldError("disperse", strconv.Itoa(r.Disperse), "0, or 3 and more")
	case r.Disperse == 0 && r.Redundancy != 0, r.Disperse > 0 && (r.Redundancy < 1 || 2*r.Redundancy >= r.Disperse):
		return volume.NewFieldError("redundancy", strconv.Itoa(r.Redundancy), "0 without disperse, else 1 to less than half of disperse")
	case r.Replica > 0:
		set = r.Replica
	case r.Disperse > 0:
		set = r.Disperse
	}
	if n := len(r.Bricks); n == 0 || n > maxList || n%set != 0 {
		return volume.NewFieldError("bricks", strconv.Itoa(n)+" bricks", fmt.Sprintf("a multiple of %d, at most %d", set, maxList))
	}
	seen := make(map[string]bool, len(r.Bricks))
	for i, b := range r.Bricks {
		field := "bricks[" + strconv.Itoa(i) + "]"
		if err := checkBrick(field, b); err != nil {
			return err
		}
		if seen[b.String()] {
			return volume.NewFieldError(field, b.String(), "a brick that is not in the list before")
		}
		seen[b.String()] = true
	}
	return nil
}

// checkOptions refuses options that gluster would read as something else: a key
// without a dot may be a word of the command ("group", "help"), and glusterd
// writes values raw into its own files, a line each.
func checkOptions(options []Option) error {
	if len(options) == 0 || len(options) > maxSet {
		return volume.NewFieldError("options", strconv.Itoa(len(options))+" options", "1 to "+strconv.Itoa(maxSet))
	}
	seen := make(map[string]bool, len(options))
	for _, o := range options {
		if !isKey(o.Key) || seen[o.Key] {
			return volume.NewFieldError("option", o.Key,
				"DOMAIN.NAME of letters, digits, - _ and ., at most 128 bytes, each key once")
		}
		seen[o.Key] = true
		if !isValue(o.Value) {
			return volume.NewFieldError("option "+o.Key, o.Value,
				"1 to 4096 bytes of UTF-8 without blanks and control characters")
		}
		if err := checkAllowed(o); err != nil {
			return err
		}
	}
	return nil
}

func isKey(key string) bool {
	if len(key) > maxKey || key == "" || !isAlnum(key[0]) || !isAlnum(key[len(key)-1]) || !strings.Contains(key, ".") {
		return false
	}
	for i := range len(key) {
		if !isAlnum(key[i]) && strings.IndexByte("-_.", key[i]) < 0 {
			return false
		}
	}
	return true
}

func isValue(value string) bool {
	if value == "" || len(value) > maxValue || !utf8.ValidString(value) {
		return false
	}
	return !strings.ContainsFunc(value, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
}
