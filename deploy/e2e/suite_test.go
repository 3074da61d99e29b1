//go:build kube && lab

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/lab"
	"bricklayer.csi/lab/chart"
)

var (
	focus = flag.String("focus", "", "run only the specs whose name matches this expression; the list of skipped ones is then not compared whole")
	procs = flag.Int("procs", 4, "how many specs run at once")
)

const (
	helm     = "../../bin/helm"
	archive  = "../../bin/image-test.tar"
	reports  = "../../bin/e2e"
	chartDir = "../helm/bricklayer"
	skipFile = "skipped.txt"

	// setupTime bounds the installation; endTime is kept of the test's time for the
	// suite to end and clean up when that is over.
	setupTime = 10 * time.Minute
	endTime   = 2 * time.Minute
)

// leftOut are specs that the suite would run and that cannot run here; skipped.txt
// says why of each.
const leftOut = `\[Disruptive\]|any volume data source`

// TestMain builds the suite while there is still a network to fetch from: the
// tests themselves run in the lab's.
func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	_, err := lab.EndToEnd(ctx, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(lab.Main(m))
}

// classes are the StorageClasses that the suite copies, as the chart has them, each
// with a definition of the driver in a file of its name.
var classes = map[string]any{
	"plain": chart.Class(map[string]string{"lvm": "false"}),
	"lvm":   chart.Class(map[string]string{"lvm": "true"}),
	"zones": chart.Class(map[string]string{"lvm": "false", "volumetype": "none"}),
	"room":  chart.Class(map[string]string{"lvm": "false"}, "volumeBindingMode", "WaitForFirstConsumer"),
}

func TestExternalStorage(t *testing.T) {
	s := newSuite(t)
	for _, c := range []struct{ class, all, quick string }{
		{"plain", "", `volumes should store data|offline PVC expansion|single volume from pods on different node|existing single file`},
		{"lvm", "", `volumes should store data|offline PVC expansion`},
		{"zones", `\] topology `, `topology should provision`}, // for these a volume must fit in one zone
		{"room", `\] capacity `, `capacity`},
	} {
		wanted := c.all
		if testing.Short() {
			wanted = `Dynamic PV \((default fs|filesystem volmode|immediate binding)\).*(` + c.quick + `)`
		}
		t.Run(c.class, func(t *testing.T) { s.run(t, c.class, cmp.Or(*focus, wanted)) })
	}
}

// suite is the programs, the lab, and the chart that is installed in it.
type suite struct {
	programs string // the directory that they are in
	chart    chart.Chart
}

func newSuite(t *testing.T) suite {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), setupTime)
	defer cancel()
	l := lab.Current()
	s := suite{chart: chart.Chart{
		Lab: l, Helm: helm, Dir: chartDir, Repository: "localhost/bricklayer", Tag: "test", Archive: archive,
		Values: map[string]any{
			"controller":     map[string]any{"logLevel": "debug"},
			"node":           map[string]any{"logLevel": "debug"},
			"storageClasses": classes,
		},
	}}
	steps := []func() error{
		func() (err error) { s.programs, err = lab.EndToEnd(ctx, os.Stderr); return err },
		func() error { return l.EnsureHeketi(ctx) },
		func() error { return l.EnsureKubernetes(ctx) },
		func() error { return s.loadImages(ctx, filepath.Join(t.TempDir(), "image.tar")) },
		func() error { return s.chart.Install(ctx) },
		func() error { return os.MkdirAll(reports, 0o755) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			t.Fatalf("%v (make test-e2e builds the image and helm)", err)
		}
	}
	return s
}

func skippedFrom(file, class string) (map[string]string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	list, err := readSkipped(bytes.NewReader(data), class)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return list, nil
}

