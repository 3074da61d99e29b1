package host_test

import (
	"os"
	"path/filepath"
	"testing"

	"bricklayer.csi/internal/doctor/hosttest"
)

func TestProcesses(t *testing.T) {
	m := hosttest.New(t)
	m.Process(7, "/opt/all-in-one", "kubelet", "--v", "2", "--config=/a", "--config=/b")
	m.Write("/proc/8/cmdline", "") // a thread of the kernel
	m.Write("/proc/self/cmdline", "x")
	found, err := m.Running("kubelet")
	if err != nil || len(found) != 1 || found[0].PID != 7 {
		t.Fatalf("found %+v (%v)", found, err)
	}
	for name, want := range map[string]string{"v": "2", "config": "/b", "other": ""} {
		if got, given := found[0].Flag(name); got != want || given != (want != "") {
			t.Errorf("--%s is %q, %t", name, got, given)
		}
	}
	// Where others' processes are hidden nothing can be said of them.
	if err := os.RemoveAll(filepath.Join(m.Root, "proc/1")); err != nil {
		t.Fatal(err)
	}
	if found, err := m.Running("kubelet"); err == nil {
		t.Errorf("without process 1 it found %+v", found)
	}
}
