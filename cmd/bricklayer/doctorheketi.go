package main

import (
	"context"
	"io"
	"log/slog"

	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/volume"
)

// closing makes a function an io.Closer.
type closing func()

// Close calls it.
func (c closing) Close() error { c(); return nil }

// openHeketis adds the heketis of the pools, looked over as `pool check` does it.
func (o *doctorSiteOptions) openHeketis(env environment, resources []v1alpha1.StoragePool, s *doctor.Site) io.Closer {
	p := newPools(func(name string) (agents, error) { return env.dial(&o.pools, name) }, slog.New(slog.DiscardHandler))
	p.set(resources)
	for name, served := range p.snapshot() {
		if served.resource.Spec.Heketi != nil {
			s.Heketis = append(s.Heketis, doctor.Heketi{Pool: name, Inspect: func(ctx context.Context) ([]doctor.Finding, error) { return heketiFindings(ctx, served) }})
		}
	}
	return closing(p.close)
}

// heketiFindings turns what `pool check` shows into findings. A heketi that does not
// answer is unknown; one that refuses us is an error.
func heketiFindings(ctx context.Context, s servedPool) ([]doctor.Finding, error) {
	v := askHeketi(ctx, s)
	if v.failed != nil && !volume.KindOf(v.failed).Definite() {
		return nil, v.failed
	}
	found := make([]doctor.Finding, len(v.Findings))
	for i, f := range v.Findings {
		severity := doctor.Warning
		if f.Severity == severityError {
			severity = doctor.Error
		}
		found[i] = doctor.Finding{
			Severity: severity, Object: "heketi of pool " + s.resource.Name, Problem: f.Detail, Evidence: []string{"asked at " + v.URL}, Mend: f.Next,
		}
	}
	return found, nil
}
