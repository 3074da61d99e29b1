package operator

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

const (
	// maxSkew is how far clocks may be apart: Gluster compares times that nodes
	// wrote, for self-heal and for what was changed last.
	maxSkew = 2 * time.Second
	// lowShare is the share of the raw capacity, in percent, below which little is left.
	lowShare = 10
	// maxListed is how many faults a condition tells.
	maxListed = 5
	// reasonFine is that of a condition with nothing to say.
	reasonFine = "AsExpected"
)

// peers compares Gluster's trusted pool with the nodes of ours.
func (j *judgement) peers() {
	if j.seen.peersErr != nil {
		if j.seen.err == nil {
			j.fault("PeersUnknown", "Gluster's peers are not known: %s", short(j.seen.peersErr.Error()))
		}
		return
	}
	for k, n := range j.pool.Spec.Nodes {
		switch i := j.seen.peerOf(n); {
		case i < 0:
			j.peerMissing(n, &j.status.Nodes[k])
		case !j.seen.peers[i].Local && !j.seen.peers[i].Connected:
			j.fault("PeerDisconnected", "node %s is not connected to its peers", n.Name)
		case !j.seen.peers[i].Local && j.seen.peers[i].State != "" && j.seen.peers[i].State != gluster.InCluster:
			j.fault("PeerRejected", "node %s: %s", n.Name, j.seen.peers[i].State)
		}
	}
}

// peerMissing says of a node that is no peer what is to be done about it, and by whom.
func (j *judgement) peerMissing(n v1alpha1.StorageNode, status *v1alpha1.NodeStatus) {
	what := fmt.Sprintf("node %s (%s) is no peer of Gluster's trusted pool", n.Name, n.Address)
	if why := j.seen.refusal(peerRefused, n.Name, ""); why != "" {
		j.fault(peerRefused, "node %s (%s): %s", n.Name, n.Address, why)
		status.Problems = append(status.Problems, why)
		return
	}
	switch {
	case !j.pool.Spec.ManagePeers:
		j.fault("PeerMissing", "%s: gluster peer probe %s", what, n.Address)
	case j.seen.undecided(j.pool):
		j.fault("PeerMissing", "%s; which one it is to join is known once every node of the pool answers", what)
	default:
		j.fault("PeerMissing", "%s; it is probed when its agent and its glusterd answer, one node at a time", what)
	}
}

// clocks compares the nodes' clocks with the median of them and ours: where one
// of many is off, it is that one, ours included.
func (j *judgement) clocks() {
	offsets := []time.Duration{0}
	for _, seen := range j.seen.nodes {
		if seen.err == nil && !seen.Clock.IsZero() {
			offsets = append(offsets, seen.offset)
		}
	}
	slices.Sort(offsets)
	median := offsets[len(offsets)/2]
	for _, n := range j.pool.Spec.Nodes {
		seen, asked := j.seen.nodes[n.Name]
		if !asked || seen.err != nil || seen.Clock.IsZero() {
			continue
		}
		if off := seen.offset - median; off.Abs() > maxSkew+seen.doubt {
			j.late = append(j.late, fmt.Sprintf("the clock of node %s is off by %v", n.Name, off.Round(time.Second)))
		}
	}
}

