package checks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/host"
)

// mounted is a Gluster mount.
type mounted struct{ device, point, source string }

// glusterMounts returns the Gluster mounts that a process sees.
func glusterMounts(h *host.Host, pid string) ([]mounted, error) {
	text, err := h.ReadString(path.Join("/proc", pid, "mountinfo"))
	if err != nil {
		return nil, err
	}
	infos, err := mountinfo.GetMountsFromReader(strings.NewReader(text), mountinfo.FSTypeFilter("fuse.glusterfs"))
	if err != nil {
		return nil, fmt.Errorf("mount table of process %s: %w", pid, err)
	}
	all := make([]mounted, len(infos))
	for i, m := range infos {
		all[i] = mounted{device: fmt.Sprintf("%d:%d", m.Major, m.Minor), point: m.Mountpoint, source: m.Source}
	}
	return all, nil
}

var fuseClientNamespace = doctor.Check{
	ID: "fuse-client-namespace", Title: "a Gluster client cannot see the processes that it serves", Severity: doctor.Error,
	Reads: `The processes glusterfs with a mount, the PID namespace of each (NSpid in /proc/PID/status), and whether
process 1 sees the mount.`,
	Why: `The client learns the supplementary groups of a process from /proc, by the process's number. In a PID namespace
of its own it is told the number 0 and finds no groups: a pod that may write by its group (fsGroup, the gid of a
StorageClass) gets "Permission denied", while root and the owner see nothing wrong.`,
	Mend: `Run what mounts Gluster volumes in the PID namespace of the machine: hostPID: true in the pod that holds the
clients (Bricklayer's chart sets it), or a unit of systemd. Then mount anew: end the pods that use the volume, and start them.`,
	Host: checkClientNamespaces,
}

func checkClientNamespaces(_ context.Context, h *host.Host, r *doctor.Recorder) {
	clients, err := h.Running("glusterfs")
	if err != nil {
		r.Unknown("processes", err)
		return
	}
	ours, err := glusterMounts(h, "1")
	if err != nil {
		r.Unknown("mounts of process 1", err)
		return
	}
	seen := 0
	for _, c := range clients {
		point := c.Args[len(c.Args)-1]
		if !strings.HasPrefix(point, "/") || len(c.Args) < 2 {
			continue // glustershd and its like
		}
		theirs, err := glusterMounts(h, strconv.Itoa(c.PID))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
			continue // it ended
		}
		inside, nerr := numberInside(h, c)
		if err = errors.Join(err, nerr); err != nil {
			r.Unknown(fmt.Sprintf("client %d at %s", c.PID, point), err)
			continue
		}
		// Its own mount may lie elsewhere for process 1, but is the same device.
		i := slices.IndexFunc(theirs, func(m mounted) bool { return m.point == point })
		j := -1
		if i >= 0 {
			j = slices.IndexFunc(ours, func(m mounted) bool { return m.device == theirs[i].device })
		}
		if j < 0 {
			continue // a container's own mount, for its own processes
		}
		seen++
		if inside != "" {
			r.Found(doctor.Finding{
				Severity: doctor.Error, Object: "mount " + ours[j].point,
				Problem: "access by supplementary groups is denied on this mount",
				Evidence: []string{
					fmt.Sprintf("client %d (%s) calls itself %s in a PID namespace of its own", c.PID, ours[j].source, inside),
				},
			})
		}
	}
	if seen == 0 {
		r.Skip("no Gluster volume is mounted on the machine itself")
	}
}

// numberInside returns the number that a process has in a PID namespace below that
// of the machine; nothing where it is in the machine's own.
func numberInside(h *host.Host, p host.Process) (string, error) {
	text, err := h.ReadString(p.Dir() + "/status")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			if numbers := strings.Fields(rest); len(numbers) > 1 {
				return numbers[len(numbers)-1], nil
			}
			return "", nil
		}
	}
	return "", errors.New("the kernel does not tell PID namespaces (no NSpid in /proc/PID/status)")
}

var fuseMissing = doctor.Check{
	ID: "fuse-missing", Title: "Gluster volumes cannot be mounted here", Severity: doctor.Error,
	Reads: `On a machine where kubelet runs: /dev/fuse and /proc/filesystems.`,
	Why:   `A Gluster volume is mounted through FUSE. Without it every pod with such a volume stays in ContainerCreating.`,
	Mend: `modprobe fuse, and the word fuse in a file of /etc/modules-load.d.
The client itself comes with Bricklayer's image.`,
	Fix:  `loads the module and makes /etc/modules-load.d/bricklayer-fuse.conf.`,
	Host: checkFuse,
}

