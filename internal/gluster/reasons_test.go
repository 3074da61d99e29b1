package gluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bricklayer.csi/internal/volume"
)

// recorded returns what Gluster 10.3 printed, as kept in testdata.
func recorded(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// output makes of a recorded file what a run printed.
func output(t testing.TB, file string) Output {
	t.Helper()
	if strings.HasSuffix(file, ".stderr") {
		return Output{Stderr: recorded(t, file), ExitCode: 1}
	}
	return Output{Stdout: recorded(t, file)}
}

var recordedReasons = map[string]Reason{
	"info-notfound.xml":              NotFound,
	"status-notfound.xml":            NotFound,
	"heal-notfound.xml":              NotFound,
	"set-notfound.xml":               NotFound,
	"start-notfound.xml":             NotFound,
	"stop-notfound.xml":              NotFound,
	"delete-notfound.xml":            NotFound,
	"status-notstarted.xml":          NotStarted,
	"heal-notstarted.xml":            NotStarted,
	"heal-all-bricks-down.xml":       NotStarted, // HealInfo tells the two apart
	"stop-notstarted.xml":            NotStarted,
	"start-already.xml":              AlreadyStarted,
	"delete-started.xml":             NotStopped,
	"create-exists.xml":              Exists,
	"create-brick-in-use.xml":        BrickInUse,
	"create-brick-parent-in-use.xml": BrickInUse,
	"create-leftover-id.xml":         BrickInUse,
	"create-leftover-parent.xml":     BrickInUse,
	"create-missing-parent.xml":      BrickMissing,
	"start-brick-missing-local.xml":  BrickMissing,
	"start-brick-missing-remote.xml": BrickMissing,
	"start-brick-noid.xml":           BrickMissing,
	"create-rootpart.xml":            BrickRefused,
	"create-samenode.xml":            BrickRefused,
	"create-loopback.stderr":         BrickRefused,
	"create-samebrick.stderr":        Other,
	"create-badname.stderr":          Other,
	"set-empty.stderr":               Other,
	"create-notpeer.xml":             PeerDown,
	"create-peerdown.xml":            PeerDown,
	"delete-peerdown.xml":            PeerDown,
	"set-quorumlost.xml":             QuorumLost,
	"stop-quorumlost.xml":            QuorumLost,
	"stop-rebalancing.xml":           Locked,
	"set-locked.xml":                 Locked,
	"set-locked-after-timeout.xml":   Locked,
	"set-badoption.xml":              BadOption,
	"set-halfbad.xml":                BadOption,
	"set-all.xml":                    BadOption,
	"set-all-bad.xml":                BadOption,
	"set-gid.xml":                    BadOption,
	"set-gid2.xml":                   BadOption,
	"set-bool.xml":                   BadOption,
	"set-range.xml":                  BadOption,
	"set-reserved.xml":               BadOption,
	"heal-none.xml":                  Other, // HealInfo makes no error of it
	"daemon-down.txt":                DaemonDown,
	"daemon-stopped-set.txt":         Timeout,
	"daemon-stopped.xml":             Timeout, // an answer follows the text, and says "no volumes"
	"set-many.xml":                   "",
	"create-r3.xml":                  "",
	"start-r3.xml":                   "",
}

func TestReasonsOfRecordedAnswers(t *testing.T) {
	for file, want := range recordedReasons {
		answers, err := take("volume test", output(t, file), 1)
		if err == nil {
			err = decode("volume test", answers[0], new(plainAnswer))
		}
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v, want none", file, err)
			}
			continue
		}
		e, ok := err.(*Error) //nolint:errorlint // must not be wrapped
		if !ok || e.Reason != want {
			t.Errorf("%s: error %T %v, want reason %s", file, err, err, want)
			continue
		}
		if strings.ContainsAny(e.Error(), "\n\t") || strings.Contains(e.Error(), "Usage") {
			t.Errorf("%s: error %q is not one line of what was said", file, e.Error())
		}
	}
}

