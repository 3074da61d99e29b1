package gluster

import (
	"net/netip"
	"strconv"
	"strings"

	"bricklayer.csi/internal/volume"
)

// AllowList returns the value of auth.allow that lets in these IP addresses and
// networks (CIDR) and nobody else.
//
// Gluster reads a network's length with the bytes of the address the wrong way
// round: right are /8, /16 and /24 only. With others it lets in some hosts of
// other networks and refuses some of this one, and a /32 lets in everybody. So
// networks are written as the addresses or the larger lengths they are made of.
func AllowList(networks []string) (string, error) {
	var list []string
	for _, text := range networks {
		p, err := parseNetwork(text)
		if err != nil {
			return "", err
		}
		list = append(list, p...)
	}
	value := strings.Join(list, ",")
	if len(value) > maxValue {
		return "", volume.NewFieldError("auth.allow", strconv.Itoa(len(list))+" addresses and networks",
			"what fits in 4096 bytes once written as /8, /16 and /24 networks and single addresses")
	}
	return value, nil
}

// parseNetwork returns what to write for one address or network.
func parseNetwork(text string) ([]string, error) {
	bad := volume.NewFieldError("auth.allow", text, "an IP address, or an IPv4 network such as 10.0.0.0/8 without host bits")
	if a, err := netip.ParseAddr(text); err == nil {
		if a.Zone() != "" {
			return nil, bad
		}
		return []string{a.Unmap().String()}, nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is4() || p != p.Masked() {
		return nil, bad
	}
	if p.Bits() == 0 {
		return []string{"*"}, nil
	}
	length := (p.Bits() + 7) / 8 * 8
	parts := make([]string, 1<<(length-p.Bits()))
	octets := p.Addr().As4()
	for i := range parts {
		at := netip.AddrFrom4(octets)
		parts[i] = at.String()
		if length < 32 {
			parts[i] = netip.PrefixFrom(at, length).String()
		}
		octets[length/8-1]++
	}
	return parts, nil
}

// checkAllowed refuses networks that Gluster would misread, whoever wrote them.
func checkAllowed(o Option) error {
	if o.Key != "auth.allow" && o.Key != "auth.reject" {
		return nil
	}
	for part := range strings.SplitSeq(o.Value, ",") {
		if _, length, ok := strings.Cut(part, "/"); ok && length != "8" && length != "16" && length != "24" {
			return volume.NewFieldError("option "+o.Key, part,
				"addresses, patterns such as 10.0.*, and networks of /8, /16 or /24: Gluster misreads all others, and a /32 lets everybody in")
		}
	}
	return nil
}
