package monitoring_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"sigs.k8s.io/yaml"

	"bricklayer.csi/agent/agentpb"
	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/doctor/dashboard"
	"bricklayer.csi/internal/mountd/mountpb"
	"bricklayer.csi/internal/volume"
)

const (
	alertsFile    = "alerts.yaml"
	testsFile     = "alerts_test.yaml"
	dashboardFile = "dashboard.json"
	runbooks      = "../../docs/runbooks"
	// metricName is the label that carries the name.
	metricName = "__name__"
)

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

type alert struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string  `json:"name"`
			Rules []alert `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.UnmarshalStrict(read(t, alertsFile), &file); err != nil {
		t.Fatal(err)
	}
	var all []alert
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 10 {
		t.Fatalf("only %d alerts were found", len(all))
	}
	return all
}

// An alert says what is wrong, with the figure, and where the cure is written.
func TestAlertsSayWhatToDo(t *testing.T) {
	pages := map[string]bool{"README.md": true}
	index := string(read(t, filepath.Join(runbooks, "README.md")))
	for _, a := range alerts(t) {
		if a.Labels["severity"] != "critical" && a.Labels["severity"] != "warning" {
			t.Errorf("%s: severity %q", a.Alert, a.Labels["severity"])
		}
		if a.For == "" || a.Annotations["summary"] == "" {
			t.Errorf("%s: it has no time or no summary", a.Alert)
		}
		if !strings.Contains(a.Annotations["description"], "$value") {
			t.Errorf("%s: its description has no figure", a.Alert)
		}
		page, ok := strings.CutPrefix(a.Annotations["runbook_url"], "docs/runbooks/")
		if !ok || filepath.Base(page) != page {
			t.Errorf("%s: runbook_url %q", a.Alert, a.Annotations["runbook_url"])
			continue
		}
		pages[page] = true
		text := string(read(t, filepath.Join(runbooks, page)))
		for _, want := range []string{"# " + a.Alert + "\n", "## What it means", "## What to look at", "## How to mend it"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no %q", page, want)
			}
		}
		if !strings.Contains(index, "["+a.Alert+"]("+page+")") {
			t.Errorf("the list of runbooks does not name %s", a.Alert)
		}
	}
	there, err := os.ReadDir(runbooks)
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	for _, f := range there {
		if !pages[f.Name()] {
			t.Errorf("no alert leads to %s", f.Name())
		}
		for _, m := range link.FindAllStringSubmatch(string(read(t, filepath.Join(runbooks, f.Name()))), -1) {
			if _, err := os.Stat(filepath.Join(runbooks, m[1])); err != nil {
				t.Errorf("%s leads nowhere: %v", f.Name(), err)
			}
		}
	}
}

// Each alert is shown firing and not firing, whoever adds one.
func TestAlertsAreTestedBothWays(t *testing.T) {
	var file struct {
		Tests []struct {
			AlertRuleTest []struct {
				Alertname string            `json:"alertname"`
				ExpAlerts []json.RawMessage `json:"exp_alerts"`
			} `json:"alert_rule_test"`
			InputSeries []json.RawMessage `json:"input_series"`
		} `json:"tests"`
	}
	if err := yaml.Unmarshal(read(t, testsFile), &file); err != nil {
		t.Fatal(err)
	}
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, r := range test.AlertRuleTest {
			switch {
			case len(r.ExpAlerts) > 0:
				fires[r.Alertname] = true
			case len(test.InputSeries) > 0: // of nothing at all there is nothing to tell
				quiet[r.Alertname] = true
			}
		}
	}
	for _, a := range alerts(t) {
		if !fires[a.Alert] || !quiet[a.Alert] {
			t.Errorf("%s is shown firing: %v, not firing: %v; want both", a.Alert, fires[a.Alert], quiet[a.Alert])
		}
	}
}

func TestPromtool(t *testing.T) {
	program, err := exec.LookPath("promtool")
	if err != nil {
		t.Skipf("`make test-alerts` installs it: %v", err)
	}
	for _, args := range [][]string{{"check", "rules", alertsFile}, {"test", "rules", testsFile}} {
		if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// exported returns the labels of each metric that a service has, by the names
// that a query may use. cmd/bricklayer holds the list against real services.
func exported(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for line := range strings.Lines(string(read(t, "metrics.txt"))) {
		fields := strings.Fields(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		if len(fields) != 4 {
			t.Fatalf("metrics.txt: %q", line)
		}
		of := append(strings.Split(fields[2], ","), metricName)
		if fields[1] == "histogram" {
			all[fields[0]+"_sum"], all[fields[0]+"_count"] = of, of
			all[fields[0]+"_bucket"] = append(slices.Clone(of), "le")
			continue
		}
		all[fields[0]] = of
	}
	return all
}

// panels returns the queries of the dashboard by the titles of their panels.
func panels(t *testing.T) map[string][]string {
	t.Helper()
	var board struct {
		Panels []struct {
			ID      int    `json:"id"`
			Title   string `json:"title"`
			Type    string `json:"type"`
			GridPos struct{ X, Y, W, H int }
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(read(t, dashboardFile), &board); err != nil {
		t.Fatal(err)
	}
	queries, ids := map[string][]string{}, map[int]bool{}
	for _, p := range board.Panels {
		if ids[p.ID] || queries[p.Title] != nil || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q: its ID %d or title is there twice, or it does not fit", p.Title, p.ID)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			queries[p.Title] = append(queries[p.Title], target.Expr)
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q asks nothing", p.Title)
		}
	}
	return queries
}

// added are labels that Prometheus puts on what it scrapes.
var added = []string{"job", "namespace", "instance"}

// words are all values that a label of ours can have.
func words() map[string][]string {
	w := map[string][]string{
		"result": {"ok"}, "operation": {"create", "expand", "delete"}, "status": {"true", "false", "unknown"},
		"condition": {
			v1alpha1.ConditionReady, v1alpha1.ConditionDegraded, v1alpha1.ConditionQuotaEnforced, v1alpha1.ConditionTimeInSync,
			v1alpha1.ConditionCapacityLow, v1alpha1.ConditionHeketiReady, v1alpha1.ConditionClientsRestricted,
		},
		"name": {"claims", "volumes", "unsavedpvs", "expand", "cleanup", "storagepools"},
		"kind": {"staged", "published"},
	}
	for _, service := range []grpc.ServiceDesc{csipb.Node_ServiceDesc, csipb.Controller_ServiceDesc, agentpb.Agent_ServiceDesc, mountpb.Mounter_ServiceDesc} {
		w["grpc_service"] = append(w["grpc_service"], service.ServiceName)
		for _, m := range service.Methods {
			w["grpc_method"] = append(w["grpc_method"], m.MethodName)
		}
	}
	for code := range codes.Unauthenticated + 1 { // the last one
		w["grpc_code"] = append(w["grpc_code"], code.String())
	}
	for _, k := range volume.Kinds() {
		w["result"] = append(w["result"], k.String())
	}
	return w
}

// judge complains of all in a query that no service exports, and returns the
// metrics that it asks for.
func judge(t *testing.T, where, query string) (names []string) {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return nil
	}
	known, allowed := exported(t), words()
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if g, ok := n.(*parser.AggregateExpr); ok {
			for _, l := range g.Grouping {
				if !slices.Contains(added, l) && !slices.ContainsFunc(parser.ExtractSelectors(g), func(m []*labels.Matcher) bool { return slices.Contains(known[nameOf(m)], l) }) {
					t.Errorf("%s: nothing that is summed up has a label %s", where, l)
				}
			}
		}
		s, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		names = append(names, s.Name)
		of, ok := known[s.Name]
		if !ok {
			t.Errorf("%s: no service exports %q", where, s.Name)
			return nil
		}
		for _, m := range s.LabelMatchers {
			if !slices.Contains(of, m.Name) {
				t.Errorf("%s: %s has no label %s", where, s.Name, m.Name)
			}
			for value := range strings.SplitSeq(m.Value, "|") {
				if w, ok := allowed[m.Name]; ok && !slices.Contains(w, value) {
					t.Errorf("%s: %s is never %q", where, m.Name, value)
				}
			}
		}
		return nil
	})
	return names
}

func nameOf(matchers []*labels.Matcher) string {
	for _, m := range matchers {
		if m.Name == metricName {
			return m.Value
		}
	}
	return ""
}

func TestQueriesAskForWhatIsExported(t *testing.T) {
	for _, a := range alerts(t) {
		judge(t, a.Alert, a.Expr)
	}
	shown := map[string]bool{}
	for title, queries := range panels(t) {
		for _, q := range queries {
			for _, name := range judge(t, "panel "+title, q) {
				shown[name] = true
			}
		}
	}
	for name := range exported(t) {
		if strings.HasPrefix(name, "bricklayer_") && !strings.HasSuffix(name, "_sum") && !shown[name] && name != "bricklayer_pool_seen_timestamp_seconds" {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}

// The doctor finds nothing in our own dashboard, which knows no pod by its name.
func TestDashboardPassesTheDoctor(t *testing.T) {
	report, err := dashboard.Check(read(t, dashboardFile))
	if err != nil || len(report.Troubles) > 0 || len(report.Unread) > 0 {
		t.Errorf("%v, %+v", err, report)
	}
}
