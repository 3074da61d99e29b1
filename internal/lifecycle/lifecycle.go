// Package lifecycle owns the idempotent use cases over the backends: one lock
// a volume, find, create or adopt or conflict, expand, delete, and undo.
//
// Both front ends (CSI and the provisioner) and the administrator's commands
// come through here, so that they cannot drift apart. It refuses to know how a
// backend works, and what gRPC or Kubernetes are.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"bricklayer.csi/internal/volume"
)

// undoTime bounds the removal of what a failed Create left, after the caller's
// own time may have run out.
const undoTime = 30 * time.Second

// Pools says which pools there are and which backends each serves.
type Pools interface {
	// Names returns the names of all pools, sorted.
	Names() []string
	// Heketi returns the name of the pool whose heketi has that address, and
	// false where no pool names it.
	Heketi(url string) (pool string, ok bool)
	// Defaults returns the parameters that a class of that pool may leave out, nil
	// where there is no such pool or it has none.
	Defaults(pool string) map[string]string
	// Backend returns a pool's backend of that name. NotFound where there is no
	// such pool, Precondition where the pool does not serve that backend.
	Backend(pool string, name volume.BackendName) (volume.Backend, error)
}

// Service carries out the use cases. Make it with New.
type Service struct {
	pools Pools
	locks *Locks
	log   *slog.Logger
}

// New returns a Service over the pools.
func New(pools Pools, log *slog.Logger) *Service {
	return &Service{pools: pools, locks: NewLocks(), log: log}
}

// Spec parses what a request gives into a Spec, with the pool filled in where
// there is just one. Errors are Invalid and name the field.
func (s *Service) Spec(name string, size volume.SizeRange, parameters map[string]string) (volume.Spec, error) {
	p, err := volume.ParseParameters(parameters)
	if err != nil {
		return volume.Spec{}, err
	}
	if err := s.poolOfHeketi(&p); err != nil {
		return volume.Spec{}, err
	}
	if p.Pool == "" {
		names := s.pools.Names()
		if len(names) != 1 {
			return volume.Spec{}, volume.NewFieldError("parameters.pool", "", "one of "+strings.Join(names, ", "))
		}
		p.Pool = names[0]
	}
	if _, err := s.pools.Backend(p.Pool, p.Backend()); err != nil {
		if volume.Is(err, volume.NotFound) {
			return volume.Spec{}, volume.NewFieldError("parameters.pool", p.Pool, "one of "+strings.Join(s.pools.Names(), ", "))
		}
		return volume.Spec{}, err
	}
	if p, err = s.parse(p.Pool, parameters); err != nil {
		return volume.Spec{}, err
	}
	return volume.NewSpec(name, size, p)
}

// parse reads the parameters of a class with the defaults of its pool beside them.
func (s *Service) parse(pool string, parameters map[string]string) (volume.Parameters, error) {
	p, err := volume.ParseOver(s.pools.Defaults(pool), parameters)
	p.Pool = pool
	return p, err
}

// poolOfHeketi fills in the pool of a class that names a heketi instead.
func (s *Service) poolOfHeketi(p *volume.Parameters) error {
	if p.Pool != "" || p.Heketi.URL == "" {
		return nil
	}
	var ok bool
	if p.Pool, ok = s.pools.Heketi(p.Heketi.URL); !ok {
		return volume.NewFieldError("parameters.resturl", p.Heketi.URL,
			"the address of a heketi that a StoragePool names in spec.heketi.url")
	}
	return nil
}

// Create returns the volume of that spec, Ready: the one that is there, or the
// one that it makes or finishes. Exists where the name is taken by a volume of
// another spec; Busy where another call works on the same volume.
func (s *Service) Create(ctx context.Context, spec volume.Spec) (volume.Volume, error) {
	h := spec.Handle()
	backend, unlock, err := s.enter(h, "create volume")
	if err != nil {
		return volume.Volume{}, err
	}
	defer unlock()

	v, err := backend.Create(ctx, spec)
	if kind := volume.KindOf(err); err != nil && kind.Definite() && kind != volume.Exists {
		err = errors.Join(err, s.undo(ctx, backend, h))
	}
	return v, err
}

// undo removes what a Create left that failed for certain, so that nobody has
// to call again. Where it fails the leftovers wait, marked, for the next call.
func (s *Service) undo(ctx context.Context, backend volume.Backend, h volume.Handle) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	err := backend.Undo(ctx, h)
	if err == nil || volume.Is(err, volume.Precondition) {
		return nil // undone, or it is another controller's volume and Ready
	}
	s.log.WarnContext(ctx, "a failed create could not be undone; the next call for this volume will do it",
		"volume", h.String(), "error", err)
	return fmt.Errorf("and undo it: %w", err)
}

