package gluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/internal/volume"
)

// script is a Runner that answers each command with a recorded file, or with a
// text that begins with "<".
type script struct {
	t       *testing.T
	answers map[string]string
	asked   []string
	alone   int
}

// Run implements Runner.
func (s *script) Run(_ context.Context, call Call) (Output, error) {
	var all Output
	if call.Alone {
		s.alone++
	}
	if len(call.Commands) == 0 {
		call.Commands = [][]string{call.Flags}
	}
	for _, words := range call.Commands {
		line := strings.Join(words, " ")
		s.asked = append(s.asked, line)
		text, ok := s.answers[line]
		if !ok {
			return all, errors.New("nobody expected: gluster " + line)
		}
		if strings.HasPrefix(text, "<") {
			all.Stdout = append(all.Stdout, text...)
			continue
		}
		all.Stdout = append(all.Stdout, recorded(s.t, text)...)
	}
	return all, nil
}

func newCLI(t *testing.T, answers map[string]string) (*CLI, *script) {
	t.Helper()
	s := &script{t: t, answers: answers}
	c, err := NewCLI(Options{Runner: s})
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

func TestNewCLI(t *testing.T) {
	for _, o := range []Options{{Timeout: time.Millisecond}, {Timeout: -1}, {Timeout: 2 * time.Hour}, {Command: "-rf"}, {Command: "a\x00"}} {
		if _, err := NewCLI(o); err == nil || volume.KindOf(err) != volume.Invalid {
			t.Errorf("%+v: %v, want Invalid", o, err)
		}
	}
}

func TestCommands(t *testing.T) {
	ctx := t.Context()
	three := "h1:/b h2:/b h3:/b"
	list := []Brick{{Host: "h1", Path: "/b"}, {Host: "h2", Path: "/b"}, {Host: "h3", Path: "/b"}}
	for line, run := range map[string]func(c *CLI) error{
		"volume create v replica 3 " + three: func(c *CLI) error {
			return c.CreateVolume(ctx, CreateRequest{Name: "v", Replica: 3, Bricks: list})
		},
		"volume create v replica 3 arbiter 1 " + three: func(c *CLI) error {
			return c.CreateVolume(ctx, CreateRequest{Name: "v", Replica: 3, Arbiter: 1, Bricks: list})
		},
		"volume create v disperse 3 redundancy 1 " + three: func(c *CLI) error {
			return c.CreateVolume(ctx, CreateRequest{Name: "v", Disperse: 3, Redundancy: 1, Bricks: list})
		},
		"volume create v h1:/b": func(c *CLI) error {
			return c.CreateVolume(ctx, CreateRequest{Name: "v", Bricks: list[:1]})
		},
		"volume start v":  func(c *CLI) error { return c.StartVolume(ctx, "v") },
		"volume stop v":   func(c *CLI) error { return c.StopVolume(ctx, "v") },
		"volume delete v": func(c *CLI) error { return c.DeleteVolume(ctx, "v") },
		"volume set v a.b 1 c.d -2": func(c *CLI) error {
			return c.SetOptions(ctx, "v", []Option{{"a.b", "1"}, {"c.d", "-2"}})
		},
		"peer probe n2.example.com": func(c *CLI) error { return c.ProbePeer(ctx, "n2.example.com") },
		"peer probe fd00::2":        func(c *CLI) error { return c.ProbePeer(ctx, "fd00::2") },
		"volume set all cluster.brick-multiplex on": func(c *CLI) error {
			return c.SetOptions(ctx, AllVolumes, []Option{{"cluster.brick-multiplex", "on"}})
		},
	} {
		c, s := newCLI(t, map[string]string{line: "start-r3.xml"})
		if err := run(c); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if !slices.Equal(s.asked, []string{line}) {
			t.Errorf("asked %q, want %q", s.asked, line)
		}
	}
}

// What one node takes for done is done with force on the others.
func TestStartAndStopWhereNodesDisagree(t *testing.T) {
	for verb, c := range map[string]struct {
		call    func(c *CLI) error
		refusal string
		reason  Reason
	}{
		"start": {func(c *CLI) error { return c.StartVolume(t.Context(), "v") }, "start-already.xml", AlreadyStarted},
		"stop":  {func(c *CLI) error { return c.StopVolume(t.Context(), "v") }, "stop-notstarted.xml", NotStarted},
	} {
		plain := "volume " + verb + " v"
		cli, s := newCLI(t, map[string]string{plain: c.refusal, plain + " force": "start-r3.xml"})
		if e, ok := errors.AsType[*Error](c.call(cli)); !ok || e.Reason != c.reason {
			t.Errorf("%s: got %v, want %v", verb, e, c.reason)
		}
		if want := []string{plain, plain + " force"}; !slices.Equal(s.asked, want) {
			t.Errorf("asked %q, want %q", s.asked, want)
		}
		cli, _ = newCLI(t, map[string]string{plain: c.refusal, plain + " force": "stop-quorumlost.xml"})
		if err := c.call(cli); !volume.Is(err, volume.Unavailable) {
			t.Errorf("%s: got %v, want what the forced one said", verb, err)
		}
	}
}

func TestBadArgumentsAreNeverRun(t *testing.T) {
	ctx := t.Context()
	c, s := newCLI(t, nil)
	bad := "v\nvolume delete w"
	_, e1 := c.Volume(ctx, bad)
	_, e2 := c.VolumeStatus(ctx, bad)
	_, e3 := c.HealInfo(ctx, bad)
	for i, err := range []error{
		e1, e2, e3, c.StartVolume(ctx, bad), c.StopVolume(ctx, AllVolumes), c.DeleteVolume(ctx, ""),
		c.CreateVolume(ctx, CreateRequest{Name: bad, Bricks: bricks("v", 1)}),
		c.SetOptions(ctx, bad, []Option{{"a.b", "1"}}), c.SetOptions(ctx, "v", []Option{{"a.b", "1\n2"}}),
	} {
		if volume.KindOf(err) != volume.Invalid || err == nil {
			t.Errorf("call %d: %v, want Invalid", i, err)
		}
	}
	if len(s.asked) > 0 {
		t.Errorf("gluster was run: %q", s.asked)
	}
}

func TestVolume(t *testing.T) {
	c, _ := newCLI(t, map[string]string{
		"volume info r3": "info-one.xml", "volume info nosuch": "info-notfound.xml",
		"volume info v": "info-one.xml", "volume info w": "info-none-yet.xml", "volume info x": "daemon-stopped.xml",
	})
	if v, err := c.Volume(t.Context(), "r3"); err != nil || v.Name != "r3" || len(v.Bricks) != 3 {
		t.Errorf("%+v, error %v", v, err)
	}
	if _, err := c.Volume(t.Context(), "nosuch"); volume.KindOf(err) != volume.NotFound {
		t.Errorf("a missing volume: %v, want NotFound", err)
	}
	// Another volume, none without a word, and none after a timeout are all no
	// proof that the volume is not there.
	for name, kind := range map[string]volume.Kind{"v": volume.Internal, "w": volume.Internal, "x": volume.Unavailable} {
		if _, err := c.Volume(t.Context(), name); err == nil || volume.KindOf(err) != kind {
			t.Errorf("volume %s: %v, want %v", name, err, kind)
		}
	}
}

// A walk through the volumes ends early if one is deleted meanwhile.
func TestVolumesMendsAWalkThatEndedEarly(t *testing.T) {
	c, s := newCLI(t, map[string]string{
		"volume info": "info-one.xml", "volume list": "list.xml", // r3 only, of arb arb2 disp md none r3
		"volume info arb": "info-notfound.xml", "volume info arb2": "info-notfound.xml",
		"volume info disp": info(strings.ReplaceAll(aVolume, "<name>v<", "<name>disp<"), "1"),
		"volume info md":   "info-notfound.xml", "volume info none": "info-notfound.xml",
	})
	got, err := c.Volumes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, v := range got {
		names = append(names, v.Name)
	}
	if diff := cmp.Diff([]string{"r3", "disp"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(s.asked) != 7 {
		t.Errorf("asked %q", s.asked)
	}
}

func TestVolumesIsNeverFooledIntoNone(t *testing.T) {
	for name, answers := range map[string]map[string]string{
		"glusterd hangs":          {"volume info": "daemon-stopped.xml", "volume list": "list.xml"},
		"the list fails":          {"volume info": "info-none-yet.xml", "volume list": "daemon-stopped-set.txt"},
		"one missing unreadable":  {"volume info": "info-none-yet.xml", "volume list": "<?xml version='1.0'?><cliOutput>" + fine + "<volList><count>1</count><volume>v</volume></volList></cliOutput>", "volume info v": "daemon-down.txt"},
		"a name that is no name":  {"volume info": "info-none-yet.xml", "volume list": "<?xml version='1.0'?><cliOutput>" + fine + "<volList><count>1</count><volume>--x</volume></volList></cliOutput>"},
		"glusterd is down":        {"volume info": "daemon-down.txt", "volume list": "daemon-down.txt"},
		"the info is not of info": {"volume info": "pool-list.xml", "volume list": "list.xml"},
	} {
		c, _ := newCLI(t, answers)
		if got, err := c.Volumes(t.Context()); err == nil {
			t.Errorf("%s: %d volumes and no error", name, len(got))
		}
	}
}

func TestVolumeStatus(t *testing.T) {
	c, _ := newCLI(t, map[string]string{
		"volume status r3 detail": "status-detail-r3.xml", "volume info r3": "info-one.xml",
		"volume status nosuch detail": "status-notfound.xml", "volume info nosuch": "info-notfound.xml",
		"volume status v detail": "status-notstarted.xml", "volume info v": "info-one.xml",
	})
	got, err := c.VolumeStatus(t.Context(), "r3")
	if err != nil || len(got) != 3 || !got[0].Online || got[0].SizeTotal == 0 {
		t.Errorf("%+v, error %v", got, err)
	}
	for name, want := range map[string]Reason{"nosuch": NotFound, "v": NotStarted} {
		_, err := c.VolumeStatus(t.Context(), name)
		if e, ok := errors.AsType[*Error](err); !ok || e.Reason != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

func TestHealInfo(t *testing.T) {
	running := info(strings.ReplaceAll(aVolume, "<name>v<", "<name>dead<"), "1")
	stopped := info(strings.NewReplacer("<name>v<", "<name>off<", "Started", "Stopped").Replace(aVolume), "1")
	c, s := newCLI(t, map[string]string{
		"volume heal q41 info summary":  "heal-splitbrain.xml",
		"volume heal none info summary": "heal-none.xml",
		"volume heal dead info summary": "heal-all-bricks-down.xml", "volume info dead": running,
		"volume heal off info summary": "heal-notstarted.xml", "volume info off": stopped,
		"volume heal nosuch info summary": "heal-notfound.xml",
	})
	if got, err := c.HealInfo(t.Context(), "q41"); err != nil || len(got) != 3 || got[0].SplitBrain != 1 {
		t.Errorf("%+v, error %v", got, err)
	}
	if got, err := c.HealInfo(t.Context(), "none"); err != nil || len(got) != 0 {
		t.Errorf("a volume without copies: %+v, error %v; want neither", got, err)
	}
	for name, want := range map[string]Reason{"dead": BricksDown, "off": NotStarted, "nosuch": NotFound} {
		_, err := c.HealInfo(t.Context(), name)
		if e, ok := errors.AsType[*Error](err); !ok || e.Reason != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	if s.alone != 5 {
		t.Errorf("%d heal commands had a process of their own, want all 5", s.alone)
	}
}

func TestPeersAndVersion(t *testing.T) {
	c, _ := newCLI(t, map[string]string{"pool list": "pool-list.xml", "--version": "version.txt"})
	if got, err := c.Peers(t.Context()); err != nil || len(got) != 3 {
		t.Errorf("%+v, error %v", got, err)
	}
	if got, err := c.Version(t.Context()); err != nil || got != "10.3" {
		t.Errorf("%q, error %v", got, err)
	}
}
