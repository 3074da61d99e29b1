package checks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/host"
)

var kernelMemory = doctor.Check{
	ID: "kernel-memory-accounting", Title: "the kernel leaks memory with every container", Severity: doctor.Error,
	Reads: `The kernel's release and command line, whether containers' kernel memory is accounted
(memory.kmem.slabinfo in the cgroups of pods), and the kernel's log: "SLUB: Unable to allocate memory on node -1".`,
	Why: `Kernels 3.10 of RHEL and CentOS 7 leak the caches of a cgroup whose kernel memory is accounted. Kubernetes from
1.9 and runc turned that accounting on. After some thousand containers no new one starts ("no space left on
device"), and the node falls over: on storage nodes that run as pods, creating claims brings it on
(kubernetes issue 61937).`,
	Mend: `A kernel of 4.x or later; or CentOS 7.9's last 3.10 with cgroup.memory=nokmem on its command line; or a runc and
kubelet built with the tag nokmem. A reboot gives back what has leaked.`,
	Host: checkKernelMemory,
}

const slubSign = "SLUB: Unable to allocate memory on node -1"

// kernelLogs are where distributions keep what the kernel says.
var kernelLogs = []string{"/var/log/kern.log", "/var/log/messages", "/var/log/syslog"}

// logTail is how much of the end of a log is read.
const logTail = 4 << 20

func checkKernelMemory(ctx context.Context, h *host.Host, r *doctor.Recorder) {
	release, err := h.ReadString("/proc/sys/kernel/osrelease")
	if err != nil {
		r.Unknown("kernel", err)
		return
	}
	if sign, err := slubInLog(ctx, h); sign != "" {
		r.Found(doctor.Finding{
			Severity: doctor.Error, Object: "kernel " + release, Problem: "it cannot give containers kernel memory any more",
			Evidence: []string{sign},
		})
		return
	} else if err != nil && strings.HasPrefix(release, "3.10.") {
		r.Unknown("kernel's log", err)
	}
	if !strings.HasPrefix(release, "3.10.") {
		return
	}
	cmdline, err := h.ReadString("/proc/cmdline")
	if err != nil {
		r.Unknown("kernel's command line", err)
		return
	}
	if strings.Contains(cmdline, "cgroup.memory=nokmem") {
		return
	}
	where, err := accounted(h)
	switch {
	case err != nil:
		r.Unknown("accounting of kernel memory", err)
	case where != "":
		r.Found(doctor.Finding{
			Severity: doctor.Error, Object: "kernel " + release, Problem: "every container that ends leaks kernel memory, until none starts",
			Evidence: []string{where + " shows caches: kernel memory is accounted", "the kernel's command line has no cgroup.memory=nokmem"},
		})
	}
}

// slubInLog returns the line of the kernel's log that says that it is too late.
func slubInLog(ctx context.Context, h *host.Host) (string, error) {
	var failed []error
	read := false
	texts := func(yield func(string, []byte) bool) {
		for _, file := range kernelLogs {
			text, err := h.Tail(file, logTail)
			if err != nil {
				if !errors.Is(err, fs.ErrNotExist) {
					failed = append(failed, err)
				}
				continue
			}
			if read = true; !yield(file, text) {
				return
			}
		}
		text, err := h.Run(ctx, "dmesg")
		if err != nil {
			failed = append(failed, err)
			return
		}
		read = true
		yield("dmesg", text)
	}
	for from, text := range texts {
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, slubSign) {
				return from + ": " + strings.TrimSpace(line), nil
			}
		}
	}
	if read {
		return "", nil
	}
	return "", errors.Join(failed...)
}

// accounted returns a cgroup of pods whose kernel memory is accounted. slabinfo
// cannot be read (EIO) where it is not.
func accounted(h *host.Host) (string, error) {
	for _, top := range []string{"/sys/fs/cgroup/memory/kubepods", "/sys/fs/cgroup/memory/kubepods.slice", "/sys/fs/cgroup/memory/docker", "/sys/fs/cgroup/memory/system.slice"} {
		for _, dir := range []string{top, top + "/burstable", top + "/besteffort"} {
			names, err := h.List(dir)
			if err != nil {
				return "", err
			}
			for _, name := range names {
				file := path.Join(dir, name, "memory.kmem.slabinfo")
				if text, err := h.ReadString(file); err == nil && text != "" {
					return file, nil
				}
			}
		}
	}
	return "", nil
}

