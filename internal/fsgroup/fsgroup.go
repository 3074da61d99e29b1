// Package fsgroup owns how the files of a mounted volume come to belong to the
// group that a pod wants (fsGroup in Kubernetes): once for each change of the
// group, and not once for each pod that starts.
//
// It refuses to know pods, CSI and how the volume was mounted. It works on files
// that pods may change at the same time, and so never leaves the volume by a
// symbolic link, and never waits for a file system that hangs longer than its
// caller does.
package fsgroup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"bricklayer.csi/internal/volume"
)

// Volume is a mounted volume.
type Volume struct {
	// Name says which it is, in errors and logs; at most one change a name runs at a time.
	Name string
	// Dir is where it is mounted.
	Dir string
	// Device is MAJOR:MINOR of its file system, as the mount table has it: what
	// is at Dir may be something else where mounts are not propagated to this process.
	Device string
}

// Groups changes the groups of volumes. Make it with New.
type Groups struct {
	log  *slog.Logger
	wait time.Duration

	mu   sync.Mutex
	jobs map[string]*job
}

// waitFor is how long Apply waits for a change: below the two minutes of kubelet's
// calls, and short enough not to keep other calls for the volume waiting long.
const waitFor = 30 * time.Second

// New returns Groups that log to log.
func New(log *slog.Logger) *Groups {
	return &Groups{log: log, wait: waitFor, jobs: map[string]*job{}}
}

// job is a change that runs.
type job struct {
	gid    int
	cancel context.CancelFunc
	walk   *walk
	done   chan struct{}
	err    error // once done
}

// Apply gives everything in the volume to the group, readable and writable, where
// the volume's root does not belong to it already. It goes on when ctx ends, and
// when it takes longer than a call may; the error is then Busy, says how far it
// is, and the same call joins it. Cut short, it begins again and passes over
// what is done.
func (g *Groups) Apply(ctx context.Context, v Volume, gid int) error {
	j, err := g.join(v, gid)
	if err != nil {
		return err
	}
	limit := time.NewTimer(g.wait)
	defer limit.Stop()
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
	case <-limit.C:
	}
	return &volume.Error{
		Kind: volume.Busy, Op: "give the volume to group " + strconv.Itoa(gid), On: v.Name,
		Err:  fmt.Errorf("it goes on in the background: %d files looked at, %d changed so far", j.walk.seen.Load(), j.walk.changed.Load()),
		Next: "repeat the call later",
	}
}

func (g *Groups) join(v Volume, gid int) (*job, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if j, running := g.jobs[v.Name]; running {
		if j.gid != gid {
			return nil, &volume.Error{
				Kind: volume.Busy, Op: "give the volume to group " + strconv.Itoa(gid), On: v.Name,
				Err: fmt.Errorf("it is being given to group %d", j.gid), Next: "use one group for all pods of a volume",
			}
		}
		return j, nil
	}
	ctx, cancel := context.WithCancel(context.Background()) // it outlives the call
	j := &job{gid: gid, cancel: cancel, walk: &walk{gid: gid, device: v.Device, log: g.log.With("volume", v.Name, "group", gid)}, done: make(chan struct{})}
	g.jobs[v.Name] = j
	go func() {
		defer cancel()
		j.err = inWords(v, gid, j.walk.run(ctx, v.Dir))
		g.mu.Lock()
		delete(g.jobs, v.Name)
		g.mu.Unlock()
		close(j.done)
	}()
	return j, nil
}

// Stop ends the change of a volume that is to be unmounted. It waits until the
// volume's files are no longer in use, or ctx ends, or the file system hangs.
func (g *Groups) Stop(ctx context.Context, name string) {
	g.mu.Lock()
	j, running := g.jobs[name]
	g.mu.Unlock()
	if !running {
		return
	}
	j.cancel()
	limit := time.NewTimer(stopWithin)
	defer limit.Stop()
	select {
	case <-j.done:
	case <-ctx.Done():
	case <-limit.C:
	}
}

// stopWithin is how long the change of one file may take until it counts as hanging.
const stopWithin = 5 * time.Second

func inWords(v Volume, gid int, err error) error {
	if err == nil {
		return nil
	}
	kind := volume.Unavailable
	next := "repeat the call later; see whether the volume answers"
	switch {
	case errors.Is(err, errElsewhere):
		kind, next = volume.Precondition, "mount kubelet's directory into this container with mountPropagation HostToContainer"
	case errors.Is(err, context.Canceled):
		next = ""
	}
	return &volume.Error{Kind: kind, Op: "give the volume to group " + strconv.Itoa(gid), On: v.Name, Err: err, Next: next}
}
