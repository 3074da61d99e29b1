package pool

import (
	"fmt"
	"strings"

	"bricklayer.csi/api/v1alpha1"
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

// Validate returns what is wrong with a pool whose defaults are set: with its own
// fields, and with the parameters of volumes that it gives defaults to.
func Validate(p *v1alpha1.StoragePool) []error {
	var faults []error
	for _, f := range p.Validate() {
		faults = append(faults, f)
	}
	for _, f := range volume.CheckDefaults(p.Spec.Defaults) {
		faults = append(faults, f)
	}
	return faults
}

// ErrorKind returns Invalid.
func (*Faults) ErrorKind() volume.Kind { return volume.Invalid }
