package checks

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/host"
)

// This file reproduces the trouble with a real kernel: a machine made of a network
// namespace with a bridge, two pods on it, and a Service by kube-proxy's rules.

var (
	part    = flag.String("part", "", "for the test of the bridge, which starts itself in namespaces: what to be there")
	netName = flag.String("net", "", "for the same: the first part of the namespaces' names")
)

const (
	serviceAddress = "10.96.0.10:80"
	podAddress     = "10.88.7.3:8080"
)

// TestPart is what the test of the bridge starts in a namespace.
func TestPart(t *testing.T) {
	switch *part {
	case "serve":
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", podAddress)
		if err != nil {
			t.Fatal(err)
		}
		for {
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(c, "hello")
			c.Close()
		}
	case "machine":
		onTheMachine(t)
	default:
		t.Skip("it runs for another test only")
	}
}

func command(t *testing.T, argv ...string) {
	t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), argv[0], argv[1:]...).CombinedOutput() // cleanups call it too
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}

func TestBridgeNetfilterWithARealKernel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("it takes root to make network namespaces")
	}
	for _, program := range []string{"ip", "iptables", "iptables-save"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	if _, err := os.Stat("/proc/sys/net/bridge/bridge-nf-call-iptables"); err != nil {
		t.Skipf("this kernel has no br_netfilter: %v", err)
	}
	name := fmt.Sprintf("doctor%d", os.Getpid())
	host, asking, serving := name+"h", name+"a", name+"s"
	for _, ns := range []string{host, asking, serving} {
		command(t, "ip", "netns", "add", ns)
		t.Cleanup(func() { command(t, "ip", "netns", "delete", ns) })
	}
	in := func(ns string, argv ...string) {
		t.Helper()
		command(t, append([]string{"ip", "-n", ns}, argv...)...)
	}
	in(host, "link", "set", "lo", "up")
	in(host, "link", "add", "cni0", "type", "bridge")
	in(host, "addr", "add", "10.88.7.1/24", "dev", "cni0")
	in(host, "link", "set", "cni0", "up")
	for i, ns := range []string{asking, serving} {
		port := fmt.Sprintf("veth%d", i)
		in(host, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", ns)
		in(host, "link", "set", port, "master", "cni0", "up")
		in(ns, "link", "set", "lo", "up")
		in(ns, "addr", "add", fmt.Sprintf("10.88.7.%d/24", 2+i), "dev", "eth0")
		in(ns, "link", "set", "eth0", "up")
		in(ns, "route", "add", "default", "via", "10.88.7.1")
	}
	exe := func(argv ...string) { command(t, append([]string{"ip", "netns", "exec", host}, argv...)...) }
	exe("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables")
	exe("iptables", "-t", "nat", "-N", "KUBE-SERVICES")
	exe("iptables", "-t", "nat", "-A", "PREROUTING", "-j", "KUBE-SERVICES")
	exe("iptables", "-t", "nat", "-A", "KUBE-SERVICES", "-d", "10.96.0.10", "-p", "tcp", "--dport", "80", "-j", "DNAT", "--to-destination", podAddress)

	server := exec.CommandContext(t.Context(), "ip", "netns", "exec", serving, os.Args[0], "-test.run", "^TestPart$", "-part", "serve")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = server.Process.Kill(), server.Wait() })
	var out bytes.Buffer
	inside := exec.CommandContext(t.Context(), "ip", "netns", "exec", host, os.Args[0], "-test.run", "^TestPart$", "-test.v", "-part", "machine", "-net", name)
	inside.Stdout, inside.Stderr = &out, &out
	if err := inside.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
}

// connects reports whether the asking pod gets through to an address.
func connects(t *testing.T, address string) bool {
	t.Helper()
	h, port, _ := strings.Cut(address, ":")
	script := fmt.Sprintf("exec 3<>/dev/tcp/%s/%s && head -c 5 <&3", h, port)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ip", "netns", "exec", *netName+"a", "bash", "-c", script).Output()
	return err == nil && string(out) == "hello"
}

// onTheMachine runs where the machine's network and, since `ip netns exec` made a
// mount namespace, mounts of its own are.
func onTheMachine(t *testing.T) {
	for _, dir := range []string{"/etc/sysctl.d", "/usr/lib/sysctl.d", "/etc/modules-load.d", "/var/lib"} {
		if _, err := os.Stat(dir); err == nil {
			command(t, "mount", "-t", "tmpfs", "doctor-test", dir)
		}
	}
	h, err := host.Real()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.WriteFile("/etc/sysctl.d/99-hardening.conf", []byte("net.bridge.bridge-nf-call-iptables = 0\n"), 0o644); err != nil {
		t.Skip("there is no /etc/sysctl.d to write to: ", err)
	}
	waitUntil(t, func() bool { return connects(t, podAddress) }, "the pods do not reach each other by their own addresses")
	if connects(t, serviceAddress) {
		t.Fatal("the Service answers although the bridge is not filtered: the trouble is not there")
	}
	f := only(t, look(t, bridgeNetfilter, h))
	if f.Severity != doctor.Error || f.Object != "net.bridge.bridge-nf-call-iptables" || len(f.Fix) != 3 {
		t.Fatalf("found %+v", f)
	}
	for _, e := range f.Evidence {
		t.Log("seen: ", e)
	}
	j, err := doctor.Fix(t.Context(), h, bridgeNetfilter.ID, f)
	if err != nil {
		t.Fatal(err)
	}
	if !connects(t, serviceAddress) {
		t.Error("the Service does not answer after the fix")
	}
	if r := look(t, bridgeNetfilter, h); r.Status != doctor.StatusFine {
		t.Errorf("after the fix: %+v", r)
	}
	if err := doctor.Undo(t.Context(), h, j); err != nil {
		t.Fatal(err)
	}
	if connects(t, serviceAddress) || len(look(t, bridgeNetfilter, h).Findings) != 1 {
		t.Error("after undo the trouble should be back")
	}
}

func waitUntil(t *testing.T, ok func() bool, why string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal(why)
		}
	}
}
