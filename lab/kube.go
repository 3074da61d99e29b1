package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// kubePackages are what the workers take from the host beside hostPackages.
var kubePackages = []string{
	"busybox-static",
	"containerd",
	"containernetworking-plugins",
	"runc",
}

func (p paths) kube(name ...string) string {
	return filepath.Join(append([]string{p.state(), "kubernetes"}, name...)...)
}
func (p paths) kubePID(program string) string   { return p.kube("run", program+".json") }
func (p paths) kubeLog(program string) string   { return p.kube("log", program+".log") }
func (p paths) worker(w string) string          { return p.kube("workers", w) }
func (p paths) workerPID(w string) string       { return filepath.Join(p.worker(w), "worker.json") }
func (p paths) workerLog(w, prog string) string { return filepath.Join(p.worker(w), prog+".log") }

// Workers are the worker nodes of the lab's Kubernetes; none where it has none.
func (l *Lab) Workers() []Worker { return l.config.WorkerList() }

// Worker finds a worker by name.
func (l *Lab) Worker(name string) (Worker, error) {
	for _, w := range l.Workers() {
		if w.Name == name {
			return w, nil
		}
	}
	return Worker{}, fmt.Errorf("%w: worker %q; lab %s has %d workers, from w1 on", ErrNoNode, name, l.config.Name, len(l.Workers()))
}

// EnsureKubernetes gives the lab a Kubernetes cluster, if it has none, and repairs
// what of it does not run. From then on it belongs to the lab: Up sees to it and
// Down removes it. Reset leaves it alone: what is in it is for those who put it there.
func (l *Lab) EnsureKubernetes(ctx context.Context) error {
	unlock, err := lockFile(ctx, l.paths.lock(), func() { l.say("another command works on lab %s: waiting for it", l.config.Name) })
	if err != nil {
		return err
	}
	defer unlock()
	if !l.config.Kubernetes {
		l.config.Kubernetes = true
		if err := l.config.Validate(); err != nil {
			return err
		}
		if err := l.saveConfig(); err != nil {
			return err
		}
	}
	return l.ensureKubernetes(ctx)
}

// ensureKubernetes brings the cluster to what the configuration says.
func (l *Lab) ensureKubernetes(ctx context.Context) error {
	if !l.config.Kubernetes {
		return nil
	}
	if err := l.kubernetesUp(ctx); err != nil {
		return fmt.Errorf("kubernetes: %w", err)
	}
	return nil
}

