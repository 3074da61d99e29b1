package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

const (
	firstWorker = 31 // last octet of w1
	maxWorkers  = 9
)

// kubeServiceIP is the Service "kubernetes" to every pod: the first address of the
// network for services. Nothing balances services here, so it is an address of the
// API server itself; other services of type ClusterIP lead nowhere.
var kubeServiceIP = netip.MustParseAddr("10.96.0.1")

var (
	kubeServiceNet = netip.MustParsePrefix("10.96.0.0/24")
	kubePodNet     = netip.MustParsePrefix("10.88.0.0/16")
)

// Worker is one worker node of the lab's Kubernetes: network, mounts, processes and
// host name are its own, the kernel is the host's.
type Worker struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
	Zone    string     `json:"zone"`
	// KubeletDir is kubelet's directory as the worker sees it; see Lab.WorkerPath.
	KubeletDir string `json:"kubeletDir"`
	// Pods is the network of those of its pods that do not use the worker's own.
	Pods netip.Prefix `json:"pods"`
}

// WorkerList derives the workers: w1, w2, ...
func (c Config) WorkerList() []Worker {
	if !c.Kubernetes {
		return nil
	}
	list := make([]Worker, 0, c.Workers)
	for i := range c.Workers {
		pods := kubePodNet.Addr().As4()
		pods[2] = byte(i + 1)
		list = append(list, Worker{
			Name: fmt.Sprintf("w%d", i+1), Address: c.host(firstWorker + i), Zone: fmt.Sprintf("z%d", i%c.Zones+1),
			KubeletDir: "/var/lib/kubelet", Pods: netip.PrefixFrom(netip.AddrFrom4(pods), 24),
		})
	}
	return list
}

func (c Config) validateKubernetes(network netip.Prefix) error {
	for _, taken := range []netip.Prefix{kubeServiceNet, kubePodNet} {
		if c.Kubernetes && network.Overlaps(taken) {
			return fmt.Errorf("network: %q: with kubernetes: true want one apart from %s, which pods and services have", c.Network, taken)
		}
	}
	return nil
}

// workerNetns is not named as a lab's own namespace is: "a-w1" may be a lab.
func (p paths) workerNetns(worker string) string {
	return filepath.Join(netnsRoot, p.workerNetnsName(worker))
}

func (p paths) workerNetnsName(worker string) string { return "bricklayer." + p.name + "." + worker }

// ensureKubeNetwork attaches the workers to the lab's bridge and tells the lab where
// their pods are.
func (l *Lab) ensureKubeNetwork(ctx context.Context) error {
	for _, w := range l.Workers() {
		if err := l.ensureWorkerNetns(w); err != nil {
			return err
		}
	}
	out, err := l.Host(ctx, "ip", "-json", "link", "show")
	if err != nil {
		return err
	}
	var have []link
	if err := json.Unmarshal(out, &have); err != nil {
		return fmt.Errorf("ip -json link show: %w", err)
	}
	if _, err := runInput(ctx, l.kubeLinkBatch(have), l.hostArgv("ip", "-batch", "-")...); err != nil {
		return fmt.Errorf("attach the workers to the lab's network: %w", err)
	}
	if err := inNetns(l.paths.netns(), forwardPackets); err != nil {
		return err
	}
	for _, w := range l.Workers() {
		argv := []string{"nsenter", "--net=" + l.paths.workerNetns(w.Name), "--", "ip", "-batch", "-"}
		if _, err := runInput(ctx, workerLinkBatch(w, l.config.Gateway()), argv...); err != nil {
			return fmt.Errorf("set up the network of worker %s: %w", w.Name, err)
		}
		if err := inNetns(l.paths.workerNetns(w.Name), forwardPackets); err != nil {
			return err
		}
	}
	return nil
}

// ensureWorkerNetns finds a namespace that lost its name through the worker's first
// process, as ensureNetns does.
func (l *Lab) ensureWorkerNetns(w Worker) error {
	path := l.paths.workerNetns(w.Name)
	if netnsInode(path) != 0 {
		return nil
	}
	from := ""
	rec, err := loadPIDRecord(l.paths.workerPID(w.Name))
	if err != nil {
		return err
	}
	if p, ok := rec.leader(); ok && netnsOf(p.pid) == rec.Netns {
		from = fmt.Sprintf("/proc/%d/ns/net", p.pid)
	}
	if err := bindNetns(path, from); err != nil {
		return fmt.Errorf("make network namespace %s: %w", path, err)
	}
	return nil
}

func forwardPackets() error {
	const file = "/proc/sys/net/ipv4/ip_forward"
	if data, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(data)) == "1" {
		return nil
	}
	return os.WriteFile(file, []byte("1\n"), 0o644)
}

func workerLink(worker string) string { return "veth-" + worker }

// kubeLinkBatch is what `ip -batch` has to do on the lab's side: all but the making
// of links can be said again.
func (l *Lab) kubeLinkBatch(have []link) string {
	byName := map[string]bool{}
	for _, k := range have {
		byName[k.Name] = true
	}
	var b strings.Builder
	fmt.Fprintf(&b, "addr replace %s/32 dev lo\n", kubeServiceIP)
	for _, w := range l.Workers() {
		if !byName[workerLink(w.Name)] {
			fmt.Fprintf(&b, "link add %s type veth peer name eth0 netns %s\n", workerLink(w.Name), l.paths.workerNetnsName(w.Name))
		}
		fmt.Fprintf(&b, "link set %s master %s up\n", workerLink(w.Name), bridge)
		fmt.Fprintf(&b, "route replace %s via %s\n", w.Pods, w.Address)
	}
	return b.String()
}

func workerLinkBatch(w Worker, gateway netip.Addr) string {
	return fmt.Sprintf("link set lo up\naddr replace %s/24 dev eth0\nlink set eth0 up\nroute replace default via %s\n", w.Address, gateway)
}

// workerNamespaces are the names of the workers' network namespaces, whether the
// lab still knows of them or not.
func (p paths) workerNamespaces() []string {
	list, _ := filepath.Glob(p.workerNetns("w*"))
	return list
}

func removeWorkerNetns(p paths) error {
	var errs []error
	for _, path := range p.workerNamespaces() {
		errs = append(errs, removeNetns(path))
	}
	return errors.Join(errs...)
}
