package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/hosttest"
)

// torn is a machine with one trouble that can be mended.
func torn(t *testing.T) *hosttest.Machine {
	m := hosttest.New(t)
	m.Write("/proc/sys/kernel/osrelease", "6.1.0\n")
	m.Answers["dmesg"] = ""
	m.Write("/var/lib/glusterd/vols/a/info", "")
	return m
}

// doctorOn runs a command line on a machine of a test's.
func doctorOn(t *testing.T, m *hosttest.Machine, in string, args ...string) (out, errs string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := environment{in: strings.NewReader(in), out: &stdout, err: &stderr, getenv: func(string) string { return "" }, host: m.Host}
	code = run(t.Context(), env, append([]string{"doctor"}, args...))
	return stdout.String(), stderr.String(), code
}

func TestDoctorExitCodes(t *testing.T) {
	m := torn(t)
	out, _, code := doctorOn(t, m, "")
	if code != exitFailed || !strings.Contains(out, "error    glusterd-torn-record  volume a") {
		t.Errorf("an error: exit code %d\n%s", code, out)
	}
	m.Write("/var/lib/glusterd/vols/a/info", "type=0\n")
	if out, errs, code := doctorOn(t, m, ""); code != exitOK {
		t.Errorf("nothing: exit code %d\n%s%s", code, out, errs)
	}
	m.Write("/var/lib/glusterd/vols/a/info", "type=0\nfeatures.ctime=off\n")
	if _, _, code := doctorOn(t, m, ""); code != exitWarnings {
		t.Errorf("a warning: exit code %d", code)
	}
	m.Failures["lvs --noheadings --nosuffix --separator | --select segtype=thin-pool -o vg_name,lv_name,data_percent,metadata_percent"] = "no"
	if out, _, code := doctorOn(t, m, ""); code != exitLater || !strings.Contains(out, "unknown  thin-pool-full") {
		t.Errorf("something unknown: exit code %d\n%s", code, out)
	}
	if _, _, code := doctorOn(t, m, "", "--check", "glusterd-torn-record"); code != exitOK {
		t.Errorf("one check that is fine: exit code %d", code)
	}
}

// A fix is asked for, shown, and taken back; without a yes nothing happens.
func TestDoctorFix(t *testing.T) {
	m := torn(t)
	there := func(path string) bool { ok, _ := m.Exists(path); return ok }
	for _, answer := range []string{"", "n\n", "what\n"} {
		_, errs, code := doctorOn(t, m, answer, "--fix")
		if code != exitFailed || !there("/var/lib/glusterd/vols/a/info") || !strings.Contains(errs, "move /var/lib/glusterd/vols/a") {
			t.Errorf("answer %q: exit code %d\n%s", answer, code, errs)
		}
	}
	_, errs, code := doctorOn(t, m, "y\n", "--fix")
	if code != exitOK || there("/var/lib/glusterd/vols/a") {
		t.Errorf("yes: exit code %d\n%s", code, errs)
	}
	out, _, code := doctorOn(t, m, "", "undo", "--list")
	if code != exitOK || !strings.Contains(out, "-glusterd-torn-record  glusterd-torn-record  volume a  -") {
		t.Errorf("list: exit code %d\n%s", code, out)
	}
	if out, errs, code := doctorOn(t, m, "", "undo"); code != exitOK || !there("/var/lib/glusterd/vols/a/info") {
		t.Errorf("undo: exit code %d\n%s%s", code, out, errs)
	}
	if _, _, code := doctorOn(t, m, "", "undo"); code != exitNotFound {
		t.Errorf("undo of nothing: exit code %d", code)
	}
	if _, _, code := doctorOn(t, m, "", "--fix", "--yes"); code != exitOK || there("/var/lib/glusterd/vols/a") {
		t.Errorf("without asking: exit code %d", code)
	}
}

func TestDoctorOutputs(t *testing.T) {
	m := torn(t)
	out, _, _ := doctorOn(t, m, "", "-o", "json")
	var d struct {
		Status  doctor.Status
		Results []doctor.Result
	}
	if err := json.Unmarshal([]byte(out), &d); err != nil || d.Status != doctor.StatusError || len(d.Results) < 10 {
		t.Errorf("%v\n%s", err, out)
	}
	if out, _, _ := doctorOn(t, m, "", "-o", "junit"); !strings.Contains(out, `<failure type="error" message="volume a: `) {
		t.Errorf("junit:\n%s", out)
	}
	if out, _, code := doctorOn(t, m, "", "explain", "bridge-netfilter"); code != exitOK || !strings.Contains(out, "Why it matters") {
		t.Errorf("explain: exit code %d\n%s", code, out)
	}
}

func TestDoctorRefuses(t *testing.T) {
	m := torn(t)
	for _, args := range [][]string{
		{"-o", "yaml"},
		{"--check", "no-such"},
		{"explain", "no-such"},
		{"explain"},
		{"--yes"},
		{"--timeout", "0s"},
		{"--grafana", "grafana"},
		{"--grafana", "https://u:p@g"},
		{"undo", "a", "b"},
		{"mend"},
		{"--kubeconfig", "/no/such/file"},
	} {
		if _, errs, code := doctorOn(t, m, "", args...); code != exitUsage || errs == "" {
			t.Errorf("%v: exit code %d, %q", args, code, errs)
		}
	}
	if _, errs, _ := doctorOn(t, m, "", "--check", "no-such"); !strings.Contains(errs, "clock-skew") {
		t.Errorf("it does not say which checks there are: %s", errs)
	}
}

const oldBoard = `{"title": "x", "panels": [{"title": "CPU", "targets": [{"expr": "up{pod=~\"web-[0-9]+-.*\"}"}]}]}`

func TestDoctorOfDashboards(t *testing.T) {
	m := torn(t)
	m.Write("/boards/a.json", oldBoard)
	m.Write("/boards/notes.txt", "x")
	out, errs, code := doctorOn(t, m, "y\n", "--host=false", "--dashboards", "/boards", "--fix")
	if code != exitOK || !strings.Contains(out, `up{pod=~"web-[a-z0-9]+-.*"}`) {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	if m.Read("/boards/a.json") != strings.Replace(oldBoard, "[0-9]", "[a-z0-9]", 1) {
		t.Errorf("the file is now %s", m.Read("/boards/a.json"))
	}
	if _, _, code := doctorOn(t, m, "", "--host=false", "--dashboards", "/no/such"); code != exitLater {
		t.Errorf("a file that is not there: exit code %d", code)
	}
}

func TestDoctorOfGrafana(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer secret":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/api/search":
			fmt.Fprint(w, `[{"uid": "u1", "title": "Pods"}]`)
		case r.URL.Path == "/api/dashboards/uid/u1":
			fmt.Fprint(w, `{"meta": {}, "dashboard": `+oldBoard+`}`)
		}
	}))
	defer server.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := torn(t)
	out, errs, code := doctorOn(t, m, "", "--host=false", "--grafana", server.URL, "--grafana-token-file", token)
	if code != exitWarnings || !strings.Contains(out, "Pods in "+server.URL) || strings.Contains(out+errs, "secret") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	if _, _, code := doctorOn(t, m, "", "--host=false", "--grafana", server.URL); code != exitLater {
		t.Errorf("without the token: exit code %d, want %d", code, exitLater)
	}
}
