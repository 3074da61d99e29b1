package checks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/dashboard"
	"bricklayer.csi/internal/doctor/host"
)

var dashboardPatterns = doctor.Check{
	ID: "dashboard-patterns", Title: "a dashboard looks for pods by names of old", Severity: doctor.Warning,
	Reads: `Grafana's dashboards: files and a server that were named (--dashboards, --grafana), and with a cluster its
ConfigMaps. PromQL is parsed by Prometheus's own parser. Each pattern on a label with a pod's name is tried against names
that Deployments, ReplicationControllers, DaemonSets, StatefulSets and Jobs give, as they were and as they are.`,
	Why: `Up to Kubernetes 1.7 a pod of a Deployment was called web-1803251710-x7k2p, and since then
web-6d4cf56db6-x7k2p. A panel whose pattern has digits there shows nothing after the upgrade, and alerts that are made
from it never fire.`,
	Mend: `Put [a-z0-9] in the place of the digits: the finding has the query as it should be.`,
	Fix: `changes the patterns in files of dashboards, and no other byte; the old file stays beside it as
NAME.before-doctor. Dashboards in ConfigMaps and in Grafana are reported with the query as it should be.`,
	Site: checkDashboards,
}

func checkDashboards(ctx context.Context, s *doctor.Site, r *doctor.Recorder) {
	all := s.Dashboards
	if s.Kubernetes != nil {
		maps, err := configMapDashboards(ctx, s)
		if err != nil {
			r.Unknown("dashboards in ConfigMaps", err)
		}
		all = append(slices.Clone(all), maps...)
	}
	if len(all) == 0 {
		r.Skip("no dashboard was named or found")
		return
	}
	for _, d := range all {
		if d.Err != nil {
			r.Unknown("dashboard "+d.Name, d.Err)
			continue
		}
		report, err := dashboard.Check(d.Text)
		switch {
		case err != nil:
			r.Unknown("dashboard "+d.Name, err)
		default:
			oneDashboard(d, report, r)
		}
	}
}

func oneDashboard(d doctor.Dashboard, report dashboard.Report, r *doctor.Recorder) {
	for _, err := range report.Unread {
		r.Unknown("dashboard "+d.Name, err)
	}
	for _, t := range report.Troubles {
		f := doctor.Finding{
			Severity: doctor.Warning, Object: fmt.Sprintf("dashboard %s, %q", d.Name, t.Panel),
			Problem: "it shows no pods of a " + t.Kind + " that are named as Kubernetes names them now",
			Evidence: []string{
				"query: " + t.Query,
				fmt.Sprintf("%s matches %s and misses %s", t.Pattern, t.Old, t.Name),
			},
			Mend: "no change of the digits alone makes the pattern match both; it takes a person",
		}
		if t.Mended != "" {
			f.Mend = "the query as it should be: " + t.Mended
		}
		if d.File && report.Mended != nil {
			old := string(d.Text)
			f.Fix = []host.Step{
				{Write: &host.Write{Path: d.Name + ".before-doctor", New: old, Mode: 0o644}},
				{Write: &host.Write{Path: d.Name, Old: &old, New: string(report.Mended), Mode: 0o644}},
			}
		}
		r.Found(f)
	}
}

// configMapDashboards returns the dashboards that a cluster keeps for its Grafana.
func configMapDashboards(ctx context.Context, s *doctor.Site) ([]doctor.Dashboard, error) {
	const page = 100
	var found []doctor.Dashboard
	for next := ""; ; {
		list, err := s.Kubernetes.CoreV1().ConfigMaps(metav1.NamespaceAll).List(ctx, metav1.ListOptions{Limit: page, Continue: next})
		if err != nil {
			return found, err
		}
		for _, m := range list.Items {
			for key, text := range m.Data {
				if !strings.HasSuffix(key, ".json") || !json.Valid([]byte(text)) {
					continue
				}
				if _, err := dashboard.Check([]byte(text)); errors.Is(err, dashboard.ErrNone) {
					continue
				}
				found = append(found, doctor.Dashboard{Name: fmt.Sprintf("ConfigMap %s/%s, %s", m.Namespace, m.Name, key), Text: []byte(text)})
			}
		}
		if next = list.Continue; next == "" {
			return found, nil
		}
	}
}
