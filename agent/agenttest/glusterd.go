package agenttest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/gluster"
)

// user returns the volume that uses a brick, or nothing.
func (c *Cluster) user(b gluster.Brick) string {
	for name, v := range c.volumes {
		for _, have := range v.request.Bricks {
			if have.Host == b.Host && have.Path == b.Path {
				return name
			}
		}
	}
	return ""
}

// brickAt returns the brick directory that Gluster calls HOST:PATH, or nil
// where it, its root or its node is not there.
func (c *Cluster) brickAt(b gluster.Brick) *fakeBrick {
	n := c.byAddress(b.Host)
	if n == nil {
		return nil
	}
	for _, r := range n.roots {
		if !r.mounted {
			continue
		}
		for name, have := range r.bricks {
			if agent.BrickPath(r.cfg.Path, name) == b.Path {
				return have
			}
		}
	}
	return nil
}

func (c *Cluster) online(v *fakeVolume, b gluster.Brick) bool {
	n, have := c.byAddress(b.Host), c.brickAt(b)
	return v.status == gluster.StatusStarted && n != nil && n.state.bricks() && have != nil && !have.dead
}

func refuse(reason gluster.Reason, command, format string, a ...any) error {
	return &gluster.Error{Reason: reason, Command: command, Text: fmt.Sprintf(format, a...)}
}

func daemonDown(command string) error {
	return refuse(gluster.DaemonDown, command, "Connection failed. Please check if gluster daemon is operational.")
}

// query runs a verb that only asks glusterd.
func query[T any](ctx context.Context, n *Node, verb Verb, name, command string, checked error, do func() (T, error)) (T, error) {
	return call(ctx, n, verb, name, checked, func() (T, error) {
		if !n.state.glusterd() {
			var zero T
			return zero, daemonDown(command)
		}
		return do()
	})
}

// transaction runs a verb that changes a volume in the steps that glusterd
// takes: lock, stage (which may refuse, and may leave something behind), the
// hook, commit, unlock.
func (n *Node) transaction(ctx context.Context, verb Verb, name, command string, checked error, stage func() error, commit func()) error {
	c, err := n.enter(ctx, verb, name)
	if err != nil {
		return err
	}
	if checked == nil {
		checked = n.begin(name, command, stage)
	}
	if checked != nil {
		return n.fail(verb, name, checked)
	}
	during := c
	during.Moment = During
	err = n.moment(ctx, during)
	n.c.mu.Lock()
	delete(n.c.locked, name)
	if err == nil && !n.state.glusterd() {
		err = refuse(gluster.DaemonDown, command, "Connection failed. Please check if gluster daemon is operational.")
	}
	if err == nil {
		commit()
	}
	n.c.mu.Unlock()
	if err != nil {
		return n.fail(verb, name, err)
	}
	return n.leave(ctx, c)
}

func (n *Node) begin(name, command string, stage func() error) error {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if !n.state.glusterd() {
		return daemonDown(command)
	}
	if n.c.locked[name] {
		return refuse(gluster.Locked, command, "Another transaction is in progress for %s. Please try again after some time.", name)
	}
	if err := n.quorum(name, command); err != nil {
		return err
	}
	if err := stage(); err != nil {
		return err
	}
	n.c.locked[name] = true
	return nil
}

// quorum refuses where the volume asks for server quorum and at most half of
// the peers are up, as glusterd does by default.
func (n *Node) quorum(name, command string) error {
	v := n.c.volumes[name]
	if v == nil || v.options["cluster.server-quorum-type"] != "server" {
		return nil
	}
	up, peers := 0, n.peers()
	for _, p := range peers {
		if p.connected() {
			up++
		}
	}
	if 2*up <= len(peers) {
		return refuse(gluster.QuorumLost, command, "Quorum not met. Volume operation not allowed.")
	}
	return nil
}

func (n *Node) connected() bool { return n.state.glusterd() && !n.rejected }