// conditions makes them of what was found.
func (j *judgement) conditions() {
	spec := j.pool.Spec
	answered := slices.ContainsFunc(j.status.Nodes, func(n v1alpha1.NodeStatus) bool { return n.Reachable })
	heketiReady := j.heketiReady()
	switch {
	case len(spec.Nodes) > 0 && j.usable == 0:
		j.set(v1alpha1.ConditionReady, false, "NoUsableNode", "no storage node can take a brick: "+j.listed())
	case spec.Heketi != nil && !heketiReady:
		j.set(v1alpha1.ConditionReady, false, "HeketiNotReady", "heketi can make no volumes; see HeketiReady")
	default:
		j.set(v1alpha1.ConditionReady, true, reasonFine, "volumes can be made")
	}
	if len(j.faults) > 0 {
		j.set(v1alpha1.ConditionDegraded, true, j.faults[0].reason, j.listed())
	} else {
		j.set(v1alpha1.ConditionDegraded, false, reasonFine, "all that belongs to the pool is as it must be")
	}
	if len(spec.ClientNetworks) == 0 {
		j.set(v1alpha1.ConditionClientsRestricted, false, "Open", "every host that reaches the storage nodes can mount the volumes: set spec.clientNetworks")
	} else {
		j.set(v1alpha1.ConditionClientsRestricted, true, reasonFine, "clients are "+some(spec.ClientNetworks, maxListed))
	}
	if len(spec.Nodes) == 0 {
		return
	}
	if !answered {
		for _, c := range []string{v1alpha1.ConditionQuotaEnforced, v1alpha1.ConditionTimeInSync, v1alpha1.ConditionCapacityLow} {
			j.setUnknown(c, "NoAnswer", "no storage node answers")
		}
		return
	}
	j.none(v1alpha1.ConditionQuotaEnforced, "QuotaMissing", j.unenforced, "sizes are held to")
	j.none(v1alpha1.ConditionTimeInSync, "ClockOff", j.late, fmt.Sprintf("clocks are within %v of each other", maxSkew))
	raw, free := j.status.Capacity.Raw.Value(), j.status.Capacity.Free.Value()
	switch {
	case free/lowShare < raw/100:
		j.set(v1alpha1.ConditionCapacityLow, true, "AlmostPromised", fmt.Sprintf("less than %d %% can still be promised to volumes", lowShare))
	case int64(j.unwritten)/lowShare < raw/100:
		j.set(v1alpha1.ConditionCapacityLow, true, "AlmostFull", fmt.Sprintf("less than %d %% of the file systems is free", lowShare))
	default:
		j.set(v1alpha1.ConditionCapacityLow, false, reasonFine, fmt.Sprintf("at least %d %% is free, and can be promised to volumes", lowShare))
	}
}

// heketiReady judges the pool's heketi, where there is one.
func (j *judgement) heketiReady() bool {
	if j.pool.Spec.Heketi == nil {
		return false
	}
	var bad []string
	reason := "NotFit"
	switch {
	case j.seen.heketiErr != nil:
		reason = "NoAnswer"
		if k := volume.KindOf(j.seen.heketiErr); k == volume.Denied {
			reason = "CredentialsRefused"
		} else if k.Definite() {
			reason = "NotUsable"
		}
		bad = append(bad, short(j.seen.heketiErr.Error()))
	case j.seen.heketi != nil:
		for _, f := range j.seen.heketi.Findings {
			if f.Bad {
				bad = append(bad, short(f.Detail))
			}
		}
	}
	if len(bad) > 0 {
		j.fault("Heketi"+reason, "heketi: %s", bad[0])
	}
	j.none(v1alpha1.ConditionHeketiReady, reason, bad, "heketi answers and is fit for use")
	return len(bad) == 0
}

// none sets a condition that is True where there is nothing bad.
func (j *judgement) none(condition, reason string, bad []string, fine string) {
	if len(bad) == 0 {
		j.set(condition, true, reasonFine, fine)
		return
	}
	slices.Sort(bad)
	j.set(condition, false, reason, some(bad, maxListed))
}

// listed returns the faults, the first few.
func (j *judgement) listed() string {
	texts := make([]string, 0, len(j.faults))
	for _, f := range j.faults {
		texts = append(texts, f.text)
	}
	if len(texts) > maxListed {
		return fmt.Sprintf("%s; and %d more", strings.Join(texts[:maxListed], "; "), len(texts)-maxListed)
	}
	return strings.Join(texts, "; ")
}

func (j *judgement) set(condition string, is bool, reason, message string) {
	status := metav1.ConditionFalse
	if is {
		status = metav1.ConditionTrue
	}
	j.status.Conditions = append(j.status.Conditions, metav1.Condition{Type: condition, Status: status, Reason: reason, Message: message})
}

func (j *judgement) setUnknown(condition, reason, message string) {
	j.status.Conditions = append(j.status.Conditions, metav1.Condition{Type: condition, Status: metav1.ConditionUnknown, Reason: reason, Message: message})
}

// stateOf returns what an agent said of a root; one without a name if nothing.
func stateOf(seen seenNode, root string) brick.RootState {
	for _, r := range seen.Roots {
		if r.Name == root {
			return r
		}
	}
	return brick.RootState{}
}
