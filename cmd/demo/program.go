package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"bricklayer.csi/lab"
)

// patient is how long the program may take for one step: the lab's two processors
// have more to do than a storage cluster's.
const patient = "5m"

// byBricklayer does each step with the bricklayer program, as an administrator does.
type byBricklayer struct {
	lab     *lab.Lab
	program string
	// name is what the volume is asked for by, and handle what it is called.
	name, handle string
	// lvm is the one word in which the two requests differ.
	lvm string
	// made are its bricks.
	made []brick
}

func (b *byBricklayer) run(ctx context.Context, args ...string) ([]byte, error) {
	return b.lab.Host(ctx, append([]string{b.program, "volume"}, args...)...)
}

// ask runs a command that asks the pool.
func (b *byBricklayer) ask(ctx context.Context, args ...string) ([]byte, error) {
	return b.run(ctx, append(args, "--timeout", patient,
		"--pools", b.lab.PoolFile(), "--certs", filepath.Join(b.lab.CertsDir(), "controller"))...)
}

// request is the command line of the create, as a person types it.
func (b *byBricklayer) request(bytes int64) []string {
	return []string{"create", b.name, "--size", strconv.FormatInt(bytes, 10), "-p", "lvm=" + b.lvm}
}

func (b *byBricklayer) create(ctx context.Context, bytes int64) error {
	out, err := b.ask(ctx, append(b.request(bytes), "-o", "json")...)
	if err != nil {
		return err
	}
	var made struct {
		Handle string   `json:"handle"`
		Bricks []string `json:"bricks"`
	}
	if err := json.Unmarshal(out, &made); err != nil {
		return fmt.Errorf("the answer of volume create: %w", err)
	}
	if made.Handle != b.handle {
		return fmt.Errorf("the answer of volume create: handle %q, want %q", made.Handle, b.handle)
	}
	b.made, err = parseBricks(b.lab.Nodes(), made.Bricks)
	return err
}

func (b *byBricklayer) bricks() []brick { return b.made }

func (b *byBricklayer) expand(ctx context.Context, bytes int64) error {
	_, err := b.ask(ctx, "expand", b.handle, "--size", strconv.FormatInt(bytes, 10))
	return err
}

func (b *byBricklayer) mount(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	_, err := b.ask(ctx, "mount", b.handle, dir, "--client-log-dir", b.lab.StateDir())
	return err
}

func (b *byBricklayer) unmount(ctx context.Context, dir string) error {
	_, err := b.run(ctx, "unmount", dir, "--client-log-dir", b.lab.StateDir())
	return err
}

func (b *byBricklayer) remove(ctx context.Context) error {
	_, err := b.ask(ctx, "delete", b.handle, "--yes")
	return err
}

// exitLater is the program's exit code for what may be repeated.
const exitLater = 5

// tidy is remove, repeated as long as something else still works on the volume,
// such as a create that was interrupted. A volume that is not there is no error.
func (b *byBricklayer) tidy(ctx context.Context) error {
	for {
		err := b.remove(ctx)
		if failed, ok := errors.AsType[*lab.ExitError](err); !ok || failed.Code != exitLater {
			return err
		}
		if waitErr := pause(ctx, time.Second); waitErr != nil {
			return err
		}
	}
}

// brick is one brick of a volume, and the node that it lies on.
type brick struct{ node, path string }

// brickOn returns the first of the bricks that lies on a node.
func brickOn(node string, all []brick) (brick, error) {
	for _, b := range all {
		if b.node == node {
			return b, nil
		}
	}
	return brick{}, fmt.Errorf("it has no brick on %s", node)
}

// parseBricks reads ADDRESS:PATH, as Gluster writes bricks.
func parseBricks(nodes []lab.Node, all []string) ([]brick, error) {
	if len(all) == 0 {
		return nil, errors.New("the volume has no bricks")
	}
	bricks := make([]brick, 0, len(all))
	for _, text := range all {
		address, path, ok := strings.Cut(text, ":")
		b := brick{path: path}
		for _, n := range nodes {
			if n.Address.String() == address {
				b.node = n.Name
			}
		}
		if !ok || b.node == "" || !filepath.IsAbs(path) {
			return nil, fmt.Errorf("brick %q: want ADDRESS:/PATH with the address of a node of the lab", text)
		}
		bricks = append(bricks, b)
	}
	return bricks, nil
}