func (c *Cluster) find(name, command string) (*fakeVolume, error) {
	if v := c.volumes[name]; v != nil {
		return v, nil
	}
	return nil, refuse(gluster.NotFound, command, "Volume %s does not exist", name)
}

// CreateVolume implements gluster.Cluster.
func (n *Node) CreateVolume(ctx context.Context, r gluster.CreateRequest) error {
	command := "volume create " + r.Name
	var id string
	stage := func() error {
		if n.c.volumes[r.Name] != nil {
			return refuse(gluster.Exists, command, "Volume %s already exists", r.Name)
		}
		if err := n.stageBricks(r, command); err != nil {
			return err
		}
		n.c.nextID++
		id = fmt.Sprintf("%08x-0000-4000-8000-%012x", n.c.nextID, n.c.nextID)
		for _, b := range r.Bricks {
			n.c.brickAt(b).volumeID = id
		}
		return nil
	}
	commit := func() {
		r.Bricks = slices.Clone(r.Bricks)
		for i := range r.Bricks {
			r.Bricks[i].Arbiter = r.Arbiter > 0 && i == len(r.Bricks)-1
		}
		n.c.volumes[r.Name] = &fakeVolume{id: id, request: r, status: gluster.StatusCreated, options: map[string]string{}}
	}
	return n.transaction(ctx, CreateVolume, r.Name, command, n.check.Create(r), stage, commit)
}

func (n *Node) stageBricks(r gluster.CreateRequest, command string) error {
	hosts := map[string]bool{}
	for _, b := range r.Bricks {
		peer := n.c.byAddress(b.Host)
		if peer == nil || peer.trusted != n.trusted || !peer.connected() {
			return refuse(gluster.PeerDown, command, "Host %s not connected", b.Host)
		}
		if hosts[b.Host] && (r.Replica > 0 || r.Disperse > 0) {
			return refuse(gluster.Other, command, "Multiple bricks of a replicate volume are present on the same server.")
		}
		hosts[b.Host] = true
		have := n.c.brickAt(b)
		if have == nil {
			return refuse(gluster.BrickMissing, command, "Failed to create brick directory for brick %s. Reason : No such file or directory", b)
		}
		if n.c.user(b) != "" || have.volumeID != "" {
			return refuse(gluster.BrickInUse, command, "%s is already part of a volume", b.Path)
		}
	}
	return nil
}

// StartVolume implements gluster.Cluster.
func (n *Node) StartVolume(ctx context.Context, name string) error {
	command := "volume start " + name
	var v *fakeVolume
	stage := func() (err error) {
		if v, err = n.c.find(name, command); err != nil {
			return err
		}
		if v.status == gluster.StatusStarted {
			v.missed = "" // package gluster then starts it with force
			return refuse(gluster.AlreadyStarted, command, "Volume %s already started", name)
		}
		for _, b := range v.request.Bricks {
			if p := n.c.byAddress(b.Host); p == nil || !p.connected() {
				continue
			}
			switch have := n.c.brickAt(b); {
			case have == nil:
				return refuse(gluster.BrickMissing, command, "Failed to find brick directory %s for volume %s. Reason : No such file or directory", b.Path, name)
			case have.volumeID != v.id:
				return refuse(gluster.BrickMissing, command, "Failed to get extended attribute trusted.glusterfs.volume-id for brick dir %s. Reason : No data available", b.Path)
			}
		}
		return nil
	}
	commit := func() {
		v.status = gluster.StatusStarted
		for _, b := range v.request.Bricks {
			if have := n.c.brickAt(b); have != nil {
				have.dead = false
			}
		}
	}
	return n.transaction(ctx, StartVolume, name, command, n.check.Volume(name), stage, commit)
}

// StopVolume implements gluster.Cluster.
func (n *Node) StopVolume(ctx context.Context, name string) error {
	command := "volume stop " + name
	var v *fakeVolume
	stage := func() (err error) {
		if v, err = n.c.find(name, command); err != nil {
			return err
		}
		if v.status != gluster.StatusStarted {
			return refuse(gluster.NotStarted, command, "Volume %s is not in the started state", name)
		}
		return nil
	}
	commit := func() { v.status = gluster.StatusStopped }
	return n.transaction(ctx, StopVolume, name, command, n.check.Volume(name), stage, commit)
}