func checkFuse(_ context.Context, h *host.Host, r *doctor.Recorder) {
	kubelet, err := h.Running("kubelet")
	if err != nil {
		r.Unknown("processes", err)
		return
	}
	if len(kubelet) == 0 {
		r.Skip("no kubelet runs here")
		return
	}
	device, err := h.Exists("/dev/fuse")
	known, kerr := h.ReadString("/proc/filesystems")
	if err = errors.Join(err, kerr); err != nil {
		r.Unknown("FUSE", err)
		return
	}
	if device && strings.Contains(known+"\n", "\tfuse\n") {
		return
	}
	const file = "/etc/modules-load.d/bricklayer-fuse.conf"
	f := doctor.Finding{
		Severity: doctor.Error, Object: "FUSE", Problem: "pods with Gluster volumes do not start on this node",
		Evidence: []string{fmt.Sprintf("/dev/fuse is there: %t; the kernel knows the file system fuse: %t", device, strings.Contains(known+"\n", "\tfuse\n"))},
		Fix:      []host.Step{{Exec: &host.Exec{Argv: []string{"modprobe", "fuse"}, Note: "it stays loaded when this is taken back"}}},
	}
	if there, err := h.Exists(file); err == nil && !there {
		f.Fix = append(f.Fix, host.Step{Write: &host.Write{Path: file, New: "fuse\n", Mode: 0o644}})
	}
	r.Found(f)
}

var mountStale = doctor.Check{
	ID: "mount-stale", Title: "a Gluster mount is dead", Severity: doctor.Error,
	Reads: `The Gluster mounts in /proc/1/mountinfo, and an answer of each within 3 seconds.`,
	Why: `The client of the mount has ended ("Transport endpoint is not connected"), or it waits for bricks that do not
answer. Every process that touches the mount fails or hangs, for ever in the first case.`,
	Mend: `Delete the pods that use the volume: the next ones get a new client. Where no pod uses it: umount -l MOUNT.
If it hangs, look at the volume's bricks first (gluster-volumes).`,
	Host: checkStale,
}

// mountPatience is how long a mount may take to answer. Gluster's own ping timeout
// is longer; a mount that waits for it is in trouble, too.
const mountPatience = 3 * time.Second

func checkStale(ctx context.Context, h *host.Host, r *doctor.Recorder) {
	mounts, err := glusterMounts(h, "1")
	if err != nil {
		r.Unknown("mounts of process 1", err)
		return
	}
	// One client may be bound to many places.
	seen := map[string]bool{}
	mounts = slices.DeleteFunc(mounts, func(m mounted) bool {
		again := seen[m.device]
		seen[m.device] = true
		return again
	})
	if len(mounts) == 0 {
		r.Skip("no Gluster volume is mounted")
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, mountPatience, fmt.Errorf("no answer within %s", mountPatience))
	defer cancel()
	doctor.Each(ctx, mounts, func(_ context.Context, m mounted) error {
		_, err := h.Stat(m.point)
		return staleMount(r, m, err)
	}, func(m mounted, err error) error { return staleMount(r, m, err) })
}

func staleMount(r *doctor.Recorder, m mounted, err error) error {
	dead := errors.Is(err, unix.ENOTCONN)
	switch {
	case err == nil:
	case dead || errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "no answer"):
		r.Found(doctor.Finding{
			Severity: doctor.Error, Object: "mount " + m.point, Problem: "what touches it fails or hangs",
			Evidence: []string{m.source + ": " + err.Error()},
		})
	default:
		r.Unknown("mount "+m.point, err)
	}
	return err
}

var thinPool = doctor.Check{
	ID: "thin-pool-full", Title: "an LVM thin pool is nearly full", Severity: doctor.Error,
	Reads: `lvs: how full data and metadata of each thin pool are. 80 percent is a warning, 95 an error.`,
	Why: `A thin pool that is full stops every write of every brick on it, and one whose metadata are full may need a
repair before it can be used again. Bricks of heketi's are on such pools.`,
	Mend: `lvextend the pool (lvextend --poolmetadatasize +1G for its metadata), or delete volumes and snapshots on it.`,
	Host: checkThinPools,
}

const (
	thinWarning = 80.0
	thinError   = 95.0
)

func checkThinPools(ctx context.Context, h *host.Host, r *doctor.Recorder) {
	out, err := h.Run(ctx, "lvs", "--noheadings", "--nosuffix", "--separator", "|", "--select", "segtype=thin-pool", "-o", "vg_name,lv_name,data_percent,metadata_percent")
	if host.Missing(err) {
		r.Skip("LVM is not installed")
		return
	}
	if err != nil {
		r.Unknown("thin pools", err)
		return
	}
	pools := 0
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 4 {
			continue
		}
		pools++
		for i, what := range []string{"data", "metadata"} {
			thinPoolPart(r, f[0]+"/"+f[1], what, f[2+i])
		}
	}
	if pools == 0 {
		r.Skip("there is no thin pool")
	}
}

func thinPoolPart(r *doctor.Recorder, pool, what, percent string) {
	object := "thin pool " + pool
	full, err := strconv.ParseFloat(percent, 64)
	if err != nil {
		r.Unknown(object, fmt.Errorf("lvs says %q where the share of its %s in use was asked for: is it active?", percent, what))
		return
	}
	if full < thinWarning {
		return
	}
	f := doctor.Finding{
		Severity: doctor.Warning, Object: object, Problem: "its " + what + " will be full soon",
		Evidence: []string{fmt.Sprintf("%s in use: %.1f %%", what, full)},
	}
	if full >= thinError {
		f.Severity = doctor.Error
	}
	r.Found(f)
}
