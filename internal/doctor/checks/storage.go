package checks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/gluster"
)

var storageNode = doctor.Check{
	ID: "storage-node", Title: "a storage node cannot serve its pool", Severity: doctor.Error,
	Reads: `What each agent says of its node: whether glusterd answers, each brick root (mounted, quotas enforced, how full),
pressure on memory, when its certificate ends, the version of Gluster.`,
	Why: `A node whose glusterd is gone blocks every operation of its cluster on volumes. A brick root that is not mounted,
or without prjquota, takes no bricks, and volumes on it have lost a copy. An agent whose certificate has ended answers nobody.`,
	Mend: `Start glusterd; mount the brick root with prjquota (prepare-a-storage-node in the how-to guides); make a
new certificate (bricklayer certs). Upgrade Gluster to one version on all nodes.`,
	Site: checkStorageNodes,
}

// Figures from which something is said.
const (
	rootFull        = 0.9
	pressureWarning = 20.0
	certificateSoon = 30 * 24 * time.Hour
	certificateNow  = 7 * 24 * time.Hour
)

func checkStorageNodes(ctx context.Context, s *doctor.Site, r *doctor.Recorder) {
	if len(s.Storage) == 0 {
		r.Skip("no pool was named: give --pools")
		return
	}
	versions := map[string][]string{}
	for _, a := range s.Answers(ctx) {
		if a.Err != nil {
			r.Unknown(nodeOf(a.Storage), a.Err)
			continue
		}
		if a.GlusterVersion != "" {
			versions[a.GlusterVersion] = append(versions[a.GlusterVersion], a.Name)
		}
		oneStorageNode(s.Local.Now(), a, r)
	}
	if len(versions) > 1 {
		var seen []string
		for v, nodes := range versions {
			seen = append(seen, "Gluster "+v+" on "+strings.Join(nodes, ", "))
		}
		slices.Sort(seen)
		r.Found(doctor.Finding{
			Severity: doctor.Warning, Object: "versions of Gluster", Problem: "the nodes run different ones; that is for the time of an upgrade only", Evidence: seen,
		})
	}
}

func nodeOf(s doctor.Storage) string { return "storage node " + s.Name + " of pool " + s.Pool }

func oneStorageNode(now time.Time, a doctor.Answer, r *doctor.Recorder) {
	found := func(severity doctor.Severity, what, problem string, evidence ...string) {
		object := nodeOf(a.Storage)
		if what != "" {
			object += ", " + what
		}
		r.Found(doctor.Finding{Severity: severity, Object: object, Problem: problem, Evidence: evidence})
	}
	if !a.GlusterdReady {
		found(doctor.Error, "glusterd", "glusterd does not answer", a.Problems...)
	}
	for _, root := range a.Roots {
		switch {
		case root.Problem != "":
			found(doctor.Error, "brick root "+root.Name, "the root cannot be used", root.Path+": "+root.Problem)
		case !root.Quota:
			found(doctor.Error, "brick root "+root.Name, "sizes of volumes are not enforced there", fmt.Sprintf("%s: %s with %s, no project quotas", root.Path, root.FileSystem, strings.Join(root.Options, ",")))
		case root.Total > 0 && float64(root.Used) > rootFull*float64(root.Total):
			found(doctor.Warning, "brick root "+root.Name, "it is nearly full", fmt.Sprintf("%s: %s of %s in use", root.Path, root.Used, root.Total))
		}
	}
	if a.MemoryPressure > pressureWarning {
		found(doctor.Warning, "memory", "processes wait for memory", fmt.Sprintf("%.0f %% of the last ten seconds, %d MiB available", a.MemoryPressure, a.MemoryAvailable/mebibyte))
	}
	if left := a.CertificateExpires.Sub(now); !a.CertificateExpires.IsZero() && left < certificateSoon {
		severity := doctor.Warning
		if left < certificateNow {
			severity = doctor.Error
		}
		found(severity, "certificate", "the agent's certificate ends soon", "it ends "+a.CertificateExpires.UTC().Format(time.RFC3339))
	}
}

