package mount

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ReapEvery is how often Reap looks. A process that has ended costs a line in
// the process table and nothing else, so there is no hurry.
const ReapEvery = 10 * time.Second

// Reap collects ended processes that this one has inherited, until ctx ends. A
// glusterfs client leaves processes to process 1, which in a container is us.
//
// A child that this program started itself is waited for elsewhere, and must
// not be taken from there. Such a one is collected within microseconds of its
// end, so only what two looks in a row find ended is taken.
func Reap(ctx context.Context, every time.Duration, log *slog.Logger) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	before := map[process]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := map[process]bool{}
		for _, p := range endedChildren() {
			if !before[p] {
				now[p] = true
				continue
			}
			if _, err := unix.Wait4(p.pid, nil, unix.WNOHANG, nil); err != nil {
				log.WarnContext(ctx, "cannot collect an ended process", "pid", p.pid, "error", err)
			}
		}
		before = now
	}
}

// process is one process for ever: numbers are used again.
type process struct {
	pid   int
	start string
}

// endedChildren returns the children of this process that have ended and were not waited for.
func endedChildren() []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	parent := strconv.Itoa(os.Getpid())
	var ended []process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue // it is gone
		}
		// PID (NAME) STATE PPID ...; the name may hold anything. The 20th from STATE is the start time.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) >= 20 && fields[0] == "Z" && fields[1] == parent {
			ended = append(ended, process{pid: pid, start: fields[19]})
		}
	}
	return ended
}
