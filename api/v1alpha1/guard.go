package v1alpha1

import (
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Limits of a guard.
const (
	MaxGuardMemory     = 1 << 40 // bytes
	MaxMaxPressure     = 100     // percent
	MaxMaxBricks       = 100000
	MaxBreakerFailures = 1000
	MaxBreakerPause    = 3600 // seconds
)

// validate reports what is not as it must be.
func (g *Guard) validate(at string, bad func(field, value, allowed string)) {
	for _, f := range []struct {
		name  string
		value *resource.Quantity
	}{{"memoryReserve", g.MemoryReserve}, {"memoryPerBrick", g.MemoryPerBrick}} {
		if q := f.value; q != nil && (q.Sign() < 0 || q.CmpInt64(MaxGuardMemory) > 0) {
			bad(at+"."+f.name, q.String(), "0 to 1Ti, such as 256Mi")
		}
	}
	for _, f := range []struct {
		name        string
		value, most int
	}{
		{"maxPressure", g.MaxPressure, MaxMaxPressure},
		{"maxBricksPerNode", g.MaxBricksPerNode, MaxMaxBricks},
		{"breakerFailures", g.BreakerFailures, MaxBreakerFailures},
		{"breakerPauseSeconds", g.BreakerPauseSeconds, MaxBreakerPause},
	} {
		if f.value < 0 || f.value > f.most {
			bad(at+"."+f.name, strconv.Itoa(f.value), fmt.Sprintf("0 to %d", f.most))
		}
	}
}
