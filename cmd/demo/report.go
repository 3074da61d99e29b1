package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	benchlib "bricklayer.csi/bench"
	"bricklayer.csi/lab/chart"
)

// exhibit is a command and what it said.
type exhibit struct{ where, command, said string }

// exhibits asks the tools that an administrator trusts, while all volumes are there.
func (s *story) exhibits(ctx context.Context) ([]exhibit, error) {
	var all []exhibit
	add := func(where, command string, run func(argv ...string) ([]byte, error)) error {
		out, err := run("sh", "-ec", command)
		all = append(all, exhibit{where, command, string(out)})
		return err
	}
	for i, n := range s.lab.Nodes() {
		on := func(argv ...string) ([]byte, error) { return s.lab.Exec(ctx, n.Name, argv...) }
		commands := []string{
			"lvs --units m -o lv_name,vg_name,lv_size,pool_lv,data_percent,metadata_percent,chunk_size,zero",
			"find " + root + " -mindepth 2 -maxdepth 3 -name brick",
			"xfs_quota -x -c 'report -p -n -h' " + root,
			"grep xfs /proc/self/mounts",
		}
		if i == 0 {
			commands = append(commands, "gluster --mode=script volume info", "glusterfs --version | head -n 1; uname -srm")
		}
		for _, c := range commands {
			if err := add("node "+n.Name, c, on); err != nil {
				return nil, err
			}
		}
	}
	w := s.worker()
	here := func(argv ...string) ([]byte, error) { return s.lab.InWorker(ctx, w, argv...) }
	var dirs []string
	for _, a := range s.actors {
		dirs = append(dirs, a.dir)
	}
	for _, c := range []string{"df -h " + strings.Join(dirs, " "), "grep glusterfs /proc/self/mounts", "pgrep -a -x glusterfs", "uname -srm"} {
		if err := add("worker "+w, c, here); err != nil {
			return nil, err
		}
	}
	for _, args := range [][]string{
		{"get", "storageclass,pvc,pv,pods", "-o", "wide"},
		{"-n", chart.Namespace, "get", "pods", "-o", "wide"},
	} {
		out, err := s.lab.Kubectl(ctx, args...)
		if err != nil {
			return nil, err
		}
		all = append(all, exhibit{"this machine", "kubectl " + strings.Join(args, " "), string(out)})
	}
	return all, nil
}

// method says how the figures came about and what they are worth.
func method(o options) string {
	return fmt.Sprintf(`A claim takes from kubectl apply to Bound, its mount from kubectl apply to both pods
Ready, its delete from kubectl delete to the PersistentVolume's end; the starts of kubectl
are part of it. By hand: mkdir and xfs_quota on all nodes at once, gluster volume create
and start; xfs_quota again to expand; stop, delete and rm -rf on all nodes at once. The
times of steps are of one run each and vary by tenths of a second, with heketi by seconds.
fio ran on worker w1, in the directory that kubelet gave to the pod: medians of %d rounds
(least to most), volumes in the order A B C, then C B A; %d s each on a file written
before, one request at a time. Ratios are medians of the rounds' ratios. CPU is of this
whole machine, whatever else ran on it; disk is the busiest one of the storage nodes.`, o.rounds, o.seconds)
}

// document is the report.
func (s *story) document(now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# The same volume three times\n\n%s. %d storage nodes (User-Mode Linux) and a Kubernetes on a machine of %d processors, %s.\n\n",
		now.UTC().Format("2006-01-02 15:04 MST"), s.nodes(), runtime.NumCPU(), s.bench.version)
	b.WriteString("The claims differ in the name of their class:\n\n```\n")
	for _, a := range s.actors {
		if ours, ok := a.side.(*byClaim); ok {
			b.WriteString("---\n" + ours.claim(firstSize))
		}
	}
	b.WriteString("```\n\n" + s.table.markdown() + "\n" + s.bench.verdict() + "\n\n" + method(s.options) + "\n")
	b.WriteString("\n## Getting ready\n\n" + s.ready.markdown())
	b.WriteString("\n## Every run of fio\n\n" + s.bench.everyRun(s.table.head).markdown())
	b.WriteString("\n## What the tools said while all three volumes were there\n")
	for _, e := range s.proof {
		fmt.Fprintf(&b, "\nOn %s: `%s`\n\n```\n%s\n```\n", e.where, e.command, strings.TrimRight(e.said, "\n"))
	}
	return b.String()
}

func (s *story) nodes() int {
	if s.lab == nil {
		return 0
	}
	return len(s.lab.Nodes())
}

// everyRun is the raw values, a row a job and round.
func (b *bench) everyRun(head []string) *table {
	t := &table{head: head}
	for at, j := range b.jobs {
		for round := range b.rounds {
			var cells []string
			for volume := range b.runs[at] {
				r := b.runs[at][volume][round]
				cells = append(cells, fmt.Sprintf("%s %s (CPU %s, disk %s)", benchlib.Short(j.figure(r.measured)), j.unit, percent(r.cpu), percent(r.disk)))
			}
			t.add(fmt.Sprintf("%s, round %d", j.name, round+1), cells...)
		}
	}
	return t
}
