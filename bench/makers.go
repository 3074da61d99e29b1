package bench

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"bricklayer.csi/bench/host"
	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

// ClassMaker makes volumes with the parameters of a class, by the calls that serve
// Kubernetes.
type ClassMaker struct {
	name  string
	class map[string]string
	size  volume.Size
	specs volume.Parameters
	by    Expander
}

// Expander is Volumes that can grow them; lifecycle.Service does.
type Expander interface {
	Volumes
	Expand(ctx context.Context, h volume.Handle, size volume.SizeRange) (volume.Volume, error)
}

// NewClassMaker checks the parameters.
func NewClassMaker(name string, class map[string]string, size volume.Size, by Expander) (*ClassMaker, error) {
	if err := CheckTargetName(name); err != nil {
		return nil, err
	}
	spec, err := by.Spec("bench", volume.SizeRange{Required: size}, class)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	return &ClassMaker{name, class, size, spec.Parameters, by}, nil
}

// Name implements Maker.
func (m *ClassMaker) Name() string { return m.name }

// Kind implements Maker.
func (m *ClassMaker) Kind() string {
	return fmt.Sprintf("class, lvm %q", strconv.FormatBool(m.specs.LVM))
}

// Type is the volumes' type.
func (m *ClassMaker) Type() volume.Type { return m.specs.Type }

// Facts implements Maker.
func (m *ClassMaker) Facts() map[string]string {
	return map[string]string{"size": m.size.String(), "type": m.specs.Type.String()}
}

// Make implements Maker.
func (m *ClassMaker) Make(ctx context.Context, name string) (Took, error) {
	return m.clocked(ctx, name, func(ctx context.Context, spec volume.Spec) error {
		_, err := m.by.Create(ctx, spec)
		return err
	})
}

// Source implements Maker.
func (m *ClassMaker) Source(ctx context.Context, name string) (mount.Source, error) {
	spec, err := m.by.Spec(name, volume.SizeRange{Required: m.size}, m.class)
	if err != nil {
		return mount.Source{}, err
	}
	v, err := m.by.Get(ctx, spec.Handle())
	return mount.Source{Servers: v.Servers, Volume: v.Handle.Name}, err
}

// Expand implements Maker.
func (m *ClassMaker) Expand(ctx context.Context, name string) (Took, bool, error) {
	took, err := m.clocked(ctx, name, func(ctx context.Context, spec volume.Spec) error {
		_, err := m.by.Expand(ctx, spec.Handle(), volume.SizeRange{Required: 2 * m.size})
		return err
	})
	return took, true, err
}

// Remove implements Maker.
func (m *ClassMaker) Remove(ctx context.Context, name string) (Took, error) {
	return m.clocked(ctx, name, func(ctx context.Context, spec volume.Spec) error {
		return m.by.Delete(ctx, spec.Handle())
	})
}

func (m *ClassMaker) clocked(ctx context.Context, name string, do func(ctx context.Context, spec volume.Spec) error) (Took, error) {
	spec, err := m.by.Spec(name, volume.SizeRange{Required: m.size}, m.class)
	if err != nil {
		return Took{}, err
	}
	took, err := watched(ctx, func(ctx context.Context) error { return do(ctx, spec) })
	if m.specs.LVM {
		took.Steps = nil // its work is heketi's, which tells nothing of its steps
	}
	return took, err
}

// HandNode is a storage node with one of its brick roots.
type HandNode struct {
	Address string
	Root    string
	Host    host.Host
}

// HandMaker makes volumes with bare gluster commands on the first node: create and
// start, stop and delete. What it takes to reach the node and to make directories
// is not counted, so that it is the least that the commands can take.
type HandMaker struct {
	name  string
	typ   volume.Type
	nodes []HandNode
}

