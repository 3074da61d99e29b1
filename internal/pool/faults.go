package pool

import (
	"fmt"
	"strings"

	"bricklayer.csi/internal/volume"
)

// maxFaults bounds how many faults are kept: a file of rubbish has thousands,
// and the first few tell.
const maxFaults = 50

// Fault is one thing wrong with a pool file.
type Fault struct {
	// At is FILE:LINE of the document, or FILE.
	At string
	// Detail names the field, what was given and what is allowed.
	Detail string
}

// Faults is everything that is wrong with the pool files. Its kind is Invalid.
type Faults struct {
	List []Fault
	// More is how many were left out of List.
	More int
}

func (f *Faults) add(at, detail string) {
	if len(f.List) == maxFaults {
		f.More++
		return
	}
	f.List = append(f.List, Fault{At: at, Detail: detail})
}

// Error returns all faults, one a line.
func (f *Faults) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "read pools: %d fault", len(f.List)+f.More)
	if len(f.List)+f.More != 1 {
		b.WriteString("s")
	}
	for _, fault := range f.List {
		fmt.Fprintf(&b, "\n  %s: %s", fault.At, fault.Detail)
	}
	if f.More > 0 {
		fmt.Fprintf(&b, "\n  and %d more", f.More)
	}
	return b.String()
}

// ErrorKind returns Invalid.
func (*Faults) ErrorKind() volume.Kind { return volume.Invalid }
