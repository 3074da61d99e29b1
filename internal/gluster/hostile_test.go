package gluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bricklayer.csi/internal/volume"
)

const (
	head    = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n"
	fine    = `<opRet>0</opRet><opErrno>0</opErrno><opErrstr/>`
	aVolume = `<volume><name>v</name><id>i</id><statusStr>Started</statusStr><brickCount>1</brickCount><distCount>1</distCount>` +
		`<replicaCount>1</replicaCount><arbiterCount>0</arbiterCount><disperseCount>0</disperseCount><redundancyCount>0</redundancyCount>` +
		`<bricks><brick>h:/b<name>h:/b</name><isArbiter>0</isArbiter></brick></bricks><optCount>0</optCount><options/></volume>`
)

func info(volumes, count string) string {
	return head + `<cliOutput>` + fine + `<volInfo><volumes>` + volumes + `<count>` + count + `</count></volumes></volInfo></cliOutput>`
}

func TestHostileVolumeInfo(t *testing.T) {
	if _, err := parseVolumes("volume info", []byte(info(aVolume, "1"))); err != nil {
		t.Fatalf("the good answer: %v", err)
	}
	change := func(from, to string) string { return info(strings.Replace(aVolume, from, to, 1), "1") }
	for name, text := range map[string]string{
		"empty":            "",
		"blank":            " \n",
		"no XML":           "Connection failed.",
		"not gluster's":    head + "<html/>",
		"cut off":          info(aVolume, "1")[:200],
		"two roots":        info(aVolume, "1") + "<x/>",
		"no result":        head + `<cliOutput><volInfo/></cliOutput>`,
		"opRet a word":     head + `<cliOutput><opRet>yes</opRet><opErrno>0</opErrno><opErrstr/></cliOutput>`,
		"opRet huge":       head + `<cliOutput><opRet>99999999999999999999</opRet><opErrno>0</opErrno><opErrstr/></cliOutput>`,
		"opErrno empty":    head + `<cliOutput><opRet>0</opRet><opErrno/><opErrstr/></cliOutput>`,
		"no volInfo":       head + `<cliOutput>` + fine + `</cliOutput>`,
		"count too low":    info(aVolume+aVolume, "1"),
		"count too high":   info(aVolume, "2"),
		"count negative":   info("", "-1"),
		"count huge":       info("", "9223372036854775808"),
		"no name":          change("<name>v</name>", ""),
		"no ID":            change("<id>i</id>", "<id/>"),
		"status unknown":   change("Started", "Sleeping"),
		"brick count":      change("<brickCount>1", "<brickCount>2"),
		"brick count word": change("<brickCount>1", "<brickCount>one"),
		"negative count":   change("<replicaCount>1", "<replicaCount>-3"),
		"count missing":    change("<distCount>1</distCount>", ""),
		"brick no path":    change("<name>h:/b</name>", "<name>h</name>"),
		"brick empty":      change("<name>h:/b</name>", ""),
		"option count":     change("<optCount>0", "<optCount>1"),
		"option no name":   change("<optCount>0</optCount><options/>", "<optCount>1</optCount><options><option><value>x</value></option></options>"),
		"own entity":       head + `<!DOCTYPE x [<!ENTITY e "eeeeeeeeee">]><cliOutput><opRet>0</opRet><opErrno>0</opErrno><opErrstr>&e;</opErrstr></cliOutput>`,
		"file entity":      head + `<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>` + strings.TrimPrefix(change("<id>i", "<id>&e;"), head),
		"other encoding":   `<?xml version="1.0" encoding="UTF-16"?>` + strings.TrimPrefix(info(aVolume, "1"), head),
		"control":          change("<id>i", "<id>\x01"),
		"not UTF-8":        change("<id>i", "<id>\xff\xfe"),
		"deep":             head + `<cliOutput>` + fine + strings.Repeat("<a>", 200000),
	} {
		got, err := parseVolumes("volume info", []byte(text))
		if err == nil {
			t.Errorf("%s: %+v, want an error", name, got)
			continue
		}
		if volume.KindOf(err) != volume.Internal || !strings.Contains(err.Error(), "volume info") {
			t.Errorf("%s: error of kind %v: %v", name, volume.KindOf(err), err)
		}
	}
}