// NewHandMaker returns one for volumes of a type, which needs a brick on each of so many nodes.
func NewHandMaker(name string, typ volume.Type, nodes []HandNode) (*HandMaker, error) {
	if err := CheckTargetName(name); err != nil {
		return nil, err
	}
	if n := typ.Bricks(); len(nodes) < n {
		return nil, fmt.Errorf("target %s: %s needs %d storage nodes and there are %d", name, typ, n, len(nodes))
	}
	for _, n := range nodes {
		if !addressRE.MatchString(n.Address) || !path.IsAbs(n.Root) {
			return nil, fmt.Errorf("target %s: node %.80q with root %.80q: want an address and a path", name, n.Address, n.Root)
		}
	}
	return &HandMaker{name, typ, nodes[:typ.Bricks()]}, nil
}

// Name implements Maker.
func (m *HandMaker) Name() string { return m.name }

// Kind implements Maker.
func (m *HandMaker) Kind() string { return "by hand" }

// Facts implements Maker.
func (m *HandMaker) Facts() map[string]string {
	return map[string]string{"commands": "gluster volume create, start, stop and delete, one after the other", "type": m.typ.String()}
}

// timed runs a script on the first node between two looks at its clock.
func (m *HandMaker) timed(ctx context.Context, script string) (Took, error) {
	out, err := m.nodes[0].Host.Run(ctx, "from=$(date +%s%N)\n"+script+"\nto=$(date +%s%N)\necho \"took $((to - from))\"\n")
	if err != nil {
		return Took{}, err
	}
	_, number, _ := strings.Cut(string(out), "took ")
	ns, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || ns <= 0 {
		return Took{}, fmt.Errorf("on %s: %.80q: want a time above zero", m.nodes[0].Host, number)
	}
	return Took{Whole: time.Duration(ns)}, nil
}

// everywhere runs a script on all nodes at once.
func (m *HandMaker) everywhere(ctx context.Context, script func(n HandNode) string) error {
	errs := make([]error, len(m.nodes))
	var wg sync.WaitGroup
	for i, n := range m.nodes {
		wg.Go(func() { _, errs[i] = n.Host.Run(ctx, script(n)) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Make implements Maker.
func (m *HandMaker) Make(ctx context.Context, name string) (Took, error) {
	if err := volume.CheckName(name); err != nil {
		return Took{}, err
	}
	err := m.everywhere(ctx, func(n HandNode) string { return "exec mkdir -p " + host.Quote(n.Root+"/"+name+"/brick") + "\n" })
	if err != nil {
		return Took{}, err
	}
	words := append([]string{"gluster", "--mode=script", "volume", "create", name}, shape(m.typ)...)
	for _, n := range m.nodes {
		words = append(words, host.Quote(n.Address+":"+n.Root+"/"+name+"/brick"))
	}
	return m.timed(ctx, strings.Join(words, " ")+" >/dev/null && gluster --mode=script volume start "+name+" >/dev/null || exit 1")
}

// Source implements Maker.
func (m *HandMaker) Source(_ context.Context, name string) (mount.Source, error) {
	src := mount.Source{Volume: name}
	for _, n := range m.nodes {
		src.Servers = append(src.Servers, n.Address)
	}
	return src, nil
}

// Expand implements Maker: there is no command for it that adds no bricks.
func (m *HandMaker) Expand(context.Context, string) (Took, bool, error) {
	return Took{}, false, nil
}

// Remove implements Maker.
func (m *HandMaker) Remove(ctx context.Context, name string) (Took, error) {
	if err := volume.CheckName(name); err != nil {
		return Took{}, err
	}
	took, err := m.timed(ctx, fmt.Sprintf(`gluster --mode=script volume stop %[1]s >/dev/null 2>&1 || gluster --mode=script volume info %[1]s >/dev/null 2>&1 || gone=1
[ -n "$gone" ] || gluster --mode=script volume delete %[1]s >/dev/null || exit 1`, name))
	if err != nil {
		return Took{}, err
	}
	return took, m.everywhere(ctx, func(n HandNode) string { return "exec rm -rf " + host.Quote(n.Root+"/"+name) + "\n" })
}