// loadImages gives the workers the images that storage specs run. What they ask of
// busybox, nginx and the one with glibc is a shell, dd, sha256sum and the like, and
// busybox stands in for all three.
func (s suite) loadImages(ctx context.Context, file string) error {
	list, err := exec.CommandContext(ctx, filepath.Join(s.programs, "e2e.test"), "--list-images").Output()
	if err != nil {
		return fmt.Errorf("list the suite's images: %w", err)
	}
	agnhost := imagesNamed(string(list), "agnhost")
	image, err := lab.BusyboxImage(ctx, imagesNamed(string(list), "busybox", "nginx", "glibc-dns-testing")...)
	if err != nil {
		return err
	}
	if err := errors.Join(lab.MakeImage(file, image), s.chart.Lab.LoadImage(ctx, file)); err != nil {
		return err
	}
	image.Names, image.Entrypoint, image.Cmd = agnhost, []string{"/agnhost"}, []string{"pause"}
	image.Files = append(image.Files, lab.ImageFile{Path: "/agnhost", Source: filepath.Join(s.programs, "agnhost"), Mode: 0o755})
	return errors.Join(lab.MakeImage(file, image), s.chart.Lab.LoadImage(ctx, file))
}

// imagesNamed picks the images of these names from the suite's list.
func imagesNamed(list string, names ...string) []string {
	var found []string
	for image := range strings.FieldsSeq(list) {
		name, _, _ := strings.Cut(path.Base(image), ":")
		if slices.Contains(names, name) && strings.Contains(image, "/e2e-test-images/") {
			found = append(found, image)
		}
	}
	return found
}

// run runs the specs for one class whose names match an expression, all if it is
// empty.
func (s suite) run(t *testing.T, class, focus string) {
	skipped, err := skippedFrom(skipFile, class)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if deadline, ok := t.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-endTime))
		defer cancel()
	}
	began := time.Now()
	dir, err := filepath.Abs(reports)
	if err != nil {
		t.Fatal(err)
	}
	dumpFile := filepath.Join(dir, class+".specs")
	if err := os.Remove(dumpFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	out := &progress{say: t.Logf, began: began, extra: extra(skipped, focus)}
	ended := s.ginkgo(ctx, out, class, focus, dir, dumpFile)
	f, err := os.Open(dumpFile)
	if err != nil {
		t.Fatal(errors.Join(ended, err))
	}
	defer f.Close()
	o, err := readReport(f)
	if err != nil {
		t.Fatal(errors.Join(ended, err))
	}
	for name, how := range o.failed {
		t.Errorf("%s:\n%s", name, how)
	}
	for _, d := range differences(o, skipped, focus != "") {
		t.Error(d)
	}
	if ended != nil && !t.Failed() {
		t.Error(ended)
	}
	if len(o.passed) == 0 {
		t.Error("no spec ran")
	}
	t.Logf("class %s: %d specs ran and passed, %d failed, %d were skipped, in %v; the slowest:\n%s",
		class, len(o.passed), len(o.failed), len(o.skipped), time.Since(began).Round(time.Second), o.slowest(5))
	if len(o.failed) > 0 {
		t.Log(s.chart.Explain(context.WithoutCancel(t.Context())))
	}
	labtest.CheckEmpty(t)
	labtest.CheckHeketiEmpty(t)
}

// extra is how many specs ginkgo starts that then say that the driver is not for them.
func extra(skipped map[string]string, focus string) int {
	wanted, leftOut := regexp.MustCompile(focus), regexp.MustCompile(leftOut)
	n := 0
	for name := range skipped {
		if wanted.MatchString(name) && !leftOut.MatchString(name) {
			n++
		}
	}
	return n
}

// ginkgo runs the suite for one class. It writes bin/e2e/CLASS.log and a JUnit file.
func (s suite) ginkgo(ctx context.Context, out *progress, class, focus, dir, dumpFile string) error {
	log, err := os.Create(filepath.Join(dir, class+".log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	out.to = log
	definition, err := filepath.Abs(class + ".yaml")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.programs, "ginkgo"),
		"--procs="+strconv.Itoa(*procs), "--no-color", "-v", "--timeout=6h", "--grace-period=1m",
		"--focus="+regexp.QuoteMeta(driverMark)+".*(?:"+focus+")", "--skip="+leftOut,
		filepath.Join(s.programs, "e2e.test"), "--",
		"--kubeconfig="+s.chart.Lab.Kubeconfig(), "--provider=skeleton", "--storage.testdriver="+definition,
		"--report-dir="+dir, "--report-prefix="+class+"_", "--spec-dump="+dumpFile,
	)
	cmd.Dir = dir // what it leaves beside itself
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = endTime
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the suite for class %s: %w: see %s", class, errors.Join(err, context.Cause(ctx)), log.Name())
	}
	return nil
}
