package lab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

func TestRecipeKey(t *testing.T) {
	base := recipe{kernel: "6.1.1"}
	if base.key() != (recipe{kernel: "6.1.1"}).key() {
		t.Error("the same recipe has two keys")
	}
	for _, other := range []recipe{{kernel: "6.1.2"}, {kernel: "6.1.1", mirror: "http://deb.example.org"}} {
		if other.key() == base.key() {
			t.Errorf("%+v has the key of %+v", other, base)
		}
	}
	was := guestPackages
	t.Cleanup(func() { guestPackages = was })
	guestPackages = append([]string{"more"}, was...)
	if base.key() != (recipe{kernel: "6.1.1"}).key() || len(base.key()) != 16 {
		t.Errorf("key %q", base.key())
	}
	with := base.key()
	guestPackages = was
	if with == base.key() {
		t.Error("another list of packages has the same key")
	}
}

// A shell is the judge of what a shell reads.
func TestQuote(t *testing.T) {
	for _, argv := range [][]string{
		{"plain"}, {""}, {"two words", "it's", `"`, `\`, "$HOME", "`id`", "a\nb", "*", "-n", "é", "';exit 1;'"},
	} {
		script := "for a in " + quote(argv) + `; do printf '%s\0' "$a"; done`
		out, err := exec.CommandContext(t.Context(), "sh", "-c", script).Output()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(strings.Join(argv, "\x00")+"\x00", string(out)); d != "" {
			t.Errorf("%q (-want +got):\n%s", argv, d)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (init) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 99 0 0"))
	f.Add([]byte(") ("))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := parseStat(data); err == nil && p.state == 0 {
			t.Errorf("%q parsed without a state", data)
		}
	})
}

func TestParseStat(t *testing.T) {
	p, err := parseStat([]byte("42 (a) b (c) T 7 40 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 1234 0 0\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := process{pid: 42, parent: 7, group: 40, state: 'T', start: 1234, name: "a) b (c"}
	if p != want {
		t.Errorf("got %+v, want %+v", p, want)
	}
	if !p.stopped() || !p.alive() {
		t.Error("T is stopped and alive")
	}
	for _, bad := range []string{"", "x", "1 (a", "1 (a) S 1 2", "x (a) S 0 1 1 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 99 0 0"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestPIDRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "uml.json")
	if r, err := loadPIDRecord(path); err != nil || r.PID != 0 {
		t.Errorf("no file: %+v, %v", r, err)
	}
	r, err := newPIDRecord(os.Getpid(), netnsOf(os.Getpid()), []string{"a", "b c"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.save(path); err != nil {
		t.Fatal(err)
	}
	got, err := loadPIDRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, got); d != "" {
		t.Errorf("round trip (-want +got):\n%s", d)
	}
	if p, ok := got.leader(); !ok || p.pid != os.Getpid() {
		t.Errorf("this process is not found: %+v %v", p, ok)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadPIDRecord(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("damaged record: %v", err)
	}
}

// A number that another process has by now must not be taken for the node.
func TestPIDRecordOfAReusedNumber(t *testing.T) {
	me, err := newPIDRecord(os.Getpid(), netnsOf(os.Getpid()), nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*pidRecord){
		"earlier start": func(r *pidRecord) { r.Start-- },
		"later start":   func(r *pidRecord) { r.Start++ },
		"earlier boot":  func(r *pidRecord) { r.Boot = "other" },
	} {
		r := me
		change(&r)
		if _, ok := r.leader(); ok {
			t.Errorf("%s: taken for the recorded process", name)
		}
		r.Netns = 1
		if m := r.members(all); len(m) != 0 {
			t.Errorf("%s: members %+v", name, m)
		}
	}
}

func TestMissingPackages(t *testing.T) {
	status := "installed fio\nconfig-files xfsprogs\nnot-installed mmdebstrap\n\n"
	got := missingPackages(status, []string{"fio", "mmdebstrap", "xfsprogs", "unheard-of"})
	if d := cmp.Diff([]string{"mmdebstrap", "xfsprogs", "unheard-of"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestBelow(t *testing.T) {
	for path, want := range map[string]bool{"/a/b": true, "/a": true, "/ab": false, "/": false, "/a/../b": false, "/a/..b": true} {
		if got := below(path, "/a"); got != want {
			t.Errorf("below(%q, /a) = %v", path, got)
		}
	}
}

func TestLinkBatch(t *testing.T) {
	c, err := DefaultConfig()
	if err != nil {
		t.Fatal(err)
	}
	nodes := c.NodeList()[:2]
	want := `link set lo up
link add br0 type bridge
addr add 10.90.0.1/24 dev br0
link set br0 up
route replace 10.90.0.0/24 dev br0 proto kernel scope link src 10.90.0.1 rto_min 20ms
tuntap add tap-n1 mode tap
link set tap-n1 master br0 up
tuntap add tap-n2 mode tap
link set tap-n2 master br0 up
`
	if d := cmp.Diff(want, linkBatch(nil, nodes, "10.90.0.0/24", "10.90.0.1")); d != "" {
		t.Errorf("from nothing (-want +got):\n%s", d)
	}
	up := []string{"BROADCAST", "UP"}
	have := []link{{"lo", "", up}, {bridge, "", up}, {"tap-n1", bridge, up}, {"tap-n2", "", up}}
	if got := linkBatch(have, nodes, "10.90.0.0/24", "10.90.0.1"); got != "link set tap-n2 master br0 up\n" {
		t.Errorf("one tap out of the bridge: %q", got)
	}
	have[3].Master = bridge
	if got := linkBatch(have, nodes, "10.90.0.0/24", "10.90.0.1"); got != "" {
		t.Errorf("all there: %q", got)
	}
}

func TestStatusParse(t *testing.T) {
	var s NodeStatus
	s.Power = string(powerOn)
	if err := s.parse("glusterd=ok\npeers=2\nagent=/lab/bin/x\nunmounted=root1\noffline=v1\noffline=v2\n"); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"2 of 3 peers connected", "agent is of another build",
		"brick root root1 is not mounted", "a brick of volume v1 is dead", "a brick of volume v2 is dead",
	}
	if d := cmp.Diff(want, s.faults(3, "/lab/bin/y")); d != "" {
		t.Errorf("faults (-want +got):\n%s", d)
	}
	good := NodeStatus{Power: string(powerOn), Glusterd: "ok", Peers: 3, Agent: "a"}
	if f := good.faults(3, "a"); len(f) != 0 {
		t.Errorf("a good node has faults: %v", f)
	}
	for _, bad := range []string{"peers=x\n", "what\n", "colour=red\n"} {
		if err := s.parse(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestHasPeer(t *testing.T) {
	c, err := DefaultConfig()
	if err != nil {
		t.Fatal(err)
	}
	list := "UUID\t\tHostname\tState\nabc\t10.90.0.12\tConnected \nabd\tlocalhost\tConnected\n"
	n := c.NodeList()
	if !hasPeer(list, n[1]) || hasPeer(list, n[2]) {
		t.Errorf("n2 %v, n3 %v", hasPeer(list, n[1]), hasPeer(list, n[2]))
	}
}

func TestWriteFileReplacesWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "f")
	for _, text := range []string{"one", "two"} {
		if err := writeFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left over: %v, %v", entries, err)
	}
}

func TestLockFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(t.Context(), path, func() { t.Error("nobody has it") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	waited := false
	if _, err := lockFile(ctx, path, func() { waited = true }); !errors.Is(err, context.DeadlineExceeded) || !waited {
		t.Errorf("second: %v, told %v", err, waited)
	}
	got := make(chan error, 1)
	go func() {
		again, err := lockFile(t.Context(), path, func() {})
		if err == nil {
			again()
		}
		got <- err
	}()
	unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if exists(path) {
		t.Error("the lock file is left over")
	}
}

func TestRunShown(t *testing.T) {
	var out bytes.Buffer
	pr := newProgress(&out)
	if err := runShown(t.Context(), pr, "x", []string{"sh", "-c", "echo noise; echo 'I: step one' >&2"}); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); !strings.Contains(s, "x: step one") || strings.Contains(s, "noise") {
		t.Errorf("shown: %q", s)
	}
	out.Reset()
	if err := runShown(t.Context(), pr, "x", []string{"sleep", "5"}); err != nil || !strings.Contains(out.String(), "x (still at it)") {
		t.Errorf("of one that says nothing: %q, %v", out.String(), err)
	}
	err := runShown(t.Context(), pr, "x", []string{"sh", "-c", "echo because; exit 3"})
	e, ok := errors.AsType[*ExitError](err)
	if !ok || e.Code != 3 || !strings.Contains(err.Error(), "because") {
		t.Errorf("failure: %v", err)
	}
}

func TestRunStopsWithContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := run(ctx, "sleep", "60")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the deadline", err)
	}
}

func TestOpenOfNothing(t *testing.T) {
	if _, err := Open("no-such-lab-here"); !errors.Is(err, ErrNotUp) {
		t.Errorf("%v, want ErrNotUp", err)
	}
	if _, err := Open("../etc"); err == nil {
		t.Error("a path was accepted as a name")
	}
}

func TestMountedBelow(t *testing.T) {
	list := []*mountinfo.Info{{Mountpoint: "/cache/build-1/rootfs/dev"}, {Mountpoint: "/cache/build-10/proc"}}
	if got := mountedBelow(list, "/cache/build-1"); got != "/cache/build-1/rootfs/dev" {
		t.Errorf("found %q", got)
	}
	if got := mountedBelow(list[1:], "/cache/build-1"); got != "" {
		t.Errorf("found %q under another directory", got)
	}
}

// A goroutine may be given the first thread, which must stay where it is.
func TestOwnThreadIsNeverTheFirst(t *testing.T) {
	for range 200 {
		err := onOwnThread(func() error {
			if unix.Gettid() == unix.Getpid() {
				return errors.New("ran on the first thread")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
