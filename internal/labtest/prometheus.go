//go:build lab

package labtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// Prometheus is a real one that runs in the lab's network.
type Prometheus struct {
	address string
	// rules are the names of the alerts in its rule file.
	rules []string
}

// prometheusTime bounds how long it may take to start.
const prometheusTime = time.Minute

// StartPrometheus starts a Prometheus that scrapes every two seconds, until the test
// ends. root is the directory of the module, below which `make promtool` unpacks it.
func StartPrometheus(t testing.TB, root, rules string, scrape []any) Prometheus {
	t.Helper()
	program, err := filepath.Abs(filepath.Join(root, "bin/prometheus/usr/bin/prometheus"))
	if err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		if program, err = exec.LookPath("prometheus"); err != nil {
			t.Fatalf("%v (make promtool fetches it)", err)
		}
	}
	p := Prometheus{address: FreeAddress(t), rules: alertNames(t, rules)}
	if rules, err = filepath.Abs(rules); err != nil {
		t.Fatal(err)
	}
	config, err := yaml.Marshal(map[string]any{
		"global":         map[string]any{"scrape_interval": "2s", "evaluation_interval": "2s"},
		"rule_files":     []string{rules},
		"scrape_configs": scrape,
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	Run(t, dir, program, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--log.level=warn",
		"--web.listen-address="+p.address, "--web.console.templates="+dir, "--web.console.libraries="+dir)
	Eventually(t, prometheusTime, func(ctx context.Context) error {
		_, err := p.get(ctx, "/-/ready", nil)
		return err
	})
	return p
}

// Run runs a program in the lab's network until the test ends, and shows what it
// said where the test has failed.
func Run(t testing.TB, dir, program string, args ...string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var said output
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &said, &said
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	if err := cmd.Start(); err != nil {
		stop()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // it was interrupted
		if t.Failed() {
			t.Logf("%s %s said:\n%s", filepath.Base(program), strings.Join(args, " "), &said)
		}
	})
}

// output keeps what a program says.
type output struct {
	mu sync.Mutex
	b  strings.Builder
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// FreeAddress returns an address of the loopback that nobody serves.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Eventually waits until ok returns nil.
func Eventually(t testing.TB, within time.Duration, ok func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), within)
	defer cancel()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(errors.Join(fmt.Errorf("not within %v", within), err))
		}
	}
}

func alertNames(t testing.TB, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert string }
		}
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			names = append(names, r.Alert)
		}
	}
	return names
}

// get asks Prometheus, and returns what it answered.
func (p Prometheus) get(ctx context.Context, path string, query url.Values) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+path+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, text)
	}
	return text, err
}

// ask asks its API, and reads the data of the answer.
func (p Prometheus) ask(ctx context.Context, path string, query url.Values, data any) error {
	text, err := p.get(ctx, path, query)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, &struct{ Data any }{data})
}

// Has returns an error where a query has no data: no series, or none that is a number.
func (p Prometheus) Has(ctx context.Context, query string) error {
	var data struct {
		Result []struct{ Value [2]any }
	}
	if err := p.ask(ctx, "/api/v1/query", url.Values{"query": {query}}, &data); err != nil {
		return err
	}
	for _, r := range data.Result {
		if r.Value[1] != "NaN" {
			return nil
		}
	}
	return fmt.Errorf("%d series and no number: %s", len(data.Result), query)
}

// AllUp returns an error where it has not just so many targets, or one does not answer.
func (p Prometheus) AllUp(ctx context.Context, want int) error {
	var data struct {
		ActiveTargets []struct{ ScrapeURL, Health, LastError string }
	}
	if err := p.ask(ctx, "/api/v1/targets", url.Values{"state": {"active"}}, &data); err != nil {
		return err
	}
	if len(data.ActiveTargets) != want {
		return fmt.Errorf("%d targets, want %d: %v", len(data.ActiveTargets), want, data.ActiveTargets)
	}
	for _, target := range data.ActiveTargets {
		if target.Health != "up" {
			return fmt.Errorf("%s is %s: %s", target.ScrapeURL, target.Health, target.LastError)
		}
	}
	return nil
}

// Quiet returns an error where an alert was not loaded, cannot be evaluated, or is
// not inactive, but for those that a fact of the lab stirs.
func (p Prometheus) Quiet(ctx context.Context, facts map[string]string) error {
	var data struct {
		Groups []struct {
			Rules []struct {
				Name, State, Health, LastError string
				Alerts                         []struct{ Labels map[string]string }
			}
		}
	}
	if err := p.ask(ctx, "/api/v1/rules", nil, &data); err != nil {
		return err
	}
	loaded := map[string]bool{}
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			loaded[r.Name] = true
			_, odd := facts[r.Name]
			if r.Health != "ok" {
				return fmt.Errorf("rule %s is %s: %s", r.Name, r.Health, r.LastError)
			}
			if r.State != "inactive" && !odd {
				return fmt.Errorf("%s is %s: %v", r.Name, r.State, r.Alerts)
			}
		}
	}
	for _, name := range p.rules {
		if !loaded[name] {
			return fmt.Errorf("%s was not loaded", name)
		}
	}
	return nil
}

// HasAll returns an error that names each panel of a dashboard of which a query has
// no data. Empty are those of which this is known.
func (p Prometheus) HasAll(ctx context.Context, panels map[string][]string, empty map[string]string) error {
	var faults []error
	for title, queries := range panels {
		if empty[title] != "" {
			continue
		}
		for _, query := range queries {
			if err := p.Has(ctx, strings.ReplaceAll(query, "$pool", ".*")); err != nil {
				faults = append(faults, fmt.Errorf("panel %q: %w", title, err))
			}
		}
	}
	return errors.Join(faults...)
}

// EmptyPanels are the panels of our dashboard that have no data in the lab, and why.
func EmptyPanels(ctx context.Context, ask func(context.Context, string, ...string) ([]byte, error), node string) map[string]string {
	if _, err := ask(ctx, node, "test", "-e", "/proc/pressure/memory"); err != nil {
		return map[string]string{"Memory pressure": "the kernel of the storage nodes does not tell"}
	}
	return map[string]string{}
}

// LabAlerts are alerts that a fact of the lab's storage nodes stirs.
var LabAlerts = map[string]string{
	"BricklayerClockNotSynchronised": "nothing keeps the clocks of the storage nodes: they are the host's",
}

// Panels returns the queries of a dashboard by the titles of their panels.
func Panels(t testing.TB, file string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	panels := map[string][]string{}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			panels[p.Title] = append(panels[p.Title], target.Expr)
		}
	}
	if len(panels) < 20 {
		t.Fatalf("%s has %d panels that ask something", file, len(panels))
	}
	return panels
}
