package dashboard_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/internal/doctor/dashboard"
)

func TestJudge(t *testing.T) {
	for pattern, want := range map[string]string{
		// Digits only: these miss what Kubernetes makes now.
		`web-[0-9]+-.*`:                    `web-[a-z0-9]+-.*`,
		`^web-[0-9]+-[a-z0-9]{5}$`:         `^web-[a-z0-9]+-[a-z0-9]{5}$`,
		`.*-\d+-.*`:                        `.*-[a-z0-9]+-.*`,
		`(.*)-[0-9]{8,10}-(.*)`:            `(.*)-[a-z0-9]{8,10}-(.*)`,
		`(?:web|api)-[[:digit:]]+-\w+`:     `(?:web|api)-[a-z0-9]+-\w+`,
		`$app-[0-9]+-.*`:                   `$app-[a-z0-9]+-.*`,
		`${app:regex}-[0-9]+-[^-]+`:        `${app:regex}-[a-z0-9]+-[^-]+`,
		`[a-z]+-[0-9]*-.*`:                 `[a-z]+-[a-z0-9]*-.*`,
		`web-frontend-[0-9]+-[0-9a-z]{5}`:  `web-frontend-[a-z0-9]+-[0-9a-z]{5}`,
		`db-0|web-[0-9]+-.+`:               `db-0|web-[a-z0-9]+-.+`,
		`([a-zA-Z0-9\-]+)-([0-9]+)-(.{5})`: `([a-zA-Z0-9\-]+)-([a-z0-9]+)-(.{5})`,
		// These are right: they tell no old name from a new one.
		`web-.*`:                       "",
		`web-[a-z0-9]+-[a-z0-9]+`:      "",
		`db-[0-9]+`:                    "", // a StatefulSet
		`db-\d`:                        "",
		`backup-[0-9]+-[a-z0-9]{5}x`:   "", // matches neither
		`node[0-9]+-agent-.*`:          "", // a node's name in a static pod's
		`web-[0-9]+-.*|web-[a-z0-9].*`: "",
		`[`:                            "",
		``:                             "",
		`.*`:                           "",
	} {
		m := dashboard.Judge(pattern, true)
		got := ""
		if m != nil {
			got = pattern[:m.Start] + m.New + pattern[m.End:]
		}
		if got != want {
			t.Errorf("%s: got %q (%+v), want %q", pattern, got, m, want)
		}
	}
}

// In InfluxQL a pattern may be found anywhere in a name.
func TestJudgeUnanchored(t *testing.T) {
	if m := dashboard.Judge(`^web-[0-9]+-`, false); m == nil || !strings.HasPrefix(m.Name, "web-6d4cf56db6") {
		t.Errorf("got %+v", m)
	}
	if m := dashboard.Judge(`^db-[0-9]+$`, false); m != nil {
		t.Errorf("got %+v", m)
	}
}

// old is a dashboard as people had them when names had digits: rows, templating,
// escapes that JSON does not need, and InfluxDB beside Prometheus.
const old = `{
  "title": "Pods", "schemaVersion": 14,
  "templating": {"list": [
    {"name": "pod", "query": "label_values(container_memory_usage_bytes{namespace=\"$ns\", pod_name=~\"$app-[0-9]+-.*\"}, pod_name)", "regex": "/^(.*-[0-9]+-[a-z0-9]{5})$/"},
    {"name": "ns", "query": "label_values(namespace)"}
  ]},
  "rows": [ {"panels":[
    {"title":"CPU \u003c all", "targets":[{"expr":"sum by (pod_name) (rate(container_cpu_usage_seconds_total{pod_name=~\"^web-[0-9]+-.*$\",image!=\"\"}[$__rate_interval])) \u003e 0"}]},
    {"title":"Groups", "targets":[{"expr":"label_replace(kube_pod_info, \"app\", \"$1\", \"pod\", \"(.*)-\\\\d+-[^-]+\")"}]},
    {"title":"Fine", "targets":[{"expr":"up{pod=~\"db-[0-9]+\"}"}]},
    {"title":"Not PromQL", "targets":[{"expr":"sum(up{pod=~\"a-[0-9]+-.*\""}]},
    {"title":"Influx", "targets":[
      {"query":"SELECT mean(\"value\") FROM \"memory/usage\" WHERE \"pod_name\" =~ /^web-[0-9]+-/ AND $timeFilter"},
      {"measurement":"cpu/usage_rate","tags":[{"key":"pod_name","operator":"=~","value":"/^api-\\d+-.*/"}]}
    ]}
  ]} ]
}
`

