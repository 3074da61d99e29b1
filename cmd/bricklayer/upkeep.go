package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"bricklayer.csi/internal/plain"
	"bricklayer.csi/internal/volume"
)

const (
	// expiryWarning is how long before its end a certificate is warned of:
	// `bricklayer certs`, run daily, renews long before.
	expiryWarning = 30 * 24 * time.Hour
	// lookAgain is how often certificates are looked at.
	lookAgain = 12 * time.Hour
	// tryAgain is when settings that could not be applied are tried again.
	tryAgain = time.Minute
)

// upkeep tries pools again that cannot be served, applies the settings of pools that are new or changed to their Gluster
// clusters, and warns of certificates that end soon, until ctx ends.
func (p *pools) upkeep(ctx context.Context) error {
	configured := map[string]*plain.Backend{} // by pool
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.changed:
		case <-timer.C:
		}
		next := lookAgain
		served := p.snapshot()
		for _, name := range slices.Sorted(maps.Keys(served)) {
			s := served[name]
			if s.err != nil {
				p.log.ErrorContext(ctx, "a pool cannot be served", "pool", name, "error", s.err, "again_in", tryAgain)
				_, _ = p.Backend(name, volume.Plain) // builds it where that is possible by now
				next = tryAgain
			}
			if s.plain == nil {
				continue
			}
			if configured[name] != s.plain {
				if err := s.plain.Configure(ctx); err != nil {
					p.log.WarnContext(ctx, "the settings of a pool could not be applied to its cluster", "pool", name, "error", err, "again_in", tryAgain)
					next = tryAgain
				} else {
					configured[name] = s.plain
				}
			}
			p.warnOfExpiry(ctx, s)
		}
		timer.Reset(next)
	}
}

// warnOfExpiry warns of certificates that end soon: the controller's own and
// those of the agents that answer.
func (p *pools) warnOfExpiry(ctx context.Context, s servedPool) {
	log := p.log.With("pool", s.resource.Name)
	if ends, err := s.agents.CertificateExpires(); err != nil {
		log.WarnContext(ctx, "newer certificate files of the controller cannot be used", "error", err)
	} else if time.Until(ends) < expiryWarning {
		log.WarnContext(ctx, "the controller's certificate ends soon: renew it with bricklayer certs", "ends", ends)
	}
	for _, n := range s.plain.Nodes {
		d, err := n.Agent.Describe(ctx)
		if err == nil && !d.CertificateExpires.IsZero() && time.Until(d.CertificateExpires) < expiryWarning {
			log.WarnContext(ctx, "an agent's certificate ends soon: renew it with bricklayer certs", "node", n.Name, "ends", d.CertificateExpires)
		}
	}
}