// DeleteVolume implements gluster.Cluster. The volume's ID stays on its bricks.
func (n *Node) DeleteVolume(ctx context.Context, name string) error {
	command := "volume delete " + name
	stage := func() error {
		v, err := n.c.find(name, command)
		if err != nil {
			return err
		}
		if v.status == gluster.StatusStarted {
			return refuse(gluster.NotStopped, command, "Volume %s has been started.Volume needs to be stopped before deletion.", name)
		}
		for _, p := range n.peers() {
			if !p.connected() {
				return refuse(gluster.PeerDown, command, "Some of the peers are down")
			}
		}
		return nil
	}
	commit := func() { delete(n.c.volumes, name) }
	return n.transaction(ctx, DeleteVolume, name, command, n.check.Volume(name), stage, commit)
}

// SetOptions implements gluster.Cluster.
func (n *Node) SetOptions(ctx context.Context, name string, options []gluster.Option) error {
	command := "volume set " + name
	to := n.c.options
	stage := func() error {
		if name != gluster.AllVolumes {
			v, err := n.c.find(name, command)
			if err != nil {
				return err
			}
			to = v.options
		}
		for _, o := range options {
			if err := checkOption(command, name == gluster.AllVolumes, o); err != nil {
				return err
			}
		}
		return nil
	}
	commit := func() {
		for _, o := range options {
			to[o.Key] = o.Value
		}
	}
	return n.transaction(ctx, SetOptions, name, command, n.check.Options(name, options), stage, commit)
}

// Volume implements gluster.Cluster.
func (n *Node) Volume(ctx context.Context, name string) (gluster.Volume, error) {
	command := "volume info " + name
	return query(ctx, n, Volume, name, command, n.check.Volume(name), func() (gluster.Volume, error) {
		v, err := n.c.find(name, command)
		if err != nil {
			return gluster.Volume{}, err
		}
		return n.show(name, v), nil
	})
}

// Volumes implements gluster.Cluster.
func (n *Node) Volumes(ctx context.Context) ([]gluster.Volume, error) {
	return query(ctx, n, Volumes, "", "volume info all", nil, func() ([]gluster.Volume, error) {
		var all []gluster.Volume
		for _, name := range slices.Sorted(maps.Keys(n.c.volumes)) {
			if v := n.c.volumes[name]; n.has(v) {
				all = append(all, n.show(name, v))
			}
		}
		return all, nil
	})
}

// show returns the volume as this node has it.
func (n *Node) show(name string, v *fakeVolume) gluster.Volume {
	r, status := v.request, v.status
	if v.missed == n.cfg.Name {
		status = gluster.StatusCreated
	}
	return gluster.Volume{
		Name: name, ID: v.id, Status: status,
		Replica: r.Replica, Arbiter: r.Arbiter, Disperse: r.Disperse, Redundancy: r.Redundancy, Distribute: 1,
		Bricks: slices.Clone(r.Bricks), Options: maps.Clone(v.options),
	}
}

// VolumeStatus implements gluster.Cluster.
func (n *Node) VolumeStatus(ctx context.Context, name string) ([]gluster.BrickStatus, error) {
	command := "volume status " + name + " detail"
	return query(ctx, n, VolumeStatus, name, command, n.check.Volume(name), func() ([]gluster.BrickStatus, error) {
		v, err := n.c.started(name, command)
		if err != nil {
			return nil, err
		}
		var all []gluster.BrickStatus
		for i, b := range v.request.Bricks {
			s := gluster.BrickStatus{Brick: b}
			// A brick whose glusterd is down still serves, but nobody asks it.
			if p := n.c.byAddress(b.Host); p.connected() && n.c.online(v, b) {
				have := n.c.brickAt(b)
				s.Online, s.PID = true, 1000+i
				s.SizeTotal = int64(have.quota.Bytes)
				if have.quota.Bytes == 0 {
					s.SizeTotal = int64(p.root(have.ref.Root).cfg.Size)
				}
				s.SizeFree = max(0, s.SizeTotal-int64(have.used))
				s.InodesTotal = have.quota.Inodes
				s.InodesFree = max(0, s.InodesTotal-have.inodes)
			}
			all = append(all, s)
		}
		return all, nil
	})
}

