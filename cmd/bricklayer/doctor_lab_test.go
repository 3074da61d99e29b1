//go:build lab

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
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

// A client in a PID namespace of its own is told no groups: who may write by one is
// refused. The doctor names the mount; a client beside the other processes serves it.
func TestDoctorFindsAClientThatSeesNoProcesses(t *testing.T) {
	labtest.CheckEmpty(t)
	l := lab.Current()
	t.Cleanup(func() { labRun(t, labEnv(), "volume", "delete", "groups", "--yes") })
	labMust(t, "volume", "create", "groups", "--size", "64MiB")
	dir := filepath.Join(l.MountDir(), t.Name())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	unmount := func() { _ = exec.CommandContext(context.WithoutCancel(t.Context()), "umount", "-l", dir).Run() }
	t.Cleanup(unmount)
	mount := "mount -t glusterfs " + l.Nodes()[0].Address.String() + ":/groups " + dir
	writes := func() bool {
		return exec.CommandContext(t.Context(), "setpriv", "--reuid", "1234", "--regid", "1234", "--groups", "5678", "touch", dir+"/shared/x").Run() == nil
	}
	look := func(check string) []string {
		out, _, _ := labRun(t, nil, "doctor", "-o", "json", "--check", check)
		return slices.DeleteFunc(parseDoctor(t, out).said(), func(s string) bool { return !strings.Contains(s, dir) })
	}

	alone := exec.CommandContext(t.Context(), "unshare", "--pid", "--fork", "--kill-child", "sh", "-c", mount+" && mkdir "+dir+"/shared && chgrp 5678 "+dir+"/shared && chmod 770 "+dir+"/shared && sleep 600")
	if err := alone.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; <-time.After(100 * time.Millisecond) {
		if info, err := os.Stat(dir + "/shared"); err == nil && info.Mode().Perm() == 0o770 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the volume is not mounted")
		}
	}
	if writes() {
		t.Fatal("the group may write: the trouble is not there")
	}
	said := look("fuse-client-namespace")
	if len(said) != 1 || !strings.HasPrefix(said[0], "error fuse-client-namespace mount "+dir) {
		t.Errorf("it said:\n%s", strings.Join(said, "\n"))
	}
	t.Log(said)

	// The end of that client leaves a dead mount behind.
	_ = alone.Process.Kill()
	_ = alone.Wait()
	for end := time.Now().Add(30 * time.Second); ; <-time.After(100 * time.Millisecond) {
		if _, err := os.Stat(dir); errors.Is(err, syscall.ENOTCONN) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the mount outlives its client")
		}
	}
	if said := look("mount-stale"); len(said) != 1 || !strings.HasPrefix(said[0], "error mount-stale mount "+dir) {
		t.Errorf("of the dead mount it said:\n%s", strings.Join(said, "\n"))
	}
	unmount()
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", mount).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !writes() {
		t.Error("the group may not write with an ordinary client")
	}
	for _, check := range []string{"fuse-client-namespace", "mount-stale"} {
		if said := look(check); len(said) > 0 {
			t.Errorf("of an ordinary mount it says:\n%s", strings.Join(said, "\n"))
		}
	}
}

// With clocks of storage nodes 90 s behind and features.ctime off, a lock file says
// that it is older than it is; with the option on it says what this machine's clock says.
func TestDoctorFindsLockFilesThatMove(t *testing.T) {
	labtest.CheckEmpty(t)
	l := lab.Current()
	t.Cleanup(func() { labRun(t, labEnv(), "volume", "delete", "locks", "--yes") })
	labMust(t, "volume", "create", "locks", "--size", "64MiB")
	node := l.Nodes()[0].Name
	ctime := func(value string) { onNode(t, node, "gluster --mode=script volume set locks features.ctime "+value) }
	shift := func(by string) {
		for _, n := range l.Nodes() {
			onNode(t, n.Name, "now=$(date +%s.%N); date -s @$((${now%.*} "+by+")).${now#*.}")
		}
	}
	ctime("off")
	shift("- 90")
	t.Cleanup(func() { shift("+ 90") })
	dir := filepath.Join(l.MountDir(), t.Name())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	unmount := func() { _ = exec.CommandContext(context.WithoutCancel(t.Context()), "umount", "-l", dir).Run() }
	t.Cleanup(unmount)
	mount := func() {
		if out, err := exec.CommandContext(t.Context(), "mount", "-t", "glusterfs", l.Nodes()[0].Address.String()+":/locks", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	look := func() []string {
		out, _, _ := labRun(t, nil, "doctor", "-o", "json", "--check", "lock-file-times", "--probe", dir)
		return parseDoctor(t, out).said()
	}
	mount()
	said := look()
	if len(said) != 1 || !strings.HasPrefix(said[0], "error lock-file-times directory "+dir) {
		t.Errorf("it said:\n%s", strings.Join(said, "\n"))
	}
	t.Log(said)
	if said := nodeDoctor(t, node, "--check", "gluster-ctime").said(); len(said) != 1 || !strings.HasPrefix(said[0], "warning gluster-ctime volume locks") {
		t.Errorf("of the option it said:\n%s", strings.Join(said, "\n"))
	}
	t.Log(onNode(t, node, "bricklayer doctor --check gluster-ctime --fix --yes 2>&1; true"))
	unmount()
	mount()
	if said := look(); len(said) > 0 {
		t.Errorf("with features.ctime on it says:\n%s", strings.Join(said, "\n"))
	}
}

// A storage node that answers no connection is named while the volume is mounted and
// works on its other bricks; when it answers again the doctor is silent.
func TestDoctorFindsPortsThatDoNotAnswer(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for connections to be repeated; make test-lab-long runs it")
	}
	labtest.CheckEmpty(t)
	l := lab.Current()
	labMust(t, "volume", "create", "ports", "--size", "64MiB")
	t.Cleanup(func() { labMust(t, "volume", "delete", "ports", "--yes") })
	dir := filepath.Join(l.MountDir(), t.Name())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	silent := l.Nodes()[2]
	if err := l.Pause(silent.Name); err != nil {
		t.Fatal(err)
	}
	resume := func() error { return l.Resume(silent.Name) }
	t.Cleanup(func() { _ = resume() })
	t.Cleanup(func() { _ = exec.CommandContext(context.WithoutCancel(t.Context()), "umount", "-l", dir).Run() })
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "glusterfs", l.Nodes()[0].Address.String()+":/ports", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	look := func() string {
		out, _, _ := labRun(t, nil, "doctor", "-o", "json", "--check", "gluster-ports")
		return strings.Join(slices.DeleteFunc(parseDoctor(t, out).said(), func(s string) bool { return !strings.Contains(s, dir) }), "\n")
	}
	labtest.Eventually(t, time.Minute, func(context.Context) error {
		if said := look(); !strings.HasPrefix(said, "error gluster-ports mount "+dir) || !strings.Contains(said, silent.Address.String()+":") {
			return fmt.Errorf("it said %q", said)
		}
		return nil
	})
	if err := resume(); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, 2*time.Minute, func(context.Context) error {
		if said := look(); said != "" {
			return fmt.Errorf("of a node that answers it says %q", said)
		}
		return nil
	})
}
