package checks

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/host"
	"bricklayer.csi/internal/gluster"
)

var glusterOpVersion = doctor.Check{
	ID: "gluster-op-version", Title: "the cluster works by the rules of an older Gluster", Severity: doctor.Warning,
	Reads: `On a storage node: operating-version in /var/lib/glusterd/glusterd.info, and glusterd --version.`,
	Why: `After an upgrade a cluster keeps to the older release's operating version until somebody raises it. Options and
mends of the new release are off meanwhile, and a node that is new has a higher one and is refused as a peer.`,
	Mend: `When all storage nodes and all clients are upgraded: gluster volume get all cluster.max-op-version, then
gluster volume set all cluster.op-version with that number. There is no way back.`,
	Host: checkOpVersion,
}

var glusterClientVersion = doctor.Check{
	ID: "gluster-client-version", Title: "a Gluster client is of another release than the storage nodes", Severity: doctor.Warning,
	Reads: `On a storage node: the operating version of each client of some volumes (gluster volume status VOLUME clients, for
two seconds of the check's time), and that of the cluster.`,
	Why: `A client that knows less than the cluster's operating version cannot mount anew, and hinders that options are set
("One or more connected clients cannot support the feature"). One that is newer than the servers talks to them in ways that
nobody has tested: Gluster is upgraded servers first.`,
	Mend: `Upgrade the client on the machine that is named (in Kubernetes the image of the node service) and mount anew: a
mount keeps the program that it began with. Where the client is newer, upgrade the storage nodes.`,
	Host: checkClientVersion,
}

const glusterdInfo = "/var/lib/glusterd/glusterd.info"

// clientsTime is how long volumes are asked for their clients, one after the other:
// glusterd does nothing else with a volume meanwhile.
const clientsTime = 2 * time.Second

// rules is what a storage node's cluster works by.
type rules struct {
	// op is the operating version, as this node has it.
	op int
	// version is that of the Gluster that is installed, least the operating version of its series.
	version string
	least   int
}

// rulesOf reads them; ok is false where the rest was said to the recorder.
func rulesOf(ctx context.Context, h *host.Host, r *doctor.Recorder) (is rules, ok bool) {
	const key = "operating-version"
	if there, err := h.Exists(glusterdInfo); err == nil && !there {
		r.Skip("no glusterd has run here")
		return is, false
	}
	text, err := h.ReadString(glusterdInfo)
	if err != nil {
		r.Unknown(glusterdInfo, err)
		return is, false
	}
	value := ""
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && k == key {
			value = v
		}
	}
	if is.op, err = strconv.Atoi(value); err != nil {
		r.Unknown(glusterdInfo, fmt.Errorf("%s is %q: want a number", key, value))
		return is, false
	}
	out, err := h.Run(ctx, "glusterd", "--version")
	if host.Missing(err) {
		r.Skip("glusterd is not installed here")
		return is, false
	}
	if err == nil {
		is.version, err = gluster.ParseVersion("glusterd --version", out)
	}
	if err == nil {
		is.least, err = leastOpVersion(is.version)
	}
	if err != nil {
		r.Unknown("version of glusterd", err)
		return is, false
	}
	return is, true
}

func checkOpVersion(ctx context.Context, h *host.Host, r *doctor.Recorder) {
	is, ok := rulesOf(ctx, h, r)
	if !ok {
		return
	}
	if is.op < is.least {
		r.Found(doctor.Finding{
			Severity: doctor.Warning, Object: "operating version", Problem: "it is older than the Gluster that is installed",
			Evidence: []string{fmt.Sprintf("operating-version=%d in %s; Gluster %s has %d or more", is.op, glusterdInfo, is.version, is.least)},
		})
	}
}

func checkClientVersion(ctx context.Context, h *host.Host, r *doctor.Recorder) {
	is, ok := rulesOf(ctx, h, r)
	if !ok {
		return
	}
	volumes, err := startedVolumes(h)
	if err != nil {
		r.Unknown("volumes", err)
		return
	}
	if len(volumes) == 0 {
		r.Skip("no volume is started")
		return
	}
	clients := map[gluster.Client]string{} // and the first volume that it was seen at
	for until := h.Now().Add(clientsTime); len(volumes) > 0 && h.Now().Before(until); volumes = volumes[1:] {
		found, err := clientsOf(ctx, h, volumes[0])
		if err != nil {
			r.Unknown("clients of volume "+volumes[0], err)
			continue
		}
		for _, c := range found {
			if _, seen := clients[c]; !seen {
				clients[c] = volumes[0]
			}
		}
	}
	for c, at := range clients {
		var problem string
		switch {
		case c.OpVersion < is.op:
			problem = "its Gluster client is older than the rules that the cluster works by"
		case c.OpVersion/seriesOf(is.least) > is.least/seriesOf(is.least):
			problem = "its Gluster client is newer than the storage nodes"
		default:
			continue
		}
		r.Found(doctor.Finding{
			Severity: doctor.Warning, Object: "client " + c.Host, Problem: problem,
			Evidence: []string{fmt.Sprintf("operating version %d at volume %s; the cluster works by %d, Gluster %s is installed", c.OpVersion, at, is.op, is.version)},
		})
	}
}

// startedVolumes returns the names of those that this node's records say are started.
func startedVolumes(h *host.Host) ([]string, error) {
	const dir = "/var/lib/glusterd/vols"
	if there, err := h.Exists(dir); err == nil && !there {
		return nil, nil
	}
	names, err := h.List(dir)
	if err != nil {
		return nil, err
	}
	var started []string
	for _, name := range names {
		text, err := h.ReadString(dir + "/" + name + "/info")
		if err != nil {
			continue // glusterd-torn-record looks for those
		}
		if slices.Contains(strings.Fields(text), "status=1") {
			started = append(started, name)
		}
	}
	return started, nil
}

func clientsOf(ctx context.Context, h *host.Host, name string) ([]gluster.Client, error) {
	argv := []string{"gluster", "--mode=script", "--xml", "volume", "status", name, "clients"}
	out, err := h.Run(ctx, argv...)
	if err != nil {
		return nil, err
	}
	return gluster.ParseClients(strings.Join(argv[3:], " "), name, out)
}

// leastOpVersion is the operating version of the first release of a series: 100000
// for Gluster 10 (GD_OP_VERSION in libglusterfs/src/glusterfs/globals.h). Before
// Gluster 4 they were counted in another way: 31200 for 3.12.
func leastOpVersion(version string) (int, error) {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(major)
	if err != nil {
		return 0, fmt.Errorf("version %q: want numbers with dots", version)
	}
	if n >= 4 {
		return n * 10000, nil
	}
	m, err := strconv.Atoi(minor)
	if err != nil {
		return 0, fmt.Errorf("version %q: want numbers with dots", version)
	}
	return n*10000 + m*100, nil
}

// seriesOf is the distance between the operating versions of two series.
func seriesOf(least int) int {
	if least < 40000 {
		return 100
	}
	return 10000
}
