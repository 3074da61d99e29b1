package checks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/host"
)

var bridgeNetfilter = doctor.Check{
	ID: "bridge-netfilter", Title: "packets on a bridge pass by the rules of kube-proxy", Severity: doctor.Error,
	Reads: `Network bridges with ports (/sys/class/net), whether kube-proxy runs or its rules are there
(processes, iptables-save, nft, /proc/net/ip_vs), net.bridge.bridge-nf-call-iptables and -ip6tables as they
are now, and what they will be after a reboot (sysctl.d, modules-load.d, the list of modules in the kernel).`,
	Why: `kube-proxy turns the address of a Service into that of a pod by rules of netfilter. An answer from a pod
on the same bridge goes straight through the bridge. Unless br_netfilter shows bridged packets to netfilter the
address in that answer is not turned back: the asking pod gets it from a stranger, and the connection fails.
Pods then reach some Services, those whose pods are on other nodes, and not others.`,
	Mend: `modprobe br_netfilter
sysctl -w net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
For after a reboot the same in a file of /etc/sysctl.d, and br_netfilter in one of /etc/modules-load.d.`,
	Fix:  `loads br_netfilter, sets the two values to 1 and makes ` + ourSysctl + ` and ` + ourModules + `.`,
	Host: checkBridgeNetfilter,
}

// Ours sorts behind what distributions and people name 99-...: the last file wins.
const (
	ourSysctl  = "/etc/sysctl.d/99-zz-bricklayer-bridge.conf"
	ourModules = "/etc/modules-load.d/bricklayer-bridge.conf"

	bridgeSettings = "/proc/sys/net/bridge"
	bridgeModule   = "br_netfilter"
)

// family is one of the two switches.
type family struct {
	key string
	// save shows the rules, perBridge is the switch of a single bridge.
	save, perBridge string
}

var families = []family{
	{"bridge-nf-call-iptables", "iptables-save", "nf_call_iptables"},
	{"bridge-nf-call-ip6tables", "ip6tables-save", "nf_call_ip6tables"},
}

func checkBridgeNetfilter(ctx context.Context, h *host.Host, r *doctor.Recorder) {
	bridges, err := bridgesWithPorts(h)
	if err != nil {
		r.Unknown("network bridges", err)
		return
	}
	if len(bridges) == 0 {
		r.Skip("no network bridge has ports")
		return
	}
	sign, err := serviceRules(ctx, h)
	switch {
	case err != nil:
		r.Unknown("rules of kube-proxy", err)
		return
	case sign == "":
		r.Skip("there are bridges, but no kube-proxy whose rules would matter to them")
		return
	}
	evidence := []string{"bridges with ports: " + strings.Join(bridges, ", "), sign}
	for _, f := range families {
		if f.key == "bridge-nf-call-ip6tables" && !ipv6Bridge(h, bridges) {
			continue // no pod on a bridge has an IPv6 address
		}
		checkFamily(h, r, f, bridges, evidence)
	}
}

// checkFamily looks at one switch, now and after a reboot.
func checkFamily(h *host.Host, r *doctor.Recorder, f family, bridges, evidence []string) {
	setting := path.Join(bridgeSettings, f.key)
	object := "net.bridge." + f.key
	now, err := h.ReadString(setting)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.Unknown(object, err)
		return
	}
	later, laterWhy, err := afterReboot(h, f.key)
	if err != nil {
		r.Unknown(object+" after a reboot", err)
	}
	evidence = slices.Concat(evidence, []string{object + " is " + orAbsent(now)}, laterWhy)
	finding := doctor.Finding{Object: object, Evidence: evidence}
	fix, ferr := bridgeFix(h, now, later)
	if ferr != nil {
		finding.Mend = "--fix cannot: " + ferr.Error()
	}
	finding.Fix = fix
	switch {
	case now != "1" && !slices.ContainsFunc(bridges, func(b string) bool { return ownSwitch(h, b, f) }):
		finding.Severity = doctor.Error
		finding.Problem = "connections from pods to Services fail where the Service's pod is on the same bridge"
		r.Found(finding)
	case err == nil && !later:
		finding.Severity = doctor.Warning
		finding.Problem = "it works now and will not after the next reboot"
		r.Found(finding)
	}
}

func orAbsent(value string) string {
	if value == "" {
		return "absent: " + bridgeModule + " is not loaded"
	}
	return value
}

