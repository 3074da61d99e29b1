package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
)

// heketiPackages are what is built, by the name that the programs get.
var heketiPackages = map[string]string{
	"heketi":     "github.com/heketi/heketi",
	"heketi-cli": "github.com/heketi/heketi/client/cli/go",
}

var heketiPrograms = programs{module: "heketi", called: "heketi", sources: []string{"go.mod", "go.sum"}, build: buildHeketi}

// ensureHeketiPrograms answers the directory that holds heketi and heketi-cli.
func ensureHeketiPrograms(ctx context.Context, pr *progress) (string, error) {
	return heketiPrograms.ensure(ctx, pr)
}

func buildHeketi(ctx context.Context, pr *progress, goTool []string, into string) error {
	pr.say("building heketi and heketi-cli, once")
	for name, pkg := range heketiPackages {
		argv := append(slices.Clone(goTool), "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(into, name), pkg)
		if _, err := run(ctx, argv...); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
