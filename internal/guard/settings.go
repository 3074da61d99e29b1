package guard

import (
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"bricklayer.csi/api/v1alpha1"
)

// SettingsOf returns what a pool says of its guard.
func SettingsOf(spec *v1alpha1.StoragePoolSpec) Settings {
	s := Settings{Operations: spec.MaxOperations}
	if spec.BrickMultiplex != nil && *spec.BrickMultiplex {
		s.Budget.PerBrick = DefaultMultiplexed
	}
	g := spec.Guard
	if g == nil {
		return s
	}
	s.Failures, s.Pause = g.BreakerFailures, time.Duration(g.BreakerPauseSeconds)*time.Second
	s.Budget.Reserve = bytesOf(g.MemoryReserve, 0)
	s.Budget.PerBrick = bytesOf(g.MemoryPerBrick, s.Budget.PerBrick)
	s.Budget.MaxPressure, s.Budget.MaxBricks = g.MaxPressure, g.MaxBricksPerNode
	return s
}

// bytesOf returns the bytes of a quantity, or others where there is none or 0.
func bytesOf(q *resource.Quantity, instead int64) int64 {
	if q == nil || q.IsZero() {
		return instead
	}
	return q.Value()
}
