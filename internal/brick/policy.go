package brick

import (
	"cmp"
	"errors"
	"fmt"

	"bricklayer.csi/internal/volume"
)

// Limits and defaults of a Policy.
const (
	DefaultOvercommitPercent  = 100
	MaxOvercommitPercent      = 10000
	DefaultTrashEntriesPerSec = 1000
	MaxTrashEntriesPerSec     = 1000000
)

// Policy says how much is promised of brick roots, and how fast they are cleared.
type Policy struct {
	// OvercommitPercent is how much of a root's space may be promised, in percent;
	// zero leaves it to whoever says less, in the end to DefaultOvercommitPercent.
	OvercommitPercent int
	// TrashEntriesPerSecond bounds how fast the files of removed bricks are removed
	// from a root; zero is like that of OvercommitPercent.
	TrashEntriesPerSecond int
}

// Validate says what is wrong with the policy, naming the field.
func (p Policy) Validate() error {
	check := func(field string, is, most, byDefault int) error {
		if is < 0 || is > most {
			return volume.NewFieldError(field, fmt.Sprint(is), fmt.Sprintf("1 to %d, or 0 for %d", most, byDefault))
		}
		return nil
	}
	return errors.Join(
		check("overcommitPercent", p.OvercommitPercent, MaxOvercommitPercent, DefaultOvercommitPercent),
		check("trashEntriesPerSecond", p.TrashEntriesPerSecond, MaxTrashEntriesPerSec, DefaultTrashEntriesPerSec),
	)
}

// over is the policy where it says something, and below where it does not.
func (p Policy) over(below Policy) Policy {
	return Policy{
		OvercommitPercent:     cmp.Or(p.OvercommitPercent, below.OvercommitPercent),
		TrashEntriesPerSecond: cmp.Or(p.TrashEntriesPerSecond, below.TrashEntriesPerSecond),
	}
}

// SetPolicy puts a policy over that of the Options until the next one, or until the
// host ends: what it leaves at zero is as in the Options. What is promised already
// stays promised; a trash that is being emptied goes on at its pace.
func (h *Host) SetPolicy(p Policy) error {
	if err := p.Validate(); err != nil {
		return err
	}
	h.told.Store(&p)
	return nil
}

// Told returns the policy that SetPolicy was given last.
func (h *Host) Told() Policy {
	if p := h.told.Load(); p != nil {
		return *p
	}
	return Policy{}
}

// policy is the one in force; nothing in it is zero.
func (h *Host) policy() Policy { return h.Told().over(h.options.Policy) }
