package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// Spec is what a request asks for. Its name and pool have passed their checks.
type Spec struct {
	// Name is the request's name (CSI CreateVolumeRequest.name, a PV's name).
	Name string
	// Size is what is allowed, in bytes.
	Size SizeRange
	// Parameters are those of the StorageClass; Pool is filled in.
	Parameters Parameters
	// Near is the zone of whoever uses the volume first, or empty: where there is
	// a choice, a brick goes there, and clients get the volume's file from there.
	Near string
}

// NewSpec checks a request's name and puts a Spec together.
func NewSpec(name string, size SizeRange, p Parameters) (Spec, error) {
	if err := CheckRequestName(name); err != nil {
		return Spec{}, err
	}
	return Spec{Name: name, Size: size, Parameters: p}, nil
}

// Handle returns the handle that this request's volume has or will have.
func (s Spec) Handle() Handle {
	return Handle{
		Backend: s.Parameters.Backend(),
		Pool:    s.Parameters.Pool,
		Name:    DeriveName(s.Parameters.NamePrefix, s.Name),
	}
}

// State says how far a volume has come.
type State uint8

// The states.
const (
	// Partial is a volume that an interrupted Create or Delete left: nobody was
	// told that it exists. Create finishes it, Undo and Delete remove it.
	Partial State = iota
	// Ready is a volume that can be mounted.
	Ready
)

// Volume is what a backend knows about one volume.
type Volume struct {
	Handle Handle
	State  State
	// Size is what df shows on a client and what is enforced, in bytes.
	Size Size
	// Fingerprint is that of the parameters it was made with; empty where unknown.
	Fingerprint string
	// Class is that of its class alone, empty where that is the same; see
	// Parameters.ClassFingerprint.
	Class string
	Type  Type
	// Servers are the hosts that serve the volume's file to clients, best first.
	Servers []string
	// GID owns the volume's root.
	GID int
	// Created is when the volume was made; zero where unknown.
	Created time.Time
	// Bricks says where the data lies, as HOST:PATH, for people.
	Bricks []string
}

// MadeOf reports whether the volume was made of these parameters, or of the same
// class when its pool had other defaults.
func (v Volume) MadeOf(p Parameters) bool {
	return v.Fingerprint == p.Fingerprint() || cmp.Or(v.Class, v.Fingerprint) == p.ClassFingerprint()
}

// Satisfies returns nil where the volume is what spec asks for, and Exists with
// the difference where it is not.
func (v Volume) Satisfies(spec Spec) error {
	var differs string
	switch {
	case !v.MadeOf(spec.Parameters):
		differs = "its parameters are not those of this request"
	case !spec.Size.Holds(v.Size):
		differs = fmt.Sprintf("its size of %d bytes is not within the requested %d to %d", v.Size, spec.Size.Required, spec.Size.Limit)
	default:
		return nil
	}
	return &Error{
		Kind: Exists, Op: "create volume", On: v.Handle.String(),
		Err:  errors.New("a volume of this name exists, but " + differs),
		Next: "use another name, or delete that volume first",
	}
}

// Capacity is what a pool can still take, in bytes.
type Capacity struct {
	// Available is how much volume space is left for volumes of the given parameters.
	Available Size
	// Largest is the largest single volume that could be made now.
	Largest Size
	// Smallest is the least size of a volume.
	Smallest Size
}

// Plus returns what two pools can take together.
func (c Capacity) Plus(other Capacity) Capacity {
	sum := Capacity{
		Available: c.Available + other.Available,
		Largest:   max(c.Largest, other.Largest),
		Smallest:  min(c.Smallest, other.Smallest),
	}
	if c.Smallest == 0 {
		sum.Smallest = other.Smallest
	}
	return sum
}

// ProblemKind says what is wrong with a volume.
type ProblemKind string

// What can be wrong with a volume.
const (
	BrickDown    ProblemKind = "BrickDown"    // a brick process does not answer
	HealPending  ProblemKind = "HealPending"  // copies differ and are being put right
	SplitBrain   ProblemKind = "SplitBrain"   // copies differ and nobody knows which is right
	QuorumLost   ProblemKind = "QuorumLost"   // too few bricks are up: writes fail
	QuotaMissing ProblemKind = "QuotaMissing" // a brick's size is not enforced as it should be
	NearlyFull   ProblemKind = "NearlyFull"   // little space is left
	NotStarted   ProblemKind = "NotStarted"   // the volume is stopped: it cannot be mounted
	Unknown      ProblemKind = "Unknown"      // a part did not answer, so nothing can be said of it
)

// ProblemKinds returns every kind of problem, for tests that a front end's table is complete.
func ProblemKinds() []ProblemKind {
	return []ProblemKind{BrickDown, HealPending, SplitBrain, QuorumLost, QuotaMissing, NearlyFull, NotStarted, Unknown}
}

// Problem is one thing wrong with a volume.
type Problem struct {
	Kind ProblemKind
	// Detail says where and how much, and what to do, as a sentence.
	Detail string
}

// Health is what is wrong with a volume; without problems it is healthy as far
// as could be seen.
type Health struct {
	Handle   Handle
	Problems []Problem
}

// Backend makes and keeps volumes of one kind. It is safe for concurrent use
// by many callers and beside other controllers on the same storage.
//
// Every method that changes something may be repeated: the repeated call finds
// what the first one did and finishes it. Every method ends soon after its
// context does; what it had begun is then unfinished, not wrong. Errors carry
// a Kind. An error whose kind is Definite means that the thing asked for did
// not happen and will not; after any other the caller must repeat the call to
// learn the outcome, and must not assume either.
//
// Sizes are bytes.
type Backend interface {
	// Create makes the volume that spec describes, finishes what an earlier call
	// for the same spec began, or finds the volume that is there and satisfies
	// it, and returns it Ready: mounted at once it shows its size. Exists where anything of that handle is there that was
	// made to another spec or not by us; Exhausted where there is no room now,
	// OutOfRange where there never can be.
	Create(ctx context.Context, spec Spec) (Volume, error)

	// Undo removes what an unfinished Create of that handle left, and nothing
	// else: a Ready volume is refused with Precondition. No leftovers: no error.
	Undo(ctx context.Context, h Handle) error

	// Get returns the volume, Ready or Partial, or NotFound. It returns
	// NotFound only if every part that could hold something of it has answered.
	Get(ctx context.Context, h Handle) (Volume, error)

	// List returns the Ready volumes of one pool, sorted by name.
	List(ctx context.Context, pool string) ([]Volume, error)

	// Expand grows the volume, mounted or not, to at least size.Required and
	// returns it. It never shrinks: a volume that is already large enough is
	// returned as it is. Either all of the volume grows or, in the end, none.
	Expand(ctx context.Context, h Handle, size SizeRange) (Volume, error)

	// Delete removes the volume, Ready or Partial, and everything that was made
	// for it. A volume that does not exist is no error. It returns nil once the
	// name is free, clients can no longer reach the data, and the space is freed
	// or sure to be freed without another call. What it did not make it refuses
	// with Precondition.
	Delete(ctx context.Context, h Handle) error

	// Capacity returns what the pool can still take of such volumes.
	Capacity(ctx context.Context, pool string, p Parameters) (Capacity, error)

	// Health returns what is wrong with one volume. A part that does not answer
	// is a Problem of kind Unknown, never silence.
	Health(ctx context.Context, h Handle) (Health, error)
}