var storageRoom = doctor.Check{
	ID: "storage-memory", Title: "a pool has more room for volumes than its nodes have memory for bricks", Severity: doctor.Warning,
	Reads: `What each agent says of its node's memory, the processes of bricks and their resident memory, and how much its
brick roots may still promise; projected with the average brick of today.`,
	Why: `Claims are granted by room on disk, but each brick takes memory, too: some 20 MiB at rest with a process of its
own. A pool of large disks and small nodes accepts claims until the kernel kills a brick or glusterd.`,
	Mend: `brickMultiplex in the pool, so that bricks share processes; more memory; or fewer and larger volumes.`,
	Site: checkStorageRoom,
}

// fewBricks is from how many bricks on an average of them says something.
const fewBricks = 5

func checkStorageRoom(ctx context.Context, s *doctor.Site, r *doctor.Recorder) {
	if len(s.Storage) == 0 {
		r.Skip("no pool was named: give --pools")
		return
	}
	for _, a := range s.Answers(ctx) {
		if a.Err != nil {
			r.Unknown(nodeOf(a.Storage), a.Err)
			continue
		}
		var bricks int
		var committed, available int64
		for _, root := range a.Roots {
			bricks += root.Bricks
			committed += int64(root.Committed)
			available += max(0, int64(root.Available))
		}
		if bricks < fewBricks || committed == 0 {
			continue
		}
		each := a.BrickMemory / int64(bricks)
		if a.BrickProcesses >= bricks {
			each = max(each, restingBrick)
		}
		more := available / (committed / int64(bricks))
		if need := more * each; need > a.MemoryAvailable {
			r.Found(doctor.Finding{
				Severity: doctor.Warning, Object: nodeOf(a.Storage), Problem: "memory ends before the disks are full",
				Evidence: []string{
					fmt.Sprintf("%d bricks in %d processes take %d MiB", bricks, a.BrickProcesses, a.BrickMemory/mebibyte),
					fmt.Sprintf("room for %d more of their size, which would take %d MiB; %d MiB are available", more, need/mebibyte, a.MemoryAvailable/mebibyte),
				},
			})
		}
	}
}

var glusterPeers = doctor.Check{
	ID: "gluster-peers", Title: "storage nodes have lost one another", Severity: doctor.Error,
	Reads: `gluster's list of peers, as each storage node sees it.`,
	Why: `A volume is created, changed or deleted only if all of its peers answer; with fewer than half of them connected,
quorum stops bricks altogether. A peer that is rejected has another idea of some volume.`,
	Mend: `See that port 24007 is open between the nodes and glusterd runs on each. For "Peer Rejected": stop glusterd
there, keep only glusterd.info of /var/lib/glusterd, start it and probe again.`,
	Site: checkPeers,
}

func checkPeers(ctx context.Context, s *doctor.Site, r *doctor.Recorder) {
	if len(s.Storage) == 0 {
		r.Skip("no pool was named: give --pools")
		return
	}
	type view struct {
		peers []gluster.Peer
		err   error
	}
	views := doctor.Each(ctx, s.Storage, func(ctx context.Context, n doctor.Storage) view {
		peers, err := n.Agent.Peers(ctx)
		return view{peers, err}
	}, func(_ doctor.Storage, err error) view { return view{err: err} })
	for i, v := range views {
		if v.err != nil {
			r.Unknown("peers as "+nodeOf(s.Storage[i])+" sees them", v.err)
		}
		connected := 0
		for _, p := range v.peers {
			if p.Local || p.Connected {
				connected++
			}
			if !p.Local && (!p.Connected || p.State != gluster.InCluster) {
				r.Found(doctor.Finding{
					Severity: doctor.Error, Object: "peer " + p.Hostname, Problem: s.Storage[i].Name + " has lost it",
					Evidence: []string{fmt.Sprintf("connected: %t, state: %s", p.Connected, p.State)},
				})
			}
		}
		// glusterd's rule for quorum of servers, cluster.server-quorum-ratio unset.
		if len(v.peers) > 0 && 2*connected <= len(v.peers) {
			r.Found(doctor.Finding{
				Severity: doctor.Error, Object: "quorum as " + nodeOf(s.Storage[i]) + " sees it",
				Problem:  "not more than half of the peers are connected: it changes no volume, and stops the bricks of volumes with cluster.server-quorum-type server",
				Evidence: []string{fmt.Sprintf("%d of %d connected, itself included", connected, len(v.peers))},
			})
		}
	}
}

