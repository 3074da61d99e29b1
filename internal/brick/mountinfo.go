package brick

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mount is one line of the kernel's mount table.
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
	infos, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, err
	}
	return mountsOf(infos), nil
}

func mountsOf(infos []*mountinfo.Info) []mount {
	all := make([]mount, len(infos))
	for i, info := range infos {
		m := mount{
			device: unix.Mkdev(uint32(info.Major), uint32(info.Minor)), point: info.Mountpoint,
			fileSystem: info.FSType, source: info.Source, options: strings.Split(info.Options, ","),
		}
		for o := range strings.SplitSeq(info.VFSOptions, ",") {
			// rw stands in both lists; once is enough.
			if o != "" && o != m.options[0] {
				m.options = append(m.options, o)
			}
		}
		all[i] = m
	}
	return all
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
