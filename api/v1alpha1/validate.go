package v1alpha1

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of a pool.
const (
	MaxNodes             = 500
	MaxRoots             = 16 // a node
	DefaultMaxOperations = 4
	MaxMaxOperations     = 64
	MaxOvercommitPercent = 10000
	MaxTrashPerSecond    = 1000000 // entries
	maxNameLength        = 40
	maxHostLength        = 253
	maxAddressLength     = 80
	maxPathLength        = 160
	maxAgentLength       = 300
	maxNetworks          = 128
	maxDefaults          = 16
	maxDefaultKey        = 40   // characters
	maxDefaultValue      = 4096 // characters
)

// port is a TCP port from 1 to 65535.
const port = `([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])`

var (
	labelPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	hostPattern  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
	agentPattern = regexp.MustCompile(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):` + port + `$`)
	pathPattern  = regexp.MustCompile(`^(/[^/]+)+$`)
	dotsPattern  = regexp.MustCompile(`/[.][.]?/`)
)

// SetDefaults fills in what was left out.
func (p *StoragePool) SetDefaults() {
	if p.Spec.MaxOperations == 0 {
		p.Spec.MaxOperations = DefaultMaxOperations
	}
	if h := p.Spec.Heketi; h != nil {
		h.setDefaults()
	}
	for i := range p.Spec.Nodes {
		n := &p.Spec.Nodes[i]
		if n.Agent == "" && n.Address != "" {
			n.Agent = net.JoinHostPort(n.Address, DefaultAgentPort)
		}
	}
}

// FieldFault is one field that is not as it must be.
type FieldFault struct {
	Field, Value, Allowed string
}

// Error returns "FIELD: VALUE is not allowed; allowed: ALLOWED".
func (f FieldFault) Error() string {
	return fmt.Sprintf("%s: %q is not allowed; allowed: %s", f.Field, f.Value, f.Allowed)
}

// Validate returns every fault of a pool whose defaults are set; none means it is sound.
func (p *StoragePool) Validate() []FieldFault {
	var faults []FieldFault
	bad := func(field, value, allowed string) {
		faults = append(faults, FieldFault{Field: field, Value: value, Allowed: allowed})
	}
	if p.APIVersion != APIVersion {
		bad("apiVersion", p.APIVersion, APIVersion)
	}
	if p.Kind != Kind {
		bad("kind", p.Kind, Kind)
	}
	if !isLabel(p.Name) {
		bad("metadata.name", p.Name, labelAllowed)
	}
	validateBounds("spec", []bounded{
		{"maxOperations", p.Spec.MaxOperations, 1, MaxMaxOperations},
		{"overcommitPercent", p.Spec.OvercommitPercent, 0, MaxOvercommitPercent},
		{"trashEntriesPerSecond", p.Spec.TrashEntriesPerSecond, 0, MaxTrashPerSecond},
	}, bad)
	if g := p.Spec.Guard; g != nil {
		g.validate("spec.guard", bad)
	}
	if n := len(p.Spec.ClientNetworks); n > maxNetworks {
		bad("spec.clientNetworks", strconv.Itoa(n)+" networks", fmt.Sprintf("at most %d", maxNetworks))
	}
	for i, network := range p.Spec.ClientNetworks {
		if !isNetwork(network) {
			bad(fmt.Sprintf("spec.clientNetworks[%d]", i), network, "an IP address, or an IPv4 network such as 10.0.0.0/8 without host bits")
		}
	}
	if n := len(p.Spec.Defaults); n > maxDefaults {
		bad("spec.defaults", strconv.Itoa(n)+" parameters", fmt.Sprintf("at most %d", maxDefaults))
	}
	for key, value := range p.Spec.Defaults {
		if utf8.RuneCountInString(key) > maxDefaultKey || utf8.RuneCountInString(value) > maxDefaultValue {
			bad("spec.defaults."+key, value, fmt.Sprintf("keys of at most %d characters and values of at most %d", maxDefaultKey, maxDefaultValue))
		}
	}
	if h := p.Spec.Heketi; h != nil {
		h.validate("spec.heketi", bad)
	}
	if n := len(p.Spec.Nodes); n < 1 && p.Spec.Heketi == nil || n > MaxNodes {
		bad("spec.nodes", strconv.Itoa(n)+" nodes", fmt.Sprintf("1 to %d nodes, or none where there is a heketi", MaxNodes))
		return faults
	}
	p.validateNodes(bad)
	return faults
}

// bounded is a field with a number.
type bounded struct {
	name               string
	value, least, most int
}

func validateBounds(at string, fields []bounded, bad func(field, value, allowed string)) {
	for _, f := range fields {
		if f.value < f.least || f.value > f.most {
			bad(at+"."+f.name, strconv.Itoa(f.value), fmt.Sprintf("%d to %d", f.least, f.most))
		}
	}
}

func (p *StoragePool) validateNodes(bad func(field, value, allowed string)) {
	names, addresses := map[string]bool{}, map[string]bool{}
	for i, n := range p.Spec.Nodes {
		at := fmt.Sprintf("spec.nodes[%d]", i)
		switch {
		case !isLabel(n.Name):
			bad(at+".name", n.Name, labelAllowed)
		case names[n.Name]:
			bad(at+".name", n.Name, "a name that no other node has")
		}
		switch {
		case !isHost(n.Address) || len(n.Address) > maxAddressLength:
			bad(at+".address", n.Address, fmt.Sprintf("a host name or IP address of at most %d characters, not loopback", maxAddressLength))
		case addresses[n.Address]:
			bad(at+".address", n.Address, "an address that no other node has")
		}
		names[n.Name], addresses[n.Address] = true, true
		if n.Zone != "" && !isLabel(n.Zone) {
			bad(at+".zone", n.Zone, labelAllowed)
		}
		if !isAgent(n.Agent) {
			bad(at+".agent", n.Agent, "HOST:PORT, such as storage-1:24010 or [fd00::1]:24010")
		}
		validateRoots(at, n.Roots, bad)
	}
}

func validateRoots(at string, roots []BrickRoot, bad func(field, value, allowed string)) {
	if n := len(roots); n < 1 || n > MaxRoots {
		bad(at+".roots", strconv.Itoa(n)+" brick roots", fmt.Sprintf("1 to %d", MaxRoots))
	}
	names, paths := map[string]bool{}, map[string]bool{}
	for j, r := range roots {
		at := fmt.Sprintf("%s.roots[%d]", at, j)
		if !isLabel(r.Name) || names[r.Name] {
			bad(at+".name", r.Name, labelAllowed+", once a node")
		}
		if !isPath(r.Path) || paths[r.Path] {
			bad(at+".path", r.Path, pathAllowed+", once a node")
		}
		names[r.Name], paths[r.Path] = true, true
	}
}

const labelAllowed = "1 to 40 of a-z, 0-9 and -, beginning and ending with a letter or digit"

const pathAllowed = "an absolute path below /, without . and .. in it"

func isPath(s string) bool {
	return len(s) <= maxPathLength && pathPattern.MatchString(s) && !dotsPattern.MatchString(s+"/")
}

func isAgent(s string) bool {
	return len(s) <= maxAgentLength && agentPattern.MatchString(s)
}

func isLabel(s string) bool { return len(s) <= maxNameLength && labelPattern.MatchString(s) }

func isHost(s string) bool {
	if ip, err := netip.ParseAddr(s); err == nil {
		return !ip.IsLoopback() && !ip.IsUnspecified() && ip.Zone() == "" && !ip.Is4In6()
	}
	return len(s) <= maxHostLength && hostPattern.MatchString(s) && !strings.EqualFold(s, "localhost")
}

func isNetwork(s string) bool {
	if prefix, err := netip.ParsePrefix(s); err == nil {
		return prefix == prefix.Masked() && prefix.Addr().Is4() // Gluster knows no IPv6 networks
	}
	address, err := netip.ParseAddr(s)
	return err == nil && address.Zone() == "" && !address.Is4In6()
}