var brickMemory = doctor.Check{
	ID: "brick-memory", Title: "a storage node has little memory left for bricks", Severity: doctor.Error,
	Reads: `The processes glusterfsd and their resident memory, MemAvailable, the limit of the cgroup that glusterd is in,
and how many bricks each process serves.`,
	Why: `Each brick's process takes some 20 MiB at rest and several times that under load. A storm of claims starts
hundreds. When memory ends the kernel kills the largest process: a brick, or glusterd itself, whose end takes the
node out of its cluster.`,
	Mend: `Turn multiplexing on, so that bricks share processes: gluster volume set all cluster.brick-multiplex on (it
holds for volumes that are started from then on). Or more memory, or fewer volumes on the node. No memory limit around glusterd.`,
	Host: checkBrickMemory,
}

const (
	mebibyte = 1 << 20
	// restingBrick is what the process of a brick takes before anyone uses it.
	restingBrick = 20 * mebibyte
	// roomFor is how many more bricks a node should have memory for.
	roomFor = 10
	// manyBricks is from where one process a brick is a waste that bites.
	manyBricks = 50
)

// glusterProcesses returns what runs of Gluster's servers; ok is false where that is
// nothing, or not known, and said.
func glusterProcesses(h *host.Host, r *doctor.Recorder) (glusterd, bricks []host.Process, ok bool) {
	glusterd, err := h.Running("glusterd")
	bricks, berr := h.Running("glusterfsd")
	if err = errors.Join(err, berr); err != nil {
		r.Unknown("processes", err)
		return nil, nil, false
	}
	if len(glusterd)+len(bricks) == 0 {
		r.Skip("neither glusterd nor a brick runs here")
		return nil, nil, false
	}
	return glusterd, bricks, true
}

func checkBrickMemory(_ context.Context, h *host.Host, r *doctor.Recorder) {
	glusterd, bricks, ok := glusterProcesses(h, r)
	if !ok {
		return
	}
	available, err := memInfo(h, "MemAvailable")
	if err != nil {
		r.Unknown("memory", err)
		return
	}
	seen := []string{fmt.Sprintf("%d processes of bricks, %d MiB of memory available", len(bricks), available/mebibyte)}
	switch {
	case available < restingBrick:
		r.Found(doctor.Finding{Severity: doctor.Error, Object: "memory", Problem: "the next brick may cost a process its life", Evidence: seen})
	case available < roomFor*restingBrick:
		r.Found(doctor.Finding{Severity: doctor.Warning, Object: "memory", Problem: fmt.Sprintf("there is room for %d more bricks at rest", available/restingBrick), Evidence: seen})
	}
	if len(bricks) > manyBricks {
		r.Found(doctor.Finding{
			Severity: doctor.Warning, Object: "bricks", Problem: "multiplexing is off, or does not hold for volumes from before it was turned on",
			Evidence: []string{fmt.Sprintf("%d processes glusterfsd", len(bricks))},
		})
	}
	if len(glusterd) > 0 {
		glusterdLimit(h, r, glusterd[0], len(bricks))
	}
}

// glusterdLimit finds a container's limit that is meant for one program and holds
// for glusterd and all of its bricks.
func glusterdLimit(h *host.Host, r *doctor.Recorder, glusterd host.Process, bricks int) {
	limit, used, file, err := cgroupMemory(h, glusterd)
	if err != nil {
		r.Unknown("memory limit of glusterd", err)
		return
	}
	if limit == 0 || limit-used >= roomFor*restingBrick {
		return
	}
	r.Found(doctor.Finding{
		Severity: doctor.Error, Object: "glusterd", Problem: "its memory limit is too close: the kernel kills glusterd or a brick when it is reached",
		Evidence: []string{fmt.Sprintf("%s: %d MiB, %d of them in use, by %d bricks, too", file, limit/mebibyte, used/mebibyte, bricks)},
		Mend:     "take the memory limit off the container, or set it to what all bricks need",
	})
}

// cgroupMemory returns the memory limit around a process, 0 where there is none.
func cgroupMemory(h *host.Host, p host.Process) (limit, used int64, file string, err error) {
	text, err := h.ReadString(p.Dir() + "/cgroup")
	if err != nil {
		return 0, 0, "", err
	}
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		var dir, limitFile, usedFile string
		switch f[1] {
		case "":
			dir, limitFile, usedFile = "/sys/fs/cgroup"+f[2], "memory.max", "memory.current"
		case "memory":
			dir, limitFile, usedFile = "/sys/fs/cgroup/memory"+f[2], "memory.limit_in_bytes", "memory.usage_in_bytes"
		default:
			continue
		}
		value, err := h.ReadString(path.Join(dir, limitFile))
		if errors.Is(err, fs.ErrNotExist) || value == "max" {
			continue // the top one has no limit
		}
		usage, uerr := h.ReadString(path.Join(dir, usedFile))
		if err = errors.Join(err, uerr); err != nil {
			return 0, 0, "", err
		}
		limit, err = strconv.ParseInt(value, 10, 64)
		if err != nil || limit > 1<<60 {
			continue // cgroup v1 writes a number that nothing reaches
		}
		used, err = strconv.ParseInt(usage, 10, 64)
		return limit, used, path.Join(dir, limitFile), err
	}
	return 0, 0, "", nil
}

