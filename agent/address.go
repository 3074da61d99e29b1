package agent

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// addresses tells this host's own addresses from those of others.
type addresses struct {
	// own and lookup are net.InterfaceAddrs and the resolver (tests put others in).
	own    func() ([]net.Addr, error)
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// lookupTimeout bounds a look-up: bricks are mostly called by their IP addresses.
const lookupTimeout = 2 * time.Second

// isOurs reports whether host is certainly this one.
func (a addresses) isOurs(ctx context.Context, host string) bool {
	ours, known := a.judge(ctx, host)
	return known && ours
}

// mayBeOurs reports whether host is this one, or whether that cannot be said.
func (a addresses) mayBeOurs(ctx context.Context, host string) bool {
	ours, known := a.judge(ctx, host)
	return !known || ours
}

func (a addresses) judge(ctx context.Context, host string) (ours, known bool) {
	list := a.own
	if list == nil {
		list = net.InterfaceAddrs
	}
	own, err := list()
	if err != nil {
		return false, false
	}
	candidates, err := a.resolve(ctx, host)
	if err != nil || len(candidates) == 0 {
		return false, false
	}
	for _, c := range candidates {
		if c.Unmap().IsLoopback() {
			return true, true // Debian calls a host's own name 127.0.1.1
		}
	}
	for _, o := range own {
		prefix, err := netip.ParsePrefix(o.String())
		if err != nil {
			continue
		}
		for _, c := range candidates {
			if prefix.Addr().Unmap() == c.Unmap() {
				return true, true
			}
		}
	}
	return false, true
}

func (a addresses) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.WithZone("")}, nil
	}
	lookup := a.lookup
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	return lookup(ctx, host)
}
