package agent

import (
	"context"
	"errors"
	"slices"
	"strings"

	"bricklayer.csi/internal/volume"
)

// At returns err with its kind, saying which node it is of: every error that
// leaves an agent or its client names the node. Op is what was tried and on
// the thing on that node; what err says of the two itself is kept.
func At(node, op, on string, err error) error {
	if err == nil {
		return nil
	}
	where := "node " + node
	if on != "" {
		where += ", " + on
	}
	var inner *volume.Error
	if e, ok := err.(*volume.Error); ok { //nolint:errorlint // only the outermost is merged, a deeper one stays a cause
		inner = e
	}
	if inner == nil {
		return &volume.Error{Kind: kindOf(err), Op: op, On: where, Err: err}
	}
	merged := *inner
	switch {
	case merged.Op == "":
		merged.Op = op
	case op != "" && merged.Op != op:
		merged.Op = op + ": " + merged.Op
	}
	merged.On = joinPlaces(where, merged.On)
	return &merged
}

// kindOf is volume.KindOf, except that a context that ended leaves the outcome
// unknown and is nobody's fault.
func kindOf(err error) volume.Kind {
	var k interface{ ErrorKind() volume.Kind }
	if !errors.As(err, &k) && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return volume.Unavailable
	}
	return volume.KindOf(err)
}

// joinPlaces puts two lists of places together, each named once.
func joinPlaces(a, b string) string {
	places := strings.Split(a, ", ")
	for p := range strings.SplitSeq(b, ", ") {
		if p != "" && !slices.Contains(places, p) {
			places = append(places, p)
		}
	}
	return strings.Join(places, ", ")
}

// Unsent reports whether err says that a request certainly never reached the
// node, so that nothing can have been changed there.
func Unsent(err error) bool {
	var u interface{ Unsent() bool }
	return errors.As(err, &u) && u.Unsent()
}
