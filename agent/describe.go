package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"bricklayer.csi/internal/volume"
)

// Describe implements Node. The slow parts are asked at once, and none of them
// starts a process.
func (l *Local) Describe(ctx context.Context) (Description, error) {
	if ctx.Err() != nil {
		return Description{}, l.at("describe node", "", context.Cause(ctx))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, describeTimeout, errors.New("it took longer than "+describeTimeout.String()))
	defer cancel()
	d := Description{Node: l.cfg.Node, Pool: l.cfg.Pool, Version: l.version, Protocol: Protocol, Policy: l.bricks.Told()}
	var all sync.WaitGroup
	var glusterd, processes error
	all.Go(func() { d.Roots = l.bricks.States(ctx) })
	all.Go(func() { glusterd = l.pingInTime(ctx) })
	all.Go(func() { d.BrickProcesses, d.BrickMemory, processes = l.facts.brickProcesses() })
	all.Wait()
	d.GlusterdReady = glusterd == nil
	if d.GlusterdReady {
		d.GlusterVersion = l.knownGlusterVersion()
	}
	d.problem("glusterd does not answer", glusterd)
	for _, r := range d.Roots {
		if r.Problem != "" {
			d.problem("brick root "+r.Name, errors.New(r.Problem))
		}
	}
	d.problem("brick processes", processes)
	l.describeHost(&d)
	return d, nil
}

// describeHost fills in what the kernel and the agent know by themselves.
func (l *Local) describeHost(d *Description) {
	var err error
	d.MemoryTotal, d.MemoryAvailable, err = l.facts.memory()
	d.problem("memory", err)
	d.MemoryPressure = l.facts.memoryPressure()
	d.Load = l.facts.load()
	d.Clock = time.Now().UTC()
	d.ClockSynchronised, err = clockSynchronised()
	d.problem("clock", err)
	if err == nil && !d.ClockSynchronised {
		d.problem("clock", errors.New("nothing keeps it synchronised; run chronyd or its like"))
	}
	d.CertificateExpires, err = l.certificate()
	d.problem("certificate", err)
}

func (d *Description) problem(what string, err error) {
	if err != nil {
		d.Problems = append(d.Problems, what+": "+err.Error())
	}
}

func (l *Local) pingInTime(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, pingTimeout, errors.New("no answer within "+pingTimeout.String()))
	defer cancel()
	err := l.ping(ctx)
	if err == nil {
		l.answered.SetToCurrentTime()
	}
	return err
}

// Ready returns nil where this node can serve volumes: glusterd answers, and one
// brick root at least can be used. Else it says what is missing, all of it.
func (l *Local) Ready(ctx context.Context) error {
	const op = "get ready"
	if err := l.pingInTime(ctx); err != nil {
		return l.at(op, "", &volume.Error{Kind: volume.Unavailable, Op: "reach glusterd", Err: err, Next: "see whether the service glusterd runs"})
	}
	var faults []error
	for _, r := range l.bricks.States(ctx) {
		if r.Problem == "" {
			return nil
		}
		faults = append(faults, errors.New("brick root "+r.Name+": "+r.Problem))
	}
	return l.at(op, "", &volume.Error{Kind: volume.Precondition, Err: errors.Join(faults...)})
}
