package gluster

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// Client is a connection to a brick.
type Client struct {
	// Host is where it comes from, without its port.
	Host string
	// OpVersion is the highest operating version that it knows, such as 100000.
	OpVersion int
}

type clientsAnswer struct {
	XMLName xml.Name `xml:"cliOutput"`
	result
	Volumes []struct {
		Name  string `xml:"volName"`
		Nodes []struct {
			Clients []struct {
				Hostname  string `xml:"hostname"`
				OpVersion string `xml:"opVersion"`
			} `xml:"clientsStatus>client"`
		} `xml:"node"`
	} `xml:"volStatus>volumes>volume"`
}

// ParseClients reads the answer of `volume status NAME clients`: the connections to
// the volume's bricks that run, those of its self-heal daemons included.
func ParseClients(command, name string, data []byte) ([]Client, error) {
	var a clientsAnswer
	if err := decode(command, data, &a); err != nil {
		return nil, err
	}
	if len(a.Volumes) != 1 || a.Volumes[0].Name != name {
		return nil, unreadable(command, fmt.Errorf("it describes %d volumes, not just %q", len(a.Volumes), name))
	}
	var all []Client
	for _, n := range a.Volumes[0].Nodes {
		for _, c := range n.Clients {
			var r reader
			colon := strings.LastIndexByte(r.text("hostname", c.Hostname), ':') // an IPv6 address has more, and no brackets
			if colon <= 0 {
				r.fail(fmt.Errorf("hostname: %.80q: want HOST:PORT", c.Hostname))
			}
			all = append(all, Client{Host: c.Hostname[:max(colon, 0)], OpVersion: int(r.number("opVersion", c.OpVersion, 1<<30))})
			if r.err != nil {
				return nil, unreadable(command, fmt.Errorf("client %q: %w", c.Hostname, r.err))
			}
		}
	}
	return all, nil
}
