package checks

import (
	"context"
	"fmt"
	"path"
	"time"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/host"
)

var lockTimes = doctor.Check{
	ID: "lock-file-times", Title: "the times of a file move although nobody touches it", Severity: doctor.Error,
	Reads: `Only where --probe names a directory: a file that is made there, watched for two seconds, and removed. Its inode and
its time of change must stay, that time must agree with this machine's clock, and a second file must not be older than the first.`,
	Why: `Lucene, and with it Solr and Elasticsearch, notes the time of its lock file when it makes it, and stops with
"Underlying file changed by an external force" when it finds another one. On a replicated volume each replica answers
with its own time unless features.ctime is on, and by its own clock.`,
	Mend: `Put the clocks right (clock-skew), and features.ctime on (gluster-ctime). Files from before keep the times that
they have: let the program make its lock file anew.`,
	Host: checkLockTimes,
}

const (
	lockWatch = 2 * time.Second
	lockTick  = 100 * time.Millisecond
	// lockSlack is by how much a time may be off: a time of a file is coarse, and a
	// second is what programs allow.
	lockSlack = time.Second
)

func checkLockTimes(ctx context.Context, h *host.Host, r *doctor.Recorder) {
	if len(h.Probe) == 0 {
		r.Skip("no directory was named: give --probe")
		return
	}
	for _, dir := range h.Probe {
		evidence, err := watchLock(ctx, h, dir)
		if err != nil {
			r.Unknown("directory "+dir, err)
		}
		if len(evidence) > 0 {
			r.Found(doctor.Finding{
				Severity: doctor.Error, Object: "directory " + dir,
				Problem: "programs that watch the times of their lock files stop there", Evidence: evidence,
			})
		}
	}
}

// watchLock makes a lock file and says what about it is not as it must be.
func watchLock(ctx context.Context, h *host.Host, dir string) (evidence []string, err error) {
	name := path.Join(dir, fmt.Sprintf(".bricklayer-doctor-%d", h.Now().UnixNano()))
	before := h.Now()
	first, err := h.MakeProbe(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if rerr := h.RemoveProbe(name); rerr != nil && err == nil {
			err = rerr
		}
	}()
	after := h.Now()
	if first.Changed.Before(before.Add(-lockSlack)) || first.Changed.After(after.Add(lockSlack)) {
		evidence = append(evidence, fmt.Sprintf("it was made at %s by this machine's clock, and says that it was changed at %s, which is %s off",
			after.UTC().Format(time.RFC3339), first.Changed.UTC().Format(time.RFC3339), first.Changed.Sub(after).Round(100*time.Millisecond)))
	}
	tick := time.NewTicker(lockTick)
	defer tick.Stop()
	for range int(lockWatch / lockTick) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return evidence, context.Cause(ctx)
		}
		now, err := h.Probed(name)
		if err != nil {
			return evidence, err
		}
		if now != first {
			return append(evidence, fmt.Sprintf("nobody touched it, and its inode went from %d to %d, its time of change from %s to %s",
				first.Inode, now.Inode, first.Changed.UTC().Format(time.RFC3339Nano), now.Changed.UTC().Format(time.RFC3339Nano))), nil
		}
	}
	second, err := h.MakeProbe(name + "-later")
	if err != nil {
		return evidence, err
	}
	if err := h.RemoveProbe(name + "-later"); err != nil {
		return evidence, err
	}
	if second.Changed.Before(first.Changed) {
		evidence = append(evidence, fmt.Sprintf("a file that was made %s after it is older by %s", lockWatch, first.Changed.Sub(second.Changed)))
	}
	return evidence, nil
}