func (c *Cluster) started(name, command string) (*fakeVolume, error) {
	v, err := c.find(name, command)
	if err != nil {
		return nil, err
	}
	if v.status != gluster.StatusStarted || v.missed != "" {
		return nil, refuse(gluster.NotStarted, command, "Volume %s is not started", name)
	}
	return v, nil
}

// HealInfo implements gluster.Cluster.
func (n *Node) HealInfo(ctx context.Context, name string) ([]gluster.BrickHeal, error) {
	command := "volume heal " + name + " info summary"
	return query(ctx, n, HealInfo, name, command, n.check.Volume(name), func() ([]gluster.BrickHeal, error) {
		v, err := n.c.started(name, command)
		if err != nil {
			return nil, err
		}
		if v.request.Replica == 0 && v.request.Disperse == 0 {
			return nil, nil // it keeps no copies
		}
		var all []gluster.BrickHeal
		for _, b := range v.request.Bricks {
			h := gluster.BrickHeal{Brick: b, Connected: n.c.online(v, b)}
			if h.Connected {
				have := n.c.brickAt(b)
				h.Pending, h.SplitBrain = have.pending, have.splitBrain
			}
			all = append(all, h)
		}
		return all, nil
	})
}

// Kinds of values that options take.
const (
	anyValue = ""
	onOff    = "on|off|true|false|yes|no|enable|disable|1|0"
	number   = "number"
)

// known are the options that the fake's glusterd has, with what they take.
// Gluster has hundreds; a test that needs another adds it here.
var known = map[string]string{
	"auth.allow": anyValue, "auth.reject": anyValue,
	"storage.reserve": number, "storage.owner-uid": number, "storage.owner-gid": number,
	"cluster.server-quorum-type": "none|server", "cluster.quorum-type": "none|auto|fixed", "cluster.quorum-count": number,
	"cluster.lookup-optimize": onOff, "cluster.self-heal-daemon": onOff, "cluster.data-self-heal": onOff,
	"network.ping-timeout": number, "network.remote-dio": onOff, "client.event-threads": number, "server.event-threads": number,
	"performance.client-io-threads": onOff, "performance.cache-size": anyValue, "performance.quick-read": onOff,
	"performance.read-ahead": onOff, "performance.io-cache": onOff, "performance.write-behind": onOff,
	"performance.stat-prefetch": onOff, "performance.open-behind": onOff, "performance.readdir-ahead": onOff,
	"features.shard": onOff, "nfs.disable": onOff, "transport.address-family": "inet|inet6",
	"diagnostics.client-log-level": anyValue, "diagnostics.brick-log-level": anyValue,
}

// knownForAll are the options of the whole cluster.
var knownForAll = map[string]string{
	"cluster.brick-multiplex": onOff, "cluster.max-bricks-per-process": number,
	"cluster.server-quorum-ratio": anyValue, "cluster.op-version": number,
}

func checkOption(command string, all bool, o gluster.Option) error {
	if !all && strings.HasPrefix(o.Key, "user.") {
		return nil
	}
	table := known
	if all {
		table = knownForAll
	}
	takes, ok := table[o.Key]
	if !ok {
		return refuse(gluster.BadOption, command, "option : %s does not exist", o.Key)
	}
	valid := true
	switch takes {
	case anyValue:
	case number:
		valid = strings.Trim(o.Value, "0123456789") == ""
	default:
		valid = slices.Contains(strings.Split(takes, "|"), o.Value)
	}
	if !valid {
		return refuse(gluster.BadOption, command, "option %s %s: %s is not valid", o.Key, o.Value, o.Value)
	}
	return nil
}
