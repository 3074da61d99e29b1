package v1alpha1

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func sound() *StoragePool {
	p := &StoragePool{
		TypeMeta:   metav1.TypeMeta{APIVersion: APIVersion, Kind: Kind},
		ObjectMeta: metav1.ObjectMeta{Name: "lab"},
		Spec: StoragePoolSpec{
			Nodes: []StorageNode{
				{Name: "n1", Address: "10.90.0.11", Zone: "z1", Roots: []BrickRoot{{Name: "root1", Path: "/bricks/root1"}}},
				{Name: "n2", Address: "storage-2.example", Roots: []BrickRoot{{Name: "root1", Path: "/bricks/root1"}}},
			},
			ClientNetworks: []string{"10.90.0.0/24", "fd00::7", "192.0.2.7"},
		},
	}
	p.SetDefaults()
	return p
}

func TestSoundPool(t *testing.T) {
	p := sound()
	if faults := p.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	if p.Spec.MaxOperations != DefaultMaxOperations || p.Spec.Nodes[0].Agent != "10.90.0.11:24010" {
		t.Errorf("defaults are missing: %+v", p.Spec)
	}
}

func TestEachFaultNamesItsField(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(p *StoragePool)
		field string
	}{
		{"version", func(p *StoragePool) { p.APIVersion = "bricklayer.csi/v2" }, "apiVersion"},
		{"kind", func(p *StoragePool) { p.Kind = "Pool" }, "kind"},
		{"name", func(p *StoragePool) { p.Name = "Lab.1" }, "metadata.name"},
		{"long name", func(p *StoragePool) { p.Name = strings.Repeat("a", 41) }, "metadata.name"},
		{"no nodes", func(p *StoragePool) { p.Spec.Nodes = nil }, "spec.nodes"},
		{"node name", func(p *StoragePool) { p.Spec.Nodes[1].Name = "-n" }, "spec.nodes[1].name"},
		{"same name", func(p *StoragePool) { p.Spec.Nodes[1].Name = "n1" }, "spec.nodes[1].name"},
		{"same address", func(p *StoragePool) { p.Spec.Nodes[1].Address = "10.90.0.11" }, "spec.nodes[1].address"},
		{"loopback", func(p *StoragePool) { p.Spec.Nodes[0].Address = "127.0.0.1" }, "spec.nodes[0].address"},
		{"option as address", func(p *StoragePool) { p.Spec.Nodes[0].Address = "--xml" }, "spec.nodes[0].address"},
		{"zone", func(p *StoragePool) { p.Spec.Nodes[0].Zone = "z 1" }, "spec.nodes[0].zone"},
		{"agent", func(p *StoragePool) { p.Spec.Nodes[0].Agent = "n1" }, "spec.nodes[0].agent"},
		{"agent port", func(p *StoragePool) { p.Spec.Nodes[0].Agent = "n1:70000" }, "spec.nodes[0].agent"},
		{"no roots", func(p *StoragePool) { p.Spec.Nodes[0].Roots = nil }, "spec.nodes[0].roots"},
		{"root name", func(p *StoragePool) { p.Spec.Nodes[0].Roots[0].Name = "" }, "spec.nodes[0].roots[0].name"},
		{"root path", func(p *StoragePool) { p.Spec.Nodes[0].Roots[0].Path = "/bricks/../etc" }, "spec.nodes[0].roots[0].path"},
		{"root is /", func(p *StoragePool) { p.Spec.Nodes[0].Roots[0].Path = "/" }, "spec.nodes[0].roots[0].path"},
		{"network", func(p *StoragePool) { p.Spec.ClientNetworks[0] = "10.90.0.1/24" }, "spec.clientNetworks[0]"},
		{"IPv6 network", func(p *StoragePool) { p.Spec.ClientNetworks[0] = "fd00::/64" }, "spec.clientNetworks[0]"},
		{"everyone", func(p *StoragePool) { p.Spec.ClientNetworks[0] = "*" }, "spec.clientNetworks[0]"},
		{"default's key", func(p *StoragePool) { p.Spec.Defaults = map[string]string{strings.Repeat("k", 41): "v"} }, "spec.defaults." + strings.Repeat("k", 41)},
		{"default's value", func(p *StoragePool) { p.Spec.Defaults = map[string]string{"volumeoptions": strings.Repeat("v", 4097)} }, "spec.defaults.volumeoptions"},
		{"many defaults", func(p *StoragePool) {
			p.Spec.Defaults = map[string]string{}
			for i := range 17 {
				p.Spec.Defaults[strings.Repeat("k", i+1)] = "v"
			}
		}, "spec.defaults"},
		{"operations", func(p *StoragePool) { p.Spec.MaxOperations = -1 }, "spec.maxOperations"},
		{"reserve", func(p *StoragePool) { p.Spec.Guard = &Guard{MemoryReserve: new(resource.MustParse("-1Mi"))} }, "spec.guard.memoryReserve"},
		{"much reserve", func(p *StoragePool) { p.Spec.Guard = &Guard{MemoryReserve: new(resource.MustParse("2Ti"))} }, "spec.guard.memoryReserve"},
		{"memory of a brick", func(p *StoragePool) { p.Spec.Guard = &Guard{MemoryPerBrick: new(resource.MustParse("-1"))} }, "spec.guard.memoryPerBrick"},
		{"pressure", func(p *StoragePool) { p.Spec.Guard = &Guard{MaxPressure: 101} }, "spec.guard.maxPressure"},
		{"bricks", func(p *StoragePool) { p.Spec.Guard = &Guard{MaxBricksPerNode: -1} }, "spec.guard.maxBricksPerNode"},
		{"failures", func(p *StoragePool) { p.Spec.Guard = &Guard{BreakerFailures: 1001} }, "spec.guard.breakerFailures"},
		{"pause", func(p *StoragePool) { p.Spec.Guard = &Guard{BreakerPauseSeconds: 3601} }, "spec.guard.breakerPauseSeconds"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := sound()
			test.spoil(p)
			faults := p.Validate()
			if len(faults) != 1 || faults[0].Field != test.field || faults[0].Allowed == "" {
				t.Errorf("got %+v, want one fault of %s", faults, test.field)
			}
		})
	}
}
