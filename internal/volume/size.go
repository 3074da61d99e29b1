package volume

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Size is a number of bytes, never negative.
type Size int64

// Binary units, in bytes.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

// MaxSize is the largest size that a volume may have: 1 EiB. Above it sums of
// a few sizes no longer fit 64 bits, and no Gluster volume comes near it.
const MaxSize Size = 1 << 60

// RoundUp returns the smallest multiple of unit (bytes, above zero) that is at
// least s, and false where that is above MaxSize.
func (s Size) RoundUp(unit Size) (Size, bool) {
	if s < 0 || s > MaxSize || unit <= 0 || unit > MaxSize {
		return 0, false
	}
	rest := s % unit
	if rest == 0 {
		return s, true
	}
	up := s + (unit - rest)
	return up, up <= MaxSize
}

// String returns the size with the largest binary unit that divides it, such
// as "1GiB" or "1500MiB"; ParseSize reads it back.
func (s Size) String() string {
	if s > 0 {
		unit := bits.TrailingZeros64(uint64(s)) / 10
		suffixes := [...]string{"", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
		if unit > 0 && unit < len(suffixes) {
			return strconv.FormatInt(int64(s)>>(10*unit), 10) + suffixes[unit]
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// ParseSize reads a size in bytes with an optional binary (Ki, MiB, ...) or
// decimal (k, M, GB, ...) unit, as Kubernetes quantities and people write them.
// Fractions are refused: nothing here needs them, and they hide rounding.
func ParseSize(text string) (Size, error) {
	const allowed = "a whole number of bytes from 0 to 1EiB, with an optional unit such as Mi, GiB, TB"
	digits := strings.TrimRight(text, "KMGTPEkiB")
	factor, ok := unitFactors[text[len(digits):]]
	if !ok || digits == "" {
		return 0, NewFieldError("size", text, allowed)
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, NewFieldError("size", text, allowed)
	}
	if hi, lo := bits.Mul64(n, factor); hi != 0 || lo > uint64(MaxSize) {
		return 0, NewFieldError("size", text, allowed)
	}
	return Size(n * factor), nil
}

var unitFactors = map[string]uint64{
	"": 1, "B": 1,
	"k": 1e3, "K": 1e3, "kB": 1e3, "KB": 1e3, "Ki": 1 << 10, "KiB": 1 << 10,
	"M": 1e6, "MB": 1e6, "Mi": 1 << 20, "MiB": 1 << 20,
	"G": 1e9, "GB": 1e9, "Gi": 1 << 30, "GiB": 1 << 30,
	"T": 1e12, "TB": 1e12, "Ti": 1 << 40, "TiB": 1 << 40,
	"P": 1e15, "PB": 1e15, "Pi": 1 << 50, "PiB": 1 << 50,
	"E": 1e18, "EB": 1e18, "Ei": 1 << 60, "EiB": 1 << 60,
}

// SizeRange is what a request allows: at least Required and, where Limit is
// not zero, at most Limit (bytes).
type SizeRange struct {
	Required, Limit Size
}

// DefaultSize is the size of a volume for which no size was asked.
const DefaultSize = 1 * GiB

// NewSizeRange checks the two numbers of a CSI CapacityRange (bytes). Both zero
// means that no size was asked: DefaultSize. A limit below the required size,
// a negative number, and anything above MaxSize are refused.
func NewSizeRange(required, limit int64) (SizeRange, error) {
	for _, f := range []struct {
		name  string
		value int64
	}{{"capacity_range.required_bytes", required}, {"capacity_range.limit_bytes", limit}} {
		if f.value < 0 || f.value > math.MaxInt64-1 || Size(f.value) > MaxSize {
			return SizeRange{}, &Error{
				Kind: outOfRangeUnlessNegative(f.value), Op: "read " + f.name,
				Err: NewFieldError(f.name, strconv.FormatInt(f.value, 10), fmt.Sprintf("0 to %d bytes", int64(MaxSize))),
			}
		}
	}
	r := SizeRange{Required: Size(required), Limit: Size(limit)}
	if r.Limit != 0 && r.Limit < r.Required {
		return SizeRange{}, NewFieldError("capacity_range.limit_bytes", strconv.FormatInt(limit, 10),
			fmt.Sprintf("0, or at least required_bytes (%d)", required))
	}
	if r.Required == 0 {
		r.Required = DefaultSize
		if r.Limit != 0 {
			r.Required = min(DefaultSize, r.Limit)
		}
	}
	return r, nil
}

func outOfRangeUnlessNegative(n int64) Kind {
	if n < 0 {
		return Invalid
	}
	return OutOfRange
}

// Pick returns the smallest size that is a multiple of unit (bytes) and within
// the range. OutOfRange where there is none.
func (r SizeRange) Pick(unit Size) (Size, error) {
	size, ok := r.Required.RoundUp(unit)
	if !ok || r.Limit != 0 && size > r.Limit {
		return 0, &Error{
			Kind: OutOfRange, Op: "choose a size",
			Err: fmt.Errorf("no multiple of %v lies between the required %d and the limit %d bytes",
				unit, int64(r.Required), int64(r.Limit)),
			Next: "ask for a size that is a multiple of " + unit.String() + ", or for a higher limit",
		}
	}
	return size, nil
}

// Holds reports whether a volume of that size (bytes) satisfies the request.
func (r SizeRange) Holds(size Size) bool {
	return size >= r.Required && (r.Limit == 0 || size <= r.Limit)
}
