package heketi

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// view is heketi's database at one moment.
type view struct {
	dump
	// taken is when it was asked for: nothing later is in it for sure.
	taken time.Time
	// byName are the IDs of the volumes of each name, sorted.
	byName map[string][]string
}

func newView(d dump) *view {
	v := &view{dump: d, byName: make(map[string][]string, len(d.Volumes))}
	for _, id := range slices.Sorted(maps.Keys(d.Volumes)) {
		name := d.Volumes[id].Info.Name
		v.byName[name] = append(v.byName[name], id)
	}
	return v
}

// views is the newest view, shared by all who ask: of many callers at once one
// asks heketi, and the others take the same answer if it is new enough for them.
type views struct {
	fetch   func(ctx context.Context, l login) (*view, error)
	timeout time.Duration

	mu     sync.Mutex
	last   *view
	flight *flight
	floor  time.Time // what was taken before is known to be out of date
}

// flight is a view that is being fetched.
type flight struct {
	started time.Time
	done    chan struct{}
	view    *view
	err     error
}

// get returns a view that was taken at notBefore or later.
func (v *views) get(ctx context.Context, l login, notBefore time.Time) (*view, error) {
	for {
		v.mu.Lock()
		if v.floor.After(notBefore) {
			notBefore = v.floor
		}
		if v.last != nil && !v.last.taken.Before(notBefore) {
			defer v.mu.Unlock()
			return v.last, nil
		}
		f := v.flight
		if f == nil {
			f = v.start(ctx, l)
		}
		v.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if !f.started.Before(notBefore) {
			return f.view, f.err
		}
	}
}

// start fetches a view. It goes on when the caller that began it has no more
// time, because others may wait for it too; the timeout ends it. v.mu is held.
func (v *views) start(ctx context.Context, l login) *flight {
	f := &flight{started: time.Now(), done: make(chan struct{})}
	v.flight = f
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), v.timeout)
		defer cancel()
		f.view, f.err = v.fetch(ctx, l)
		if f.view != nil {
			f.view.taken = f.started
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.flight = nil
		if f.err == nil {
			v.last = f.view
		}
		close(f.done)
	}()
	return f
}

// outdate has the next caller fetch a new view: something was changed.
func (v *views) outdate() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.floor = time.Now()
}

// fetchView asks heketi for its database.
func (b *Backend) fetchView(ctx context.Context, l login) (*view, error) {
	x := &exchange{login: l, most: maxDump}
	c, err := b.client(ctx, x)
	if err != nil {
		return nil, err
	}
	text, err := c.DbDump()
	if err == nil {
		var d dump
		if d, err = parseDump(text); err == nil {
			return newView(d), nil
		}
	}
	return nil, b.explain(x, "read heketi's database", b.base.Host, err)
}

// look returns a view that is at most maxAge old, under the given login.
func (b *Backend) look(ctx context.Context, l login, maxAge time.Duration) (*view, error) {
	v, err := b.views.get(ctx, l, time.Now().Add(-maxAge))
	if err != nil {
		return nil, b.explain(&exchange{login: l}, "read heketi's database", b.base.Host, err)
	}
	return v, nil
}

// glance returns a view for a question that changes nothing.
func (b *Backend) glance(ctx context.Context) (*view, error) {
	l, err := b.poolLogin(ctx)
	if err != nil {
		return nil, err
	}
	return b.look(ctx, l, b.Timing.Cache)
}

// running returns how many operations heketi works on.
func (v *view) running() int {
	n := 0
	for _, o := range v.Operations {
		if o.running() {
			n++
		}
	}
	return n
}

// operationOn returns the operation that heketi has pending on a volume. It
// says so in the volume, except for an expansion, which is found by its actions.
func (v *view) operationOn(e volumeEntry) (operationEntry, bool) {
	if e.Pending.ID != "" {
		o, known := v.Operations[e.Pending.ID]
		if !known {
			o = operationEntry{Status: operationStale}
		}
		o.ID = e.Pending.ID
		return o, true
	}
	for id, o := range v.Operations {
		for _, a := range o.Actions {
			if a.ID == e.Info.Id {
				o.ID = id
				return o, true
			}
		}
	}
	return operationEntry{}, false
}
