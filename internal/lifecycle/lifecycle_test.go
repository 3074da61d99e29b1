package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"bricklayer.csi/internal/volume"
)

// scripted is a backend whose answers a test writes; what it does not expect fails.
type scripted struct {
	volume.Backend

	create func(ctx context.Context, spec volume.Spec) (volume.Volume, error)
	undo   func(ctx context.Context, h volume.Handle) error
	get    func(ctx context.Context, h volume.Handle) (volume.Volume, error)
	list   func(ctx context.Context, pool string) ([]volume.Volume, error)
	delete func(ctx context.Context, h volume.Handle) error
}

func (s *scripted) Create(ctx context.Context, spec volume.Spec) (volume.Volume, error) {
	return s.create(ctx, spec)
}
func (s *scripted) Undo(ctx context.Context, h volume.Handle) error { return s.undo(ctx, h) }
func (s *scripted) Get(ctx context.Context, h volume.Handle) (volume.Volume, error) {
	return s.get(ctx, h)
}

func (s *scripted) List(ctx context.Context, pool string) ([]volume.Volume, error) {
	return s.list(ctx, pool)
}
func (s *scripted) Delete(ctx context.Context, h volume.Handle) error { return s.delete(ctx, h) }

// somePools serves plain backends by pool name.
type somePools map[string]volume.Backend

func (somePools) Heketi(string) (string, bool) { return "", false }

// Defaults are those of pool tin alone.
func (somePools) Defaults(pool string) map[string]string {
	if pool == "tin" {
		return map[string]string{"volumetype": "replicate:2", "volumeprofile": "database", "snapfactor": "2"}
	}
	return nil
}

func (p somePools) Names() []string {
	names := make([]string, 0, len(p))
	for _, n := range []string{"gold", "lab", "tin"} {
		if _, ok := p[n]; ok {
			names = append(names, n)
		}
	}
	return names
}

func (p somePools) Backend(pool string, name volume.BackendName) (volume.Backend, error) {
	b, ok := p[pool]
	switch {
	case !ok:
		return nil, &volume.Error{Kind: volume.NotFound, Op: "find pool", On: pool}
	case name != volume.Plain:
		return nil, &volume.Error{Kind: volume.Precondition, Op: "find backend", On: pool}
	}
	return b, nil
}

func service(pools somePools) *Service { return New(pools, slog.New(slog.DiscardHandler)) }

func spec(t *testing.T, s *Service, name string) volume.Spec {
	t.Helper()
	sp, err := s.Spec(name, volume.SizeRange{Required: volume.GiB}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sp
}

func TestSpecFillsInTheOnlyPool(t *testing.T) {
	one := service(somePools{"lab": nil})
	if got := spec(t, one, "a").Handle(); got.String() != "bl1.plain.lab.a" {
		t.Errorf("got %v", got)
	}
	two := service(somePools{"lab": nil, "tin": nil})
	_, err := two.Spec("a", volume.SizeRange{}, nil)
	if !volume.Is(err, volume.Invalid) || !strings.Contains(err.Error(), "lab, tin") {
		t.Errorf("with two pools and none named: %v", err)
	}
	_, err = two.Spec("a", volume.SizeRange{}, map[string]string{"pool": "gold"})
	if !volume.Is(err, volume.Invalid) || !strings.Contains(err.Error(), "parameters.pool") {
		t.Errorf("an unknown pool: %v", err)
	}
	_, err = one.Spec("a", volume.SizeRange{}, map[string]string{"lvm": "true"})
	if !volume.Is(err, volume.Precondition) {
		t.Errorf("a pool without that backend: %v", err)
	}
}

// What failed for certain is undone, also when the caller has gone; what may
// have happened is left for the next call; what is another's is left alone.
func TestSpecTakesThePoolsDefaults(t *testing.T) {
	s := service(somePools{"lab": &scripted{}, "tin": &scripted{}})
	for want, class := range map[string]map[string]string{
		"tin replicate:2 database":  {"pool": "tin", "lvm": "false"},
		"tin none database":         {"pool": "tin", "lvm": "false", "VolumeType": "none"},
		"tin replicate:2 big-files": {"pool": "tin", "lvm": "false", "volumeprofile": "big-files"},
		"lab replicate:3 general":   {"pool": "lab", "lvm": "false"},
	} {
		sp, err := s.Spec("v", volume.SizeRange{Required: volume.GiB}, class)
		p := sp.Parameters
		if got := fmt.Sprintf("%s %s %s", p.Pool, p.Type, p.Profile); err != nil || got != want {
			t.Errorf("%v: got %s, %v; want %s", class, got, err, want)
		}
	}
}

func TestCreateUndoesOnlyWhatFailedForCertain(t *testing.T) {
	for _, kind := range volume.Kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			undone := 0
			ctx, cancel := context.WithCancel(t.Context())
			b := &scripted{
				create: func(context.Context, volume.Spec) (volume.Volume, error) {
					cancel()
					return volume.Volume{}, &volume.Error{Kind: kind, Op: "test"}
				},
				undo: func(ctx context.Context, _ volume.Handle) error {
					undone++
					return ctx.Err()
				},
			}
			s := service(somePools{"lab": b})
			_, err := s.Create(ctx, spec(t, s, "a"))
			if volume.KindOf(err) != kind {
				t.Errorf("got %v, want the kind kept", err)
			}
			want := 0
			if kind.Definite() && kind != volume.Exists {
				want = 1
			}
			if undone != want {
				t.Errorf("undone %d times, want %d", undone, want)
			}
		})
	}
}

