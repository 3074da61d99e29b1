package lab

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"
)

// e2ePrograms are Kubernetes' own end-to-end tests, what runs them in parallel, and
// the program that many of their pods run.
var e2ePrograms = programs{
	module: "e2e", called: "Kubernetes' end-to-end tests",
	sources: []string{"go.mod", "go.sum"},
	build:   buildE2E,
}

// EndToEnd answers the directory that holds Kubernetes' own end-to-end tests
// (e2e.test), ginkgo, which runs them in parallel, and agnhost, which many of their
// pods run. The first call builds them and says so to log. Tests call it before
// [Main]: in the lab's network nothing can be downloaded.
func EndToEnd(ctx context.Context, log io.Writer) (string, error) {
	return e2ePrograms.ensure(ctx, newProgress(log))
}

func buildE2E(ctx context.Context, pr *progress, goTool []string, into string) error {
	pr.say("building Kubernetes' end-to-end tests %s from their sources, once: about 5 minutes on two cores where Kubernetes was built before", kubeVersion)
	flags := []string{"-trimpath", "-ldflags", kubeLinkFlags()}
	for _, p := range [][]string{
		// go test does not say how far it is; go build does, and test then only links.
		{"parts", "build", "-v", "k8s.io/kubernetes/test/e2e/..."},
		{"e2e.test", "test", "-c", "-vet=off", "k8s.io/kubernetes/test/e2e"},
		{"agnhost", "build", "-v", "k8s.io/kubernetes/test/images/agnhost"},
		{"ginkgo", "build", "-v", "github.com/onsi/ginkgo/v2/ginkgo"},
	} {
		name, verbs, pkg := p[0], p[1:len(p)-1], p[len(p)-1]
		argv := slices.Concat(goTool, verbs, flags)
		if name != "parts" {
			argv = append(argv, "-o", filepath.Join(into, name))
		}
		build := &buildProgress{say: pr.say, what: name, unit: "packages built", start: time.Now()}
		if _, err := build.run(ctx, append(argv, pkg)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
