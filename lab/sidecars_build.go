package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
)

// sidecarPackages are what is built, by the name that the programs get.
var sidecarPackages = map[string]string{
	"csi-provisioner": "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner",
	"csi-resizer":     "github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer",
}

var sidecarPrograms = programs{module: "sidecars", called: "the CSI sidecars", sources: []string{"go.mod", "go.sum"}, build: buildSidecars}

// Sidecars answers the directory that holds the standard CSI sidecars that tests
// run beside ours: csi-provisioner and csi-resizer. The first call builds them.
func (l *Lab) Sidecars(ctx context.Context) (string, error) {
	return sidecarPrograms.ensure(ctx, l.progress)
}

func buildSidecars(ctx context.Context, pr *progress, goTool []string, into string) error {
	pr.say("building csi-provisioner and csi-resizer, once: some six minutes on two cores")
	for name, pkg := range sidecarPackages {
		argv := append(slices.Clone(goTool), "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(into, name), pkg)
		if _, err := run(ctx, argv...); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