// bridgeFix plans both switches at once: they are set by the same files.
func bridgeFix(h *host.Host, now string, later bool) ([]host.Step, error) {
	var steps []host.Step
	if now == "" {
		steps = append(steps, host.Step{Exec: &host.Exec{Argv: []string{"modprobe", bridgeModule}, Note: "the kernel sets both values to 1 with it; it stays loaded when this is taken back"}})
	}
	for _, f := range families {
		if value, err := h.ReadString(path.Join(bridgeSettings, f.key)); err == nil && value != "1" {
			steps = append(steps, host.Step{Set: &host.Set{Path: path.Join(bridgeSettings, f.key), Old: value, New: "1"}})
		}
	}
	if later {
		return steps, nil
	}
	for _, w := range []host.Write{
		{Path: ourModules, New: bridgeModule + "\n", Mode: 0o644},
		{Path: ourSysctl, New: "# Bridged packets of pods have to meet kube-proxy's rules.\nnet.bridge.bridge-nf-call-iptables = 1\nnet.bridge.bridge-nf-call-ip6tables = 1\n", Mode: 0o644},
	} {
		text, err := h.ReadFile(w.Path)
		switch {
		case err == nil:
			old := string(text)
			w.Old = &old
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
		if w.Old == nil || *w.Old != w.New {
			steps = append(steps, host.Step{Write: &w})
		}
	}
	return steps, nil
}

// ownSwitch reports whether a bridge shows its packets to netfilter whatever the
// switch for all says.
func ownSwitch(h *host.Host, bridge string, f family) bool {
	value, err := h.ReadString(path.Join("/sys/class/net", bridge, "bridge", f.perBridge))
	return err == nil && value == "1"
}

// bridgesWithPorts returns the bridges that something is connected to.
func bridgesWithPorts(h *host.Host) ([]string, error) {
	names, err := h.List("/sys/class/net")
	if err != nil {
		return nil, err
	}
	var bridges []string
	for _, name := range names {
		ports, err := h.List(path.Join("/sys/class/net", name, "brif"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !strings.Contains(err.Error(), "not a directory") {
			return nil, err
		}
		if len(ports) > 0 {
			bridges = append(bridges, name)
		}
	}
	return bridges, nil
}

// ipv6Bridge reports whether a bridge has an IPv6 address that is routed; if that
// cannot be read, it is taken to have one.
func ipv6Bridge(h *host.Host, bridges []string) bool {
	text, err := h.ReadString("/proc/net/if_inet6")
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	for line := range strings.Lines(text) {
		// address index prefix scope flags device; scope 00 is global
		f := strings.Fields(line)
		if len(f) == 6 && f[3] == "00" && slices.Contains(bridges, f[5]) {
			return true
		}
	}
	return false
}

// serviceRules returns what shows that kube-proxy works here by netfilter, or
// nothing where it does not. It fails where neither can be said.
func serviceRules(ctx context.Context, h *host.Host) (string, error) {
	running, err := h.Running("kube-proxy")
	if err != nil {
		return "", fmt.Errorf("list the processes: %w", err)
	}
	if len(running) > 0 {
		return fmt.Sprintf("kube-proxy runs (process %d)", running[0].PID), nil
	}
	if text, err := h.ReadString("/proc/net/ip_vs"); err == nil && strings.Contains(text, "-> ") {
		return "IPVS forwards to servers (/proc/net/ip_vs)", nil
	}
	var failed []error
	looked := false
	for _, ask := range []struct {
		argv []string
		mark string
	}{
		{[]string{"iptables-save", "-t", "nat"}, "KUBE-SERVICES"},
		{[]string{"ip6tables-save", "-t", "nat"}, "KUBE-SERVICES"},
		{[]string{"nft", "list", "tables"}, "kube-proxy"},
	} {
		out, err := h.Run(ctx, ask.argv...)
		switch {
		case err == nil && strings.Contains(string(out), ask.mark):
			return strings.Join(ask.argv, " ") + " shows " + ask.mark, nil
		case err == nil:
			looked = true
		case !host.Missing(err):
			failed = append(failed, err)
		}
	}
	if len(failed) > 0 {
		return "", errors.Join(failed...)
	}
	if !looked {
		return "", errors.New("kube-proxy does not run as a process here, and there is neither iptables-save nor nft to look for its rules")
	}
	return "", nil
}
