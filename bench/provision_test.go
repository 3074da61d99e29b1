package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bricklayer.csi/bench/host"
	"bricklayer.csi/bench/stats"
	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

// fakeMaker takes a time that it does not spend.
type fakeMaker struct {
	name    string
	took    time.Duration
	expands bool
	fail    string

	mu      sync.Mutex
	volumes map[string]bool
	most    int
	now     int
	calls   int
}

func (m *fakeMaker) Name() string             { return m.name }
func (m *fakeMaker) Kind() string             { return "fake" }
func (m *fakeMaker) Facts() map[string]string { return nil }

func (m *fakeMaker) do(verb, name string, there bool) (Took, error) {
	m.mu.Lock()
	m.now++
	m.most = max(m.most, m.now)
	m.calls++
	took := m.took + time.Duration(m.calls%7)*time.Millisecond
	m.mu.Unlock()
	defer func() { m.mu.Lock(); m.now--; m.mu.Unlock() }()
	if m.fail == verb {
		return Took{}, errors.New(verb + " failed")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.volumes == nil {
		m.volumes = map[string]bool{}
	}
	if there {
		m.volumes[name] = true
	} else {
		delete(m.volumes, name)
	}
	return Took{Whole: took}, nil
}

func (m *fakeMaker) Make(_ context.Context, name string) (Took, error) {
	return m.do("create", name, true)
}

func (m *fakeMaker) Source(_ context.Context, name string) (mount.Source, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.volumes[name] {
		return mount.Source{}, errors.New("no such volume: " + name)
	}
	return mount.Source{Servers: []string{"host"}, Volume: name}, nil
}

func (m *fakeMaker) Expand(_ context.Context, name string) (Took, bool, error) {
	took, err := m.do("expand", name, true)
	return took, m.expands, err
}

func (m *fakeMaker) Remove(_ context.Context, name string) (Took, error) {
	return m.do("delete", name, false)
}

func TestProvision(t *testing.T) {
	ours, theirs := &fakeMaker{name: "plain", took: 2 * time.Second, expands: true}, &fakeMaker{name: "hand", took: time.Second}
	r, err := Provision(t.Context(), ProvisionPlan{
		Makers: []Maker{ours, theirs}, Rounds: 5, WarmUp: 1, Volumes: 6, Concurrency: 3, Existing: []int{4}, Run: "bench-1",
	}, Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	if len(ours.volumes)+len(theirs.volumes) != 0 {
		t.Errorf("left: %v, %v", ours.volumes, theirs.volumes)
	}
	if ours.most > 3 || theirs.most > 3 {
		t.Errorf("%d and %d at once, want at most 3", ours.most, theirs.most)
	}
	for verb, want := range map[string]bool{verbCreate: true, verbDelete: true, verbExpand: false} {
		ratio, ok := r.Ratio(verb, "plain", "hand")
		if ok != want || ok && (ratio.Verdict != stats.Lower || ratio.Median < 0.4 || ratio.Median > 0.6) {
			t.Errorf("%s: %+v, %v; want half as many a second", verb, ratio, ok)
		}
	}
	if n := len(r.values(verbExpand, "plain")); n != 5 {
		t.Errorf("%d rounds of expand, want 5", n)
	}
}

func TestProvisionGoesOn(t *testing.T) {
	for _, verb := range []string{"create", "expand", "delete"} {
		bad, good := &fakeMaker{name: "bad", took: time.Second, expands: true, fail: verb}, &fakeMaker{name: "good", took: time.Second, expands: true}
		r, err := Provision(t.Context(), ProvisionPlan{Makers: []Maker{bad, good}, Rounds: 5, Volumes: 2, Concurrency: 2, Existing: []int{0}, Run: "bench-1"}, Hooks{})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.values(verbCreate, "good")) != 5 {
			t.Errorf("%s fails on one target: the other has %d rounds", verb, len(r.values(verbCreate, "good")))
		}
		if faults := strings.Join(r.Faults(), "\n"); !strings.Contains(faults, verb+" failed") {
			t.Errorf("%s: faults %s", verb, faults)
		}
		if verb != "delete" && len(bad.volumes) != 0 {
			t.Errorf("%s: left %v", verb, bad.volumes)
		}
	}
}

// Where volumes are mounted that is measured, and nothing stays mounted: not where
// the mount fails either, and then the volumes are deleted.
func TestProvisionPublishes(t *testing.T) {
	for name, mountErr := range map[string]error{"mounts": nil, "does not mount": errors.New("no")} {
		t.Run(name, func(t *testing.T) {
			_, mounter, mounts := newVolumes(t)
			mounter.mountErr = mountErr
			m := &fakeMaker{name: "plain", took: time.Second, expands: true}
			r, err := Provision(t.Context(), ProvisionPlan{
				Makers: []Maker{m}, Rounds: 2, Volumes: 2, Concurrency: 1, Existing: []int{0}, Mounts: mounts, Run: "bench-1",
			}, Hooks{})
			if err != nil {
				t.Fatal(err)
			}
			if left, err := os.ReadDir(mounts.Dir); len(mounter.at) != 0 || len(left) != 0 || err != nil || len(m.volumes) != 0 {
				t.Errorf("left: mounts %v, directories %v (%v), volumes %v", mounter.at, left, err, m.volumes)
			}
			want := 2
			if mountErr != nil {
				want = 0
			}
			if n := len(r.values(verbPublish, "plain")); n != want || (len(r.Faults()) > 0) != (mountErr != nil) {
				t.Errorf("%d rounds of publish, want %d; faults %v", n, want, r.Faults())
			}
			if r.Jobs[1].Verb != verbPublish {
				t.Errorf("the second job is %+v", r.Jobs[1])
			}
		})
	}
}

func TestProvisionInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := &fakeMaker{name: "plain", took: time.Second, expands: true}
	r, err := Provision(ctx, ProvisionPlan{Makers: []Maker{m}, Rounds: 9, Volumes: 2, Concurrency: 1, Existing: []int{2}, Run: "bench-1"}, Hooks{
		Progress: func(p Progress) {
			if p.Done == 3 {
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) || len(m.volumes) != 0 || len(r.values(verbCreate, "plain")) != 3 {
		t.Errorf("%v; left %v; %d rounds, want 3", err, m.volumes, len(r.values(verbCreate, "plain")))
	}
}

func TestProvisionPlanRefuses(t *testing.T) {
	good := ProvisionPlan{Makers: []Maker{&fakeMaker{name: "a"}}, Rounds: 1, Volumes: 1, Concurrency: 1, Existing: []int{0}}
	for want, change := range map[string]func(*ProvisionPlan){
		"nothing":     func(p *ProvisionPlan) { p.Makers = nil },
		"rounds":      func(p *ProvisionPlan) { p.Rounds = 0 },
		"volumes":     func(p *ProvisionPlan) { p.Volumes = 0 },
		"concurrency": func(p *ProvisionPlan) { p.Concurrency = 2 },
		"existing":    func(p *ProvisionPlan) { p.Existing = []int{10, 5} },
		"baseline":    func(p *ProvisionPlan) { p.Baseline = "b" },
	} {
		p := good
		change(&p)
		if _, err := Provision(t.Context(), p, Hooks{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
}

// TestHandMaker has a gluster of ours that notes what it is told.
func TestHandMaker(t *testing.T) {
	bin, root := t.TempDir(), t.TempDir()
	said := filepath.Join(bin, "said")
	if err := os.WriteFile(filepath.Join(bin, "gluster"), []byte("#!/bin/sh\necho \"$*\" >>"+said+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	h := host.Host{Prefix: []string{"env", "PATH=" + bin + ":/usr/bin:/bin"}}
	var nodes []HandNode
	for _, a := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
		nodes = append(nodes, HandNode{a, root + "/" + a, h})
	}
	typ, err := volume.ParseType("replicate:3")
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewHandMaker("hand", typ, nodes)
	if err != nil {
		t.Fatal(err)
	}
	took, err := m.Make(t.Context(), "v1")
	if err != nil || took.Whole <= 0 {
		t.Fatalf("%v, %v", took, err)
	}
	if _, err := os.Stat(root + "/10.0.0.3/v1/brick"); err != nil {
		t.Error(err)
	}
	if took, err := m.Remove(t.Context(), "v1"); err != nil || took.Whole <= 0 {
		t.Errorf("%v, %v", took, err)
	}
	if left, _ := filepath.Glob(root + "/*/v1"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	data, err := os.ReadFile(said)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"volume create v1 replica 3 10.0.0.1:" + root + "/10.0.0.1/v1/brick", "volume start v1", "volume stop v1", "volume delete v1"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %q in:\n%s", want, data)
		}
	}
	if _, err := NewHandMaker("hand", typ, nodes[:2]); err == nil {
		t.Error("three bricks on two nodes: no error")
	}
	if _, err := m.Make(t.Context(), "v;rm"); err == nil {
		t.Error("a name that is none: no error")
	}
}