func TestCreateSaysWhenUndoFailed(t *testing.T) {
	b := &scripted{
		create: func(context.Context, volume.Spec) (volume.Volume, error) {
			return volume.Volume{}, &volume.Error{Kind: volume.Exhausted, Op: "place"}
		},
		undo: func(context.Context, volume.Handle) error { return errors.New("node n2 is gone") },
	}
	s := service(somePools{"lab": b})
	_, err := s.Create(t.Context(), spec(t, s, "a"))
	if !volume.Is(err, volume.Exhausted) || !strings.Contains(err.Error(), "n2 is gone") {
		t.Errorf("got %v", err)
	}
}

func TestOneOperationAVolume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := &scripted{
			create: func(context.Context, volume.Spec) (volume.Volume, error) {
				<-release
				return volume.Volume{}, nil
			},
			delete: func(context.Context, volume.Handle) error { return nil },
		}
		s := service(somePools{"lab": b})
		a := spec(t, s, "a")
		done := make(chan error)
		go func() {
			_, err := s.Create(t.Context(), a)
			done <- err
		}()
		synctest.Wait()
		if _, err := s.Create(t.Context(), a); !volume.Is(err, volume.Busy) {
			t.Errorf("a second create: %v, want Busy", err)
		}
		if err := s.Delete(t.Context(), a.Handle()); !volume.Is(err, volume.Busy) {
			t.Errorf("a delete meanwhile: %v, want Busy", err)
		}
		if err := s.Delete(t.Context(), spec(t, s, "b").Handle()); err != nil {
			t.Errorf("another volume: %v", err)
		}
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Delete(t.Context(), a.Handle()); err != nil {
			t.Errorf("after the create: %v", err)
		}
	})
}

func TestDeleteInAnUnknownPoolKeepsTheData(t *testing.T) {
	s := service(somePools{"lab": &scripted{}})
	err := s.Delete(t.Context(), volume.Handle{Backend: volume.Plain, Pool: "gold", Name: "a"})
	if !volume.Is(err, volume.Precondition) {
		t.Errorf("got %v; a delete that nobody carried out must not look like success", err)
	}
}

func TestGetHidesUnfinishedVolumes(t *testing.T) {
	b := &scripted{get: func(_ context.Context, h volume.Handle) (volume.Volume, error) {
		return volume.Volume{Handle: h, State: volume.Partial}, nil
	}}
	s := service(somePools{"lab": b})
	if _, err := s.Get(t.Context(), spec(t, s, "a").Handle()); !volume.Is(err, volume.NotFound) {
		t.Errorf("got %v, want NotFound", err)
	}
}

func TestListSortsOverPools(t *testing.T) {
	lists := func(names ...string) *scripted {
		return &scripted{list: func(_ context.Context, pool string) (out []volume.Volume, _ error) {
			for _, n := range names {
				out = append(out, volume.Volume{Handle: volume.Handle{Backend: volume.Plain, Pool: pool, Name: n}})
			}
			return out, nil
		}}
	}
	all, err := service(somePools{"tin": lists("a"), "lab": lists("z", "b")}).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := make([]string, 0, len(all))
	for _, v := range all {
		got = append(got, v.Handle.String())
	}
	if want := "bl1.plain.lab.b bl1.plain.lab.z bl1.plain.tin.a"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// roomy is a backend that tells which zones it was asked for.
type roomy struct {
	volume.Backend

	asked *[]string
}

func (r roomy) Capacity(_ context.Context, _ string, p volume.Parameters) (volume.Capacity, error) {
	*r.asked = p.Zones
	return volume.Capacity{Available: 3 * volume.GiB, Largest: volume.GiB, Smallest: 1}, nil
}

func TestCapacityOfZonesAndPools(t *testing.T) {
	var asked []string
	s := service(somePools{"lab": roomy{asked: &asked}, "tin": roomy{asked: &asked}})
	room, err := s.Capacity(t.Context(), nil, []string{"z1", "z2"})
	if err != nil || room.Available != 6*volume.GiB || room.Largest != volume.GiB || strings.Join(asked, " ") != "z1 z2" {
		t.Errorf("two pools: %+v, %v, asked for zones %v", room, err, asked)
	}
	if room, err = s.Capacity(t.Context(), map[string]string{"pool": "tin"}, nil); err != nil || room.Available != 3*volume.GiB || asked != nil {
		t.Errorf("one pool: %+v, %v, asked for zones %v", room, err, asked)
	}
	for name, parameters := range map[string]map[string]string{
		"a heketi of no pool":   {"resturl": "http://heketi.example:8080"},
		"zones where lvm is on": {"lvm": "true"},
	} {
		if _, err := s.Capacity(t.Context(), parameters, []string{"z1"}); !volume.Is(err, volume.Invalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}
