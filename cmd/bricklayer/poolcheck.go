package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/heketi"
	"bricklayer.csi/internal/volume"
)

// heketiView is what `pool check` shows of a pool's heketi. The counts are zero
// where it could not be asked.
type heketiView struct {
	URL      string        `json:"url"`
	Clusters int           `json:"clusters"`
	Nodes    int           `json:"nodes"`
	Devices  int           `json:"devices"`
	Volumes  int           `json:"volumes"`
	Running  int           `json:"operationsRunning"`
	Free     int64         `json:"freeBytes"`
	Total    int64         `json:"totalBytes"`
	Findings []findingView `json:"findings"`
	// failed is why it could not be asked.
	failed error
}

// findingView is one thing that somebody should know, or mend.
type findingView struct {
	// Severity is error where volumes cannot be made or are in danger, else warning.
	Severity string `json:"severity"`
	Detail   string `json:"detail"`
	Next     string `json:"next,omitempty"`
}

const (
	severityError   = "error"
	severityWarning = "warning"
)

// askHeketis asks the heketis of all pools at once, each for a time of its own.
func (o *poolCheckOptions) askHeketis(ctx context.Context, env environment, resources []v1alpha1.StoragePool, views []poolView) {
	p := newPools(func(name string) (agents, error) { return env.dial(&o.pools, name) }, o.log.logger(env.err))
	defer p.close()
	p.set(resources)
	served := p.snapshot()
	var wg sync.WaitGroup
	for i := range views {
		s := served[views[i].Name]
		if s.resource.Spec.Heketi == nil {
			continue
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, o.timeout)
			defer cancel()
			views[i].Heketi = askHeketi(ctx, s)
		})
	}
	wg.Wait()
}

// askHeketi looks one pool's heketi over.
func askHeketi(ctx context.Context, s servedPool) *heketiView {
	v := &heketiView{URL: s.resource.Spec.Heketi.URL, Findings: []findingView{}}
	var r heketi.Report
	err := s.heketiErr
	if err == nil {
		r, err = s.heketi.Inspect(ctx)
	}
	if err != nil {
		v.failed = err
		v.Findings = append(v.Findings, findingView{Severity: severityError, Detail: err.Error()})
		return v
	}
	v.Clusters, v.Nodes, v.Devices, v.Volumes, v.Running = r.Clusters, r.Nodes, r.Devices, r.Volumes, r.Running
	v.Free, v.Total = int64(r.Free), int64(r.Total)
	for _, f := range r.Findings {
		severity := severityWarning
		if f.Bad {
			severity = severityError
		}
		v.Findings = append(v.Findings, findingView{Severity: severity, Detail: f.Detail, Next: f.Next})
	}
	const unseen = "whether heketi's database and Gluster agree was not compared, and a name that Gluster has is not seen before heketi is asked for it"
	switch {
	case s.err != nil:
		v.Findings = append(v.Findings, findingView{severityWarning, unseen + ": " + s.err.Error(), "give --certs"})
	case s.plain == nil:
		v.Findings = append(v.Findings, findingView{severityWarning, unseen + ": the pool has no storage nodes of its own", "run the agent on heketi's nodes and name them in spec.nodes"})
	}
	return v
}

func writeHeketis(w io.Writer, views []poolView) {
	header := "\n" + row("POOL", "HEKETI", "CLUSTERS", "NODES", "DEVICES", "FREE", "TOTAL", "VOLUMES", "RUNNING")
	for _, v := range views {
		h := v.Heketi
		if h == nil || h.failed != nil {
			continue
		}
		fmt.Fprint(w, header+row(v.Name, h.URL, strconv.Itoa(h.Clusters), strconv.Itoa(h.Nodes), strconv.Itoa(h.Devices),
			volume.Size(h.Free).String(), volume.Size(h.Total).String(), strconv.Itoa(h.Volumes), strconv.Itoa(h.Running)))
		header = ""
	}
}

func writeFindings(w io.Writer, v poolView) {
	if v.Heketi == nil {
		return
	}
	for _, f := range v.Heketi.Findings {
		next := ""
		if f.Next != "" {
			next = " (" + f.Next + ")"
		}
		fmt.Fprintf(w, "%s: pool %s: heketi: %s%s\n", f.Severity, v.Name, f.Detail, next)
	}
}

// verdict is the error that a check ends with: of the pools whose heketi could
// not be asked, the kind of the first; else Precondition where there are errors.
// What is certain to fail again comes before what may be better in a moment.
func verdict(views []poolView) error {
	count := 0
	kind := volume.Unavailable
	for _, v := range views {
		if v.Heketi == nil {
			continue
		}
		for _, f := range v.Heketi.Findings {
			if f.Severity != severityError {
				continue
			}
			count++
			if v.Heketi.failed == nil || volume.KindOf(v.Heketi.failed).Definite() {
				kind = volume.Precondition
			}
		}
	}
	if count == 0 {
		return nil
	}
	return &volume.Error{
		Kind: kind, Op: "check pools", Err: fmt.Errorf("%w: %d", errFound, count), Next: "see the lines that begin with error, or the findings",
	}
}

// errFound says that a check found what must be mended.
var errFound = errors.New("errors found")
