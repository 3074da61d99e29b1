package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// glusterdPatience is how long a glusterd may take to answer, in seconds.
const glusterdPatience = "90"

const (
	bootPatience   = 2 * time.Minute
	settlePatience = 2 * time.Minute
)

// Up brings the lab to what c says, whatever state it is in: it builds what is
// missing, boots what is off and repairs what was killed. On a lab that runs it
// changes nothing. It tells w what it does.
func Up(ctx context.Context, c Config, w io.Writer) (*Lab, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	pr := newProgress(w)
	if os.Geteuid() != 0 {
		return nil, errors.New("the lab makes network namespaces, disks and mounts: run it as root (sudo)")
	}
	if err := os.MkdirAll(stateRoot, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lockFile(ctx, paths{c.Name}.lock(), func() { pr.say("another command works on lab %s: waiting for it", c.Name) })
	if err != nil {
		return nil, err
	}
	defer unlock()
	l := newLab(c, pr)
	if err := l.up(ctx); err != nil {
		return nil, fmt.Errorf("lab %s: %w", c.Name, err)
	}
	return l, nil
}

func (l *Lab) up(ctx context.Context) error {
	if old, err := storedConfig(l.config.Name); err == nil {
		if err := l.config.growsFrom(old); err != nil {
			return err
		}
	} else if !errors.Is(err, ErrNotUp) {
		return err
	}
	if err := ensurePackages(ctx, l.progress, hostPackages); err != nil {
		return err
	}
	if err := l.prepare(ctx); err != nil {
		return err
	}
	if err := l.ensureNetns(); err != nil {
		return err
	}
	if err := l.ensureLinks(ctx); err != nil {
		return err
	}
	list, err := l.Status(ctx)
	if err != nil {
		return err
	}
	if l.faults(list) == nil {
		if err := l.ensureParts(ctx); err != nil {
			return err
		}
		l.say("lab %s is up: %d nodes, nothing to do", l.config.Name, len(l.nodes))
		return nil
	}
	off := 0
	for _, s := range list {
		if s.Power == string(powerOff) {
			off++
		}
	}
	if err := checkMemory(off); err != nil {
		return err
	}
	if err := l.makeReady(ctx, l.faulty(list)); err != nil {
		return err
	}
	if err := l.settle(ctx); err != nil {
		return err
	}
	if err := l.ensureParts(ctx); err != nil {
		return err
	}
	l.say("lab %s is up: %s", l.config.Name, l.summary())
	return nil
}

// ensureParts sees to what a lab may have beside its nodes.
func (l *Lab) ensureParts(ctx context.Context) error {
	if err := l.ensureHeketi(ctx); err != nil {
		return err
	}
	return l.ensureKubernetes(ctx)
}

// makeReady brings the nodes up, joins them and starts their agents, in this order:
// an agent that does not start leaves a Gluster pool that works.
func (l *Lab) makeReady(ctx context.Context, faulty []Node) error {
	if err := each(ctx, faulty, l.ensureNode); err != nil {
		return err
	}
	if err := l.formPool(ctx); err != nil {
		return err
	}
	return each(ctx, faulty, l.ensureAgent)
}

func (l *Lab) summary() string {
	words := make([]string, 0, len(l.nodes))
	for _, n := range l.nodes {
		words = append(words, n.Name+" "+n.Address.String())
	}
	return strings.Join(words, ", ")
}

// prepare puts everything on the host in place that the guests boot from.
func (l *Lab) prepare(ctx context.Context) error {
	if err := l.loadRecord(); err != nil {
		return err
	}
	if err := l.chooseImage(ctx); err != nil {
		return err
	}
	for _, key := range []string{l.paths.clientKey(), l.paths.hostKey()} {
		if err := ensureKey(key); err != nil {
			return fmt.Errorf("make the lab's keys: %w", err)
		}
	}
	if err := os.MkdirAll(l.paths.mnt(), 0o755); err != nil {
		return err
	}
	if err := l.saveConfig(); err != nil {
		return err
	}
	if err := l.ensureBinary(ctx); err != nil {
		return err
	}
	for _, n := range l.nodes {
		if err := l.fillShare(n); err != nil {
			return fmt.Errorf("node %s: files for the guest: %w", n.Name, err)
		}
	}
	return l.saveRecord()
}

// chooseImage keeps the image that the nodes' disks were made on; a lab without
// nodes takes the one of today's recipe.
func (l *Lab) chooseImage(ctx context.Context) error {
	if l.record.Image != "" {
		st, err := os.Stat(l.record.Image)
		if err == nil && st.ModTime().UnixNano() == l.record.Modified {
			return nil
		}
		cows, _ := filepath.Glob(l.paths.cow("*"))
		if len(cows) > 0 {
			return fmt.Errorf("the image that its nodes were made on (%s) is gone or was built anew: take the lab down (lab down --name %s) and up again",
				l.record.Image, l.config.Name)
		}
	}
	image, err := ensureImage(ctx, l.config.Mirror, l.progress)
	if err != nil {
		return err
	}
	st, err := os.Stat(image)
	if err != nil {
		return err
	}
	l.record.Image, l.record.Modified = image, st.ModTime().UnixNano()
	return l.saveRecord()
}

// ensureNode makes one node run and its glusterd answer, from whatever state it is in.
func (l *Lab) ensureNode(ctx context.Context, n Node) error {
	if err := l.ensurePower(ctx, n); err != nil {
		return err
	}
	if _, err := l.guest(ctx, n.Name, "repair"); err != nil {
		return err
	}
	if _, err := l.guest(ctx, n.Name, "ready", glusterdPatience); err != nil {
		return err
	}
	l.say("%s: ready", n.Name)
	return nil
}

func (l *Lab) ensurePower(ctx context.Context, n Node) error {
	state, stale, err := l.power(n)
	if err != nil {
		return err
	}
	if state == powerPaused {
		l.say("%s: paused, lets it go on", n.Name)
		if err := l.Resume(n.Name); err != nil {
			return err
		}
	}
	if state != powerOff && stale {
		l.say("%s: restarts with its new configuration", n.Name)
		if err := l.shutDown(ctx, n); err != nil {
			return err
		}
		state = powerOff
	}
	if state != powerOff {
		err := l.answers(ctx, n, checkPatience)
		if err == nil || ctx.Err() != nil {
			return err
		}
		l.say("%s: does not answer (%v): cutting its power", n.Name, err)
	}
	// Of a kernel that was killed, processes are left that hold its disks.
	if err := l.kill(ctx, n); err != nil {
		return err
	}
	l.say("%s: booting", n.Name)
	if err := l.boot(n); err != nil {
		return err
	}
	if err := l.answers(ctx, n, bootPatience); err != nil {
		return fmt.Errorf("node %s: booted, but ssh does not answer: %w; its console (%s) ends:\n%s",
			n.Name, err, l.paths.console(n.Name), l.consoleTail(n))
	}
	return nil
}

// answers waits until a node takes commands, as long as its kernel runs.
func (l *Lab) answers(ctx context.Context, n Node, patience time.Duration) error {
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	err := until(short, 100*time.Millisecond, func() (bool, error) {
		try, cancel := context.WithTimeout(short, 10*time.Second)
		defer cancel()
		_, err := l.Exec(try, n.Name, "true")
		if err == nil {
			return true, nil
		}
		if short.Err() == nil || last == nil {
			last = err // the last one, of a connection cut short, would hide why
		}
		if state, _, err := l.power(n); err != nil || state == powerOff {
			return false, errors.Join(errors.New("its kernel ended"), err)
		}
		return false, nil
	})
	if err != nil && ctx.Err() == nil {
		return errors.Join(err, last)
	}
	return err
}

func (l *Lab) consoleTail(n Node) string {
	data, err := os.ReadFile(l.paths.console(n.Name))
	if err != nil {
		return err.Error()
	}
	return tail(string(data), 1500)
}

// formPool makes one Gluster pool of all nodes and waits until each sees all.
func (l *Lab) formPool(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	first := l.nodes[0]
	known, err := l.Exec(ctx, first.Name, "gluster", "--mode=script", "pool", "list")
	if err != nil {
		return err
	}
	for _, n := range l.nodes[1:] {
		if hasPeer(string(known), n) {
			continue
		}
		l.say("%s: joins the Gluster pool", n.Name)
		if _, err := l.Exec(ctx, first.Name, "gluster", "--mode=script", "peer", "probe", n.Address.String()); err != nil {
			return err
		}
	}
	return each(ctx, l.nodes, func(ctx context.Context, n Node) error {
		_, err := l.guest(ctx, n.Name, "peers", strconv.Itoa(len(l.nodes)), glusterdPatience)
		return err
	})
}

// hasPeer reads `gluster pool list`: UUID, host name, state.
func hasPeer(list string, n Node) bool {
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		if len(f) >= 2 && (f[1] == n.Address.String() || f[1] == n.Name) {
			return true
		}
	}
	return false
}

