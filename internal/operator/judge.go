package operator

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/volume"
)

const (
	// maxNames is how many names of volumes a status holds for all roots
	// together: a pool may have thousands, and an object must stay below 1.5 MB.
	maxNames = 2000
	// maxVolumeNames is how many names of volumes stand beside their count.
	maxVolumeNames = 20
	// maxProblems bounds those of one node.
	maxProblems = 16
	// maxText bounds what is cited of anybody's words.
	maxText = 300
)

// judgement is what an observation means for a pool.
type judgement struct {
	pool *v1alpha1.StoragePool // with its defaults
	seen observation
	// before is the status that was written last.
	before v1alpha1.StoragePoolStatus

	status v1alpha1.StoragePoolStatus
	// on are the volumes of each brick root, plain those of the pool without LVM.
	on    map[brick.Place]nameSet
	plain []string
	// unknown are nodes and backends that did not tell what volumes they have.
	unknown []string
	// faults are by what is faulty: a word for the reason, and a sentence.
	faults []fault
	// unenforced are sizes that are not held to, late clocks that are off.
	unenforced, late []string
	// usable is how many nodes could take a brick now.
	usable int
	// unwritten is what is free on the file systems, promised or not.
	unwritten volume.Size
}

// fault is one thing that is not as it must be.
type fault struct{ reason, text string }

// judge says what was seen of a pool. The times of the conditions are set later.
func judge(pool *v1alpha1.StoragePool, before v1alpha1.StoragePoolStatus, seen observation) judgement {
	j := judgement{pool: pool, seen: seen, before: before}
	j.status.InUse = map[string]string{}
	j.status.Volumes = &v1alpha1.VolumeCounts{}
	j.count()
	if len(pool.Spec.Nodes) > 0 {
		j.nodes()
		j.peers()
		j.clocks()
	}
	j.volumes()
	j.heketi()
	j.breakers()
	j.conditions()
	return j
}

func (j *judgement) fault(reason, format string, args ...any) {
	j.faults = append(j.faults, fault{reason, fmt.Sprintf(format, args...)})
}

// nodes describes each storage node, and adds up what they have.
func (j *judgement) nodes() {
	if j.seen.err != nil {
		j.fault("AgentsUnreachable", "the agents cannot be reached: %s", short(j.seen.err.Error()))
	}
	var raw, committed, free volume.Size
	perRoot := max(1, maxNames/max(1, rootsOf(j.pool)))
	for _, n := range j.pool.Spec.Nodes {
		seen, asked := j.seen.nodes[n.Name]
		status := v1alpha1.NodeStatus{Name: n.Name, Reachable: asked && seen.err == nil}
		if status.Reachable {
			status.AgentVersion, status.GlusterVersion = seen.Version, seen.GlusterVersion
			j.node(n, seen, &status)
		} else if asked {
			j.fault("AgentUnreachable", "node %s does not answer", n.Name)
			status.Problems = []string{short(seen.err.Error())}
		}
		ready := 0
		for _, r := range n.Roots {
			root, ok := j.root(n, r, seen)
			if ok {
				ready++
				state := stateOf(seen, r.Name)
				j.unwritten += state.Free
				raw, committed, free = raw+state.Total, committed+state.Committed, free+state.Available
			}
			status.Roots = append(status.Roots, root)
		}
		if short := j.short(n, seen, &status); ready > 0 && seen.GlusterdReady && !short {
			j.usable++
		}
		j.use(n, seen, status.Reachable, perRoot)
		j.status.Nodes = append(j.status.Nodes, status)
	}
	j.status.Capacity = capacity(raw, committed, free)
}

// node says what is wrong with a node that answered.
func (j *judgement) node(n v1alpha1.StorageNode, seen seenNode, status *v1alpha1.NodeStatus) {
	if !seen.GlusterdReady {
		j.fault("GlusterdDown", "glusterd of node %s does not answer", n.Name)
		status.Problems = append(status.Problems, "glusterd does not answer")
	}
	if why := j.seen.refusal(policyRefused, n.Name, ""); why != "" {
		j.fault(policyRefused, "node %s: %s", n.Name, why)
		status.Problems = append(status.Problems, why)
	}
	for _, p := range seen.Problems {
		if len(status.Problems) < maxProblems {
			status.Problems = append(status.Problems, short(p))
		}
	}
	for _, b := range seen.bricks {
		if b.Problem != "" {
			j.unenforced = append(j.unenforced, fmt.Sprintf("%s on %s/%s: %s", b.Ref.Volume, n.Name, b.Ref.Root, short(b.Problem)))
		}
	}
}

// short reports whether a node that answered takes no brick for the guard's sake.
func (j *judgement) short(n v1alpha1.StorageNode, seen seenNode, status *v1alpha1.NodeStatus) bool {
	if !status.Reachable {
		return false
	}
	// Without the figures, which change with each look: metrics and `pool status` have them.
	what := guard.SettingsOf(&j.pool.Spec).Budget.Shortage(seen.Description, 0).What
	if what == "" {
		return false
	}
	j.fault("NodeShort", "node %s takes no further brick: %s", n.Name, what)
	status.Problems = append(status.Problems, "it takes no further brick: "+what)
	return true
}