// What "peer probe" says, as set_probe_error_str of glusterd 10.3 words it.
func TestReasonsOfProbes(t *testing.T) {
	for text, want := range map[string]Reason{
		"10.0.0.4 is either already part of another cluster or having volumes configured":                                         PeerRefused,
		"At least one volume on 10.0.0.4 conflicts with existing volumes in the cluster":                                          PeerRefused,
		"Conflict in comparing list of snapshots from peer 10.0.0.4":                                                              PeerRefused,
		"Peer uuid (host 10.0.0.4) is same as local uuid":                                                                         PeerRefused,
		"Probe returned with Transport endpoint is not connected":                                                                 PeerDown,
		"Failed to add peer information on 10.0.0.4":                                                                              PeerDown,
		"Cluster quorum is not met. Changing peers is not allowed in this state":                                                  QuorumLost,
		"10.0.0.4 responded with 'unknown peer' error, this could happen if 10.0.0.4 doesn't have localhost in its peer database": PeerDown,
	} {
		c, _ := newCLI(t, map[string]string{"peer probe 10.0.0.4": "<?xml version=\"1.0\"?>\n<cliOutput><opRet>-1</opRet><opErrno>3</opErrno><opErrstr>" + text + "</opErrstr></cliOutput>"})
		if e, ok := errors.AsType[*Error](c.ProbePeer(t.Context(), "10.0.0.4")); !ok || e.Reason != want {
			t.Errorf("%s: got %+v, want %s", text, e, want)
		}
	}
	c, _ := newCLI(t, map[string]string{"peer probe 10.0.0.4": "<?xml version=\"1.0\"?>\n<cliOutput><opRet>0</opRet><opErrno>2</opErrno><opErrstr/><output>Host 10.0.0.4 port 24007 already in peer list</output></cliOutput>"})
	if err := c.ProbePeer(t.Context(), "10.0.0.4"); err != nil {
		t.Errorf("of a peer: %v", err)
	}
	for _, bad := range []string{"", "-x", "a b", "a\nb", "a/b"} {
		if err := c.ProbePeer(t.Context(), bad); !volume.Is(err, volume.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestEveryReasonHasAKind(t *testing.T) {
	seen := map[Reason]bool{Other: true}
	for _, r := range refusals {
		seen[r.reason] = true
		if strings.ToLower(r.text) != r.text || strings.ToLower(r.and) != r.and {
			t.Errorf("row %+v is not in lower case and never matches", r)
		}
	}
	for r := range seen {
		if _, ok := reasonKinds[r]; !ok {
			t.Errorf("reason %s has no kind", r)
		}
	}
	for r := range reasonKinds {
		if !seen[r] {
			t.Errorf("reason %s is never given", r)
		}
	}
}

// What gluster echoes of a request must not choose the reason.
func TestNamesDoNotChooseTheReason(t *testing.T) {
	for _, text := range []string{
		"Volume already-exists does not exist",
		"Volume another-transaction does not exist",
		"Volume quorum-not-met does not exist",
	} {
		if got := reasonOf(30800, text); got != NotFound {
			t.Errorf("%q: reason %s, want NotFound", text, got)
		}
	}
}

func TestErrorIsShortAndOneLine(t *testing.T) {
	e := refused("volume start v", 7, strings.Repeat("long \n\x00\xff", 10000))
	if len(e.Error()) > maxText+100 || strings.Contains(e.Error(), "\n") {
		t.Errorf("error of %d bytes", len(e.Error()))
	}
	if e := refused("volume start v", 7, ""); !strings.Contains(e.Text, "7") {
		t.Errorf("an empty text becomes %q, want the number", e.Text)
	}
	if volume.KindOf(refused("x", 30802, "")) != volume.Busy {
		t.Error("30802 is not Busy")
	}
}
