package checks

import (
	"strings"
	"testing"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/hosttest"
)

// bridged is a machine with a bridge that has a port, and kube-proxy.
func bridged(t *testing.T) *hosttest.Machine {
	m := hosttest.New(t)
	m.Write("/sys/class/net/cni0/brif/veth0/x", "")
	m.Write("/sys/class/net/eth0/address", "")
	m.Process(20, "/usr/local/bin/kube-proxy", "--config=/x")
	return m
}

func TestBridgeWithoutModule(t *testing.T) {
	m := bridged(t)
	f := only(t, look(t, bridgeNetfilter, m.Host))
	if f.Severity != doctor.Error || !strings.Contains(strings.Join(f.Evidence, "\n"), "is absent: br_netfilter is not loaded") {
		t.Errorf("found %+v", f)
	}
	m.Answers["modprobe br_netfilter"] = ""
	j := fix(t, m, bridgeNetfilter, f)
	// What modprobe does on a real one.
	m.Write("/proc/modules", "br_netfilter 32768 0 - Live 0x0\n")
	for _, x := range families {
		m.Write(bridgeSettings+"/"+x.key, "1\n")
	}
	quiet(t, look(t, bridgeNetfilter, m.Host), doctor.StatusFine)
	if err := doctor.Undo(t.Context(), m.Host, j); err != nil {
		t.Fatal(err)
	}
	if f := only(t, look(t, bridgeNetfilter, m.Host)); f.Severity != doctor.Warning {
		t.Errorf("without the files it lasts until the next reboot only: %+v", f)
	}
}

func TestBridgeAfterReboot(t *testing.T) {
	m := bridged(t)
	m.Write("/proc/modules", "br_netfilter 32768 0 - Live 0x0\n")
	m.Write(bridgeSettings+"/bridge-nf-call-iptables", "1\n")
	m.Write("/usr/lib/modules-load.d/k8s.conf", "# comment\nbr-netfilter\n")
	quiet(t, look(t, bridgeNetfilter, m.Host), doctor.StatusFine)

	m.Write("/usr/lib/sysctl.d/50-x.conf", "net/bridge/bridge-nf-call-iptables = 0\n")
	if f := only(t, look(t, bridgeNetfilter, m.Host)); f.Severity != doctor.Warning || !strings.Contains(strings.Join(f.Evidence, "\n"), "/usr/lib/sysctl.d/50-x.conf sets it to 0") {
		t.Errorf("found %+v", f)
	}
	// A file of the same name in /etc hides it, one of a later name wins.
	m.Write("/etc/sysctl.d/50-x.conf", "")
	quiet(t, look(t, bridgeNetfilter, m.Host), doctor.StatusFine)
	m.Write("/etc/sysctl.d/60-y.conf", "-net.bridge.bridge-nf-call-iptables=0\n")
	m.Write("/etc/sysctl.d/70-z.conf", "net.bridge.bridge-nf-call-iptables=1\n")
	quiet(t, look(t, bridgeNetfilter, m.Host), doctor.StatusFine)
}

func TestBridgeOwnSwitch(t *testing.T) {
	m := bridged(t)
	m.Write(bridgeSettings+"/bridge-nf-call-iptables", "0\n")
	m.Write("/sys/class/net/cni0/bridge/nf_call_iptables", "1\n")
	quiet(t, look(t, bridgeNetfilter, m.Host), doctor.StatusFine)
}

func TestBridgeIPv6(t *testing.T) {
	m := bridged(t)
	m.Write(bridgeSettings+"/bridge-nf-call-iptables", "1\n")
	m.Write(bridgeSettings+"/bridge-nf-call-ip6tables", "0\n")
	quiet(t, look(t, bridgeNetfilter, m.Host), doctor.StatusFine)
	m.Write("/proc/net/if_inet6", "fe800000000000000000000000000001 03 40 20 80 cni0\n")
	quiet(t, look(t, bridgeNetfilter, m.Host), doctor.StatusFine)
	m.Write("/proc/net/if_inet6", "fd000000000000000000000000000001 03 40 00 80 cni0\n")
	if f := only(t, look(t, bridgeNetfilter, m.Host)); f.Object != "net.bridge.bridge-nf-call-ip6tables" {
		t.Errorf("found %+v", f)
	}
}

// Whether kube-proxy's rules are there has to be known, or nothing is.
func TestBridgeWhoseRules(t *testing.T) {
	m := bridged(t)
	m.Process(20, "something-else")
	m.Write(bridgeSettings+"/bridge-nf-call-iptables", "0\n")
	quiet(t, look(t, bridgeNetfilter, m.Host), doctor.StatusUnknown)
	m.Failures["nft list tables"] = "Operation not permitted"
	quiet(t, look(t, bridgeNetfilter, m.Host), doctor.StatusUnknown)
	m.Answers["nft list tables"] = "table ip filter\n"
	quiet(t, look(t, bridgeNetfilter, m.Host), doctor.StatusSkipped)
	m.Answers["nft list tables"] = "table ip kube-proxy\n"
	quiet(t, look(t, bridgeNetfilter, m.Host), doctor.StatusError)
	m.Answers["nft list tables"] = ""
	m.Answers["iptables-save -t nat"] = "*nat\n:KUBE-SERVICES - [0:0]\n"
	quiet(t, look(t, bridgeNetfilter, m.Host), doctor.StatusError)
}
