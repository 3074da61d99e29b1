package guard

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"bricklayer.csi/api/v1alpha1"
)

func TestSettingsOf(t *testing.T) {
	for _, test := range []struct {
		name string
		spec v1alpha1.StoragePoolSpec
		want Settings
	}{
		{"nothing", v1alpha1.StoragePoolSpec{MaxOperations: 4}, Settings{Operations: 4}},
		{"an empty guard", v1alpha1.StoragePoolSpec{Guard: &v1alpha1.Guard{MemoryReserve: &resource.Quantity{}}}, Settings{}},
		{"multiplexing", v1alpha1.StoragePoolSpec{BrickMultiplex: new(true), Guard: &v1alpha1.Guard{}}, Settings{Budget: Budget{PerBrick: DefaultMultiplexed}}},
		{"multiplexing with another size", v1alpha1.StoragePoolSpec{BrickMultiplex: new(true), Guard: &v1alpha1.Guard{MemoryPerBrick: new(resource.MustParse("5Mi"))}}, Settings{Budget: Budget{PerBrick: 5 * mib}}},
		{"no multiplexing", v1alpha1.StoragePoolSpec{BrickMultiplex: new(false)}, Settings{}},
		{"all", v1alpha1.StoragePoolSpec{Guard: &v1alpha1.Guard{
			MemoryReserve: new(resource.MustParse("1Gi")), MemoryPerBrick: new(resource.MustParse("30Mi")), MaxPressure: 60, MaxBricksPerNode: 200,
			BreakerFailures: 3, BreakerPauseSeconds: 60,
		}}, Settings{Failures: 3, Pause: time.Minute, Budget: Budget{Reserve: 1024 * mib, PerBrick: 30 * mib, MaxPressure: 60, MaxBricks: 200}}},
	} {
		if got := SettingsOf(&test.spec); got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}
}
