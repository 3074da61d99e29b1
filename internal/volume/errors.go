package volume

import (
	"errors"
	"strings"
)

// Kind says what class of failure an error is. It is the only thing about an
// error on which code outside the place that made it may branch. Front ends
// map kinds to their own codes in one table each.
type Kind uint8

// The kinds of error. The zero value is Internal, so that a failure that
// nobody classified is never mistaken for one that a caller may act upon.
const (
	// Internal is a failure that is ours to mend: a broken invariant, an answer
	// that does not parse. The outcome of the operation is unknown.
	Internal Kind = iota
	// Invalid is a request that cannot succeed as it is written.
	Invalid
	// NotFound is a volume, pool, node or brick root that does not exist.
	NotFound
	// Exists is a name that is taken by something made to another specification.
	Exists
	// OutOfRange is a size that the pool can never serve.
	OutOfRange
	// Exhausted is space, inodes, memory or another bounded resource that has
	// run out for now; the call may be repeated when some was added or freed.
	Exhausted
	// Busy is another operation on the same thing, or too many at once; the
	// call may be repeated. Nothing was changed.
	Busy
	// Precondition is a state that somebody must change before the call can
	// succeed: a brick root not mounted, no quota on its file system, a volume
	// that is not ours.
	Precondition
	// Unavailable is a part that does not answer: an agent, glusterd, a peer.
	// The outcome may be unknown; the call may be repeated.
	Unavailable
	// Denied is a failed authentication or a name that does not match its certificate.
	Denied
	// Unsupported is something that this backend, or this version, does not do.
	Unsupported

	kindCount // how many there are; keep last
)

var kindNames = [kindCount]string{
	Internal:     "internal error",
	Invalid:      "invalid argument",
	NotFound:     "not found",
	Exists:       "already exists",
	OutOfRange:   "out of range",
	Exhausted:    "resource exhausted",
	Busy:         "busy",
	Precondition: "failed precondition",
	Unavailable:  "unavailable",
	Denied:       "denied",
	Unsupported:  "not supported",
}

// String returns the kind in words.
func (k Kind) String() string {
	if k < kindCount {
		return kindNames[k]
	}
	return kindNames[Internal]
}

// Kinds returns every kind, for tests that a front end's table is complete.
func Kinds() []Kind {
	all := make([]Kind, kindCount)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

// Definite reports whether an operation that failed with this kind certainly
// failed, and would fail again in the same way if nothing else changed. After
// an indefinite failure the operation may still have happened.
func (k Kind) Definite() bool {
	switch k {
	case Invalid, NotFound, Exists, OutOfRange, Exhausted, Precondition, Denied, Unsupported:
		return true
	case Internal, Busy, Unavailable:
		return false
	}
	return false
}

// Error is a failure with its kind, what was tried, on what, and what to do
// about it. It holds no secret.
type Error struct {
	Kind Kind
	// Op is what was tried, as a verb phrase: "create volume", "set quota".
	Op string
	// On is what it was tried on: "volume pvc-1", "node n2, root root1".
	On string
	// Err is the cause.
	Err error
	// Next is what a person should do, as a sentence without a full stop; may be empty.
	Next string
}

// Error returns "OP on ON: CAUSE (NEXT)", leaving out what is empty.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.On != "" {
		if e.Op != "" {
			b.WriteString(" on ")
		}
		b.WriteString(e.On)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if e.Err != nil {
		b.WriteString(e.Err.Error())
	} else {
		b.WriteString(e.Kind.String())
	}
	if e.Next != "" {
		b.WriteString(" (" + e.Next + ")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrorKind lets other packages' errors carry a kind: see KindOf.
func (e *Error) ErrorKind() Kind { return e.Kind }

// KindOf returns the kind of the outermost error in err's chain that has one,
// and Internal where none has. Packages below this one give their own error
// types a kind by a method ErrorKind() Kind.
func KindOf(err error) Kind {
	var k interface{ ErrorKind() Kind }
	if errors.As(err, &k) {
		return k.ErrorKind()
	}
	return Internal
}

// Is reports whether err is not nil and is of kind k.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }

// FieldError is an input field that was refused: which, what was given, and
// what is allowed. Its kind is Invalid.
type FieldError struct {
	// Field names the field as the user wrote or should have written it.
	Field string
	// Value is what was given, shortened and quoted for display.
	Value string
	// Allowed says what would have been accepted.
	Allowed string
}

// NewFieldError returns a FieldError. The value is quoted, and cut after 64
// bytes, so that a hostile value cannot flood or forge a log.
func NewFieldError(field, value, allowed string) *FieldError {
	return &FieldError{Field: field, Value: quoteShort(value), Allowed: allowed}
}

// Error returns "FIELD: VALUE is not allowed; allowed: ALLOWED".
func (e *FieldError) Error() string {
	return e.Field + ": " + e.Value + " is not allowed; allowed: " + e.Allowed
}

// ErrorKind returns Invalid.
func (e *FieldError) ErrorKind() Kind { return Invalid }
