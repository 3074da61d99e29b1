package brick

import (
	"context"
	"time"

	"bricklayer.csi/internal/pause"
)

// slices is into how many portions a second's work is cut.
const slicesPerSecond = 50

// pace lets so many steps a second through. What was not used is lost: a slow
// disk is not followed by a burst.
type pace struct {
	portion  int
	interval time.Duration
	done     int
	since    time.Time
}

func newPace(perSecond int) *pace {
	portion := max(1, perSecond/slicesPerSecond)
	return &pace{portion: portion, interval: time.Duration(portion) * time.Second / time.Duration(perSecond), since: time.Now()}
}

// step returns when the next step may be taken, or with the cause of ctx's end.
func (p *pace) step(ctx context.Context) error {
	p.done++
	if p.done < p.portion {
		return context.Cause(ctx)
	}
	err := pause.For(ctx, p.interval-time.Since(p.since))
	p.done, p.since = 0, time.Now()
	return err
}
