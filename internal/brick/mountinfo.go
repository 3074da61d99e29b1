package brick

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is one line of /proc/self/mountinfo.
type mount struct {
	device     uint64 // as in stat's st_dev
	point      string
	fileSystem string
	source     string
	options    []string // of the mount, then of the file system
}

// readMounts returns what is mounted in this process's namespace, in the order
// of mounting.
func readMounts() ([]mount, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(data))
}

func parseMounts(text string) ([]mount, error) {
	var all []mount
	for line := range strings.Lines(text) {
		m, err := parseMount(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// parseMount reads "ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS] - TYPE
// SOURCE OPTIONS", as proc(5) has it. A source may be empty.
func parseMount(line string) (mount, error) {
	front, back, ok := strings.Cut(line, " - ")
	f, b := strings.Fields(front), strings.Split(back, " ")
	if !ok || len(f) < 6 || len(b) < 2 {
		return mount{}, fmt.Errorf("mountinfo line %q does not parse", line)
	}
	major, minor, ok := strings.Cut(f[2], ":")
	ma, err1 := strconv.ParseUint(major, 10, 32)
	mi, err2 := strconv.ParseUint(minor, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return mount{}, fmt.Errorf("mountinfo line %q has no device number", line)
	}
	m := mount{
		device:     unix.Mkdev(uint32(ma), uint32(mi)),
		point:      unescape(f[4]),
		fileSystem: b[0],
		source:     unescape(b[1]),
		options:    strings.Split(f[5], ","),
	}
	for o := range strings.SplitSeq(b[len(b)-1], ",") {
		// rw stands in both lists; once is enough.
		if len(b) > 2 && o != "" && o != m.options[0] {
			m.options = append(m.options, o)
		}
	}
	return m, nil
}

// unescape undoes the octal escapes for space, tab, newline and backslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// findMount returns the mount that a path lies on, and whether the path is its
// mount point. The path is resolved and absolute, device is its st_dev: a mount
// of that device goes before a longer one that has been mounted over. Among
// equals the last one hides the others.
func findMount(mounts []mount, path string, device uint64) (m mount, isPoint bool, err error) {
	found := false
	for _, c := range mounts {
		rel, err := filepath.Rel(c.point, path)
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			continue
		}
		ours, best := c.device == device, m.device == device
		if !found || ours && !best || ours == best && len(c.point) >= len(m.point) {
			m, found = c, true
		}
	}
	if !found {
		return mount{}, false, fmt.Errorf("no mount holds %s", path)
	}
	return m, m.point == path, nil
}
