package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"bricklayer.csi/internal/pause"
	"bricklayer.csi/lab"
)

// emptied bounds how long the agents may take to empty the trash: they do that in
// the background, after a delete has been answered.
const emptied = time.Minute

// findLeft lists, on a node, one thing a line that a volume could have left.
const findLeft = `
gluster --mode=script volume list 2>/dev/null | grep -v '^No volumes' | sed 's/^/Gluster volume /' || true
lvs --noheadings -o vg_name,lv_name --separator / | sed 's/^ */LV /'
grep heketi /etc/fstab | sed 's/^/fstab: /' || true
grep -o '/var/lib/heketi/mounts/vg_[^ ]*' /proc/self/mounts | sed 's/^/mount /' || true
for root in /bricks/*; do
  find "$root"/volumes "$root"/trash "$root"/archive "$root"/tmp "$root/$HAND" -mindepth 1 -maxdepth 1 2>/dev/null || true
  xfs_quota -x -c 'report -p -n -N -b' "$root" |
    awk -v root="$root" '$1 != "" && $1 != "#0" && ($2 > 0 || $4 > 0) { print root ": quota of project " $1 }'
done`

// findLeftOnWorker lists mounts and clients.
const findLeftOnWorker = `grep glusterfs /proc/self/mounts || true; pgrep -a -x glusterfs || true`

// nothingLeft returns an error where anything of a volume is left: it asks the
// nodes and workers themselves, heketi, and the API.
func nothingLeft(ctx context.Context, l *lab.Lab) error {
	deadline := time.Now().Add(emptied)
	for {
		left, err := leftovers(ctx, l)
		switch {
		case err != nil:
			return fmt.Errorf("look for what is left: %w", err)
		case len(left) == 0:
			return nil
		case time.Now().After(deadline):
			return errors.New("left over after all volumes were deleted:\n  " + strings.Join(left, "\n  "))
		}
		if err := pause.For(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
}

func leftovers(ctx context.Context, l *lab.Lab) ([]string, error) {
	said, err := everywhere(ctx, l, "HAND="+handVolume+findLeft)
	if err != nil {
		return nil, err
	}
	var left []string
	for _, n := range l.Nodes() {
		for line := range strings.Lines(said[n.Name]) {
			left = append(left, n.Name+": "+strings.TrimSpace(line))
		}
	}
	note := func(where string, out []byte, err error) error {
		for line := range strings.Lines(string(out)) {
			if line = strings.TrimSpace(line); line != "" {
				left = append(left, where+": "+line)
			}
		}
		return err
	}
	for _, w := range l.Workers() {
		out, err := l.InWorker(ctx, w.Name, "sh", "-ec", findLeftOnWorker)
		if err := note("worker "+w.Name, out, err); err != nil {
			return nil, err
		}
	}
	known, err := l.Heketi(ctx, "volume", "list")
	if err := note("heketi", known, err); err != nil {
		return nil, err
	}
	objects, err := l.Kubectl(ctx, "get", "pvc,pv,volumeattachments", "-A", "-o", "name")
	err = note("the API", objects, err)
	return left, err
}