func memInfo(h *host.Host, key string) (int64, error) {
	text, err := h.ReadString("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, key+":"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			return n * 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/meminfo has no %s", key)
}

var brickLimits = doctor.Check{
	ID: "brick-limits", Title: "glusterd runs out of ports or file descriptors", Severity: doctor.Error,
	Reads: `base-port and max-port in glusterd.vol beside the ports that bricks listen on; the open files of glusterd and of
each brick's process beside their limits (/proc/PID/limits).`,
	Why: `Each brick listens on a port of its own, and glusterd gives none twice until it starts anew. Without a port, or
without a file descriptor, a volume is created and does not start; a multiplexed process that runs out takes all of
its bricks with it.`,
	Mend: `A wider range in /etc/glusterfs/glusterd.vol (base-port, max-port), open in the firewall; a larger
LimitNOFILE for glusterd.service, which its bricks inherit. Both hold after a restart of glusterd, which clients do not notice.`,
	Host: checkBrickLimits,
}

// nearly is the share of a limit from which it is worth a word.
const nearly = 0.8

var portLine = regexp.MustCompile(`(?m)^\s*option\s+(base-port|max-port)\s+(\d+)`)

func checkBrickLimits(_ context.Context, h *host.Host, r *doctor.Recorder) {
	glusterd, bricks, ok := glusterProcesses(h, r)
	if !ok {
		return
	}
	for _, p := range append(glusterd, bricks...) {
		openFiles(h, r, p)
	}
	brickPorts(h, r)
}

func openFiles(h *host.Host, r *doctor.Recorder, p host.Process) {
	object := fmt.Sprintf("%s (process %d)", path.Base(p.Args[0]), p.PID)
	open, err := h.List(p.Dir() + "/fd")
	limits, lerr := h.ReadString(p.Dir() + "/limits")
	if errors.Is(lerr, fs.ErrNotExist) {
		return // it ended
	}
	if err = errors.Join(err, lerr); err != nil {
		r.Unknown(object, err)
		return
	}
	for line := range strings.Lines(limits) {
		f := strings.Fields(line)
		if !strings.HasPrefix(line, "Max open files") || len(f) < 4 {
			continue
		}
		most, err := strconv.Atoi(f[3])
		if err == nil && float64(len(open)) > nearly*float64(most) {
			r.Found(doctor.Finding{
				Severity: doctor.Error, Object: object, Problem: "it will soon be unable to open files and connections",
				Evidence: []string{fmt.Sprintf("%d files open of %d", len(open), most)},
			})
		}
	}
}

// defaultPorts are glusterd's own range.
var defaultPorts = map[string]int{"base-port": 49152, "max-port": 60999}

func brickPorts(h *host.Host, r *doctor.Recorder) {
	ports := map[string]int{"base-port": defaultPorts["base-port"], "max-port": defaultPorts["max-port"]}
	text, err := h.ReadString("/etc/glusterfs/glusterd.vol")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.Unknown("glusterd's range of ports", err)
		return
	}
	for _, m := range portLine.FindAllStringSubmatch(text, -1) {
		if n, err := strconv.Atoi(m[2]); err == nil {
			ports[m[1]] = n
		}
	}
	used := map[int]bool{}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := h.ReadString(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			r.Unknown("listening ports", err)
			return
		}
		for line := range strings.Lines(text) {
			f := strings.Fields(line)
			if len(f) < 4 || f[3] != "0A" { // listening
				continue
			}
			_, hex, _ := strings.Cut(f[1], ":")
			if port, err := strconv.ParseInt(hex, 16, 32); err == nil && int(port) >= ports["base-port"] && int(port) <= ports["max-port"] {
				used[int(port)] = true
			}
		}
	}
	total := ports["max-port"] - ports["base-port"] + 1
	if float64(len(used)) > nearly*float64(total) {
		r.Found(doctor.Finding{
			Severity: doctor.Error, Object: "ports of bricks", Problem: "soon a new brick will find no port to listen on",
			Evidence: []string{fmt.Sprintf("%d of %d ports from %d to %d are listened on", len(used), total, ports["base-port"], ports["max-port"])},
		})
	}
}