func TestAdditionsAreTolerated(t *testing.T) {
	text := info(strings.Replace(aVolume, "<id>", `<shiny new="1"><deep/></shiny><id>`, 1), "1")
	got, err := parseVolumes("volume info", []byte(text))
	if err != nil || len(got) != 1 || got[0].Name != "v" {
		t.Errorf("%+v, error %v", got, err)
	}
}

func TestHostileStatusHealPeers(t *testing.T) {
	wrap := func(s string) []byte { return []byte(head + `<cliOutput>` + fine + s + `</cliOutput>`) }
	node := func(s string) []byte {
		return wrap(`<volStatus><volumes><volume><volName>v</volName><node>` + s + `</node></volume></volumes></volStatus>`)
	}
	for name, data := range map[string][]byte{
		"no volume":      wrap(`<volStatus><volumes/></volStatus>`),
		"other volume":   wrap(`<volStatus><volumes><volume><volName>w</volName></volume></volumes></volStatus>`),
		"no host":        node(`<path>/b</path><status>0</status>`),
		"status unknown": node(`<hostname>h</hostname><path>/b</path><status>2</status>`),
		"no status":      node(`<hostname>h</hostname><path>/b</path>`),
		"pid negative":   node(`<hostname>h</hostname><path>/b</path><status>1</status><pid>-1</pid>`),
		"pid missing":    node(`<hostname>h</hostname><path>/b</path><status>1</status>`),
		"size a word":    node(`<hostname>h</hostname><path>/b</path><status>0</status><sizeTotal>much</sizeTotal>`),
	} {
		if got, err := parseStatus("volume status v detail", "v", data); err == nil {
			t.Errorf("status, %s: %+v, want an error", name, got)
		}
	}
	huge := node(`<hostname>h</hostname><path>/b</path><status>0</status><sizeTotal>18446744073709551615</sizeTotal>`)
	if got, err := parseStatus("volume status v detail", "v", huge); err != nil || got[0].SizeTotal != 1<<63-1 {
		t.Errorf("a size beyond int64: %+v, error %v; want the largest", got, err)
	}

	heal := func(s string) []byte { return wrap(`<healInfo><bricks><brick>` + s + `</brick></bricks></healInfo>`) }
	for name, data := range map[string][]byte{
		"no bricks":     wrap(`<healInfo><bricks/></healInfo>`),
		"no name":       heal(`<status>Connected</status><totalNumberOfEntries>0</totalNumberOfEntries><numberOfEntriesInSplitBrain>0</numberOfEntriesInSplitBrain>`),
		"no numbers":    heal(`<name>h:/b</name><status>Connected</status>`),
		"a dash":        heal(`<name>h:/b</name><status>Connected</status><totalNumberOfEntries>-</totalNumberOfEntries><numberOfEntriesInSplitBrain>-</numberOfEntriesInSplitBrain>`),
		"more in split": heal(`<name>h:/b</name><status>Connected</status><totalNumberOfEntries>1</totalNumberOfEntries><numberOfEntriesInSplitBrain>2</numberOfEntriesInSplitBrain>`),
	} {
		if got, err := parseHeal("volume heal v info summary", data); err == nil {
			t.Errorf("heal, %s: %+v, want an error", name, got)
		}
	}

	for name, data := range map[string][]byte{
		"nobody":       wrap(`<peerStatus/>`),
		"no UUID":      wrap(`<peerStatus><peer><hostname>h</hostname><connected>1</connected></peer></peerStatus>`),
		"no hostname":  wrap(`<peerStatus><peer><uuid>u</uuid><connected>1</connected></peer></peerStatus>`),
		"connected 2":  wrap(`<peerStatus><peer><uuid>u</uuid><hostname>h</hostname><connected>2</connected></peer></peerStatus>`),
		"no connected": wrap(`<peerStatus><peer><uuid>u</uuid><hostname>h</hostname></peer></peerStatus>`),
	} {
		if got, err := parsePeers("pool list", data); err == nil {
			t.Errorf("peers, %s: %+v, want an error", name, got)
		}
	}
	for name, data := range map[string][]byte{
		"count":    wrap(`<volList><count>2</count><volume>v</volume></volList>`),
		"no count": wrap(`<volList/>`),
		"no name":  wrap(`<volList><count>1</count><volume/></volList>`),
	} {
		if got, err := parseNames("volume list", data); err == nil {
			t.Errorf("list, %s: %v, want an error", name, got)
		}
	}
}

