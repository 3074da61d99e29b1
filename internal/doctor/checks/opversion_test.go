package checks

import (
	"fmt"
	"strings"
	"testing"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/hosttest"
)

func TestOpVersion(t *testing.T) {
	for _, c := range []struct {
		info, version string
		want          doctor.Status
	}{
		{"UUID=x\noperating-version=100000\n", "glusterfs 10.3\n", doctor.StatusFine},
		{"operating-version=90000", "glusterfs 10.3\n", doctor.StatusWarning},
		{"operating-version=30800", "glusterfs 3.12.15\n", doctor.StatusWarning},
		{"operating-version=31202", "glusterfs 3.12.15\n", doctor.StatusFine},
		{"UUID=x", "glusterfs 10.3\n", doctor.StatusUnknown},
		{"operating-version=100000", "glusterd?", doctor.StatusUnknown},
	} {
		m := hosttest.New(t)
		m.Write("/var/lib/glusterd/glusterd.info", c.info)
		m.Answers["glusterd --version"] = c.version
		quiet(t, look(t, glusterOpVersion, m.Host), c.want)
	}
	m := hosttest.New(t)
	quiet(t, look(t, glusterOpVersion, m.Host), doctor.StatusSkipped)
	m.Write("/var/lib/glusterd/glusterd.info", "operating-version=90000")
	quiet(t, look(t, glusterOpVersion, m.Host), doctor.StatusSkipped) // removed, and its records left
}

// connected is what gluster says of a volume with clients, HOST OPVERSION each.
func connected(volume string, clients ...string) string {
	var b strings.Builder
	for _, c := range clients {
		h, v, _ := strings.Cut(c, " ")
		fmt.Fprintf(&b, "<client><hostname>%s:49151</hostname><bytesRead>1</bytesRead><bytesWrite>2</bytesWrite><opVersion>%s</opVersion></client>", h, v)
	}
	return `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<cliOutput><opRet>0</opRet><opErrno>0</opErrno><opErrstr/><volStatus><volumes><volume><volName>` + volume + `</volName><nodeCount>1</nodeCount><node><hostname>10.90.0.11</hostname><path>/b</path><clientsStatus><clientCount>1</clientCount>` +
		b.String() + `</clientsStatus></node></volume></volumes></volStatus></cliOutput>
`
}

func TestClientVersion(t *testing.T) {
	const asked = "gluster --mode=script --xml volume status v clients"
	for name, c := range map[string]struct {
		op, version, answer string
		want                doctor.Status
		object, problem     string
	}{
		"the same":         {"100000", "10.3", connected("v", "10.90.0.1 100000", "10.90.0.12 100000"), doctor.StatusFine, "", ""},
		"older":            {"100000", "10.3", connected("v", "10.90.0.1 90000", "10.90.0.12 100000"), doctor.StatusWarning, "client 10.90.0.1", "older than the rules"},
		"older, IPv6":      {"100000", "10.3", connected("v", "fd00::7 70200"), doctor.StatusWarning, "client fd00::7", "older than the rules"},
		"newer":            {"100000", "10.3", connected("v", "10.90.0.1 110000"), doctor.StatusWarning, "client 10.90.0.1", "newer than the storage nodes"},
		"before the rules": {"90000", "10.3", connected("v", "10.90.0.1 90000"), doctor.StatusFine, "", ""},
		"of Gluster 3":     {"31202", "3.12.15", connected("v", "10.90.0.1 40000"), doctor.StatusWarning, "client 10.90.0.1", "newer than the storage nodes"},
		"no clients":       {"100000", "10.3", connected("v"), doctor.StatusFine, "", ""},
		"no number":        {"100000", "10.3", connected("v", "10.90.0.1 ten"), doctor.StatusUnknown, "", ""},
		"no port":          {"100000", "10.3", strings.ReplaceAll(connected("v", "host 100000"), ":49151", ""), doctor.StatusUnknown, "", ""},
		"another volume":   {"100000", "10.3", connected("w", "10.90.0.1 100000"), doctor.StatusUnknown, "", ""},
		"cut off":          {"100000", "10.3", connected("v")[:200], doctor.StatusUnknown, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := hosttest.New(t)
			m.Write("/var/lib/glusterd/glusterd.info", "operating-version="+c.op+"\n")
			m.Write("/var/lib/glusterd/vols/v/info", "type=2\nstatus=1\n")
			m.Write("/var/lib/glusterd/vols/stopped/info", "type=2\nstatus=2\n")
			m.Answers["glusterd --version"] = "glusterfs " + c.version + "\n"
			m.Answers[asked] = c.answer
			r := look(t, glusterClientVersion, m.Host)
			if c.object == "" {
				quiet(t, r, c.want)
				return
			}
			if f := only(t, r); f.Object != c.object || !strings.Contains(f.Problem, c.problem) {
				t.Errorf("found %+v", f)
			}
		})
	}
	m := hosttest.New(t)
	quiet(t, look(t, glusterClientVersion, m.Host), doctor.StatusSkipped)
	m.Write("/var/lib/glusterd/glusterd.info", "operating-version=100000\n")
	m.Answers["glusterd --version"] = "glusterfs 10.3\n"
	quiet(t, look(t, glusterClientVersion, m.Host), doctor.StatusSkipped)
}
