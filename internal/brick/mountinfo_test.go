package brick

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

const someMounts = `21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
22 21 98:16 / /bricks/root\0401 rw,noatime master:3 propagate_from:2 - xfs /dev/ubdb rw,attr2,inode64,prjquota
23 21 0:18 / /dev/shm rw,relatime - tmpfs  rw
24 21 98:32 / /bricks/a rw - xfs /dev/ubdc rw
25 21 98:48 / /bricks/a rw - xfs /dev/ubdd rw,prjquota
26 21 8:2 / /mnt/deep/below rw - xfs /dev/sdb rw
27 21 8:3 / /mnt rw - xfs /dev/sdc rw
`

func TestMounts(t *testing.T) {
	infos, err := mountinfo.GetMountsFromReader(strings.NewReader(someMounts), nil)
	must(t, err)
	all := mountsOf(infos)
	want := mount{
		device: unix.Mkdev(98, 16), point: "/bricks/root 1", fileSystem: "xfs", source: "/dev/ubdb",
		options: []string{"rw", "noatime", "attr2", "inode64", "prjquota"},
	}
	if diff := cmp.Diff(want, all[1], cmp.AllowUnexported(mount{})); diff != "" {
		t.Errorf("mount (-want +got):\n%s", diff)
	}
	for _, c := range []struct {
		path    string
		device  uint64
		source  string
		isPoint bool
	}{
		{"/bricks/root 1", unix.Mkdev(98, 16), "/dev/ubdb", true},
		{"/bricks/root 1/x", unix.Mkdev(98, 16), "/dev/ubdb", false},
		{"/bricks/root", unix.Mkdev(8, 1), "/dev/sda1", false},
		{"/bricks/a", unix.Mkdev(98, 48), "/dev/ubdd", true},
		{"/bricks/ab", unix.Mkdev(8, 1), "/dev/sda1", false},
		{"/mnt/deep/below", unix.Mkdev(8, 3), "/dev/sdc", false}, // the older mount is hidden
		{"/mnt/deep/below", 4711, "/dev/sdb", true},              // btrfs: stat knows another number
	} {
		m, isPoint, err := findMount(all, c.path, c.device)
		if err != nil || m.source != c.source || isPoint != c.isPoint {
			t.Errorf("%s: %s, %t, %v; want %s, %t", c.path, m.source, isPoint, err, c.source, c.isPoint)
		}
	}
	if _, _, err := findMount(nil, "/x", 1); err == nil {
		t.Error("found a mount among none")
	}
	if own, err := readMounts(); err != nil || len(own) == 0 {
		t.Errorf("mounts of this process: %v, %v", own, err)
	}
}
