package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	kubeVersion = "v1.36.3" // as in kubernetes/go.mod
	// buildBeat is how often a build of minutes says how far it is.
	buildBeat = 10 * time.Second
)

// kubePrograms are all in one file ("kubernetes"), and the first process of a
// worker ("worker").
var kubePrograms = programs{
	module: "kubernetes", called: "Kubernetes",
	sources: []string{"go.mod", "go.sum", "main.go", "worker/main.go"},
	build:   buildKube,
}

// ensureKubePrograms answers the directory that holds the programs of Kubernetes.
func ensureKubePrograms(ctx context.Context, pr *progress) (string, error) {
	return kubePrograms.ensure(ctx, pr)
}

// KubernetesPrograms answers the directory that holds the programs of Kubernetes,
// for what needs no lab; a build, where there is none yet, is told to w.
func KubernetesPrograms(ctx context.Context, w io.Writer) (string, error) {
	return ensureKubePrograms(ctx, newProgress(w))
}

func buildKube(ctx context.Context, pr *progress, goTool []string, into string) error {
	pr.say("building Kubernetes %s from its sources, once: about 10 minutes on two cores, and 3 GB of Go's build cache", kubeVersion)
	list := &buildProgress{say: pr.say, what: "sources", unit: "modules downloaded", start: time.Now()}
	packages, err := list.run(ctx, append(slices.Clone(goTool), "list", "-deps", "./..."))
	if err != nil {
		return fmt.Errorf("find what it is built from: %w", err)
	}
	build := &buildProgress{
		say: pr.say, what: "Kubernetes", start: time.Now(),
		unit: fmt.Sprintf("of at most %d packages built", bytes.Count(packages, []byte("\n"))),
	}
	argv := append(slices.Clone(goTool), "build", "-v", "-trimpath", "-ldflags", kubeLinkFlags(), "-o", into+"/", "./...")
	if _, err := build.run(ctx, argv); err != nil {
		return err
	}
	pr.say("Kubernetes is built, in %v", time.Since(list.start).Round(time.Second))
	return nil
}

// kubeLinkFlags tell the programs which version they are: kubelet and the API
// server compare theirs.
func kubeLinkFlags() string {
	parts := strings.Split(strings.TrimPrefix(kubeVersion, "v"), ".")
	flags := []string{"-s", "-w"}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags = append(flags, "-X", pkg+".gitVersion="+kubeVersion, "-X", pkg+".gitMajor="+parts[0], "-X", pkg+".gitMinor="+parts[1])
	}
	return strings.Join(flags, " ")
}

// buildProgress counts the lines that the go tool writes to standard error, one a
// package or module, and says now and then how many there were.
type buildProgress struct {
	say        func(format string, args ...any)
	what, unit string
	start      time.Time

	mu    sync.Mutex
	text  bytes.Buffer
	count int
}

func (b *buildProgress) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count += bytes.Count(p, []byte("\n"))
	return b.text.Write(p)
}

func (b *buildProgress) tell() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.say("%s: %d %s after %v", b.what, b.count, b.unit, time.Since(b.start).Round(time.Second))
}

// run answers the program's standard output.
func (b *buildProgress) run(ctx context.Context, argv []string) ([]byte, error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, b
	// As in runShown: its compilers end with it, and it with this process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, hostError(ctx, argv, nil, err)
	}
	ended, beating := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(beating)
		every(buildBeat, ended, b.tell)
	}()
	err := cmd.Wait()
	close(ended)
	<-beating
	if err != nil {
		return nil, hostError(ctx, argv, b.text.Bytes(), err)
	}
	return out.Bytes(), nil
}

func every(d time.Duration, ended <-chan struct{}, do func()) {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-ended:
			return
		case <-t.C:
			do()
		}
	}
}