// breakers tells of backends that are left alone for a while.
func (j *judgement) breakers() {
	for _, name := range slices.Sorted(maps.Keys(j.seen.guards)) {
		if g := j.seen.guards[name]; g.Breaker != guard.Closed {
			j.fault("BreakerOpen", "volumes of the %s backend are neither made nor grown, as operations failed one after the other; it is tried again from %s on: %s",
				name, g.Until.UTC().Format(time.TimeOnly+" MST"), short(g.Why))
		}
	}
}

// root describes a brick root; ok is true where it can take bricks.
func (j *judgement) root(n v1alpha1.StorageNode, r v1alpha1.BrickRoot, seen seenNode) (status v1alpha1.RootStatus, ok bool) {
	status.Name = r.Name
	if seen.err != nil || seen.Node == "" {
		return status, false // the node's fault
	}
	state, refused := stateOf(seen, r.Name), j.seen.refusal(rootRefused, n.Name, r.Name)
	switch {
	case refused != "":
		status.Problem = refused
		j.fault(rootRefused, "root %s/%s: %s", n.Name, r.Name, refused)
		return status, false
	case state.Name == "":
		status.Problem = "the agent's configuration has no such root"
	case state.Problem != "":
		status.Problem = short(state.Problem)
	default:
		status.Capacity = capacity(state.Total, state.Committed, state.Available)
		status.Bricks = int32(state.Bricks)
		if !state.Quota {
			j.unenforced = append(j.unenforced, fmt.Sprintf("root %s/%s has no project quotas", n.Name, r.Name))
		}
		return status, true
	}
	j.fault("RootUnusable", "root %s/%s: %s", n.Name, r.Name, status.Problem)
	return status, false
}

// count goes over the bricks once: which volumes have a brick on a root or should have
// one, and which are the pool's. A disk that was replaced has lost its marks, and those
// of the other bricks tell of it.
func (j *judgement) count() {
	on, ours := map[brick.Place]nameSet{}, nameSet{}
	add := func(node, root, name string) {
		at := brick.Place{Node: node, Root: root}
		if on[at] == nil {
			on[at] = nameSet{}
		}
		on[at][name] = true
	}
	for node, seen := range j.seen.nodes {
		for _, b := range seen.bricks {
			add(node, b.Ref.Root, b.Ref.Volume)
			h, err := volume.ParseHandle(b.Mark.Handle)
			if err != nil || h.Backend != volume.Plain || h.Pool != j.pool.Name {
				continue
			}
			ours[h.Name] = true
			for _, p := range b.Mark.Layout {
				add(p.Node, p.Root, b.Ref.Volume)
			}
		}
	}
	j.on, j.plain = on, ours.sorted()
}

// nameSet are names of volumes.
type nameSet map[string]bool

func (n nameSet) sorted() []string { return slices.Sorted(maps.Keys(n)) }

// use names the volumes on each root of a node. What a node does not tell is as it was.
func (j *judgement) use(n v1alpha1.StorageNode, seen seenNode, reachable bool, perRoot int) {
	unknown := !reachable || seen.bricksErr != nil
	if unknown {
		j.unknown = append(j.unknown, "node "+n.Name)
	}
	for _, r := range n.Roots {
		key := n.Name + "/" + r.Name
		if names, used := j.before.InUse[key]; unknown && used {
			j.status.InUse[key] = names
		} else if names := j.on[brick.Place{Node: n.Name, Root: r.Name}]; len(names) > 0 {
			j.status.InUse[key] = some(names.sorted(), perRoot)
		}
	}
}

// volumes counts those of the pool. While somebody does not tell, there are at
// least as many as there were.
func (j *judgement) volumes() {
	var before v1alpha1.VolumeCounts
	if j.before.Volumes != nil {
		before = *j.before.Volumes
	}
	counts := j.status.Volumes
	counts.Plain, counts.LVM = int32(len(j.plain)), int32(len(j.seen.heketiVolumes))
	names := slices.Concat(j.plain, j.seen.heketiVolumes)
	if len(j.unknown) > 0 && counts.Plain < before.Plain {
		counts.Plain, names = before.Plain, append(names, before.Names...)
	}
	if j.seen.heketiErr != nil {
		j.unknown = append(j.unknown, "heketi")
		counts.LVM, names = before.LVM, append(names, before.Names...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	counts.Names = names[:min(len(names), maxVolumeNames)]
}

func (j *judgement) heketi() {
	if r := j.seen.heketi; r != nil {
		j.status.HeketiCapacity = capacity(r.Total, r.Total-r.Free, r.Free)
	}
}

func capacity(raw, committed, free volume.Size) *v1alpha1.Capacity {
	return &v1alpha1.Capacity{Raw: mebibytes(raw), Committed: mebibytes(committed), Free: mebibytes(max(0, free))}
}

// mebibytes rounds down: bytes change all the time, and nobody reads them.
func mebibytes(s volume.Size) resource.Quantity {
	const mebibyte = 1 << 20
	return *resource.NewQuantity(int64(s)/mebibyte*mebibyte, resource.BinarySI)
}

func rootsOf(p *v1alpha1.StoragePool) int {
	n := 0
	for i := range p.Spec.Nodes {
		n += len(p.Spec.Nodes[i].Roots)
	}
	return n
}

// some joins the first few of the names.
func some(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// short cuts what others said to a length that fits a status, on one line.
func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + " ..."
	}
	return s
}
