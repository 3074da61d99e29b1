// Package pause lets time pass where there is no condition to watch.
package pause

import (
	"context"
	"time"
)

// For returns after d, or with the cause of ctx's end where that comes first. Without
// time to wait (d is not above zero) it says whether ctx has ended.
func For(ctx context.Context, d time.Duration) error {
	if d <= 0 || ctx.Err() != nil {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
