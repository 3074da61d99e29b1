package checks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bricklayer.csi/internal/doctor"
)

var clockSkew = doctor.Check{
	ID: "clock-skew", Title: "clocks of machines are apart", Severity: doctor.Error,
	Reads: `The time that each storage node's agent answers with, between the moment it was asked and the moment the answer
came; the API server's time; and each worker's, by the time that its kubelet wrote into its lease and the time that
the API server took that down. The uncertainty of each is stated and never counted as a difference.`,
	Why: `Replicas whose clocks are apart give one file different times. Programs that watch them stop: Lucene and Solr say
"Underlying file changed by an external force" and give up their index. Gluster heals by time in some cases,
Kubernetes' leases and all certificates hang on clocks, too.`,
	Mend: `Let chrony (or systemd-timesyncd, ntpd) keep the clock of the machine that is named, from the same source as
the others'. chronyc makestep ends a large difference at once. features.ctime (gluster-ctime) keeps one file's times the same
on all replicas meanwhile.`,
	Site: checkSkew,
}

const (
	skewWarning = time.Second
	skewError   = 5 * time.Second
)

// reading is a machine's clock less this machine's: somewhere between least and most.
type reading struct {
	machine     string
	least, most time.Duration
}

func (r reading) middle() time.Duration { return (r.least + r.most) / 2 }

func checkSkew(ctx context.Context, s *doctor.Site, r *doctor.Recorder) {
	if len(s.Storage) == 0 && s.Kubernetes == nil {
		r.Skip("neither a pool nor a cluster was named")
		return
	}
	// This machine counts as one: where its clock is the odd one, that is said.
	readings := []reading{{machine: "this machine, " + s.Local.Name}}
	for _, a := range s.Answers(ctx) {
		if a.Err != nil {
			r.Unknown(nodeOf(a.Storage), a.Err)
			continue
		}
		readings = append(readings, reading{nodeOf(a.Storage), a.Clock.Sub(a.Received), a.Clock.Sub(a.Sent)})
	}
	if s.Kubernetes != nil {
		readings = append(readings, workerClocks(ctx, s, r)...)
	}
	judgeSkew(readings, r)
}

// judgeSkew names the machines whose clocks are away from the middle of all.
func judgeSkew(readings []reading, r *doctor.Recorder) {
	if len(readings) < 2 {
		return
	}
	sorted := slices.SortedFunc(slices.Values(readings), func(a, b reading) int { return int(a.middle() - b.middle()) })
	middle := sorted[len(sorted)/2]
	if n := len(sorted); n%2 == 0 {
		// Of two middle ones that agree either will do; of two in all neither is right.
		middle = reading{least: min(sorted[n/2-1].least, middle.least), most: max(sorted[n/2-1].most, middle.most)}
		if n == 2 && apart(sorted[0], sorted[1]) > skewWarning {
			middle = sorted[1]
		}
	}
	for _, c := range sorted {
		away := apart(c, middle)
		if away <= skewWarning {
			continue
		}
		severity := doctor.Warning
		if away > skewError {
			severity = doctor.Error
		}
		direction := "behind"
		if c.middle() > middle.middle() {
			direction = "ahead of"
		}
		distance := (c.middle() - middle.middle()).Abs().Round(10 * time.Millisecond).String()
		if c.most-c.least > 2*skewWarning {
			distance = "at least " + away.Round(100*time.Millisecond).String()
		}
		r.Found(doctor.Finding{
			Severity: severity, Object: c.machine,
			Problem:  fmt.Sprintf("its clock is %s %s those of the others", distance, direction),
			Evidence: skewEvidence(sorted),
		})
	}
}

// apart returns by how much two clocks differ for certain.
func apart(a, b reading) time.Duration { return max(0, a.least-b.most, b.least-a.most) }

func skewEvidence(readings []reading) []string {
	var all []string
	for _, c := range readings {
		all = append(all, fmt.Sprintf("%s: %+.3f s, give or take %.3f s", c.machine, c.middle().Seconds(), (c.most-c.least).Seconds()/2))
	}
	return all
}

// workerClocks reads the clocks of the API server and, through it, of the workers.
func workerClocks(ctx context.Context, s *doctor.Site, r *doctor.Recorder) []reading {
	api, err := serverClock(ctx, s)
	if err != nil {
		r.Unknown("clock of the API server", err)
		return nil
	}
	readings := []reading{api}
	leases, err := s.Kubernetes.CoordinationV1().Leases(core.NamespaceNodeLease).List(ctx, metav1.ListOptions{})
	if err != nil {
		r.Unknown("clocks of the workers", err)
		return readings
	}
	for _, lease := range leases.Items {
		machine := "worker " + lease.Name
		renewed, noted, err := leaseTimes(lease)
		if err != nil {
			r.Unknown(machine, err)
			continue
		}
		// The API server notes whole seconds, rounded down. kubelet waits for it as long
		// as from one renewal to the next, so a lease may have been on its way that long.
		least, most := renewed.Sub(noted)-time.Second, renewed.Sub(noted)+renewalTime(lease)
		readings = append(readings, reading{machine, least + api.least, most + api.most})
	}
	return readings
}

// serverClock asks the API server to make an object and to forget it: the object's
// creation is stamped by the server's clock, in whole seconds.
func serverClock(ctx context.Context, s *doctor.Site) (reading, error) {
	sent := time.Now()
	made, err := s.Kubernetes.CoreV1().ConfigMaps(metav1.NamespaceDefault).Create(ctx,
		&core.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "bricklayer-doctor-"}},
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	received := time.Now()
	if err != nil {
		return reading{}, err
	}
	if made.CreationTimestamp.IsZero() {
		return reading{}, errors.New("it stamps no times")
	}
	stamp := made.CreationTimestamp.Time
	return reading{"API server", stamp.Sub(received), stamp.Add(time.Second).Sub(sent)}, nil
}

// renewalTime is the time between two renewals of a lease.
func renewalTime(lease coordination.Lease) time.Duration {
	if lease.Spec.LeaseDurationSeconds == nil {
		return defaultLease / 4
	}
	return time.Duration(*lease.Spec.LeaseDurationSeconds) * time.Second / 4
}

// leaseTimes returns when a kubelet renewed its lease by its own clock, and when
// the API server took that down by its.
func leaseTimes(lease coordination.Lease) (renewed, noted time.Time, err error) {
	if lease.Spec.RenewTime == nil {
		return renewed, noted, errors.New("its lease was never renewed")
	}
	for _, f := range lease.ManagedFields {
		if f.Time != nil && f.Time.After(noted) {
			noted = f.Time.Time
		}
	}
	if noted.IsZero() {
		return renewed, noted, errors.New("the API server does not say when the lease was renewed")
	}
	return lease.Spec.RenewTime.Time, noted, nil
}