func TestSplit(t *testing.T) {
	a := head + "<cliOutput>1</cliOutput>"
	for name, test := range map[string]struct {
		out     string
		want    int
		answers int
		stray   string
		fails   bool
	}{
		"one":           {out: a + "\n", want: 1, answers: 1},
		"two":           {out: a + "\n" + a + "\n", want: 2, answers: 2},
		"text before":   {out: "Error : Request timed out\n" + a, want: 1, answers: 1, stray: "Error : Request timed out"},
		"text between":  {out: a + "x" + a, want: 2, answers: 2, stray: "x"},
		"text after":    {out: a + "x", want: 1, answers: 1, stray: "x"},
		"only text":     {out: "x", want: 1, stray: "x"},
		"nothing":       {want: 1, fails: true},
		"one too few":   {out: a, want: 2, fails: true},
		"one too many":  {out: a + a, want: 1, fails: true},
		"cut off":       {out: a[:len(a)-3], want: 1, fails: true},
		"end first":     {out: "</cliOutput>" + a, want: 1, answers: 1, stray: "</cliOutput>"},
		"start in text": {out: "<?xml", want: 1, fails: true},
	} {
		answers, stray, err := split([]byte(test.out), test.want)
		if (err != nil) != test.fails || len(answers) != test.answers || stray != test.stray {
			t.Errorf("%s: %d answers, stray %q, error %v", name, len(answers), stray, err)
		}
	}
}

// seed adds every recorded answer to a fuzz test.
func seed(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob("testdata/*.*")
	if err != nil || len(files) == 0 {
		f.Fatal("no recorded answers", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(info(aVolume, "1")))
}

func FuzzTake(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		answers, err := take("fuzz", Output{Stdout: data}, 1)
		if (err == nil) != (len(answers) == 1) {
			t.Errorf("%d answers with error %v", len(answers), err)
		}
	})
}

func FuzzParseVolumes(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		volumes, err := parseVolumes("fuzz", data)
		if err != nil {
			return
		}
		for _, v := range volumes {
			if v.Name == "" || v.ID == "" || v.Replica < 0 || v.Replica == 1 || v.Options == nil {
				t.Errorf("accepted %+v", v)
			}
			for _, b := range v.Bricks {
				if again, ok := ParseBrick(b.String()); !ok || again.String() != b.String() {
					t.Errorf("accepted brick %+v", b)
				}
			}
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		bricks, err := parseStatus("fuzz", "r3", data)
		for _, b := range bricks {
			if err != nil || b.PID < 0 || b.SizeTotal < 0 || b.InodesFree < 0 || !b.Online && b.PID != 0 {
				t.Errorf("accepted %+v with error %v", b, err)
			}
		}
	})
}

func FuzzParseHeal(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		heals, err := parseHeal("fuzz", data)
		for _, h := range heals {
			if err != nil || h.Pending < 0 || h.SplitBrain < 0 || !h.Connected && h.Pending+h.SplitBrain != 0 {
				t.Errorf("accepted %+v with error %v", h, err)
			}
		}
	})
}

func FuzzParsePeers(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		peers, err := parsePeers("fuzz", data)
		for _, p := range peers {
			if err != nil || p.UUID == "" || len(p.Names) == 0 {
				t.Errorf("accepted %+v with error %v", p, err)
			}
		}
	})
}

func FuzzParseNames(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		names, err := parseNames("fuzz", data)
		for _, n := range names {
			if err != nil || n == "" {
				t.Errorf("accepted %q with error %v", names, err)
			}
		}
	})
}

func FuzzParseVersion(f *testing.F) {
	f.Add(recorded(f, "version.txt"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if v, err := ParseVersion("fuzz", data); err == nil && (v == "" || strings.ContainsAny(v, " \n\x00")) {
			t.Errorf("accepted %q", v)
		}
	})
}

func FuzzReason(f *testing.F) {
	f.Add(30800, "Volume v does not exist")
	f.Fuzz(func(t *testing.T, errno int, text string) {
		e := refused("fuzz", errno, text)
		if _, ok := reasonKinds[e.Reason]; !ok || e.Text == "" || len(e.Text) > maxText+3 {
			t.Errorf("%+v", e)
		}
	})
}
