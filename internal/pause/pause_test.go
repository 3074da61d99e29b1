package pause_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"bricklayer.csi/internal/pause"
)

func TestFor(t *testing.T) {
	reason := errors.New("the test is over")
	for name, c := range map[string]struct {
		d, endsAfter, want time.Duration
		err                error
	}{
		"passes":          {d: time.Minute, endsAfter: time.Hour, want: time.Minute},
		"ends first":      {d: time.Hour, endsAfter: time.Minute, want: time.Minute, err: reason},
		"has ended":       {d: time.Hour, err: reason},
		"nothing to wait": {d: -time.Second, endsAfter: time.Hour},
		"nothing, ended":  {err: reason},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				if c.endsAfter == 0 {
					cancel(reason)
				}
				end := time.AfterFunc(c.endsAfter, func() { cancel(reason) })
				defer end.Stop()
				begun := time.Now()
				if err := pause.For(ctx, c.d); !errors.Is(err, c.err) || time.Since(begun) != c.want {
					t.Errorf("%v after %s; want %v after %s", err, time.Since(begun), c.err, c.want)
				}
			})
		})
	}
}