// settle waits until nothing is wrong any more. On the way it starts the brick
// processes that died on their own, which glusterd does at its own start only.
func (l *Lab) settle(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	var faults error
	told := map[string]bool{}
	err := until(short, 500*time.Millisecond, func() (bool, error) {
		list, err := l.Status(short)
		if err != nil {
			return false, err
		}
		faults = l.faults(list)
		l.reviveBricks(short, list, told)
		return faults == nil, nil
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("not ready %v after its nodes were: %w", settlePatience, errors.Join(faults, err))
	}
	return err
}

// reviveBricks starts volumes again that have dead bricks. A refusal is not the
// end: bricks may just be starting, another transaction may run, and both are over
// soon; settle asks again, and what was told is not told again.
func (l *Lab) reviveBricks(ctx context.Context, list []NodeStatus, told map[string]bool) {
	dead := map[string]bool{}
	for _, s := range list {
		for _, v := range s.Offline {
			dead[v] = true
		}
	}
	for v := range dead {
		if !told[v] {
			l.say("volume %s has dead bricks: starting them", v)
		}
		_, err := l.Exec(ctx, l.nodes[0].Name, "gluster", "--mode=script", "volume", "start", v, "force")
		if err != nil && ctx.Err() == nil && !told[v] {
			l.say("volume %s: %v", v, err)
		}
		told[v] = true
	}
}
