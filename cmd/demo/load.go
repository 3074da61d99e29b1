package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"bricklayer.csi/lab"
)

// bound is from which share of its time on something counts as busy throughout.
const bound = 0.85

// load is how busy the machine was, as shares of the time.
type load struct {
	// cpu is of all processors of this machine, whoever used them.
	cpu float64
	// disk is of the busiest disk of all storage nodes.
	disk float64
}

// boundBy says what held a run back.
func (l load) boundBy() string {
	switch {
	case l.cpu >= bound:
		return "CPU" // also where the disk is busy: it waits for the same processors
	case l.disk >= bound:
		return "disk"
	}
	return "neither"
}

// counters are what load is the growth of.
type counters struct {
	at time.Time
	// busy and total are processor time, in the kernel's ticks.
	busy, total uint64
	// disks is the time that each disk of a node had something to do.
	disks map[string]time.Duration
}

// look reads the counters of this machine and of its storage nodes.
func look(ctx context.Context, l *lab.Lab) (counters, error) {
	c := counters{disks: map[string]time.Duration{}}
	said, err := everywhere(ctx, l, "cat /proc/diskstats")
	if err != nil {
		return c, err
	}
	for node, text := range said {
		if err := c.addDisks(node, text); err != nil {
			return c, fmt.Errorf("node %s: /proc/diskstats: %w", node, err)
		}
	}
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return c, err
	}
	c.at = time.Now()
	if err := c.setCPU(string(data)); err != nil {
		return c, fmt.Errorf("/proc/stat: %w", err)
	}
	return c, nil
}

// setCPU reads the first line of /proc/stat: user, nice, system, idle, iowait, irq,
// softirq, steal. What follows them is part of user and nice already.
func (c *counters) setCPU(stat string) error {
	line, _, _ := strings.Cut(stat, "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return fmt.Errorf("it begins %q: want cpu and 8 numbers or more", line)
	}
	for i, text := range f[1:9] {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return fmt.Errorf("it begins %q: %w", line, err)
		}
		c.total += n
		if i != 3 && i != 4 {
			c.busy += n
		}
	}
	return nil
}

// addDisks reads /proc/diskstats of a node: its tenth counter is the milliseconds
// that a disk had something to do. Of User-Mode Linux the disks are ubda, ubdb, ...;
// the first is the system's.
func (c *counters) addDisks(node, stats string) error {
	for line := range strings.Lines(stats) {
		f := strings.Fields(line)
		if len(f) < 13 {
			return fmt.Errorf("line %q: %d fields, want 13 or more", line, len(f))
		}
		if name := f[2]; !strings.HasPrefix(name, "ubd") || name == "ubda" {
			continue
		}
		ms, err := strconv.ParseInt(f[12], 10, 64)
		if err != nil {
			return fmt.Errorf("line %q: %w", line, err)
		}
		c.disks[node+"/"+f[2]] = time.Duration(ms) * time.Millisecond
	}
	return nil
}

// until returns the load between two looks.
func (c counters) until(later counters) load {
	var l load
	if ticks := later.total - c.total; ticks > 0 {
		l.cpu = float64(later.busy-c.busy) / float64(ticks)
	}
	took := later.at.Sub(c.at)
	for name, busy := range later.disks {
		// A guest's clock is its own: a little more than the whole time is all of it.
		l.disk = max(l.disk, min(1, float64(busy-c.disks[name])/float64(took)))
	}
	return l
}