var glusterVolumes = doctor.Check{
	ID: "gluster-volumes", Title: "a volume has lost a copy of its data", Severity: doctor.Error,
	Reads: `Of each started Gluster volume, through one agent of its pool: whether all bricks are online, how many entries
wait to be healed and how many are in split-brain, and whether features.ctime is on.`,
	Why: `A brick that is offline is a copy that grows old; the next failure then costs data or stops writes. Entries in
split-brain answer with an input/output error until somebody decides which copy is right.`,
	Mend: `gluster volume start VOLUME force starts bricks that are offline. Heals that wait go on by themselves; if their
number does not fall, see gluster volume heal VOLUME info. Split-brain: gluster volume heal VOLUME split-brain.`,
	Site: checkVolumes,
}

func checkVolumes(ctx context.Context, s *doctor.Site, r *doctor.Recorder) {
	if len(s.Storage) == 0 {
		r.Skip("no pool was named: give --pools")
		return
	}
	asked := map[string]bool{}
	for _, a := range s.Answers(ctx) {
		if a.Err != nil || !a.GlusterdReady || asked[a.Storage.Pool] {
			continue
		}
		asked[a.Storage.Pool] = true
		poolVolumes(ctx, a.Storage, r)
	}
	for _, n := range s.Storage {
		if !asked[n.Pool] {
			asked[n.Pool] = true
			r.Unknown("volumes of pool "+n.Pool, fmt.Errorf("no storage node answers with its glusterd"))
		}
	}
}

// poolVolumes looks at one volume after the other: glusterd does one thing at a time.
func poolVolumes(ctx context.Context, n doctor.Storage, r *doctor.Recorder) {
	all, err := n.Agent.Volumes(ctx)
	if err != nil {
		r.Unknown("volumes of pool "+n.Pool, err)
		return
	}
	for i, v := range all {
		if v.Status != gluster.StatusStarted {
			continue
		}
		if ctx.Err() != nil {
			r.Unknown(fmt.Sprintf("%d of %d volumes of pool %s", len(all)-i, len(all), n.Pool), context.Cause(ctx))
			return
		}
		oneVolume(ctx, n, v, r)
	}
}

func oneVolume(ctx context.Context, n doctor.Storage, v gluster.Volume, r *doctor.Recorder) {
	object := "volume " + v.Name
	if value, ok := v.Options["features.ctime"]; ok && isOff(value) {
		r.Found(doctor.Finding{
			Severity: doctor.Warning, Object: object, Problem: "programs that watch times of files may find them changed",
			Evidence: []string{"features.ctime is " + value}, Mend: "gluster volume set " + v.Name + " features.ctime on; bricklayer doctor explain gluster-ctime",
		})
	}
	bricks, err := n.Agent.VolumeStatus(ctx, v.Name)
	if err != nil {
		r.Unknown(object, err)
		return
	}
	offline := false
	for _, b := range bricks {
		if !b.Online {
			offline = true
			r.Found(doctor.Finding{Severity: doctor.Error, Object: object, Problem: "a brick is offline", Evidence: []string{b.Brick.String()}})
		}
	}
	heals, err := n.Agent.HealInfo(ctx, v.Name)
	if err != nil {
		r.Unknown("heals of "+object, err)
		return
	}
	for _, h := range heals {
		switch {
		case h.SplitBrain > 0:
			r.Found(doctor.Finding{Severity: doctor.Error, Object: object, Problem: "files are in split-brain", Evidence: []string{fmt.Sprintf("%d on %s", h.SplitBrain, h.Brick)}})
		case h.Pending > 0:
			r.Found(doctor.Finding{Severity: doctor.Warning, Object: object, Problem: "files wait to be healed", Evidence: []string{fmt.Sprintf("%d on %s", h.Pending, h.Brick)}})
		case !h.Connected && !offline:
			r.Found(doctor.Finding{Severity: doctor.Error, Object: object, Problem: "a brick is out of reach for healing", Evidence: []string{h.Brick.String()}})
		}
	}
}
