package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"bricklayer.csi/lab"
)

// byHand does each step as an administrator does without bricklayer, on the same
// file systems, in a directory outside of bricklayer's. It prepares the nodes all
// at once, as a practised one would.
type byHand struct {
	lab     *lab.Lab
	workers []lab.Worker
	name    string
}

const (
	root      = "/bricks/root1"
	projectID = "77" // bricklayer's own begin at 1048576
	// handMount and handLog are on the workers.
	handMount = "/var/lib/byhand"
	handLog   = "/var/log/byhand.log"
)

func (b *byHand) dir() string { return root + "/" + b.name }

func (b *byHand) brick() string { return b.dir() + "/brick" }

func (b *byHand) bricks(context.Context) ([]brick, error) {
	var all []brick
	for _, n := range b.lab.Nodes() {
		all = append(all, brick{n.Name, b.brick()})
	}
	return all, nil
}

// everywhere runs a shell command on all nodes at once and returns what each wrote.
func everywhere(ctx context.Context, l *lab.Lab, script string) (map[string]string, error) {
	type answer struct {
		node string
		out  []byte
		err  error
	}
	nodes := l.Nodes()
	answers := make(chan answer, len(nodes))
	for _, n := range nodes {
		go func() {
			out, err := l.Exec(ctx, n.Name, "sh", "-ec", script)
			answers <- answer{n.Name, out, err}
		}()
	}
	said := make(map[string]string, len(nodes))
	var errs []error
	for range nodes {
		a := <-answers
		said[a.node] = string(a.out)
		errs = append(errs, a.err)
	}
	return said, errors.Join(errs...)
}

func (b *byHand) everywhere(ctx context.Context, script string) error {
	_, err := everywhere(ctx, b.lab, script)
	return err
}

func (b *byHand) gluster(ctx context.Context, args ...string) ([]byte, error) {
	return b.lab.Exec(ctx, b.lab.Nodes()[0].Name, append([]string{"gluster", "--mode=script"}, args...)...)
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
	if _, err := b.gluster(ctx, args...); err != nil {
		return err
	}
	_, err = b.gluster(ctx, "volume", "start", b.name)
	return err
}

func (b *byHand) expand(ctx context.Context, bytes int64) error {
	return b.everywhere(ctx, limit(bytes))
}

func (b *byHand) mount(ctx context.Context) (string, error) {
	var servers []string
	for _, n := range b.lab.Nodes() {
		servers = append(servers, n.Address.String())
	}
	options := "backup-volfile-servers=" + strings.Join(servers[1:], ":") + ",log-file=" + handLog
	for _, w := range b.workers {
		for _, argv := range [][]string{
			{"mkdir", "-p", handMount},
			{"mount", "-t", "glusterfs", "-o", options, servers[0] + ":/" + b.name, handMount},
		} {
			if _, err := b.lab.InWorker(ctx, w.Name, argv...); err != nil {
				return "", err
			}
		}
	}
	return handMount, nil
}

func (b *byHand) on(ctx context.Context, worker, script string) (string, error) {
	out, err := b.lab.InWorker(ctx, worker, "sh", "-ec", "cd "+handMount+"; "+script)
	return strings.TrimSpace(string(out)), err
}

func (b *byHand) unmount(ctx context.Context) error {
	var errs []error
	for _, w := range b.workers {
		_, err := b.lab.InWorker(ctx, w.Name, "umount", handMount)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (b *byHand) remove(ctx context.Context) error {
	for _, verb := range []string{"stop", "delete"} {
		if _, err := b.gluster(ctx, "volume", verb, b.name); err != nil {
			return err
		}
	}
	return b.everywhere(ctx, fmt.Sprintf("rm -rf %s; %s", b.dir(), limit(0)))
}
