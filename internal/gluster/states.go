package gluster

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bricklayer.csi/internal/volume"
)

type statusAnswer struct {
	XMLName xml.Name `xml:"cliOutput"`
	result
	Volumes []struct {
		Name  string    `xml:"volName"`
		Nodes []xmlNode `xml:"node"`
	} `xml:"volStatus>volumes>volume"`
}

type xmlNode struct {
	Hostname    string `xml:"hostname"`
	Path        string `xml:"path"`
	Status      string `xml:"status"`
	PID         string `xml:"pid"`
	SizeTotal   string `xml:"sizeTotal"`
	SizeFree    string `xml:"sizeFree"`
	InodesTotal string `xml:"inodesTotal"`
	InodesFree  string `xml:"inodesFree"`
}

// parseStatus reads the answer of `volume status NAME detail`. Bricks on peers
// that are down are not in it.
func parseStatus(command, name string, data []byte) ([]BrickStatus, error) {
	var a statusAnswer
	if err := decode(command, data, &a); err != nil {
		return nil, err
	}
	if len(a.Volumes) != 1 || a.Volumes[0].Name != name {
		return nil, unreadable(command, fmt.Errorf("it describes %d volumes, not just %q", len(a.Volumes), name))
	}
	var bricks []BrickStatus
	for i := range a.Volumes[0].Nodes {
		n := &a.Volumes[0].Nodes[i]
		if !strings.HasPrefix(n.Path, "/") { // a daemon, such as "Self-heal Daemon" on "localhost"
			continue
		}
		s, err := n.brick()
		if err != nil {
			return nil, unreadable(command, fmt.Errorf("brick %q: %w", n.Hostname+":"+n.Path, err))
		}
		bricks = append(bricks, s)
	}
	return bricks, nil
}

func (n *xmlNode) brick() (BrickStatus, error) {
	var r reader
	s := BrickStatus{
		Brick:       r.brick("path", n.Hostname+":"+n.Path),
		SizeTotal:   r.bytes("sizeTotal", n.SizeTotal),
		SizeFree:    r.bytes("sizeFree", n.SizeFree),
		InodesTotal: r.bytes("inodesTotal", n.InodesTotal),
		InodesFree:  r.bytes("inodesFree", n.InodesFree),
	}
	switch n.Status {
	case "1":
		s.Online = true
		s.PID = int(r.number("pid", n.PID, 1<<31-1))
	case "0": // its pid is then -1
	default:
		r.fail(volume.NewFieldError("status", n.Status, "0 or 1"))
	}
	return s, r.err
}

// complete returns the status of every brick of the volume, in the volume's
// order: those that glusterd left out are not online.
func complete(found []BrickStatus, bricks []Brick) []BrickStatus {
	all := make([]BrickStatus, len(bricks))
	for i, b := range bricks {
		at := slices.IndexFunc(found, func(s BrickStatus) bool { return s.Brick.String() == b.String() })
		if at >= 0 {
			all[i] = found[at]
		}
		all[i].Brick = b
	}
	return all
}

type healAnswer struct {
	XMLName xml.Name `xml:"cliOutput"`
	result
	Bricks []xmlHeal `xml:"healInfo>bricks>brick"`
}

type xmlHeal struct {
	Name       string `xml:"name"`
	Status     string `xml:"status"`
	Total      string `xml:"totalNumberOfEntries"`
	SplitBrain string `xml:"numberOfEntriesInSplitBrain"`
}

// keepsNoCopies is what glusterd says when asked what there is to heal in a
// volume that neither replicates nor disperses.
const keepsNoCopies = "supported for only volumes of replicate/disperse type"

// parseHeal reads the answer of `volume heal NAME info summary`.
func parseHeal(command string, data []byte) ([]BrickHeal, error) {
	var a healAnswer
	if err := decode(command, data, &a); err != nil {
		return nil, err
	}
	if len(a.Bricks) == 0 {
		return nil, unreadable(command, volume.NewFieldError("brick", "", "at least one brick"))
	}
	heals := make([]BrickHeal, len(a.Bricks))
	for i, x := range a.Bricks {
		var r reader
		h := BrickHeal{Brick: r.brick("name", x.Name), Connected: x.Status == "Connected"}
		if h.Connected {
			h.SplitBrain = r.number("numberOfEntriesInSplitBrain", x.SplitBrain, 1<<62)
			// Everything else waits: the entries that are perhaps being healed too.
			h.Pending = r.number("totalNumberOfEntries", x.Total, 1<<62) - h.SplitBrain
			if h.Pending < 0 {
				r.fail(volume.NewFieldError("totalNumberOfEntries", x.Total, "at least the number in split-brain"))
			}
		}
		if r.err != nil {
			return nil, unreadable(command, fmt.Errorf("brick %q: %w", x.Name, r.err))
		}
		heals[i] = h
	}
	return heals, nil
}

type peersAnswer struct {
	XMLName xml.Name `xml:"cliOutput"`
	result
	Peers []xmlPeer `xml:"peerStatus>peer"`
}

type xmlPeer struct {
	UUID      string   `xml:"uuid"`
	Hostname  string   `xml:"hostname"`
	Names     []string `xml:"hostnames>hostname"`
	Connected string   `xml:"connected"`
	State     string   `xml:"stateStr"`
}

// parsePeers reads the answer of `pool list`. The node that answers says nothing of
// its own state.
func parsePeers(command string, data []byte) ([]Peer, error) {
	var a peersAnswer
	if err := decode(command, data, &a); err != nil {
		return nil, err
	}
	var r reader
	peers := make([]Peer, len(a.Peers))
	for i, x := range a.Peers {
		p := Peer{
			UUID: r.text("uuid", x.UUID), Hostname: r.text("hostname", x.Hostname),
			Names: x.Names, Local: x.Hostname == "localhost", State: x.State,
			Connected: r.number("connected", x.Connected, 1) == 1,
		}
		if p.Local && p.State == "" {
			p.State = InCluster
		}
		if !slices.Contains(p.Names, p.Hostname) {
			p.Names = append([]string{p.Hostname}, p.Names...)
		}
		if r.err != nil {
			return nil, unreadable(command, fmt.Errorf("peer %s (%q): %w", strconv.Itoa(i), x.Hostname, r.err))
		}
		peers[i] = p
	}
	if len(peers) == 0 {
		return nil, unreadable(command, volume.NewFieldError("peer", "", "at least the node that answers"))
	}
	return peers, nil
}
