package v1alpha1

import "k8s.io/apimachinery/pkg/api/resource"

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
	validateBounds(at, []bounded{
		{"maxPressure", g.MaxPressure, 0, MaxMaxPressure},
		{"maxBricksPerNode", g.MaxBricksPerNode, 0, MaxMaxBricks},
		{"breakerFailures", g.BreakerFailures, 0, MaxBreakerFailures},
		{"breakerPauseSeconds", g.BreakerPauseSeconds, 0, MaxBreakerPause},
	}, bad)
}
