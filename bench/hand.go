package bench

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bricklayer.csi/bench/host"
	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

// Hand is a volume that is made with bare gluster commands, as an administrator
// makes one, of the type and on the brick roots that a volume of a class has: in
// a directory of the same file systems that Bricklayer knows nothing of, without a
// quota, and with Gluster's own options.
type Hand struct {
	name   string
	run    string
	like   *Volume
	nodes  map[string]host.Host
	mounts Mounts
	// bricks are what was made, in the volume's order.
	bricks []handBrick
}

type handBrick struct {
	address string
	node    host.Host
	root    string
}

var addressRE = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

// ByHand returns a target like a plain volume of a class. nodes are the storage
// nodes by their address, with a way to run commands there.
func ByHand(name, run string, like *Volume, nodes map[string]host.Host, m Mounts) (*Hand, error) {
	if err := CheckTargetName(name); err != nil {
		return nil, err
	}
	return &Hand{name: name, run: run + "-" + name, like: like, nodes: nodes, mounts: m}, nil
}

// Name implements Target.
func (t *Hand) Name() string { return t.name }

// Kind implements Target.
func (t *Hand) Kind() string { return "by hand" }

// dir is what is made on each root.
func (b handBrick) dir(run string) string { return path.Join(b.root, run) }

// place finds the roots that the other volume's bricks lie on.
func (t *Hand) place() error {
	v := t.like.made
	if len(v.Bricks) == 0 {
		return fmt.Errorf("target %s: it is made like %s, and that volume could not be made", t.name, t.like.name)
	}
	t.bricks = nil
	for _, text := range v.Bricks {
		address, dir, _ := strings.Cut(text, ":")
		root, ok := strings.CutSuffix(dir, "/volumes/"+v.Handle.Name+"/brick")
		if !ok || !path.IsAbs(root) || !addressRE.MatchString(address) {
			return fmt.Errorf("target %s: brick %.120q of %s: want HOST:/ROOT/volumes/%s/brick: only a plain volume has roots to share",
				t.name, text, t.like.name, v.Handle.Name)
		}
		node, ok := t.nodes[address]
		if !ok {
			return fmt.Errorf("target %s: brick %.120q of %s: no storage node of the pool has this address", t.name, text, t.like.name)
		}
		t.bricks = append(t.bricks, handBrick{address, node, root})
	}
	return nil
}

// shape is the type's words for gluster volume create.
func shape(t volume.Type) []string {
	switch {
	case t.Durability == volume.Disperse:
		return []string{"disperse-data", strconv.Itoa(t.Data), "redundancy", strconv.Itoa(t.Redundancy)}
	case t.Durability == volume.Replicate && t.Arbiters > 0:
		return []string{"replica", strconv.Itoa(t.Replicas - t.Arbiters), "arbiter", strconv.Itoa(t.Arbiters)}
	case t.Durability == volume.Replicate:
		return []string{"replica", strconv.Itoa(t.Replicas)}
	}
	return nil
}

// Open makes the volume and mounts it.
func (t *Hand) Open(ctx context.Context) (Place, error) {
	if err := t.place(); err != nil {
		return Place{}, err
	}
	words := append([]string{"gluster", "--mode=script", "volume", "create", t.run}, shape(t.like.made.Type)...)
	var servers, bricks []string
	for _, b := range t.bricks {
		brick := b.dir(t.run) + "/brick"
		if _, err := b.node.Run(ctx, "exec mkdir -p "+host.Quote(brick)+"\n"); err != nil {
			return Place{}, fmt.Errorf("target %s: make %s: %w", t.name, brick, err)
		}
		bricks = append(bricks, b.address+":"+brick)
		words = append(words, host.Quote(b.address+":"+brick))
		if !slices.Contains(servers, b.address) {
			servers = append(servers, b.address)
		}
	}
	first := t.bricks[0].node
	script := strings.Join(words, " ") + " && exec gluster --mode=script volume start " + t.run + "\n"
	if _, err := first.Run(ctx, script); err != nil {
		return Place{}, fmt.Errorf("target %s: create volume %s: %w", t.name, t.run, err)
	}
	dir, err := t.mounts.Mount(ctx, t.run, mount.Source{Servers: servers, Volume: t.run})
	if err != nil {
		return Place{}, fmt.Errorf("target %s: mount %s: %w", t.name, t.run, err)
	}
	return Place{Dir: dir, Facts: map[string]string{
		"volume": t.run, "type": t.like.made.Type.String(), "bricks": strings.Join(bricks, ", "),
		"made with": strings.Join(words, " "),
	}}, nil
}

// Close unmounts the volume and removes it, however far Open came.
func (t *Hand) Close(ctx context.Context) error {
	if len(t.bricks) == 0 {
		return nil
	}
	if err := t.mounts.Unmount(ctx, t.run); err != nil {
		return err
	}
	// A volume that is not there, or was not started, is no error.
	script := fmt.Sprintf(`list=$(gluster --mode=script volume list 2>&1) || { echo "$list" >&2; exit 1; }
printf '%%s\n' "$list" | grep -qx %[1]s || exit 0
gluster --mode=script volume stop %[1]s force >/dev/null 2>&1
exec gluster --mode=script volume delete %[1]s
`, t.run)
	if _, err := t.bricks[0].node.Run(ctx, script); err != nil {
		return fmt.Errorf("delete volume %s, made by hand: %w", t.run, err)
	}
	var errs []error
	for _, b := range t.bricks {
		if _, err := b.node.Run(ctx, "exec rm -rf "+host.Quote(b.dir(t.run))+"\n"); err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", b.dir(t.run), err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	t.bricks = nil
	return nil
}
