package bench

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"bricklayer.csi/bench/host"
)

// busy is from which share of its time on something counts as busy throughout.
const busy = 0.85

// Load is how busy hosts were during a run, as shares of the time.
type Load struct {
	// CPU is of the busiest host: all its processors, whoever used them.
	CPU float64 `json:"cpu"`
	// CPUOf is that host.
	CPUOf string `json:"cpuOf,omitempty"`
	// Disk is of the busiest disk of all hosts.
	Disk float64 `json:"disk"`
	// DiskOf is that disk, with its host.
	DiskOf string `json:"diskOf,omitempty"`
	// Unknown says why some host was not looked at.
	Unknown string `json:"unknown,omitempty"`
}

// Bound says what held a run back.
type Bound string

// What can hold a run back.
const (
	BoundCPU  Bound = "CPU"
	BoundDisk Bound = "disk"
	// BoundWaiting is neither: the run waited for answers, one after the other.
	BoundWaiting Bound = "waiting"
)

// Bound says what held a run back, as far as was looked.
func (l Load) Bound() Bound {
	switch {
	case l.CPU >= busy:
		return BoundCPU // also where a disk is busy: it waits for the same processors
	case l.Disk >= busy:
		return BoundDisk
	}
	return BoundWaiting
}

// counters are what load is the growth of.
type counters struct {
	at time.Time
	// busy and total are processor time, in the kernel's ticks.
	busy, total uint64
	// disks is the time that each disk had something to do.
	disks map[string]time.Duration
}

// look reads the counters of all hosts at once.
func look(ctx context.Context, hosts []host.Host) ([]counters, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return lookAfter(ctx, "", hosts)
}

// lookAfter has all hosts but this one run a script first. Both are one command: on
// a slow node a command costs more than what it does.
func lookAfter(ctx context.Context, script string, hosts []host.Host) ([]counters, error) {
	const read = "read -r line </proc/stat; echo \"$line\"; while read -r line; do echo \"$line\"; done </proc/diskstats\n"
	seen := make([]counters, len(hosts))
	errs := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() {
			text := read
			if h.Name != "" {
				text = script + read
			}
			out, err := h.Run(ctx, text)
			seen[i].at = time.Now()
			if err == nil {
				err = seen[i].read(string(out))
			}
			if err != nil {
				errs[i] = fmt.Errorf("counters of %s: %w", h, err)
			}
		})
	}
	wg.Wait()
	return seen, errors.Join(errs...)
}

// wholeDisk leaves out partitions, loops and RAM disks: their time is also the disk's.
var wholeDisk = regexp.MustCompile(`^(sd[a-z]+|vd[a-z]+|xvd[a-z]+|ubd[a-z]+|nvme[0-9]+n[0-9]+|mmcblk[0-9]+)$`)

// read takes the first line of /proc/stat (user, nice, system, idle, iowait, irq,
// softirq, steal) and all of /proc/diskstats, whose tenth counter is the
// milliseconds that a disk had something to do.
func (c *counters) read(text string) error {
	line, stats, _ := strings.Cut(text, "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return fmt.Errorf("/proc/stat begins %.80q: want cpu and 8 numbers or more", line)
	}
	for i, number := range f[1:9] {
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return fmt.Errorf("/proc/stat begins %.80q: %w", line, err)
		}
		c.total += n
		if i != 3 && i != 4 {
			c.busy += n
		}
	}
	c.disks = map[string]time.Duration{}
	for line := range strings.Lines(stats) {
		f := strings.Fields(line)
		if len(f) < 13 || !wholeDisk.MatchString(f[2]) {
			continue
		}
		ms, err := strconv.ParseInt(f[12], 10, 64)
		if err != nil {
			return fmt.Errorf("/proc/diskstats: %.80q: %w", line, err)
		}
		c.disks[f[2]] = time.Duration(ms) * time.Millisecond
	}
	return nil
}

// loadOf returns the load between two looks at the same hosts.
func loadOf(hosts []host.Host, before, after []counters) Load {
	var l Load
	for i, h := range hosts {
		b, a := before[i], after[i]
		if ticks := a.total - b.total; a.total > b.total {
			if cpu := float64(a.busy-b.busy) / float64(ticks); cpu > l.CPU {
				l.CPU, l.CPUOf = cpu, h.String()
			}
		}
		took := a.at.Sub(b.at)
		for name, time := range a.disks {
			// A guest's clock is its own: a little more than the whole time is all of it.
			if share := min(1, float64(time-b.disks[name])/float64(took)); share > l.Disk {
				l.Disk, l.DiskOf = share, name+" of "+h.String()
			}
		}
	}
	return l
}
