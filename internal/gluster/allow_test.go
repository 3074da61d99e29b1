package gluster

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"bricklayer.csi/internal/volume"
)

func TestAllowList(t *testing.T) {
	for want, networks := range map[string][]string{
		"":                              nil,
		"10.90.0.0/24":                  {"10.90.0.0/24"},
		"10.0.0.0/8,192.168.0.0/16":     {"10.0.0.0/8", "192.168.0.0/16"},
		"10.90.0.1,10.90.0.2":           {"10.90.0.1", "10.90.0.2/32"},
		"10.90.0.0,10.90.0.1":           {"10.90.0.0/31"},
		"10.90.2.0/24,10.90.3.0/24":     {"10.90.2.0/23"},
		"172.254.0.0/16,172.255.0.0/16": {"172.254.0.0/15"},
		"254.0.0.0/8,255.0.0.0/8":       {"254.0.0.0/7"},
		"*":                             {"0.0.0.0/0"},
		"fd00::1,10.0.0.1":              {"fd00::1", "::ffff:10.0.0.1"},
	} {
		if got, err := AllowList(networks); err != nil || got != want {
			t.Errorf("%v gives %q, error %v; want %q", networks, got, err, want)
		}
	}
	got, err := AllowList([]string{"10.90.0.128/25"})
	if list := strings.Split(got, ","); err != nil || len(list) != 128 || list[0] != "10.90.0.128" || list[127] != "10.90.0.255" {
		t.Errorf("a /25 gives %q, error %v", got, err)
	}
	for _, bad := range []string{"", "*", "host", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/-1", "fd00::/64", "fe80::1%eth0", "10.0.0.0/8,10.1.0.0/8", "10.0.0.0/8 "} {
		if got, err := AllowList([]string{bad}); err == nil || volume.KindOf(err) != volume.Invalid {
			t.Errorf("%q gives %q, error %v; want Invalid", bad, got, err)
		}
	}
	many := []string{}
	for i := range 6 {
		many = append(many, "10.0."+strconv.Itoa(i)+".0/25")
	}
	if _, err := AllowList(many); err == nil {
		t.Error("too many addresses are accepted")
	}
}

// allows reads a list as Gluster 10 does on a little-endian machine
// (gf_is_ip_in_net): the mask is applied to the bytes the wrong way round.
func allows(list string, client netip.Addr) bool {
	number := func(a netip.Addr) uint32 { b := a.As4(); return binary.LittleEndian.Uint32(b[:]) }
	for part := range strings.SplitSeq(list, ",") {
		address, length, ok := strings.Cut(part, "/")
		if !ok {
			if part == "*" || part == client.String() {
				return true
			}
			continue
		}
		bits, err := strconv.Atoi(length)
		if err != nil {
			return false
		}
		mask := uint32(1)<<(bits%32) - 1
		if number(client)&mask == number(netip.MustParseAddr(address))&mask {
			return true
		}
	}
	return false
}

func TestGlusterMisreadsNetworks(t *testing.T) {
	// As seen on real nodes, with a client at 10.90.0.1.
	for list, want := range map[string]bool{
		"10.90.0.0/24": true, "10.90.0.0/16": true, "10.0.0.0/8": true, "10.90.0.1": true,
		"10.90.0.0/25": false, "10.80.0.0/12": false, "192.168.7.7/32": true,
	} {
		if got := allows(list, netip.MustParseAddr("10.90.0.1")); got != want {
			t.Errorf("%s: allowed %v, on real nodes %v", list, got, want)
		}
	}
}

// Gluster lets in exactly the hosts of the network.
func FuzzAllowList(f *testing.F) {
	f.Add(uint32(0x0a5a0001), uint32(0x0a5a0000), byte(25))
	f.Add(uint32(0x0a5a0001), uint32(0xc0a80707), byte(32))
	f.Fuzz(func(t *testing.T, client, network uint32, bits byte) {
		address := func(n uint32) netip.Addr {
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], n)
			return netip.AddrFrom4(b)
		}
		p := netip.PrefixFrom(address(network), int(bits%33)).Masked()
		list, err := AllowList([]string{p.String()})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := allows(list, address(client)), p.Contains(address(client)); got != want {
			t.Errorf("network %v as %q: client %v allowed %v, want %v", p, list, address(client), got, want)
		}
		if err := checkOptions([]Option{{"auth.allow", list}}); err != nil {
			t.Error(err)
		}
	})
}
