package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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

// kubeSources are what the programs are built from; the name of the built ones
// changes with them.
var kubeSources = []string{"go.mod", "go.sum", "main.go", "worker/main.go"}

// ensureKubePrograms answers the directory that holds the programs of Kubernetes,
// all in one file ("kubernetes"), and the first process of a worker ("worker"). They
// are built once from the module lab/kubernetes and kept in the cache.
func ensureKubePrograms(ctx context.Context, pr *progress) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", fmt.Errorf("build Kubernetes: %w: run this in a checkout, where lab/kubernetes is", err)
	}
	source := filepath.Join(root, "lab", "kubernetes")
	sum := sha256.New()
	for _, name := range kubeSources {
		data, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", fmt.Errorf("build Kubernetes: %w", err)
		}
		_, _ = sum.Write(data)
	}
	cache := cacheDir()
	dir := filepath.Join(cache, "kubernetes-"+hex.EncodeToString(sum.Sum(nil))[:16])
	if exists(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(ctx, filepath.Join(cache, ".kubernetes.lock"), func() {
		pr.say("another command builds Kubernetes: waiting for it")
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(dir) {
		return dir, nil
	}
	return dir, buildKube(ctx, source, cache, dir, pr)
}

func buildKube(ctx context.Context, source, cache, dir string, pr *progress) (err error) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("build Kubernetes: %w: it is built from its sources, with Go", err)
	}
	pr.say("building Kubernetes %s from its sources, once: about 10 minutes on two cores, and 3 GB of Go's build cache", kubeVersion)
	temporary, err := os.MkdirTemp(cache, "kubernetes-build-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	argv := []string{"env", "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-buildvcs=false", goTool, "-C", source}
	list := &buildProgress{say: pr.say, what: "sources", unit: "modules downloaded", start: time.Now()}
	packages, err := list.run(ctx, append(argv, "list", "-deps", "./..."))
	if err != nil {
		return fmt.Errorf("find what Kubernetes is built from: %w", err)
	}
	build := &buildProgress{
		say: pr.say, what: "Kubernetes", start: time.Now(),
		unit: fmt.Sprintf("of at most %d packages built", bytes.Count(packages, []byte("\n"))),
	}
	if _, err := build.run(ctx, append(argv, "build", "-v", "-trimpath", "-ldflags", kubeLinkFlags(), "-o", temporary+"/", "./...")); err != nil {
		return fmt.Errorf("build Kubernetes: %w", err)
	}
	if err := os.Chmod(temporary, 0o755); err != nil {
		return err
	}
	pr.say("Kubernetes is built, in %v", time.Since(list.start).Round(time.Second))
	return os.Rename(temporary, dir)
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
