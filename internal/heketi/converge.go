package heketi

import (
	"context"
	"errors"
	"fmt"
	"time"

	client "github.com/heketi/heketi/client/api/go-client"

	"bricklayer.csi/internal/volume"
)

// maxAsks is how often one call asks heketi for the same change where the
// answer was lost, or another controller was quicker.
const maxAsks = 3

// task is one thing that is to become true of a volume.
type task struct {
	op     string
	handle volume.Handle
	// login is who asks.
	login login
	// hasty has what runs on the volume not waited for.
	hasty bool
	// doomed says that the volume is to go: what stands in heketi's way may go first.
	doomed bool
	// alone has every operation on the volume waited for and cleared away, not
	// only those that leave it half made.
	alone bool
	// clusters are those in which a volume of another owner is in the way.
	clusters []string
	// next returns nil where nothing is left to do, or what heketi is asked for.
	next func(ctx context.Context, v *view, f found) (*change, error)
}

// change is one request to heketi that changes something. It is given the
// newest view, in which the volume is as next saw it.
type change struct {
	ask func(ctx context.Context, c *client.Client, v *view, f found) error
}

// errMoved says that the volume changed between two looks. It is Busy where
// nobody looks again.
var errMoved = &volume.Error{Kind: volume.Busy, Err: errors.New("the volume changed in the meantime"), Next: "repeat the call"}

// errHasty is why a hasty task does not wait.
var errHasty = errors.New("it is not waited for")

// converge carries a task out: it reads heketi's database, waits for what runs
// on the volume, clears away what was left half done, asks for the next change,
// and begins anew until there is none. So a call that is repeated, or comes
// after one that was lost, or beside one of another controller, asks for
// nothing twice.
func (b *Backend) converge(ctx context.Context, t task) error {
	on := b.on(t.handle)
	later := b.newBackoff()
	for asked := 0; ; {
		v, err := b.look(ctx, t.login, 0)
		if err != nil {
			return err
		}
		f := v.find(t.handle, t.clusters)
		inTheWay := f.half() || f.pending && t.alone
		if inTheWay && f.operation.running() {
			err := errHasty
			if !t.hasty {
				err = later.wait(ctx)
			}
			if err != nil {
				return f.operation.busy(t.op, on, err)
			}
			continue
		}
		if inTheWay {
			if err := b.cleanUp(ctx, t, v, f); err != nil {
				return err
			}
			continue
		}
		next, err := t.next(ctx, v, f)
		if err == nil && next == nil {
			return nil
		}
		again := false
		if err == nil {
			asked++
			again, err = b.ask(ctx, t, f, next)
		}
		if err != nil {
			if !errors.Is(err, errMoved) && (!again || asked >= maxAsks) {
				return err
			}
			b.log.DebugContext(ctx, "looking again before heketi is asked again", "op", t.op, "volume", t.handle.String(), "error", err)
			if later.wait(ctx) != nil {
				return err
			}
		}
		if asked > 2*maxAsks {
			return &volume.Error{
				Kind: volume.Unavailable, Op: t.op, On: on,
				Err: fmt.Errorf("heketi said %d times that it was done, and its database does not show it", asked), Next: seeLog,
			}
		}
	}
}

// longAgo is after how long an operation is suspected to be one that heketi has
// lost: it could not write down that it was done, because its disk was full.
const longAgo = 15 * time.Minute

// busy is the answer while heketi is at work.
func (o operationEntry) busy(op, on string, why error) error {
	since := time.Unix(o.Timestamp, 0).UTC()
	e := &volume.Error{
		Kind: volume.Busy, Op: op, On: on, Next: ownWork,
		Err: fmt.Errorf("heketi is at work on it (%s %s, since %s): %w", o.Type, o.ID, since.Format(time.RFC3339), why),
	}
	if time.Since(since) > longAgo {
		e.Next = "if heketi-cli server operations list does not show it in flight, heketi has lost it: see its disk and its log, and restart it; then repeat the call"
	}
	return e
}

// ask asks heketi for a change when its turn has come, if the volume still is
// as it was, and waits for the outcome. again says that another look may show
// another state of things: the answer was lost, or another controller was
// quicker, or the volume is gone already. What heketi itself says has failed is
// not asked for again in the same call: heketi has tried five times.
func (b *Backend) ask(ctx context.Context, t task, f found, do *change) (again bool, err error) {
	on := b.on(t.handle)
	v, leave, err := b.enter(ctx, t.login, t.op, on)
	if err != nil {
		return false, err
	}
	defer leave()
	now := v.find(t.handle, t.clusters)
	if !now.same(f) {
		return true, errMoved
	}
	x := &exchange{login: t.login, accepted: leave}
	c, err := b.client(ctx, x)
	if err != nil {
		return false, err
	}
	defer b.views.outdate()
	err = do.ask(ctx, c, v, now)
	lost := x.status == 0 || garbled(err)
	err = b.explain(x, t.op, on, err)
	return lost && !volume.KindOf(err).Definite() || volume.Is(err, volume.Busy) && !x.taken || volume.Is(err, volume.NotFound), err
}