func (l *Lab) kubernetesUp(ctx context.Context) error {
	if err := ensurePackages(ctx, l.progress, kubePackages); err != nil {
		return err
	}
	dir, err := ensureKubePrograms(ctx, l.progress)
	if err != nil {
		return err
	}
	if err := l.ensureKubePKI(); err != nil {
		return err
	}
	if err := l.ensureKubeNetwork(ctx); err != nil {
		return err
	}
	// A worker's containerd needs no API: both start at once.
	g, started := errgroup.WithContext(ctx)
	g.Go(func() error { return l.ensureControlPlane(started, dir) })
	g.Go(func() error {
		return l.eachWorker(started, func(ctx context.Context, w Worker) error { return l.ensureRuntime(ctx, dir, w) })
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if err := l.eachWorker(ctx, func(ctx context.Context, w Worker) error { return l.ensureKubelet(ctx, dir, w) }); err != nil {
		return err
	}
	return l.awaitWorkers(ctx)
}

func (l *Lab) eachWorker(ctx context.Context, do func(context.Context, Worker) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range l.Workers() {
		g.Go(func() error {
			if err := do(ctx, w); err != nil {
				return fmt.Errorf("worker %s: %w", w.Name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// nodeList is what is read of the API's list of nodes.
type nodeList struct {
	Items []struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Status struct {
			Conditions []struct {
				Type    string `json:"type"`
				Status  string `json:"status"`
				Message string `json:"message"`
			} `json:"conditions"`
		} `json:"status"`
	} `json:"items"`
}

// unready says of each worker that is not Ready why it is not.
func (list nodeList) unready(workers []Worker) []string {
	why := map[string]string{}
	for _, n := range list.Items {
		why[n.Metadata.Name] = "it has no condition Ready"
		for _, c := range n.Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" {
				why[n.Metadata.Name] = ""
			} else if c.Type == "Ready" {
				why[n.Metadata.Name] = c.Message
			}
		}
	}
	var faults []string
	for _, w := range workers {
		switch reason, known := why[w.Name]; {
		case !known:
			faults = append(faults, w.Name+" is no node of the cluster")
		case reason != "":
			faults = append(faults, w.Name+" is not Ready: "+reason)
		}
	}
	return faults
}

// workerFaults asks the API; that it does not answer is a fault too.
func (l *Lab) workerFaults(ctx context.Context) []string {
	var list nodeList
	if err := l.getKube(ctx, "/api/v1/nodes", &list); err != nil {
		return []string{err.Error()}
	}
	return list.unready(l.Workers())
}

func (l *Lab) awaitWorkers(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, kubePatience)
	defer cancel()
	var faults []string
	err := until(short, 100*time.Millisecond, func() (bool, error) {
		faults = l.workerFaults(short)
		return len(faults) == 0, nil
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%s, %v after kubelet started (its log: %s)", strings.Join(faults, "; "), kubePatience, l.paths.workerLog("*", "kubelet"))
	}
	return err
}

// KubernetesFaults says in words what of the lab's Kubernetes is not as it should
// be; nothing where the lab has none.
func (l *Lab) KubernetesFaults(ctx context.Context) ([]string, error) {
	if !l.config.Kubernetes {
		return nil, nil
	}
	var faults []string
	for _, args := range l.kubePrograms() {
		rec, err := loadPIDRecord(l.paths.kubePID(args[0]))
		if err != nil {
			return nil, err
		}
		if p, ok := rec.leader(); !ok {
			faults = append(faults, args[0]+" is dead")
		} else if p.stopped() {
			faults = append(faults, args[0]+" is paused")
		}
	}
	for _, w := range l.Workers() {
		for _, program := range []string{"containerd", "kubelet"} {
			list, err := l.onWorker(w.Name, program)
			if err != nil {
				return nil, err
			}
			if len(list) != 1 {
				faults = append(faults, w.Name+": "+program+" is dead")
			}
		}
	}
	if len(faults) > 0 {
		return faults, nil
	}
	return l.workerFaults(ctx), ctx.Err()
}

// Kubeconfig is a file that makes its reader the administrator of the lab's
// Kubernetes. The API server answers inside the lab's network, see HostArgv.
func (l *Lab) Kubeconfig() string { return l.paths.kube("pki", kubeAdmin+".kubeconfig") }

// KubePrograms is the directory that holds the file "kubernetes", whose first
// argument says which program it is (kubectl, kubelet, ...); built where missing.
func (l *Lab) KubePrograms(ctx context.Context) (string, error) {
	return ensureKubePrograms(ctx, l.progress)
}

// KubectlArgv is the command line that runs kubectl as the administrator.
func (l *Lab) KubectlArgv(ctx context.Context, args ...string) ([]string, error) {
	if !l.config.Kubernetes {
		return nil, fmt.Errorf("lab %s has no Kubernetes: lab up --name %s --kubernetes", l.config.Name, l.config.Name)
	}
	dir, err := ensureKubePrograms(ctx, l.progress)
	if err != nil {
		return nil, err
	}
	// --cache-dir: what kubectl learns of an API must not outlive the lab, nor reach
	// another lab with the same address.
	argv := []string{filepath.Join(dir, "kubernetes"), "kubectl", "--kubeconfig=" + l.Kubeconfig(), "--cache-dir=" + l.paths.kube("kubectl")}
	return l.HostArgv(append(argv, args...)...)
}

// Kubectl runs kubectl as the administrator and answers its standard output.
func (l *Lab) Kubectl(ctx context.Context, args ...string) ([]byte, error) {
	return l.KubectlInput(ctx, "", args...)
}

// KubectlInput is Kubectl with a standard input, for `apply -f -`.
func (l *Lab) KubectlInput(ctx context.Context, input string, args ...string) ([]byte, error) {
	argv, err := l.KubectlArgv(ctx, args...)
	if err != nil {
		return nil, err
	}
	out, err := runInput(ctx, input, argv...)
	if e, ok := errors.AsType[*ExitError](err); ok {
		e.Argv, e.Stdout = append([]string{"kubectl"}, args...), out
	}
	return out, err
}

// KillControl ends programs of the control plane with kill -9 (all of them where
// none is named); they stay dead until StartControl or Up. The names are etcd,
// kube-apiserver, kube-controller-manager and kube-scheduler.
func (l *Lab) KillControl(ctx context.Context, names ...string) error {
	names, err := l.controlNames(names)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := l.endKubeProgram(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// StartControl starts what of the control plane does not run and waits until the
// API answers.
func (l *Lab) StartControl(ctx context.Context) error {
	dir, err := ensureKubePrograms(ctx, l.progress)
	if err != nil {
		return err
	}
	return l.ensureControlPlane(ctx, dir)
}

// PauseAPI stops the API server as a hung machine does: connections stay open and
// answer nothing.
func (l *Lab) PauseAPI() error { return l.signalKube(kubeAPI, syscall.SIGSTOP) }

// ResumeAPI lets a paused API server go on.
func (l *Lab) ResumeAPI() error { return l.signalKube(kubeAPI, syscall.SIGCONT) }

func (l *Lab) signalKube(name string, sig syscall.Signal) error {
	rec, err := loadPIDRecord(l.paths.kubePID(name))
	if err != nil {
		return err
	}
	p, ok := rec.leader()
	if !ok {
		return fmt.Errorf("%s of lab %s does not run: lab up --name %s --kubernetes", name, l.config.Name, l.config.Name)
	}
	return syscall.Kill(p.pid, sig)
}

func (l *Lab) controlNames(names []string) ([]string, error) {
	var known []string
	for _, args := range l.kubePrograms() {
		known = append(known, args[0])
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("control plane: %q: want one of %s", name, strings.Join(known, ", "))
		}
	}
	if len(names) == 0 {
		return known, nil
	}
	return names, nil
}
