//go:build lab

package plain_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/lab"
)

// struck calls strike once, when the first verb of that name is on its way to a
// real node, and then lets the verb run into whatever that did.
type struck struct {
	agent.Node

	verb   string
	once   *sync.Once
	strike func()
}

func (s struck) at(verb string) {
	if verb == s.verb {
		s.once.Do(s.strike)
	}
}

func (s struck) MakeBrick(ctx context.Context, r brick.MakeRequest) (brick.Brick, error) {
	s.at("MakeBrick")
	return s.Node.MakeBrick(ctx, r)
}

func (s struck) RemoveBrick(ctx context.Context, r brick.RemoveRequest) error {
	s.at("RemoveBrick")
	return s.Node.RemoveBrick(ctx, r)
}

func (s struck) SetQuota(ctx context.Context, ref brick.Ref, q brick.Quota) (brick.Brick, error) {
	s.at("SetQuota")
	return s.Node.SetQuota(ctx, ref, q)
}

func (s struck) CreateVolume(ctx context.Context, r gluster.CreateRequest) error {
	s.at("CreateVolume")
	return s.Node.CreateVolume(ctx, r)
}

func (s struck) SetOptions(ctx context.Context, name string, options []gluster.Option) error {
	s.at("SetOptions")
	return s.Node.SetOptions(ctx, name, options)
}

func (s struck) StartVolume(ctx context.Context, name string) error {
	s.at("StartVolume")
	return s.Node.StartVolume(ctx, name)
}

func (s struck) StopVolume(ctx context.Context, name string) error {
	s.at("StopVolume")
	return s.Node.StopVolume(ctx, name)
}

func (s struck) DeleteVolume(ctx context.Context, name string) error {
	s.at("DeleteVolume")
	return s.Node.DeleteVolume(ctx, name)
}

// victim is a process on every storage node that is killed (-9) and later started again.
type victim struct {
	name        string
	kill, start func(ctx context.Context, node string) error
}

// Each kind of step of create, expand and delete meets the sudden death of the
// part that carries it out; the repeated call brings everything to its end.
func TestKilledAtEachKindOfStep(t *testing.T) {
	l := lab.Current()
	agents := victim{"agent", l.KillAgent, l.StartAgent}
	glusterd := victim{"glusterd", l.KillGlusterd, l.StartGlusterd}
	create := func(ctx context.Context, b volume.Backend, spec volume.Spec) error {
		_, err := b.Create(ctx, spec)
		return err
	}
	expand := func(ctx context.Context, b volume.Backend, spec volume.Spec) error {
		_, err := b.Expand(ctx, spec.Handle(), volume.SizeRange{Required: 128 * volume.MiB})
		return err
	}
	remove := func(ctx context.Context, b volume.Backend, spec volume.Spec) error {
		return b.Delete(ctx, spec.Handle())
	}
	tests := []struct {
		use    string
		run    func(ctx context.Context, b volume.Backend, spec volume.Spec) error
		verb   string
		victim victim
		size   volume.Size // of the volume afterwards; 0 means that there is none
	}{
		{"create", create, "MakeBrick", agents, 64 * volume.MiB},
		{"create", create, "CreateVolume", glusterd, 64 * volume.MiB},
		{"create", create, "SetOptions", agents, 64 * volume.MiB},
		{"create", create, "StartVolume", glusterd, 64 * volume.MiB},
		{"expand", expand, "SetQuota", agents, 128 * volume.MiB},
		{"expand", expand, "SetOptions", glusterd, 128 * volume.MiB},
		{"delete", remove, "StopVolume", glusterd, 0},
		{"delete", remove, "DeleteVolume", agents, 0},
		{"delete", remove, "RemoveBrick", agents, 0},
	}
	short := []string{"StartVolume", "SetQuota", "DeleteVolume"} // one of each use, with -short
	for _, test := range tests {
		t.Run(test.use+"/"+test.verb+"/"+test.victim.name, func(t *testing.T) {
			if testing.Short() && !slices.Contains(short, test.verb) {
				t.Skip("it takes half a minute; make test-lab-long runs it")
			}
			spec := labtest.Spec(t, "killed", 64*volume.MiB)
			healthy := labtest.Backend(t)
			if test.use != "create" {
				if err := create(labContext(t), healthy, spec); err != nil {
					t.Fatal(err)
				}
			}
			config := labtest.Config(t)
			once := &sync.Once{}
			for i := range config.Nodes {
				config.Nodes[i].Agent = struck{Node: config.Nodes[i].Agent, verb: test.verb, once: once, strike: func() { everywhere(t, test.victim.kill) }}
			}
			err := test.run(labContext(t), labtest.NewBackend(config), spec)
			if err == nil {
				t.Logf("it succeeded all the same")
			} else if volume.KindOf(err).Definite() {
				t.Errorf("a part that died is taken for a refusal: %v (%v)", err, volume.KindOf(err))
			}
			everywhere(t, test.victim.start)
			_, err = persist(t.Context(), func(ctx context.Context) (volume.Volume, error) {
				return volume.Volume{}, test.run(ctx, healthy, spec)
			})
			if err != nil {
				t.Fatalf("the repeated call: %v", err)
			}
			v, err := healthy.Get(labContext(t), spec.Handle())
			if test.size == 0 && !volume.Is(err, volume.NotFound) || test.size != 0 && (err != nil || v.Size != test.size || v.State != volume.Ready) {
				t.Errorf("afterwards: %+v, %v; want size %d", v, err, test.size)
			}
			mustDelete(t, healthy, spec.Handle())
			labtest.CheckEmpty(t)
		})
	}
}

// everywhere does something on all nodes at once.
func everywhere(t *testing.T, f func(ctx context.Context, node string) error) {
	var wg sync.WaitGroup
	for _, n := range lab.Current().Nodes() {
		wg.Go(func() {
			if err := f(labContext(t), n.Name); err != nil {
				t.Errorf("node %s: %v", n.Name, err)
			}
		})
	}
	wg.Wait()
}
