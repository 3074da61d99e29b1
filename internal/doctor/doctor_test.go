package doctor_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/host"
	"bricklayer.csi/internal/doctor/hosttest"
)

// A check that hangs is unknown when its time is up, with what it found before,
// and the others do not wait for it.
func TestHangingCheckIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		defer close(stop)
		checks := []doctor.Check{
			{ID: "hangs", Host: func(_ context.Context, _ *host.Host, r *doctor.Recorder) {
				r.Found(doctor.Finding{Severity: doctor.Warning, Object: "a"})
				<-stop
				r.Found(doctor.Finding{Severity: doctor.Error, Object: "too late"})
			}},
			{ID: "heeds", Host: func(ctx context.Context, _ *host.Host, r *doctor.Recorder) {
				<-ctx.Done()
				r.Unknown("glusterd", errors.New("it did not answer"))
			}},
			{ID: "panics", Host: func(context.Context, *host.Host, *doctor.Recorder) { panic("a bug") }},
			{ID: "quick", Host: func(context.Context, *host.Host, *doctor.Recorder) {}},
		}
		began := time.Now()
		results := doctor.OnHost(t.Context(), checks, &host.Host{Name: "n1"}, doctor.Limits{Check: time.Second})
		if took := time.Since(began); took > 1100*time.Millisecond {
			t.Errorf("it took %s", took)
		}
		want := []doctor.Status{doctor.StatusUnknown, doctor.StatusUnknown, doctor.StatusUnknown, doctor.StatusFine}
		for i, r := range results {
			if r.Status != want[i] {
				t.Errorf("%s is %s, want %s: %+v", r.Check, r.Status, want[i], r)
			}
		}
		if len(results[0].Findings) != 1 || len(results[1].Unknown) != 1 || results[1].Unknown[0].Object != "glusterd" {
			t.Errorf("what was found before is lost: %+v", results[:2])
		}
	})
}

// One storage node that hangs is given up, and the others are answered at once.
func TestEachGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		defer close(stop)
		began := time.Now()
		got := doctor.Each(t.Context(), []string{"a", "hangs", "b"}, func(_ context.Context, s string) string {
			if s == "hangs" {
				<-stop
			}
			return s
		}, func(s string, err error) string { return s + ": " + err.Error() })
		if took := time.Since(began); took != doctor.DefaultLimits.Answer {
			t.Errorf("it took %s", took)
		}
		if strings.Join(got, ", ") != "a, hangs: no answer within 5s, b" {
			t.Errorf("got %q", got)
		}
	})
}

func TestFixAndUndo(t *testing.T) {
	m := hosttest.New(t)
	m.Write("/proc/sys/x", "0\n")
	m.Answers["on"], m.Answers["off"] = "", ""
	finding := doctor.Finding{Object: "x", Fix: []host.Step{
		{Set: &host.Set{Path: "/proc/sys/x", Old: "0", New: "1"}},
		{Write: &host.Write{Path: "/etc/x", New: "1\n", Mode: 0o644}},
		{Exec: &host.Exec{Argv: []string{"on"}, Undo: []string{"off"}}},
	}}
	j, err := doctor.Fix(t.Context(), m.Host, "check-x", finding)
	if err != nil || m.Read("/proc/sys/x") != "1\n" || m.Read("/etc/x") != "1\n" {
		t.Fatalf("fix: %v", err)
	}
	all, err := doctor.Fixes(m.Host)
	if err != nil || len(all) != 1 || all[0].ID != j.ID {
		t.Fatalf("the journals are %+v (%v)", all, err)
	}
	last, err := doctor.Find(all, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := doctor.Undo(t.Context(), m.Host, last); err != nil {
		t.Fatal(err)
	}
	if there, _ := m.Exists("/etc/x"); there || m.Read("/proc/sys/x") != "0\n" || strings.Join(m.Ran, " ") != "on off" {
		t.Errorf("after undo: file there %t, value %q, ran %q", there, m.Read("/proc/sys/x"), m.Ran)
	}
	all, _ = doctor.Fixes(m.Host)
	if _, err := doctor.Find(all, ""); !errors.Is(err, doctor.ErrNoFix) {
		t.Errorf("a fix that was taken back is offered again: %v", err)
	}
}

// A fix of which one step fails can be taken back to the beginning.
func TestHalfAFixCanBeTakenBack(t *testing.T) {
	m := hosttest.New(t)
	m.Failures["on"] = "it is broken"
	finding := doctor.Finding{Object: "x", Fix: []host.Step{
		{Write: &host.Write{Path: "/etc/x", New: "1\n", Mode: 0o644}},
		{Exec: &host.Exec{Argv: []string{"on"}}},
		{Write: &host.Write{Path: "/etc/y", New: "1\n", Mode: 0o644}},
	}}
	j, err := doctor.Fix(t.Context(), m.Host, "check-x", finding)
	if err == nil || !strings.Contains(err.Error(), "it is broken") || !strings.Contains(err.Error(), "undo "+j.ID) {
		t.Fatalf("the error is %v", err)
	}
	if err := doctor.Undo(t.Context(), m.Host, j); err != nil {
		t.Fatal(err)
	}
	if there, _ := m.Exists("/etc/x"); there {
		t.Error("the file is still there")
	}
}

func results() []doctor.Result {
	return []doctor.Result{
		{Check: "a", Target: "n1", Status: doctor.StatusError, Findings: []doctor.Finding{{
			Severity: doctor.Error, Object: "x", Problem: "bad \x1b[31m", Evidence: []string{"<seen>"}, Fix: []host.Step{{}},
		}}},
		{Check: "b", Target: "n1", Status: doctor.StatusUnknown, Unknown: []doctor.Unknown{{Object: "y", Why: "silent"}}},
		{Check: "c", Target: "n1", Status: doctor.StatusSkipped, Skipped: "nothing there"},
		{Check: "d", Target: "n1", Status: doctor.StatusFine},
	}
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	doctor.WriteText(&b, []doctor.Check{{ID: "a", Title: "the title"}}, results(), true)
	for _, want := range []string{"error    a  x: the title", "seen: <seen>", "--fix can end it", "unknown  b  y on n1: silent", "skipped  c  on n1: nothing there", "fine     d", "4 checks: 1 with errors, 0 with warnings, 1 unknown, 1 fine, 1 with nothing"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Error("an escape of the terminal got through")
	}
}

func TestJUnit(t *testing.T) {
	var b bytes.Buffer
	if err := doctor.WriteJUnit(&b, results()); err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Skipped  int `xml:"skipped,attr"`
	}
	if err := xml.Unmarshal(b.Bytes(), &suite); err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	if suite.Tests != 4 || suite.Failures != 1 || suite.Errors != 1 || suite.Skipped != 1 {
		t.Errorf("it counts %+v\n%s", suite, b.String())
	}
}

func TestWorst(t *testing.T) {
	if got := doctor.Worst(results()); got != doctor.StatusError {
		t.Errorf("all: %s", got)
	}
	if got := doctor.Worst(results()[1:]); got != doctor.StatusUnknown {
		t.Errorf("without the error: %s", got)
	}
	if got := doctor.Worst(results()[2:]); got != doctor.StatusFine {
		t.Errorf("without the unknown: %s", got)
	}
}
