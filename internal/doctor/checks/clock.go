package checks

import (
	"context"
	"strings"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/host"
)

var clockSynchronised = doctor.Check{
	ID: "clock-unsynchronised", Title: "nothing keeps the machine's clock right", Severity: doctor.Warning,
	Reads: `The kernel's word on its clock (adjtimex), and which time service runs.`,
	Why: `A clock that nothing keeps right drifts by seconds a week. Gluster compares times of storage nodes and clients
when it heals and when it answers what is newer; Kubernetes' leases and certificates hang on them, too.`,
	Mend: `Install and start chrony, or systemd-timesyncd, or ntpd. In a virtual machine without a network for that,
the hypervisor's clock (ptp_kvm) can be chrony's source.`,
	Host: checkClock,
}

// timeServices are programs that keep a clock.
var timeServices = []string{"chronyd", "ntpd", "systemd-timesyncd", "systemd-timesyn", "ptp4l", "phc2sys", "openntpd"}

func checkClock(_ context.Context, h *host.Host, r *doctor.Recorder) {
	ok, err := h.Synchronised()
	if err != nil {
		r.Unknown("clock", err)
		return
	}
	if ok {
		return
	}
	kubelet, kerr := h.Running("kubelet")
	glusterd, gerr := h.Running("glusterd")
	if kerr == nil && gerr == nil && len(kubelet)+len(glusterd) == 0 {
		r.Skip("the clock is not synchronised, but neither kubelet nor glusterd runs here")
		return
	}
	var services []string
	for _, name := range timeServices {
		if running, err := h.Running(name); err == nil && len(running) > 0 {
			services = append(services, name)
		}
	}
	evidence := "no time service runs"
	if len(services) > 0 {
		evidence = "running, but without effect so far: " + strings.Join(services, ", ")
	}
	r.Found(doctor.Finding{
		Severity: doctor.Warning, Object: "clock", Problem: "it drifts away from those of other machines",
		Evidence: []string{"the kernel says that its clock is not synchronised", evidence},
	})
}