func TestOldDashboard(t *testing.T) {
	report, err := dashboard.Check([]byte(old))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, x := range report.Troubles {
		found = append(found, fmt.Sprintf("%s: %s misses %s", x.Panel, x.Pattern, x.Name))
	}
	want := []string{
		`pod: $app-[0-9]+-.* misses web-6d4cf56db6-x7k2p`,
		`pod: ^(.*-[0-9]+-[a-z0-9]{5})$ misses web-6d4cf56db6-x7k2p`,
		`CPU < all: ^web-[0-9]+-.*$ misses web-6d4cf56db6-x7k2p`,
		`Groups: (.*)-\d+-[^-]+ misses web-6d4cf56db6-x7k2p`,
		`Influx: ^web-[0-9]+- misses web-6d4cf56db6-x7k2p`,
		`Influx: ^api-\d+-.* misses api-6d4cf56db6-x7k2p`,
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(report.Unread) != 1 || !strings.Contains(report.Unread[0].Error(), "panel Not PromQL") {
		t.Errorf("unread: %v", report.Unread)
	}
	if got := report.Troubles[3].Mended; got != `label_replace(kube_pod_info, "app", "$1", "pod", "(.*)-[a-z0-9]+-[^-]+")` {
		t.Errorf("mended: %s", got)
	}
	// The corrected copy differs in the patterns only, byte for byte.
	mended := old
	for _, r := range [][2]string{
		{`$app-[0-9]+-.*`, `$app-[a-z0-9]+-.*`},
		{`^(.*-[0-9]+-[a-z0-9]{5})$`, `^(.*-[a-z0-9]+-[a-z0-9]{5})$`},
		{`^web-[0-9]+-`, `^web-[a-z0-9]+-`},
		{`(.*)-\\\\d+-[^-]+`, `(.*)-[a-z0-9]+-[^-]+`},
		{`^api-\\d+-`, `^api-[a-z0-9]+-`},
	} {
		mended = strings.ReplaceAll(mended, r[0], r[1])
	}
	if diff := cmp.Diff(mended, string(report.Mended)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	again, err := dashboard.Check(report.Mended)
	if err != nil || len(again.Troubles) != 0 || again.Mended != nil {
		t.Errorf("the corrected one: %v, %+v", err, again.Troubles)
	}
}

func TestNoDashboard(t *testing.T) {
	for _, text := range []string{"", "{}", "[1,2]", `{"panels": `, "null", `"panels"`} {
		if _, err := dashboard.Check([]byte(text)); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

// As Grafana's server answers.
func TestWrapped(t *testing.T) {
	report, err := dashboard.Check([]byte(`{"meta": {}, "dashboard": ` + old + `}`))
	if err != nil || len(report.Troubles) != 6 {
		t.Errorf("%v: %+v", err, report.Troubles)
	}
}

// Whatever it is given, it comes back; what it corrects stays JSON, and needs no more.
func FuzzCheck(f *testing.F) {
	f.Add([]byte(old))
	f.Add([]byte(`{"panels":[{"expr":"x{pod=~'a-[0-9]+-.*'}"},{"regex":"/-\\d-/"}]}`))
	f.Add([]byte(`{"panels":[{"expr":"rate(a{pod=~\"é-[0-9]+-.*\"}[$i]) > ${n} offset $o"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		report, err := dashboard.Check(text)
		if err != nil || report.Mended == nil {
			return
		}
		if !json.Valid(report.Mended) {
			t.Errorf("%q became %q", text, report.Mended)
		}
	})
}
