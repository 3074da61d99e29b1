package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"bricklayer.csi/lab"
	"bricklayer.csi/lab/chart"
)

const (
	repository = "localhost/bricklayer"
	tag        = "demo"
	chartDir   = "deploy/helm/bricklayer"
)

// Files that are built, below the root of the source tree.
var (
	archive = filepath.Join("bin", "image-demo.tar")
	helm    = filepath.Join("bin", "helm")
)

// preparation is what comes before the first claim.
type preparation struct {
	*telling
	options options
	// table has what each part took.
	table table
}

// step does one part of it.
func (r *preparation) step(ctx context.Context, what string, do func() (string, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	took, err := r.working(what, do)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	r.table.add(what, seconds(took))
	return nil
}

// build makes the image and helm from this tree.
func (r *preparation) build(ctx context.Context) error {
	if _, err := os.Stat(chartDir); err != nil {
		return fmt.Errorf("run the demo in the root of the source tree, by make demo: %w", err)
	}
	if os.Geteuid() != 0 {
		return errors.New("the demo makes network namespaces, disks and mounts: run it as root (sudo)")
	}
	r.table.head = []string{"took"}
	r.say("Getting ready. What takes minutes is built once and kept: the storage nodes' image, heketi, Helm, Kubernetes.\n\n")
	err := r.step(ctx, "image", func() (string, error) {
		return "", r.run(ctx, "env", "NAME="+repository, "VERSION="+tag, "deploy/image/build", archive)
	})
	if err != nil {
		return err
	}
	return r.step(ctx, "helm", func() (string, error) {
		return helm, r.run(ctx, "go", "build", "-modfile=internal/tools/helm/go.mod", "-o", helm, "helm.sh/helm/v3/cmd/helm")
	})
}

// clear removes the lab of an earlier demo, that was kept or killed.
func (r *preparation) clear(ctx context.Context) error {
	if _, err := lab.Open(r.options.name); errors.Is(err, lab.ErrNotUp) {
		return nil
	}
	return r.step(ctx, "an old lab", func() (string, error) {
		return "is gone", lab.Down(ctx, r.options.name, io.Discard)
	})
}

// down takes the lab down, also when ctx has ended.
func (r *preparation) down(ctx context.Context) error {
	r.say("\nTaking the lab down.\n")
	return afterwards(ctx, func(ctx context.Context) error {
		return r.step(ctx, "lab", func() (string, error) { return "is gone", lab.Down(ctx, r.options.name, io.Discard) })
	})
}

// bringUp makes the lab and installs the chart with two classes.
func (r *preparation) bringUp(ctx context.Context) (chart.Chart, error) {
	config, err := lab.ConfigOf(r.options.name)
	if err != nil {
		return chart.Chart{}, err
	}
	config.Heketi, config.Kubernetes = true, true
	r.say("\nA lab of %d real storage nodes, a heketi, and a Kubernetes:\n\n", config.Nodes)
	begun := time.Now()
	l, err := lab.Up(ctx, config, r.out)
	if err != nil {
		return chart.Chart{}, fmt.Errorf("bring the lab up: %w", err)
	}
	r.table.add("lab", seconds(time.Since(begun)))
	program, err := filepath.Abs(helm)
	if err != nil {
		return chart.Chart{}, err
	}
	c := chart.Chart{
		Lab: l, Helm: program, Dir: chartDir, Repository: repository, Tag: tag, Archive: archive,
		Values: map[string]any{"storageClasses": map[string]any{
			plainClass: chart.Class(map[string]string{"lvm": "false"}),
			lvmClass:   chart.Class(map[string]string{"lvm": "true"}),
		}},
	}
	r.say("\n")
	return c, r.step(ctx, "chart", func() (string, error) {
		return "its controllers, node and mount services are ready", c.Install(ctx)
	})
}
