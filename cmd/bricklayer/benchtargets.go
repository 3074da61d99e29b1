package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	"sigs.k8s.io/yaml"

	"bricklayer.csi/bench"
	"bricklayer.csi/bench/claims"
	benchhost "bricklayer.csi/bench/host"
	"bricklayer.csi/internal/lifecycle"
	"bricklayer.csi/internal/pool"
	"bricklayer.csi/internal/volume"
)

// benchNode is a storage node with a way to run commands there.
type benchNode struct {
	address string
	host    benchhost.Host
}

// hand is the baseline that is made with bare commands.
const hand = "hand"

// benchTargets makes the targets that flags name.
type benchTargets struct {
	options *benchOptions
	env     environment
	run     string
	service *lifecycle.Service
	mounts  bench.Mounts
	nodes   []benchNode
	done    func()
	// like is the first plain class: what is made by hand is made like it.
	like *bench.Volume
}

func (b *benchTargets) all() ([]bench.Target, error) {
	if len(b.options.targets) == 0 {
		return nil, usagef("--target: give at least one, such as -t plain=class:plain.yaml")
	}
	if b.options.nodeExec != "" || b.options.baseline == hand {
		if err := b.open(); err != nil {
			return nil, err
		}
	}
	var all []bench.Target
	for _, text := range b.options.targets {
		t, err := b.target(text)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	named := slices.ContainsFunc(all, func(t bench.Target) bool { return t.Name() == b.options.baseline })
	if b.options.baseline != hand || named {
		return all, nil
	}
	t, err := b.byHand()
	if err != nil {
		return nil, err
	}
	return append(all, t), nil
}

// open reads the pools, where a target needs them.
func (b *benchTargets) open() error {
	if b.service != nil {
		return nil
	}
	if err := b.options.pools.Validate(); err != nil {
		return err
	}
	resources, err := pool.Load(b.options.pools.pools)
	if err != nil {
		return err
	}
	template, err := benchhost.ParseTemplate(b.options.nodeExec)
	if err != nil {
		return &usageError{err: fmt.Errorf("--node-exec: %w", err)}
	}
	if template != nil {
		for _, r := range resources {
			for _, n := range r.Spec.Nodes {
				b.nodes = append(b.nodes, benchNode{n.Address, template.Host(n.Name, n.Address)})
			}
		}
	}
	log := b.options.log.logger(b.env.err)
	p := newPools(func(name string) (agents, error) { return b.env.dial(&b.options.pools, name) }, log)
	p.set(resources)
	b.done, b.service = p.close, lifecycle.New(p, log)
	return nil
}

// openVolumes reads the pools, and finds out how to mount what they have.
func (b *benchTargets) openVolumes() error {
	if err := b.open(); err != nil {
		return err
	}
	return b.openMounts()
}

// openMounts finds out how to mount, where a target needs it.
func (b *benchTargets) openMounts() error {
	if b.mounts.Mounter != nil {
		return nil
	}
	mounter, err := b.options.mounts.mounter(b.options.log.logger(b.env.err))
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(b.options.mountDir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil { // the mount table has paths without symbolic links
		dir, err = filepath.EvalSymlinks(dir)
	}
	b.mounts = bench.Mounts{Mounter: mounter, Dir: dir}
	return err
}

const targetForms = "NAME=class:FILE, NAME=storageclass:NAME, NAME=volume:HANDLE, NAME=dir:/PATH or NAME=node:NODE:/PATH"

func (b *benchTargets) target(text string) (bench.Target, error) {
	name, rest, ok := strings.Cut(text, "=")
	kind, where, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 || where == "" {
		return nil, volume.NewFieldError("--target", text, targetForms)
	}
	var t bench.Target
	var err error
	switch kind {
	case "dir":
		t, err = bench.NewDirectory(name, benchhost.Host{}, where)
	case "node":
		t, err = b.onNode(name, where)
	case "volume":
		t, err = b.existing(name, where)
	case "storageclass":
		t, err = b.claim(name, where)
	case "class":
		t, err = b.ofClass(name, where)
	default:
		return nil, volume.NewFieldError("--target", text, targetForms)
	}
	if err != nil {
		return nil, &usageError{err: fmt.Errorf("--target %s: %w", text, err)}
	}
	return t, nil
}

func (b *benchTargets) onNode(name, where string) (bench.Target, error) {
	node, dir, _ := strings.Cut(where, ":")
	if b.options.nodeExec == "" {
		return nil, fmt.Errorf("a target on a node needs --node-exec")
	}
	i := slices.IndexFunc(b.nodes, func(n benchNode) bool { return n.host.Name == node })
	if i < 0 {
		return nil, fmt.Errorf("the pools have no node %.80q", node)
	}
	return bench.NewDirectory(name, b.nodes[i].host, dir)
}

func (b *benchTargets) existing(name, handle string) (bench.Target, error) {
	h, err := volume.ParseHandle(handle)
	if err != nil {
		return nil, err
	}
	if err := b.openVolumes(); err != nil {
		return nil, err
	}
	return bench.Existing(name, h, patient{b.service}, b.mounts)
}

func (b *benchTargets) ofClass(name, file string) (bench.Target, error) {
	class, err := readClass(file)
	if err != nil {
		return nil, err
	}
	size, err := b.options.sizeOf()
	if err != nil {
		return nil, err
	}
	if err := b.openVolumes(); err != nil {
		return nil, err
	}
	t, err := bench.OfClass(name, b.run, class, size, patient{b.service}, b.mounts)
	if err != nil {
		return nil, err
	}
	if b.like == nil && t.Plain() {
		b.like = t
	}
	return t, nil
}

func (b *benchTargets) claim(name, class string) (bench.Target, error) {
	size, err := b.options.sizeOf()
	if err != nil {
		return nil, err
	}
	client, err := b.options.kube.client(b.env)
	if err != nil {
		return nil, err
	}
	if client == nil {
		return nil, usagef("a StorageClass needs --kubeconfig, or --kubernetes in a pod")
	}
	if err := b.openMounts(); err != nil {
		return nil, err
	}
	return claims.New(name, b.run, class, size, claims.Options{Client: client, Namespace: b.options.namespace, Mounts: b.mounts})
}

// readClass returns the parameters of a StorageClass in a file.
func readClass(file string) (map[string]string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var class storagev1.StorageClass
	if err := yaml.UnmarshalStrict(data, &class); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if class.Kind != "StorageClass" {
		return nil, fmt.Errorf("%s: kind: %.80q: want StorageClass", file, class.Kind)
	}
	return class.Parameters, nil
}

func (b *benchTargets) byHand() (bench.Target, error) {
	if b.options.nodeExec == "" {
		return nil, usagef("--baseline hand needs --node-exec: bare commands run on the storage nodes")
	}
	if b.like == nil {
		return nil, usagef(`--baseline hand needs a target of a class with lvm "false": what is made by hand lies on the same roots`)
	}
	nodes := map[string]benchhost.Host{}
	for _, n := range b.nodes {
		nodes[n.address] = n.host
	}
	return bench.ByHand(hand, b.run, b.like, nodes, b.mounts)
}
