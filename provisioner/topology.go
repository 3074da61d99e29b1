package provisioner

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// zoneLabel is the label of a Kubernetes node that says in which zone it is, by
// the names that a StoragePool gives the zones of storage nodes.
const zoneLabel = corev1.LabelTopologyZone

// zonesOf returns the zones to which a class keeps its volumes, or nil where it
// leaves one of its terms open to all zones. Other labels than the zone's say
// nothing about storage nodes; they bind the pods alone (see affinity).
func zonesOf(allowed []corev1.TopologySelectorTerm) []string {
	var zones []string
	for _, term := range allowed {
		at := slices.IndexFunc(term.MatchLabelExpressions, func(e corev1.TopologySelectorLabelRequirement) bool { return e.Key == zoneLabel })
		if at < 0 {
			return nil
		}
		zones = append(zones, term.MatchLabelExpressions[at].Values...)
	}
	slices.Sort(zones)
	return slices.Compact(zones)
}

// zoneOf returns the zone of the node on which the scheduler will put the first
// pod, or nothing. It is a wish and no condition: every node reaches every volume.
func (p *provisioner) zoneOf(ctx context.Context, node string) string {
	if node == "" {
		return ""
	}
	n, err := p.nodes.Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		p.log.WarnContext(ctx, "the zone of a claim's first pod is not known, its volume is placed without", "node", node, "error", err)
		return ""
	}
	return n.Labels[zoneLabel]
}
