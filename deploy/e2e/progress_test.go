package e2e

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// progress passes on what ginkgo writes, and says a line for each spec that has
// run. Kubernetes has a reporter for this, --progress-report-url, which posts the
// beginning and the end of a suite that is built from its module, and no spec.
type progress struct {
	to    io.Writer
	say   func(format string, args ...any)
	began time.Time
	// extra is how many of the specs that ginkgo will start the driver has not got.
	extra int

	line    []byte // what came since the last end of a line
	verdict string // of the spec that the next line names
	took    string
	total   int
	done    int
}

var (
	willRun = regexp.MustCompile(`^Will run (\d+) of \d+ specs`)
	hasRun  = regexp.MustCompile(`^• (?:\[([A-Z!]+)\] )?\[([0-9.]+) seconds\]`)
)

func (p *progress) Write(data []byte) (int, error) {
	p.line = append(p.line, data...)
	for {
		line, rest, whole := bytes.Cut(p.line, []byte("\n"))
		if !whole {
			break
		}
		p.read(string(line))
		p.line = rest
	}
	return p.to.Write(data)
}

func (p *progress) read(line string) {
	if m := willRun.FindStringSubmatch(line); m != nil {
		n, _ := strconv.Atoi(m[1])
		p.total = n - p.extra
	}
	if m := hasRun.FindStringSubmatch(line); m != nil {
		p.verdict, p.took = strings.ToLower(m[1]), m[2]
		if p.verdict == "" {
			p.verdict = "passed"
		}
		return
	}
	if name, ours := short(line); ours && p.verdict != "" {
		p.done++
		p.say("%5.0f s: %3d of %d: %s in %s s: %s", time.Since(p.began).Seconds(), p.done, p.total, p.verdict, p.took, name)
	}
	p.verdict = ""
}

func TestProgress(t *testing.T) {
	const log = "Will run 303 of 7909 specs\nRunning in parallel\n" +
		"[SynchronizedBeforeSuite] PASSED [0.050 seconds]\n[SynchronizedBeforeSuite] \n" +
		"S [SKIPPED] [0.001 seconds]\nExternal Storage [Driver: x] not this\n" +
		"• [2.164 seconds]\nExternal Storage [Driver: x] volumes store data\n  I1124 more\n" +
		"• [FAILED] [3.500 seconds]\nExternal Storage [Driver: x] [It] subPath\n"
	var said []string
	var passedOn bytes.Buffer
	p := &progress{to: &passedOn, extra: 253, began: time.Now()}
	p.say = func(_ string, args ...any) { said = append(said, fmt.Sprint(args[1:]...)) }
	for b := range strings.SplitSeq(log, "") {
		if _, err := io.WriteString(p, b); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		fmt.Sprint(1, 50, "passed", "2.164", "volumes store data"),
		fmt.Sprint(2, 50, "failed", "3.500", "[It] subPath"),
	}
	if d := gocmp.Diff(want, said); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
	if passedOn.String() != log {
		t.Errorf("passed on: %q", passedOn.String())
	}
}
