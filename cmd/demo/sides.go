package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"bricklayer.csi/lab"
)

// byBricklayer does each step with the bricklayer program.
type byBricklayer struct {
	lab     *lab.Lab
	program string
}

const demoVolume = "demo"

func (b *byBricklayer) run(ctx context.Context, args ...string) error {
	argv := append([]string{b.program, "volume"}, args...)
	_, err := b.lab.Host(ctx, argv...)
	return err
}

// ask runs a command that asks the pool.
func (b *byBricklayer) ask(ctx context.Context, args ...string) error {
	return b.run(ctx, append(args, "--pools", b.lab.PoolFile(), "--certs", b.lab.CertsDir()+"/controller")...)
}

func (b *byBricklayer) create(ctx context.Context, bytes int64) error {
	return b.ask(ctx, "create", demoVolume, "--size", strconv.FormatInt(bytes, 10))
}

func (b *byBricklayer) expand(ctx context.Context, bytes int64) error {
	return b.ask(ctx, "expand", demoVolume, "--size", strconv.FormatInt(bytes, 10))
}

func (b *byBricklayer) mount(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return b.ask(ctx, "mount", demoVolume, dir, "--client-log-dir", b.lab.StateDir())
}

func (b *byBricklayer) unmount(ctx context.Context, dir string) error {
	return b.run(ctx, "unmount", dir, "--client-log-dir", b.lab.StateDir())
}

func (b *byBricklayer) remove(ctx context.Context) error {
	return b.ask(ctx, "delete", demoVolume, "--yes")
}

// byHand does each step as an administrator does without bricklayer, on the
// same file systems. It prepares the nodes all at once, as a practised one would.
type byHand struct {
	lab  *lab.Lab
	name string
}

const (
	root      = "/bricks/root1"
	projectID = "77" // bricklayer's own begin at 1048576
)

func (b *byHand) brick() string { return root + "/" + b.name + "/brick" }

// everywhere runs a shell command on all nodes at once.
func (b *byHand) everywhere(ctx context.Context, script string) error {
	nodes := b.lab.Nodes()
	errs := make(chan error, len(nodes))
	for _, n := range nodes {
		go func() {
			_, err := b.lab.Exec(ctx, n.Name, "sh", "-ec", script)
			errs <- err
		}()
	}
	var all []error
	for range nodes {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

func (b *byHand) gluster(ctx context.Context, args ...string) error {
	_, err := b.lab.Exec(ctx, b.lab.Nodes()[0].Name, append([]string{"gluster", "--mode=script"}, args...)...)
	return err
}

func limit(bytes int64) string {
	return fmt.Sprintf("xfs_quota -x -c 'limit -p bhard=%d %s' %s", bytes, projectID, root)
}

func (b *byHand) create(ctx context.Context, bytes int64) error {
	err := b.everywhere(ctx, fmt.Sprintf("mkdir -p %s; xfs_quota -x -c 'project -s -p %s %s' %s; %s",
		b.brick(), b.brick(), projectID, root, limit(bytes)))
	if err != nil {
		return err
	}
	args := []string{"volume", "create", b.name, "replica", strconv.Itoa(len(b.lab.Nodes()))}
	for _, n := range b.lab.Nodes() {
		args = append(args, n.Address.String()+":"+b.brick())
	}
	if err := b.gluster(ctx, args...); err != nil {
		return err
	}
	return b.gluster(ctx, "volume", "start", b.name)
}

func (b *byHand) expand(ctx context.Context, bytes int64) error {
	return b.everywhere(ctx, limit(bytes))
}

func (b *byHand) mount(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var servers []string
	for _, n := range b.lab.Nodes() {
		servers = append(servers, n.Address.String())
	}
	_, err := b.lab.Host(ctx, "mount", "-t", "glusterfs", "-o",
		"backup-volfile-servers="+strings.Join(servers[1:], ":")+",log-file="+b.lab.StateDir()+"/byhand.log",
		servers[0]+":/"+b.name, dir)
	return err
}

func (b *byHand) unmount(ctx context.Context, dir string) error {
	_, err := b.lab.Host(ctx, "umount", dir)
	return err
}

func (b *byHand) remove(ctx context.Context) error {
	for _, verb := range []string{"stop", "delete"} {
		if err := b.gluster(ctx, "volume", verb, b.name); err != nil {
			return err
		}
	}
	return b.everywhere(ctx, fmt.Sprintf("rm -rf %s/%s; %s", root, b.name, limit(0)))
}
