package checks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"regexp"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/host"
)

// restless reports whether a client has no REST behind it, as that of tests.
func restless(c rest.Interface) bool {
	v := reflect.ValueOf(c)
	return c == nil || v.Kind() == reflect.Pointer && v.IsNil()
}

// flagOf returns the value of a flag among arguments.
func flagOf(args []string, name string) (string, bool) { return host.Process{Args: args}.Flag(name) }

var nodeMonitorGrace = doctor.Check{
	ID: "node-monitor-grace", Title: "the controller-manager gives up on nodes too soon", Severity: doctor.Error,
	Reads: `The arguments of the kube-controller-manager that runs on this machine, its static pod
(` + managerManifest + `), and the duration of leases in kubelet's configuration.`,
	Why: nodeFlapping.Why, Mend: nodeFlapping.Mend,
	Fix:  `sets the flag in the static pod's manifest to 50s; kubelet then restarts the controller-manager.`,
	Host: checkGrace,
}

const (
	managerManifest = "/etc/kubernetes/manifests/kube-controller-manager.yaml"
	kubeletConfig   = "/var/lib/kubelet/config.yaml"
	defaultLease    = 40 * time.Second
)

func checkGrace(_ context.Context, h *host.Host, r *doctor.Recorder) {
	running, err := h.Running("kube-controller-manager")
	if err != nil {
		r.Unknown("processes", err)
		return
	}
	if len(running) == 0 {
		r.Skip("no kube-controller-manager runs here")
		return
	}
	lease, err := leaseDuration(h)
	if err != nil {
		r.Unknown(kubeletConfig, err)
		return
	}
	for _, p := range running {
		object := fmt.Sprintf("kube-controller-manager (process %d)", p.PID)
		grace, from, err := parseGrace(p.Args, "its arguments")
		if err != nil {
			r.Unknown(object, err)
			continue
		}
		if grace >= leastRenewals*lease/4 {
			continue
		}
		f := doctor.Finding{
			Severity: doctor.Error, Object: object,
			Problem:  fmt.Sprintf("a node is taken for lost after %s without news, and sends news every %s", grace, lease/4),
			Evidence: []string{from, fmt.Sprintf("leases of nodes hold %s", lease)},
		}
		if grace >= lease/2 {
			f.Severity = doctor.Warning
		}
		if f.Fix, err = graceFix(h); err != nil {
			f.Mend = "--fix cannot: " + err.Error()
		}
		r.Found(f)
	}
}

// leaseDuration is that of the kubelet on this machine: the others' mostly are the same.
func leaseDuration(h *host.Host) (time.Duration, error) {
	text, err := h.ReadFile(kubeletConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return defaultLease, nil
	}
	if err != nil {
		return 0, err
	}
	var config struct {
		Seconds int32 `json:"nodeLeaseDurationSeconds"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		return 0, err
	}
	if config.Seconds <= 0 {
		return defaultLease, nil
	}
	return time.Duration(config.Seconds) * time.Second, nil
}

// graceArgument is the flag in a manifest, as an element of a list.
var graceArgument = regexp.MustCompile(`(--` + graceFlag + `=)[0-9a-zµ.]+`)

func graceFix(h *host.Host) ([]host.Step, error) {
	text, err := h.ReadFile(managerManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("there is no " + managerManifest + "; change it where the controller-manager is started")
	}
	if err != nil {
		return nil, err
	}
	old := string(text)
	if n := len(graceArgument.FindAllString(old, -1)); n != 1 {
		return nil, fmt.Errorf("%s has the flag %d times", managerManifest, n)
	}
	return []host.Step{{Write: &host.Write{
		Path: managerManifest, Old: &old, New: graceArgument.ReplaceAllString(old, "${1}"+graceDefault.String()), Mode: 0o600,
	}}}, nil
}
