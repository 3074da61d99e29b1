package guard

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"bricklayer.csi/internal/volume"
)

// BreakerState is whether operations may begin.
type BreakerState string

// The states of a breaker.
const (
	Closed   BreakerState = "closed"    // they may
	Open     BreakerState = "open"      // they are refused at once, until the pause is over
	HalfOpen BreakerState = "half-open" // one may, whose end decides
)

// BreakerStates returns all of them.
func BreakerStates() []BreakerState { return []BreakerState{Closed, Open, HalfOpen} }

// breaker keeps operations away from a backend that fails one after the other:
// each costs it work, and its caller all of its time, for nothing.
type breaker struct {
	failures int
	pause    time.Duration

	mu   sync.Mutex
	open bool
	// row is how many failed since one worked, why is how the last one did.
	row int
	why string
	// until is when one may try, and trying is true while it does.
	until  time.Time
	trying bool
}

// look returns why nothing may begin now, and takes nothing.
func (b *breaker) look(r Request) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refusal(r)
}

// admit is look for an operation that begins if it may. trial is true where its
// end decides whether the breaker closes.
func (b *breaker) admit(r Request) (trial bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.refusal(r); err != nil {
		return false, err
	}
	b.trying = b.open
	return b.open, nil
}

func (b *breaker) refusal(r Request) error {
	if !b.open || !b.trying && !time.Now().Before(b.until) {
		return nil
	}
	next := "one is being tried now"
	if !b.trying {
		next = fmt.Sprintf("the next one is tried at %s, in %v", b.until.UTC().Format(time.TimeOnly+" MST"), time.Until(b.until).Round(time.Second))
	}
	return &volume.Error{
		Kind: volume.Unavailable, Op: r.Op, On: r.On,
		Err:  fmt.Errorf("%w: the last %d operations failed, the last one so: %s", ErrOpen, b.row, b.why),
		Next: next + "; mend what failed, deletions pass meanwhile",
	}
}

// ErrOpen is in the chain of every refusal of a breaker.
var ErrOpen = errors.New("the pool's storage is left alone for a while")

// learn takes in how an operation ended, whether it was a trial or not.
func (b *breaker) learn(how end, trial bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if trial {
		b.trying = false
	}
	switch how {
	case worked:
		b.open, b.row, b.why = false, 0, ""
	case failed:
		b.row++
		b.why = short(err)
		if trial || !b.open && b.row >= b.failures {
			b.open, b.until = true, time.Now().Add(b.pause)
		}
	case neutral:
	}
}

// maxWhy bounds what is cited of an error, in bytes.
const maxWhy = 400

func short(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > maxWhy {
		text = strings.ToValidUTF8(text[:maxWhy], "") + " ..."
	}
	return text
}

func (b *breaker) now() (s BreakerState, why string, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.open:
		return Closed, "", time.Time{}
	case b.trying || !time.Now().Before(b.until):
		return HalfOpen, b.why, b.until
	}
	return Open, b.why, b.until
}
