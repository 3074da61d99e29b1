package bench

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/internal/volume"
)

func TestParseExisting(t *testing.T) {
	for text, want := range map[string][]int{"0": {0}, "7": {7}, "10,100,500": {10, 100, 500}, "0, 10000": {0, 10_000}} {
		if got, err := ParseExisting("--existing", text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "10001", "100,10", "10,10", "10,", "1.5", "10;100", "99999999999999999999"} {
		_, err := ParseExisting("--existing", text)
		var field *volume.FieldError
		if !errors.As(err, &field) || field.Field != "--existing" || !strings.Contains(field.Value, text) || !strings.Contains(field.Allowed, "10,100,500") {
			t.Errorf("%q: %v; want an error with the field, the value and what is allowed", text, err)
		}
	}
}

// growing takes longer the more volumes there are.
type growing struct{ fakeMaker }

func (m *growing) Make(ctx context.Context, name string) (Took, error) {
	took, err := m.fakeMaker.Make(ctx, name)
	m.mu.Lock()
	defer m.mu.Unlock()
	took.Whole = time.Duration(len(m.volumes)) * time.Second
	took.Steps = map[Step]time.Duration{StepCreate: took.Whole}
	return took, err
}

// Each series has its own runs, beside as many volumes as it says.
func TestProvisionBesideMoreAndMore(t *testing.T) {
	m := &growing{fakeMaker{name: "plain", took: time.Second, expands: true}}
	var text []string
	r, err := Provision(t.Context(), ProvisionPlan{
		Makers: []Maker{m, &fakeMaker{name: "hand", took: time.Second}}, Rounds: 2, Volumes: 1, Concurrency: 1, Existing: []int{0, 10, 25}, Run: "bench-1",
	}, Hooks{Progress: func(p Progress) { text = append(text, p.Text) }})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.volumes) != 0 {
		t.Errorf("left: %v", m.volumes)
	}
	if said := strings.Join(text, "\n"); !strings.Contains(said, "25 of 25 volumes stand by") || !strings.Contains(said, "plain beside 10, round 2") {
		t.Errorf("progress:\n%s", said)
	}
	growth := r.Growth()
	if len(growth) != 3 || growth[0].Verb != verbCreate || len(growth[0].Lines) != 2 || growth[0].Lines[0].Target != "plain" {
		t.Fatalf("growth: %+v", growth)
	}
	var at []int
	for _, p := range growth[0].Lines[0].Points {
		at = append(at, p.Existing)
		// The volume itself is one more.
		if p.Seconds.Median != float64(p.Existing+1) || p.Rounds != 2 {
			t.Errorf("beside %d: %+v", p.Existing, p)
		}
	}
	if !slices.Equal(at, []int{0, 10, 25}) {
		t.Errorf("points at %v", at)
	}
	if ratio, ok := r.Ratio("create-beside-10", "plain", "hand"); !ok || ratio.Rounds != 2 {
		t.Errorf("ratio beside 10: %+v, %v; want that of its own rounds", ratio, ok)
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParseResult(data); err != nil || len(back.Growth()) != 3 {
		t.Errorf("written and read again: %v", err)
	}
}

// A run of one series is as it always was.
func TestOneSeriesDoesNotGrow(t *testing.T) {
	r, err := Provision(t.Context(), ProvisionPlan{
		Makers: []Maker{&fakeMaker{name: "plain", took: time.Second}}, Rounds: 1, Volumes: 1, Concurrency: 1, Existing: []int{3}, Run: "bench-1",
	}, Hooks{})
	if err != nil || len(r.Growth()) != 0 || r.Jobs[0].Name != verbCreate || r.Runs[0].Existing != 3 {
		t.Errorf("%v; growth %v, jobs %v", err, r.Growth(), r.Jobs)
	}
}

// What earlier versions wrote is read still, and what contradicts itself is not.
func TestParseResultOfProvisioning(t *testing.T) {
	older := `{"schema":"bricklayer.csi/bench/v1","begun":"2026-11-01T12:00:00Z","ended":"2026-11-01T12:09:00Z",` +
		`"machine":{"kernel":"6.1","cpus":2,"memoryBytes":1,"fio":"","bricklayer":"v1"},` +
		`"plan":{"rounds":6,"warmUp":1,"seconds":0,"caches":"","baseline":"hand"},"targets":[{"name":"hand","kind":"by hand"}],` +
		`"jobs":[{"name":"create","title":"create a volume","unit":"volumes/s","latency":"one volume","file":""}],` +
		`"runs":[{"job":"create","target":"hand","round":1,"begun":"2026-11-01T12:00:00Z","figure":0.5,"load":{}}]}`
	if r, err := ParseResult([]byte(older)); err != nil || len(r.Runs) != 1 || len(r.Growth()) != 0 {
		t.Errorf("version 1: %v", err)
	}
	newer := func(more string) string {
		return strings.Replace(strings.Replace(older, "bench/v1", "bench/v2", 1), `"load":{}`, `"load":{}`+more, 1)
	}
	if r, err := ParseResult([]byte(newer(`,"existing":10,"steps":{"look":1.5,"gluster create":0.5}`))); err != nil || r.Runs[0].Steps[StepLook] != 1.5 {
		t.Errorf("version 2: %v", err)
	}
	for want, text := range map[string]string{
		"v3":       strings.Replace(older, "bench/v1", "bench/v3", 1),
		"steps":    newer(`,"steps":{"walk":1}`),
		"look":     newer(`,"steps":{"look":-1}`),
		"existing": newer(`,"existing":-1`),
		"same in":  newer(`,"existing":1},{"job":"create","target":"hand","round":2,"begun":"2026-11-01T12:00:00Z","figure":0.5,"load":{},"existing":2`),
	} {
		if _, err := ParseResult([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want an error with %q", err, want)
		}
	}
}
