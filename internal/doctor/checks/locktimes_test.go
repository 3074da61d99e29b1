package checks

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/hosttest"
)

func TestLockTimes(t *testing.T) {
	m := hosttest.New(t)
	quiet(t, look(t, lockTimes, m.Host), doctor.StatusSkipped)
	m.Write("/data/x", "")
	m.Probe = []string{"/data"}
	quiet(t, look(t, lockTimes, m.Host), doctor.StatusFine)
	m.Now = func() time.Time { return time.Now().Add(90 * time.Second) }
	if f := only(t, look(t, lockTimes, m.Host)); f.Object != "directory /data" || !strings.Contains(f.Evidence[0], "which is -1m30") {
		t.Errorf("found %+v", f)
	}
	m.Now = time.Now
	// Somebody touches the file, as far as this machine can tell.
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
			files, _ := filepath.Glob(filepath.Join(m.Root, "data/.bricklayer-doctor-*"))
			for _, f := range files {
				_ = os.Chmod(f, 0o600) // it may be gone
			}
		}
	}()
	if f := only(t, look(t, lockTimes, m.Host)); !strings.Contains(f.Evidence[0], "nobody touched it") {
		t.Errorf("found %+v", f)
	}
	if left, _ := filepath.Glob(filepath.Join(m.Root, "data/.bricklayer-doctor-*")); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
	m.Probe = []string{"/no/such"}
	quiet(t, look(t, lockTimes, m.Host), doctor.StatusUnknown)
}
