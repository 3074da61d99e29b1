//go:build lab

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/lab"
)

// doctored is what the doctor wrote as JSON.
type doctored struct {
	Status  doctor.Status
	Results []doctor.Result
}

// said lists findings and what is unknown, but for what is true of every machine of
// a lab: no time service runs there.
func (d doctored) said() []string {
	var all []string
	for _, r := range d.Results {
		for _, f := range r.Findings {
			if r.Check != "clock-unsynchronised" {
				all = append(all, fmt.Sprintf("%s %s %s: %s %q", f.Severity, r.Check, f.Object, f.Problem, f.Evidence))
			}
		}
		for _, u := range r.Unknown {
			all = append(all, fmt.Sprintf("unknown %s %s: %s", r.Check, u.Object, u.Why))
		}
	}
	return all
}

func parseDoctor(t *testing.T, out string) doctored {
	t.Helper()
	var d doctored
	if err := json.Unmarshal([]byte(out), &d); err != nil || len(d.Results) == 0 {
		t.Fatalf("%v\n%s", err, out)
	}
	return d
}

// labDoctor looks at the lab from the machine that it runs on.
func labDoctor(t *testing.T, args ...string) doctored {
	t.Helper()
	began := time.Now()
	out, errs, _ := labRun(t, labEnv(), append([]string{"doctor", "--host=false", "-o", "json"}, args...)...)
	took := time.Since(began)
	t.Logf("doctor %s: %.1f s", strings.Join(args, " "), took.Seconds())
	// The limits of a run are the product's, not this machine's.
	if took > 15*time.Second {
		t.Errorf("it took %s; %s", took, errs)
	}
	return parseDoctor(t, out)
}

// nodeDoctor looks at a storage node from within.
func nodeDoctor(t *testing.T, node string, args ...string) doctored {
	t.Helper()
	return parseDoctor(t, onNode(t, node, "bricklayer doctor -o json "+strings.Join(args, " ")+"; true"))
}

func onNode(t *testing.T, node, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute) // cleanups call it too
	defer cancel()
	out, err := lab.Current().Exec(ctx, node, "sh", "-c", script)
	if err != nil {
		t.Fatalf("on %s: %s: %v", node, script, err)
	}
	return string(out)
}

func TestDoctorOnAHealthyLab(t *testing.T) {
	t.Cleanup(func() { labRun(t, labEnv(), "volume", "delete", "healthy", "--yes") })
	labMust(t, "volume", "create", "healthy", "--size", "64MiB")
	if said := labDoctor(t).said(); len(said) > 0 {
		t.Errorf("false alarms:\n%s", strings.Join(said, "\n"))
	}
	for _, n := range lab.Current().Nodes() {
		if said := nodeDoctor(t, n.Name).said(); len(said) > 0 {
			t.Errorf("false alarms on %s:\n%s", n.Name, strings.Join(said, "\n"))
		}
	}
}

// A clock that is set back by 90 s is found, and the node named, within 10 s.
func TestDoctorFindsAClockSetBack(t *testing.T) {
	node := lab.Current().Nodes()[1].Name
	shift := func(by string) {
		onNode(t, node, "now=$(date +%s.%N); date -s @$((${now%.*} "+by+")).${now#*.}")
	}
	shift("- 90")
	t.Cleanup(func() { shift("+ 90") })
	began := time.Now()
	d := labDoctor(t, "--check", "clock-skew")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	said := d.said()
	if len(said) != 1 || !strings.HasPrefix(said[0], "error clock-skew storage node "+node) || !strings.Contains(said[0], "behind") {
		t.Errorf("it said:\n%s", strings.Join(said, "\n"))
	}
	t.Log(strings.Join(said, "\n"))
	shift("+ 90")
	if said := labDoctor(t, "--check", "clock-skew").said(); len(said) > 0 {
		t.Errorf("with the clock right it says:\n%s", strings.Join(said, "\n"))
	}
	shift("- 90") // for the cleanup
}

// A node whose agent hangs is unknown, and the others are judged all the same.
func TestDoctorWithANodeThatHangs(t *testing.T) {
	node := lab.Current().Nodes()[2].Name
	onNode(t, node, "kill -STOP $(cat /run/bricklayer-agent.pid)")
	t.Cleanup(func() { onNode(t, node, "kill -CONT $(cat /run/bricklayer-agent.pid)") })
	d := labDoctor(t)
	for _, said := range d.said() {
		if !strings.HasPrefix(said, "unknown ") || !strings.Contains(said, node) {
			t.Errorf("it said %s", said)
		}
	}
	if d.Status != doctor.StatusUnknown {
		t.Errorf("all in all: %s", d.Status)
	}
}

// glusterd does not start with a record that was torn; the doctor finds the record,
// moves it away, and glusterd starts and takes the volume from its peers.
func TestDoctorMendsATornRecord(t *testing.T) {
	labtest.CheckEmpty(t)
	node := lab.Current().Nodes()[0].Name
	t.Cleanup(func() { labRun(t, labEnv(), "volume", "delete", "torn", "--yes") })
	t.Cleanup(func() { onNode(t, node, "bash /lab/guest.sh start-glusterd; bash /lab/guest.sh ready 60") })
	labMust(t, "volume", "create", "torn", "--size", "64MiB")

	onNode(t, node, "bash /lab/guest.sh kill-glusterd; : > /var/lib/glusterd/vols/torn/info")
	start := "glusterd -p /run/glusterd.pid --log-level INFO </dev/null >/dev/null 2>&1; echo $?"
	if out := strings.TrimSpace(onNode(t, node, start)); out == "0" {
		t.Fatal("glusterd starts with the torn record: the trouble is not there")
	}
	said := nodeDoctor(t, node, "--check", "glusterd-torn-record").said()
	if len(said) != 1 || !strings.HasPrefix(said[0], "error glusterd-torn-record volume torn") {
		t.Fatalf("it said:\n%s", strings.Join(said, "\n"))
	}
	t.Log(onNode(t, node, "bricklayer doctor --check glusterd-torn-record --fix --yes 2>&1; true"))
	if said := nodeDoctor(t, node, "--check", "glusterd-torn-record").said(); len(said) > 0 {
		t.Errorf("after the fix it says:\n%s", strings.Join(said, "\n"))
	}
	onNode(t, node, "setsid "+start)
	onNode(t, node, "bash /lab/guest.sh ready 60")
	end := time.Now().Add(time.Minute)
	for onNode(t, node, "test -s /var/lib/glusterd/vols/torn/info && echo there; true") == "" {
		if time.Now().After(end) {
			t.Fatal("glusterd does not take the volume from its peers")
		}
	}
}
