package checks

import (
	"strings"
	"testing"
	"time"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/host"
	"bricklayer.csi/internal/doctor/hosttest"
)

// look runs one check on one machine.
func look(t *testing.T, c doctor.Check, h *host.Host) doctor.Result {
	t.Helper()
	return doctor.OnHost(t.Context(), []doctor.Check{c}, h, doctor.DefaultLimits)[0]
}

func lookSite(t *testing.T, c doctor.Check, s *doctor.Site) doctor.Result {
	t.Helper()
	return doctor.OnSite(t.Context(), []doctor.Check{c}, s, doctor.DefaultLimits)[0]
}

// only returns the one finding of a result.
func only(t *testing.T, r doctor.Result) doctor.Finding {
	t.Helper()
	if len(r.Findings) != 1 || len(r.Unknown) != 0 {
		t.Fatalf("%s: want one finding and nothing unknown, got %+v", r.Check, r)
	}
	return r.Findings[0]
}

// quiet fails where a check says anything.
func quiet(t *testing.T, r doctor.Result, want doctor.Status) {
	t.Helper()
	if r.Status != want {
		t.Errorf("%s: want %s, got %+v", r.Check, want, r)
	}
}

func fix(t *testing.T, m *hosttest.Machine, c doctor.Check, f doctor.Finding) doctor.Journal {
	t.Helper()
	if len(f.Fix) == 0 {
		t.Fatalf("%s: no fix is offered: %+v", c.ID, f)
	}
	j, err := doctor.Fix(t.Context(), m.Host, c.ID, f)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// An empty machine is no trouble to anyone, and nothing on it is unknown.
func TestEmptyMachine(t *testing.T) {
	m := hosttest.New(t)
	m.Write("/proc/sys/kernel/osrelease", "6.1.0\n")
	m.Answers["dmesg"] = ""
	for _, r := range doctor.OnHost(t.Context(), All(), m.Host, doctor.DefaultLimits) {
		if r.Status != doctor.StatusFine && r.Status != doctor.StatusSkipped {
			t.Errorf("%+v", r)
		}
	}
}

func TestTornRecord(t *testing.T) {
	m := hosttest.New(t)
	whole := func(name string) {
		m.Write(glusterVolumesDir+"/"+name+"/info", "type=0\n")
		m.Write(glusterVolumesDir+"/"+name+"/bricks/10.0.0.1:-bricks-a", "hostname=10.0.0.1\n")
	}
	whole("good")
	quiet(t, look(t, glusterdTornRecord, m.Host), doctor.StatusFine)
	whole("emptied")
	m.Write(glusterVolumesDir+"/emptied/bricks/10.0.0.1:-bricks-a", "")
	m.Write(glusterVolumesDir+"/bare/bricks/x", "hostname=x\n")

	r := look(t, glusterdTornRecord, m.Host)
	if len(r.Findings) != 2 || r.Findings[0].Object != "volume bare" || r.Findings[1].Object != "volume emptied" {
		t.Fatalf("found %+v", r)
	}
	if !strings.Contains(r.Findings[0].Evidence[0], "/vols/bare/info is missing") || !strings.Contains(r.Findings[1].Evidence[0], "-bricks-a is empty") {
		t.Errorf("evidence: %q, %q", r.Findings[0].Evidence, r.Findings[1].Evidence)
	}
	var journals []doctor.Journal
	for _, f := range r.Findings {
		journals = append(journals, fix(t, m, glusterdTornRecord, f))
	}
	quiet(t, look(t, glusterdTornRecord, m.Host), doctor.StatusFine)
	for _, j := range journals {
		if err := doctor.Undo(t.Context(), m.Host, j); err != nil {
			t.Fatal(err)
		}
	}
	if m.Read(glusterVolumesDir+"/bare/bricks/x") != "hostname=x\n" {
		t.Error("undo did not bring the record back")
	}

	// A running glusterd may be writing this very record; a record that lies there
	// for long is torn, and glusterd has to be stopped before it is moved.
	m.Process(40, "/usr/sbin/glusterd", "-p", "/run/glusterd.pid")
	quiet(t, look(t, glusterdTornRecord, m.Host), doctor.StatusUnknown)
	m.Now = func() time.Time { return time.Now().Add(time.Hour) }
	r = look(t, glusterdTornRecord, m.Host)
	if len(r.Findings) != 2 || len(r.Findings[0].Fix) != 0 {
		t.Errorf("beside a running glusterd: %+v", r)
	}
}

func TestCtime(t *testing.T) {
	m := hosttest.New(t)
	m.Write(glusterVolumesDir+"/a/info", "type=0\nfeatures.ctime=on\n")
	m.Write(glusterVolumesDir+"/b/info", "type=0\n")
	quiet(t, look(t, glusterCtime, m.Host), doctor.StatusFine)
	m.Write(glusterVolumesDir+"/b/info", "type=0\nfeatures.ctime=disable\n")
	f := only(t, look(t, glusterCtime, m.Host))
	m.Answers["gluster --mode=script volume set b features.ctime on"] = "volume set: success\n"
	m.Answers["gluster --mode=script volume set b features.ctime disable"] = "volume set: success\n"
	j := fix(t, m, glusterCtime, f)
	if err := doctor.Undo(t.Context(), m.Host, j); err != nil || len(m.Ran) != 2 {
		t.Errorf("undo: %v, ran %q", err, m.Ran)
	}
}

const glusterMount = "36 35 0:50 / /var/lib/kubelet/a\\040b rw shared:1 - fuse.glusterfs 10.0.0.1:/vol rw\n"

func TestClientInAPIDNamespaceOfItsOwn(t *testing.T) {
	m := hosttest.New(t)
	client := func(mounts, numbers string) {
		m.Process(70, "/usr/sbin/glusterfs", "--volfile-id=vol", "/mnt/x")
		m.Write("/proc/70/mountinfo", mounts)
		m.Write("/proc/70/status", "Name:\tglusterfs\nNSpid:\t"+numbers+"\n")
	}
	own := strings.Replace(glusterMount, "/var/lib/kubelet/a\\040b", "/mnt/x", 1)
	client(own, "70")
	quiet(t, look(t, fuseClientNamespace, m.Host), doctor.StatusSkipped)
	m.Write("/proc/1/mountinfo", glusterMount)
	quiet(t, look(t, fuseClientNamespace, m.Host), doctor.StatusFine)
	client(own, "70\t7")
	f := only(t, look(t, fuseClientNamespace, m.Host))
	if f.Object != "mount /var/lib/kubelet/a b" || !strings.Contains(f.Evidence[0], "client 70 (10.0.0.1:/vol) calls itself 7") {
		t.Errorf("found %+v", f)
	}
	// A container's mount for its own processes is nobody's trouble.
	m.Write("/proc/1/mountinfo", "")
	quiet(t, look(t, fuseClientNamespace, m.Host), doctor.StatusSkipped)
	// A kernel that does not say is no reassurance.
	m.Write("/proc/1/mountinfo", glusterMount)
	m.Write("/proc/70/status", "Name:\tglusterfs\n")
	quiet(t, look(t, fuseClientNamespace, m.Host), doctor.StatusUnknown)
}

func TestFuseMissing(t *testing.T) {
	m := hosttest.New(t)
	quiet(t, look(t, fuseMissing, m.Host), doctor.StatusSkipped)
	m.Process(9, "/usr/bin/kubelet")
	m.Write("/proc/filesystems", "nodev\tproc\n")
	f := only(t, look(t, fuseMissing, m.Host))
	if len(f.Fix) != 2 {
		t.Errorf("found %+v", f)
	}
	m.Write("/dev/fuse", "")
	m.Write("/proc/filesystems", "nodev\tproc\nnodev\tfuse\n")
	quiet(t, look(t, fuseMissing, m.Host), doctor.StatusFine)
}

func TestThinPools(t *testing.T) {
	m := hosttest.New(t)
	const lvs = "lvs --noheadings --nosuffix --separator | --select segtype=thin-pool -o vg_name,lv_name,data_percent,metadata_percent"
	quiet(t, look(t, thinPool, m.Host), doctor.StatusSkipped)
	m.Failures[lvs] = "no permission"
	quiet(t, look(t, thinPool, m.Host), doctor.StatusUnknown)
	m.Answers[lvs] = "  vg|tp1|10.00|20.00\n"
	quiet(t, look(t, thinPool, m.Host), doctor.StatusFine)
	m.Answers[lvs] = "  vg|tp1|10.00|85.50\n"
	if f := only(t, look(t, thinPool, m.Host)); f.Severity != doctor.Warning || f.Object != "thin pool vg/tp1" || !strings.HasPrefix(f.Problem, "its metadata") {
		t.Errorf("found %+v", f)
	}
	m.Answers[lvs] = "  vg|tp1|99.00|5.00\n"
	if f := only(t, look(t, thinPool, m.Host)); f.Severity != doctor.Error {
		t.Errorf("found %+v", f)
	}
	m.Answers[lvs] = "  vg|tp1||\n"
	quiet(t, look(t, thinPool, m.Host), doctor.StatusUnknown)
}

func TestClock(t *testing.T) {
	m := hosttest.New(t)
	m.Unsynchronised = true
	quiet(t, look(t, clockSynchronised, m.Host), doctor.StatusSkipped)
	m.Process(9, "/usr/bin/kubelet")
	if f := only(t, look(t, clockSynchronised, m.Host)); f.Evidence[1] != "no time service runs" {
		t.Errorf("found %+v", f)
	}
	m.Process(10, "/usr/sbin/chronyd", "-F", "1")
	if f := only(t, look(t, clockSynchronised, m.Host)); !strings.Contains(f.Evidence[1], "chronyd") {
		t.Errorf("found %+v", f)
	}
	m.Unsynchronised = false
	quiet(t, look(t, clockSynchronised, m.Host), doctor.StatusFine)
}
