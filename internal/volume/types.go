package volume

import (
	"fmt"
	"strconv"
	"strings"
)

// Durability is how Gluster spreads a volume's data over its bricks.
type Durability uint8

// The durabilities.
const (
	// Replicate keeps whole copies on every brick.
	Replicate Durability = iota + 1
	// Disperse keeps erasure-coded fragments.
	Disperse
	// None keeps one copy on one brick.
	None
)

// Type is a volume's Gluster type, read from the parameter volumetype.
type Type struct {
	Durability Durability
	// Replicas is the number of copies, the arbiter's included (Replicate).
	Replicas int
	// Arbiters is how many of the replicas hold names only: 0 or 1 (Replicate).
	Arbiters int
	// Data and Redundancy are the bricks that hold data and how many may fail (Disperse).
	Data, Redundancy int
}

// Limits of a type. Gluster itself has none for replicas; more than nine copies
// is a typing slip. Disperse limits: xlators/cluster/ec (EC_MAX_FRAGMENTS 16).
const (
	maxReplicas   = 9
	maxDisperse   = 16
	typesAllowed  = "replicate, replicate:N (2 to 9), replicate:3:arbiter:1, disperse:D:R (R at least 1, D above R, D+R at most 16), none"
	arbiterDivide = 16
)

// minArbiter is the least quota of an arbiter's brick, in bytes.
const minArbiter = 64 * MiB

// ParseType reads a volumetype. Empty means replicate:3.
func ParseType(text string) (Type, error) {
	bad := NewFieldError("volumetype", text, typesAllowed)
	parts := strings.Split(strings.ToLower(strings.TrimSpace(text)), ":")
	numbers := make([]int, 0, 2)
	for _, p := range parts[1:] {
		if p == "arbiter" && parts[0] == "replicate" {
			continue
		}
		n, err := strconv.Atoi(p)
		if err != nil || n < 0 || p != strconv.Itoa(n) {
			return Type{}, bad
		}
		numbers = append(numbers, n)
	}
	switch {
	case parts[0] == "" && len(parts) == 1, parts[0] == "replicate" && len(parts) == 1:
		return Type{Durability: Replicate, Replicas: 3}, nil
	case parts[0] == "none" && len(parts) == 1:
		return Type{Durability: None}, nil
	case parts[0] == "replicate" && len(parts) == 2 && len(numbers) == 1:
		if numbers[0] < 2 || numbers[0] > maxReplicas {
			return Type{}, bad
		}
		return Type{Durability: Replicate, Replicas: numbers[0]}, nil
	case parts[0] == "replicate" && len(parts) == 4 && parts[2] == "arbiter" && len(numbers) == 2:
		if numbers[0] != 3 || numbers[1] != 1 {
			return Type{}, bad
		}
		return Type{Durability: Replicate, Replicas: 3, Arbiters: 1}, nil
	case parts[0] == "disperse" && len(parts) == 3:
		d, r := numbers[0], numbers[1]
		if r < 1 || d <= r || d+r > maxDisperse {
			return Type{}, bad
		}
		return Type{Durability: Disperse, Data: d, Redundancy: r}, nil
	}
	return Type{}, bad
}

// String returns the type as ParseType reads it.
func (t Type) String() string {
	switch t.Durability {
	case Replicate:
		if t.Arbiters > 0 {
			return fmt.Sprintf("replicate:%d:arbiter:%d", t.Replicas, t.Arbiters)
		}
		return fmt.Sprintf("replicate:%d", t.Replicas)
	case Disperse:
		return fmt.Sprintf("disperse:%d:%d", t.Data, t.Redundancy)
	case None:
		return "none"
	}
	return ""
}

// Bricks returns how many bricks a volume of this type has.
func (t Type) Bricks() int {
	switch t.Durability {
	case Replicate:
		return t.Replicas
	case Disperse:
		return t.Data + t.Redundancy
	case None:
		return 1
	}
	return 0
}

// IsArbiter reports whether the brick at that position holds names only: the
// last of the replica set.
func (t Type) IsArbiter(position int) bool {
	return t.Arbiters > 0 && position == t.Replicas-1
}

// SizeUnit returns what a volume's size is a multiple of, in bytes, so that
// every brick's quota is whole MiB and df on a client shows exactly the size.
func (t Type) SizeUnit() Size {
	if t.Durability == Disperse {
		return Size(t.Data) * MiB
	}
	return MiB
}

// BrickQuota returns the quota (bytes) of the brick at that position for a
// volume of size bytes, which is a multiple of SizeUnit. A replica holds all of
// it; a fragment the Data-th part. An arbiter holds a few KiB a file: it gets
// a sixteenth, which serves files of 64 KiB on average (4 KiB each), and at
// least 64 MiB, but never more than a replica.
func (t Type) BrickQuota(position int, size Size) Size {
	switch {
	case t.Durability == Disperse:
		return size / Size(t.Data)
	case t.IsArbiter(position):
		part, _ := (size / arbiterDivide).RoundUp(MiB)
		return min(size, max(part, minArbiter))
	}
	return size
}
