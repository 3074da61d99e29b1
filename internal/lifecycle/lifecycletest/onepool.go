// Package lifecycletest owns what tests of several packages need to put the
// use cases over a single backend. It refuses to know which one.
package lifecycletest

import (
	"log/slog"

	"bricklayer.csi/internal/lifecycle"
	"bricklayer.csi/internal/volume"
)

// OnePool is one pool with one backend; it implements lifecycle.Pools.
type OnePool struct {
	Pool string
	// Name says which backend it is.
	Name    volume.BackendName
	Backing volume.Backend
	// HeketiURL is the address that the pool gives its heketi, if it has one.
	HeketiURL string
	// Parameters are those that a class may leave out.
	Parameters map[string]string
}

// Service returns the use cases over that pool, silent.
func (p OnePool) Service() *lifecycle.Service {
	return lifecycle.New(p, slog.New(slog.DiscardHandler))
}

// Names returns the pool's name.
func (p OnePool) Names() []string { return []string{p.Pool} }

// Heketi finds the pool by its heketi's address.
func (p OnePool) Heketi(url string) (string, bool) {
	return p.Pool, p.HeketiURL != "" && p.HeketiURL == url
}

// Defaults returns the parameters that a class may leave out.
func (p OnePool) Defaults(string) map[string]string { return p.Parameters }

// Backend returns the backend, as the controller's wiring does.
func (p OnePool) Backend(pool string, name volume.BackendName) (volume.Backend, error) {
	if pool != p.Pool {
		return nil, &volume.Error{Kind: volume.NotFound, Op: "find pool", On: pool}
	}
	if name != p.Name {
		return nil, &volume.Error{Kind: volume.Precondition, Op: "find backend", On: pool}
	}
	return p.Backing, nil
}
