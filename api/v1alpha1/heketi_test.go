package v1alpha1

import (
	"strings"
	"testing"
)

func TestHeketiEndpoint(t *testing.T) {
	good := HeketiEndpoint{
		URL: "https://heketi.storage:8443", User: "admin", KeyFile: "/etc/heketi/key", CAFile: "/etc/heketi/ca.crt",
		ServerName: "heketi", ClusterIDs: []string{strings.Repeat("ab", 16)},
	}
	tests := []struct {
		name   string
		change func(h *HeketiEndpoint)
		field  string // empty: sound
	}{
		{"sound", func(*HeketiEndpoint) {}, ""},
		{"plain http, no authentication", func(h *HeketiEndpoint) { *h = HeketiEndpoint{URL: "http://10.0.0.1:8080/"} }, ""},
		{"no address", func(h *HeketiEndpoint) { h.URL = "" }, "url"},
		{"no scheme", func(h *HeketiEndpoint) { h.URL = "heketi:8080" }, "url"},
		{"file", func(h *HeketiEndpoint) { h.URL = "file:///etc/passwd" }, "url"},
		{"password", func(h *HeketiEndpoint) { h.URL = "https://admin:s3cret@heketi" }, "url"},
		{"broken password", func(h *HeketiEndpoint) { h.URL = "https://admin:s3cret%zz@heketi" }, "url"},
		{"query", func(h *HeketiEndpoint) { h.URL = "https://heketi?a=b" }, "url"},
		{"port", func(h *HeketiEndpoint) { h.URL = "https://heketi:99999" }, "url"},
		{"user without key", func(h *HeketiEndpoint) { h.KeyFile = "" }, "keyFile"},
		{"key without user", func(h *HeketiEndpoint) { h.User = "" }, "keyFile"},
		{"user", func(h *HeketiEndpoint) { h.User = "a\nb" }, "user"},
		{"relative key", func(h *HeketiEndpoint) { h.KeyFile = "key" }, "keyFile"},
		{"key with dots", func(h *HeketiEndpoint) { h.KeyFile = "/etc/../key" }, "keyFile"},
		{"CA with http", func(h *HeketiEndpoint) { h.URL = "http://heketi" }, "caFile"},
		{"server name", func(h *HeketiEndpoint) { h.ServerName = "a b" }, "serverName"},
		{"cluster", func(h *HeketiEndpoint) { h.ClusterIDs = []string{"ABC"} }, "clusterIDs[0]"},
		{"cluster twice", func(h *HeketiEndpoint) { h.ClusterIDs = append(h.ClusterIDs, h.ClusterIDs[0]) }, "clusterIDs[1]"},
		{"in flight", func(h *HeketiEndpoint) { h.MaxInFlight = -1 }, "maxInFlight"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := good
			h.ClusterIDs = append([]string{}, good.ClusterIDs...)
			test.change(&h)
			p := StoragePool{Spec: StoragePoolSpec{Heketi: &h}}
			p.APIVersion, p.Kind, p.Name = APIVersion, Kind, "pool"
			p.SetDefaults()
			faults := p.Validate()
			switch {
			case test.field == "" && len(faults) > 0:
				t.Errorf("refused: %v", faults)
			case test.field != "" && (len(faults) != 1 || faults[0].Field != "spec.heketi."+test.field):
				t.Errorf("got %v, want one fault of %s", faults, test.field)
			}
			for _, f := range faults {
				if strings.Contains(f.Error(), "s3cret") {
					t.Errorf("shows a password: %v", f)
				}
			}
		})
	}
	empty := StoragePool{}
	empty.APIVersion, empty.Kind, empty.Name = APIVersion, Kind, "pool"
	empty.SetDefaults()
	if faults := empty.Validate(); len(faults) != 1 || faults[0].Field != "spec.nodes" {
		t.Errorf("a pool of nothing: %v", faults)
	}
}
