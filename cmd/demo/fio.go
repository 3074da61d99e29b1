package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	benchfio "bricklayer.csi/bench/fio"
	"bricklayer.csi/lab"
)

const (
	// fioFile is what all jobs of a volume work on. It is written whole before the
	// first of them: writes find their blocks allocated, as a database's do.
	fioFile  = "fio"
	fioBytes = 64 * mib
	// fioPatience is how long fio may take beyond the time that it was given.
	fioPatience = 2 * time.Minute
)

// job is one thing that fio does.
type job struct {
	name  string // as fio and the table have it
	title string
	// direction is read or write.
	direction string
	args      []string
	// unit and figure are how its result is shown.
	unit   string
	figure func(measured) float64
}

func iops(m measured) float64      { return m.iops }
func mibPerSec(m measured) float64 { return m.bytesPerSecond / mib }

// jobs are what the demo runs. Reads go past the client's page cache (O_DIRECT),
// or it would answer them all.
func jobs() []job {
	return []job{
		{
			"randwrite", "fio: 4k random write, fsync after each", "write",
			[]string{"--rw=randwrite", "--bs=4k", "--fsync=1"},
			"IOPS", iops,
		},
		{
			"seqwrite", "fio: 1M sequential write, fsync every 16", "write",
			[]string{"--rw=write", "--bs=1M", "--fsync=16"},
			"MiB/s", mibPerSec,
		},
		{
			"randread", "fio: 4k random read, O_DIRECT", "read",
			[]string{"--rw=randread", "--bs=4k", "--direct=1"},
			"IOPS", iops,
		},
	}
}

// fio runs one job in a directory of a worker. The seed is the same for all volumes
// of a round.
func fio(ctx context.Context, l *lab.Lab, dir string, j job, seed int, extra ...string) (measured, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, fioPatience, errors.New("it did not end in "+fioPatience.String()))
	defer cancel()
	args := []string{
		"fio", "--name=" + j.name, "--directory=" + dir, "--filename=" + fioFile, "--size=" + strconv.Itoa(fioBytes),
		"--ioengine=psync", "--thread", "--randseed=" + strconv.Itoa(seed), "--output-format=json",
	}
	out, err := l.InWorker(ctx, l.Workers()[0].Name, append(append(args, j.args...), extra...)...)
	if err == nil {
		var m measured
		if m, err = parseFio(out, j.name, j.direction); err == nil {
			return m, nil
		}
	}
	return measured{}, fmt.Errorf("fio job %s in %s: %w", j.name, dir, err)
}

// layOut writes the file that the jobs work on.
func layOut(ctx context.Context, l *lab.Lab, dir string) error {
	lay := job{"layout", "", "write", []string{"--rw=write", "--bs=1M", "--end_fsync=1"}, "", nil}
	_, err := fio(ctx, l, dir, lay, 1)
	return err
}

// run is one job on one volume in one round.
type run struct {
	measured
	load
}

// bench runs every job on every volume, round by round, on the first worker: where
// a pod has it mounted, past the pod.
type bench struct {
	lab      *lab.Lab
	jobs     []job
	rounds   int
	duration time.Duration
	// runs are by job, volume and round.
	runs [][][]run
	// version is fio's.
	version string
}

// each calls do for all volumes of a round in the order A B C, in the next round
// C B A: what the machine drifts by, and what one leaves undone for the next, then
// falls on all alike.
func each(volumes, round int, do func(volume int) error) error {
	for i := range volumes {
		if round%2 == 1 {
			i = volumes - 1 - i
		}
		if err := do(i); err != nil {
			return err
		}
	}
	return nil
}

// round runs each job once on each volume.
func (b *bench) round(ctx context.Context, dirs []string, round int) error {
	for at, j := range b.jobs {
		err := each(len(dirs), round, func(v int) error {
			r, err := b.once(ctx, dirs[v], j, round)
			b.runs[at][v] = append(b.runs[at][v], r)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) once(ctx context.Context, dir string, j job, round int) (run, error) {
	before, err := look(ctx, b.lab)
	if err != nil {
		return run{}, err
	}
	seconds := strconv.Itoa(int(b.duration.Seconds()))
	m, err := fio(ctx, b.lab, dir, j, round+1, "--time_based", "--runtime="+seconds)
	if err != nil {
		return run{}, err
	}
	b.version = m.version
	after, err := look(ctx, b.lab)
	return run{m, before.until(after)}, err
}

func newBench(l *lab.Lab, volumes int, o options) *bench {
	b := &bench{lab: l, jobs: jobs(), rounds: o.rounds, duration: time.Duration(o.seconds) * time.Second}
	for range b.jobs {
		b.runs = append(b.runs, make([][]run, volumes))
	}
	return b
}

// measured is what the demo keeps of one run of fio.
type measured struct {
	version string
	// iops and bytesPerSecond are of the one direction that the job has.
	iops, bytesPerSecond float64
}

// parseFio reads what fio wrote about a job that shall only read, or only write.
func parseFio(data []byte, job, direction string) (measured, error) {
	o, err := benchfio.Parse(data, job)
	if err != nil {
		return measured{}, err
	}
	did, other := o.Read, o.Write
	if direction == "write" {
		did, other = other, did
	}
	if did.Requests == 0 || did.IOPS == 0 || did.Bytes == 0 || other.Requests != 0 {
		return measured{}, fmt.Errorf("fio's output: %d reads and %d writes: want a job that shall only %s to do that, and nothing else",
			o.Read.Requests, o.Write.Requests, direction)
	}
	return measured{o.Version, did.IOPS, did.Bytes}, nil
}
