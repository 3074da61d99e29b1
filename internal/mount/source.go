package mount

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bricklayer.csi/internal/volume"
)

// maxServers bounds how many hosts are asked for a volume file: enough for any
// replica set, few enough for one command line.
const maxServers = 16

// hostPattern is a DNS name (RFC 1123); its whole length is checked apart.
var hostPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)

// NewSource checks a comma-separated list of hosts and a Gluster volume's name.
// Both may come from a hand-written PV, and both become arguments of a program.
func NewSource(servers, name string) (Source, error) {
	const allowed = "1 to 16 host names or IP addresses, separated by commas, each once"
	list := strings.Split(servers, ",")
	if len(list) > maxServers {
		return Source{}, volume.NewFieldError("servers", servers, allowed)
	}
	for i, host := range list {
		if !isHost(host) || slices.Contains(list[:i], host) {
			return Source{}, volume.NewFieldError("servers", servers, allowed)
		}
	}
	if err := volume.CheckName(name); err != nil {
		return Source{}, err
	}
	return Source{Servers: list, Volume: name}, nil
}

func isHost(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast()
	}
	if len(s) > 253 || !hostPattern.MatchString(s) {
		return false
	}
	// A name that ends in a number is a misspelt address (WHATWG and RFC 1123 2.1).
	_, err := strconv.Atoi(s[strings.LastIndexByte(s, '.')+1:])
	return err != nil
}