// Get returns a Ready volume, or NotFound.
func (s *Service) Get(ctx context.Context, h volume.Handle) (volume.Volume, error) {
	backend, err := s.backend(h, "get volume")
	if err != nil {
		return volume.Volume{}, err
	}
	v, err := backend.Get(ctx, h)
	if err == nil && v.State != volume.Ready {
		return volume.Volume{}, &volume.Error{
			Kind: volume.NotFound, Op: "get volume", On: h.String(),
			Err: errors.New("it was never finished"), Next: "repeat the call that creates it, or delete it",
		}
	}
	return v, err
}

// List returns the Ready volumes of all pools and backends, sorted by handle.
func (s *Service) List(ctx context.Context) ([]volume.Volume, error) {
	var all []volume.Volume
	for _, pool := range s.pools.Names() {
		for _, name := range []volume.BackendName{volume.Plain, volume.Heketi} {
			backend, err := s.pools.Backend(pool, name)
			if volume.Is(err, volume.Precondition) || volume.Is(err, volume.NotFound) {
				continue // this pool has no such backend, or went away just now
			}
			if err != nil {
				return nil, err
			}
			some, err := backend.List(ctx, pool)
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
	}
	slices.SortFunc(all, func(a, b volume.Volume) int { return strings.Compare(a.Handle.String(), b.Handle.String()) })
	return all, nil
}

// Expand grows a volume to at least size.Required bytes and returns it.
func (s *Service) Expand(ctx context.Context, h volume.Handle, size volume.SizeRange) (volume.Volume, error) {
	backend, unlock, err := s.enter(h, "expand volume")
	if err != nil {
		return volume.Volume{}, err
	}
	defer unlock()
	return backend.Expand(ctx, h, size)
}

// Delete removes a volume. One that does not exist is no error; one whose pool
// is not configured is, because its data may be there.
func (s *Service) Delete(ctx context.Context, h volume.Handle) error {
	backend, unlock, err := s.enter(h, "delete volume")
	if err != nil {
		if volume.Is(err, volume.NotFound) {
			return &volume.Error{
				Kind: volume.Precondition, Op: "delete volume", On: h.String(), Err: err,
				Next: "configure the pool again so that its volume can be deleted",
			}
		}
		return err
	}
	defer unlock()
	return backend.Delete(ctx, h)
}

// Capacity returns what the pool named by the parameters can still take in
// these zones, or, where there are none, anywhere. Where the parameters name no
// pool, it is what all pools together can.
func (s *Service) Capacity(ctx context.Context, parameters map[string]string, zones []string) (volume.Capacity, error) {
	p, err := volume.ParseParameters(parameters)
	if err == nil {
		err = s.poolOfHeketi(&p)
	}
	if err == nil {
		_, err = p.Within(zones)
	}
	if err != nil {
		return volume.Capacity{}, err
	}
	names := s.pools.Names()
	if p.Pool != "" {
		names = []string{p.Pool}
	}
	var all volume.Capacity
	for _, name := range names {
		backend, err := s.pools.Backend(name, p.Backend())
		if volume.Is(err, volume.Precondition) && p.Pool == "" {
			continue // this pool serves no such volumes
		}
		if err != nil {
			return volume.Capacity{}, err
		}
		of, err := s.parse(name, parameters)
		if err == nil {
			of, err = of.Within(zones)
		}
		if err != nil {
			return volume.Capacity{}, err
		}
		c, err := backend.Capacity(ctx, name, of)
		if err != nil {
			return volume.Capacity{}, err
		}
		all = all.Plus(c)
	}
	return all, nil
}

// Health returns what is wrong with one volume.
func (s *Service) Health(ctx context.Context, h volume.Handle) (volume.Health, error) {
	backend, err := s.backend(h, "look after volume")
	if err != nil {
		return volume.Health{}, err
	}
	return backend.Health(ctx, h)
}

func (s *Service) backend(h volume.Handle, op string) (volume.Backend, error) {
	b, err := s.pools.Backend(h.Pool, h.Backend)
	if err != nil {
		return nil, &volume.Error{Kind: volume.KindOf(err), Op: op, On: h.String(), Err: err}
	}
	return b, nil
}

// enter finds the backend and takes the volume's lock.
func (s *Service) enter(h volume.Handle, op string) (volume.Backend, func(), error) {
	b, err := s.backend(h, op)
	if err != nil {
		return nil, nil, err
	}
	unlock, ok := s.locks.TryLock(h)
	if !ok {
		return nil, nil, &volume.Error{
			Kind: volume.Busy, Op: op, On: h.String(),
			Err: errors.New("another operation on this volume is in progress"), Next: "repeat the call later",
		}
	}
	return b, unlock, nil
}
