package e2e

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// spec is one line of what the suite writes with --spec-dump: a spec and its end.
type spec struct {
	ContainerHierarchyTexts []string
	LeafNodeType            string
	LeafNodeText            string
	State                   string
	RunTime                 time.Duration
	Failure                 struct{ Message string }
}

// outcome is what became of the specs of the driver, by their short names.
type outcome struct {
	passed  map[string]time.Duration
	skipped map[string]string // and what the suite said; nothing where it was left out by us
	failed  map[string]string // and how
}

// driverMark opens the names of the specs that are about a driver from outside.
const driverMark = "External Storage [Driver: "

// short takes from a spec's name what all of them have: the owner and the driver.
func short(name string) (string, bool) {
	_, after, ours := strings.Cut(name, driverMark)
	if !ours {
		return "", false
	}
	_, after, _ = strings.Cut(after, "] ")
	return after, true
}

// readReport reads a dump of specs. Those of all of Kubernetes are in it; ours are
// the ones of the driver.
func readReport(r io.Reader) (outcome, error) {
	o := outcome{map[string]time.Duration{}, map[string]string{}, map[string]string{}}
	d := json.NewDecoder(r)
	for {
		var s spec
		if err := d.Decode(&s); errors.Is(err, io.EOF) {
			return o, nil
		} else if err != nil {
			return o, fmt.Errorf("the suite's report: %w", err)
		}
		name, ours := short(strings.Join(append(s.ContainerHierarchyTexts, s.LeafNodeText), " "))
		switch {
		case s.LeafNodeType != "It":
			if s.State != "passed" && s.State != "skipped" {
				o.failed[s.LeafNodeType+" "+s.LeafNodeText] = s.State + ": " + s.Failure.Message
			}
		case !ours:
		case s.State == "passed":
			o.passed[name] = s.RunTime
		case s.State == "skipped":
			o.skipped[name] = s.Failure.Message
		default: // failed, panicked, timedout, interrupted, aborted, pending
			o.failed[name] = s.State + ": " + s.Failure.Message
		}
	}
}

// slowest are the n specs that took longest, one a line.
func (o outcome) slowest(n int) string {
	names := slices.SortedFunc(maps.Keys(o.passed), func(a, b string) int { return cmp.Compare(o.passed[b], o.passed[a]) })
	var b strings.Builder
	for _, name := range names[:min(n, len(names))] {
		fmt.Fprintf(&b, "%6.1f s %s\n", o.passed[name].Seconds(), name)
	}
	return b.String()
}

// readSkipped reads the list of specs that do not run for a class: names, one a
// line, below lines that open with "# " and say why. A name may stand behind those
// of the classes that it is meant for: "plain lvm: [Testpattern: ...] ...".
func readSkipped(r io.Reader, class string) (map[string]string, error) {
	list := map[string]string{}
	var why []string
	last := ""
	in := bufio.NewScanner(r)
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		reason, isReason := strings.CutPrefix(line, "# ")
		name := line
		if classes, after, some := strings.Cut(line, ": ["); some && !strings.HasPrefix(line, "[") {
			if name = "[" + after; !slices.Contains(strings.Fields(classes), class) {
				name = ""
			}
		}
		switch {
		case line == "":
		case isReason:
			if !strings.HasPrefix(last, "# ") {
				why = nil
			}
			why = append(why, reason)
		case len(why) == 0:
			return nil, fmt.Errorf("line %d: %q stands below no reason", n, line)
		case list[name] != "":
			return nil, fmt.Errorf("line %d: %q is in the list twice", n, name)
		case name != "":
			list[name] = strings.Join(why, " ")
		}
		last = line
	}
	return list, in.Err()
}

// differences compares what was left out with the list. Where only a part of the
// specs was wanted, the others are not missed.
func differences(o outcome, list map[string]string, part bool) []string {
	var found []string
	for name, said := range o.skipped {
		if list[name] == "" && (said != "" || !part) {
			found = append(found, fmt.Sprintf("not in the list, but it did not run: %s (the suite says: %s)", name, cmp.Or(said, "left out by the command line")))
		}
	}
	for name := range list {
		if _, ran := o.passed[name]; ran || o.failed[name] != "" {
			found = append(found, "in the list, but it ran: "+name)
		} else if _, there := o.skipped[name]; !there {
			found = append(found, "in the list, but there is no such spec: "+name)
		}
	}
	slices.Sort(found)
	return found
}

const dump = `
{"ContainerHierarchyTexts":null,"LeafNodeType":"SynchronizedBeforeSuite","LeafNodeText":"","State":"passed"}
{"ContainerHierarchyTexts":["[sig-storage] External Storage [Driver: bricklayer.csi]","[Testpattern: Dynamic PV (default fs)] volumes"],"LeafNodeType":"It","LeafNodeText":"should store data","State":"passed","RunTime":3000000000}
{"ContainerHierarchyTexts":["[sig-storage] External Storage [Driver: bricklayer.csi]","[Testpattern: Dynamic PV (block volmode)] volumes"],"LeafNodeType":"It","LeafNodeText":"should store data","State":"skipped","Failure":{"Message":"no block"}}
{"ContainerHierarchyTexts":["[sig-storage] External Storage [Driver: bricklayer.csi]","[Testpattern: Dynamic PV (ext4)] volumes"],"LeafNodeType":"It","LeafNodeText":"should store data","State":"timedout","Failure":{"Message":"too slow"}}
{"ContainerHierarchyTexts":["[sig-node] Pods"],"LeafNodeType":"It","LeafNodeText":"should run","State":"skipped"}
`

func TestReadReport(t *testing.T) {
	o, err := readReport(strings.NewReader(dump))
	if err != nil {
		t.Fatal(err)
	}
	want := outcome{
		passed:  map[string]time.Duration{"[Testpattern: Dynamic PV (default fs)] volumes should store data": 3 * time.Second},
		skipped: map[string]string{"[Testpattern: Dynamic PV (block volmode)] volumes should store data": "no block"},
		failed:  map[string]string{"[Testpattern: Dynamic PV (ext4)] volumes should store data": "timedout: too slow"},
	}
	if d := gocmp.Diff(want, o, gocmp.AllowUnexported(outcome{})); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
	if _, err := readReport(strings.NewReader("{")); err == nil {
		t.Error("half a report is read without an error")
	}
}

func TestReadSkipped(t *testing.T) {
	got, err := readSkipped(strings.NewReader("# no block\n# devices\na\nx lvm: [b\nplain: [c\n\n# slow\nc\n"), "lvm")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a": "no block devices", "[b": "no block devices", "c": "slow"}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
	for _, bad := range []string{"a\n", "# why\na\nb\na\n", "# why\n[a\nlvm: [a\n"} {
		if _, err := readSkipped(strings.NewReader(bad), "lvm"); err == nil {
			t.Errorf("%q is read without an error", bad)
		}
	}
}

func TestDifferences(t *testing.T) {
	o := outcome{
		passed:  map[string]time.Duration{"ran": 1},
		skipped: map[string]string{"unlisted": "why", "listed": "why", "unwanted": ""},
	}
	list := map[string]string{"ran": "x", "listed": "x", "gone": "x"}
	want := []string{
		"in the list, but it ran: ran", "in the list, but there is no such spec: gone",
		"not in the list, but it did not run: unlisted (the suite says: why)",
	}
	if d := gocmp.Diff(want, differences(o, list, true)); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
	if got := differences(o, list, false); len(got) != 4 {
		t.Errorf("got %q", got)
	}
}
