package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"
)

const (
	containerdSocket = "/run/containerd/containerd.sock" // as a worker sees it
	workerPatience   = 30 * time.Second
	kubeletHealth    = "http://127.0.0.1:10248/healthz"
)

// workerArgs is the command line of a worker's first process.
func (l *Lab) workerArgs(dir string, w Worker) []string {
	return []string{filepath.Join(dir, "worker"), "--hostname=" + w.Name, "--dir=" + l.paths.worker(w.Name), "--keep=" + stateRoot}
}

// ensureMachine makes a worker's namespaces with their first process, if it has
// none. Whatever ran in those that it had is gone with their first process.
func (l *Lab) ensureMachine(ctx context.Context, dir string, w Worker) error {
	rec, err := loadPIDRecord(l.paths.workerPID(w.Name))
	if err != nil {
		return err
	}
	args := l.workerArgs(dir, w)
	netns := netnsInode(l.paths.workerNetns(w.Name))
	if runs(rec) && slices.Equal(rec.Args, args) && rec.Netns == netns {
		return nil
	}
	if err := endRecorded(ctx, rec); err != nil {
		return err
	}
	if err := ensureCgroups(l.paths.workerCgroup(w.Name)); err != nil {
		return fmt.Errorf("make its control groups: %w", err)
	}
	l.say("kubernetes: starting worker %s", w.Name)
	argv := append([]string{"nsenter", "--net=" + l.paths.workerNetns(w.Name), "--"}, args...)
	attr := &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS}
	log := l.paths.workerLog(w.Name, "worker")
	if err := l.startRecorded(argv, args, netns, l.paths.workerPID(w.Name), log, attr); err != nil {
		return err
	}
	if rec, err = loadPIDRecord(l.paths.workerPID(w.Name)); err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, workerPatience)
	defer cancel()
	err = until(short, 10*time.Millisecond, func() (bool, error) {
		if !runs(rec) {
			return false, errors.New("its first process ended")
		}
		return exists(fmt.Sprintf("/proc/%d/root/run/worker-ready", rec.PID)), nil
	})
	if err != nil {
		return fmt.Errorf("not ready: %w; its log (%s) ends:\n%s", err, log, fileTail(log))
	}
	return nil
}

// workerRecord is the record of a worker's first process, which runs.
func (l *Lab) workerRecord(worker string) (pidRecord, error) {
	if _, err := l.Worker(worker); err != nil {
		return pidRecord{}, err
	}
	rec, err := loadPIDRecord(l.paths.workerPID(worker))
	if err == nil && !runs(rec) {
		err = fmt.Errorf("worker %s of lab %s: %w", worker, l.config.Name, ErrNotUp)
	}
	return rec, err
}

// WorkerArgv is the command line that runs argv on a worker: with its network, its
// mounts, its processes.
func (l *Lab) WorkerArgv(worker string, argv ...string) ([]string, error) {
	rec, err := l.workerRecord(worker)
	if err != nil {
		return nil, err
	}
	return append([]string{"nsenter", "--target=" + strconv.Itoa(rec.PID), "--mount", "--net", "--pid", "--uts", "--"}, argv...), nil
}

// InWorker runs a command on a worker and answers its standard output.
func (l *Lab) InWorker(ctx context.Context, worker string, argv ...string) ([]byte, error) {
	full, err := l.WorkerArgv(worker, argv...)
	if err != nil {
		return nil, err
	}
	out, err := run(ctx, full...)
	if e, ok := errors.AsType[*ExitError](err); ok {
		e.Node, e.Argv, e.Stdout = worker, argv, out
	}
	return out, err
}

// WorkerPath is where the host finds a path of a worker, with what is mounted there.
// It holds as long as the worker runs.
func (l *Lab) WorkerPath(worker, path string) (string, error) {
	rec, err := l.workerRecord(worker)
	return filepath.Join("/proc", strconv.Itoa(rec.PID), "root", path), err
}

// KillWorker ends all of a worker at once, as a power cut does. Its disk stays: Up
// or StartWorker bring it back.
func (l *Lab) KillWorker(ctx context.Context, worker string) error {
	rec, err := loadPIDRecord(l.paths.workerPID(worker))
	if err != nil {
		return err
	}
	return endRecorded(ctx, rec)
}

// StartWorker starts what of a worker does not run: the worker, containerd, kubelet.
func (l *Lab) StartWorker(ctx context.Context, worker string) error {
	w, err := l.Worker(worker)
	if err != nil {
		return err
	}
	dir, err := ensureKubePrograms(ctx, l.progress)
	if err != nil {
		return err
	}
	return errors.Join(l.ensureRuntime(ctx, dir, w), l.ensureKubelet(ctx, dir, w))
}

// KillKubelet ends a worker's kubelet with kill -9; pods stay, and it stays dead
// until StartWorker or Up.
func (l *Lab) KillKubelet(ctx context.Context, worker string) error {
	return l.killOnWorker(ctx, worker, "kubelet")
}

// KillContainerd ends a worker's containerd with kill -9; pods stay, and it stays
// dead until StartWorker or Up.
func (l *Lab) KillContainerd(ctx context.Context, worker string) error {
	return l.killOnWorker(ctx, worker, "containerd")
}

func (l *Lab) killOnWorker(ctx context.Context, worker, program string) error {
	return until(ctx, 10*time.Millisecond, func() (bool, error) {
		list, err := l.onWorker(worker, program)
		for _, p := range list {
			if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return false, fmt.Errorf("worker %s: kill %s (%d): %w", worker, program, p.pid, err)
			}
		}
		return len(list) == 0, err
	})
}

// onWorker finds a worker's kubelet or containerd among the processes of its PID
// namespace. They need no record: the namespace and the command line say what they are.
func (l *Lab) onWorker(worker, program string) ([]process, error) {
	rec, err := l.workerRecord(worker)
	if errors.Is(err, ErrNotUp) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	home, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", rec.PID))
	if err != nil {
		return nil, err
	}
	all, err := processes()
	if err != nil {
		return nil, err
	}
	var found []process
	for _, p := range all {
		ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", p.pid))
		if err != nil || ns != home || !p.alive() {
			continue
		}
		argv := cmdline(p.pid)
		if len(argv) > 1 && (filepath.Base(argv[0]) == program || filepath.Base(argv[0]) == "kubernetes" && argv[1] == program) {
			found = append(found, p)
		}
	}
	return found, nil
}

// ensureOnWorker makes a program run on a worker with just these arguments, and
// waits until it answers.
func (l *Lab) ensureOnWorker(ctx context.Context, w Worker, program string, argv []string, answers func(context.Context) error) error {
	list, err := l.onWorker(w.Name, program)
	if err != nil {
		return err
	}
	log := l.paths.workerLog(w.Name, program)
	var ended <-chan error
	if len(list) != 1 || !slices.Equal(cmdline(list[0].pid), argv) {
		if err := l.killOnWorker(ctx, w.Name, program); err != nil {
			return err
		}
		l.say("kubernetes: %s: starting %s", w.Name, program)
		if ended, err = l.spawnOnWorker(w.Name, argv, log); err != nil {
			return err
		}
	} else if list[0].stopped() {
		if err := syscall.Kill(list[0].pid, syscall.SIGCONT); err != nil {
			return err
		}
	}
	short, cancel := context.WithTimeout(ctx, kubePatience)
	defer cancel()
	var last error
	err = until(short, 50*time.Millisecond, func() (bool, error) {
		if last = answers(short); last == nil {
			return true, nil
		}
		select {
		case err := <-ended:
			return false, fmt.Errorf("it ended: %v", err) //nolint:errorlint // nothing of it is for errors.Is
		default:
			return false, nil
		}
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%s does not answer: %w; its log (%s) ends:\n%s", program, errors.Join(last, err), log, fileTail(log))
	}
	return err
}

// spawnOnWorker starts a program that outlives this command; the channel says when
// it ended, while this command lives.
func (l *Lab) spawnOnWorker(worker string, argv []string, log string) (<-chan error, error) {
	full, err := l.WorkerArgv(worker, argv...)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	cmd := exec.Command(full[0], full[1:]...) //nolint:noctx // it outlives every context here
	cmd.Stdout, cmd.Stderr, cmd.Dir = f, f, "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return ended, nil
}

// ensureRuntime makes a worker run, with its containerd and the images that pods
// need at least.
func (l *Lab) ensureRuntime(ctx context.Context, dir string, w Worker) error {
	if err := l.ensureMachine(ctx, dir, w); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(l.paths.worker(w.Name), "cni", "10-bridge.conflist"), []byte(cniConfig(w)), 0o644); err != nil {
		return err
	}
	config, err := l.sumNamed(w, "containerd-%s.toml", []byte(containerdConfig(l.paths.worker(w.Name))))
	if err != nil {
		return err
	}
	err = l.ensureOnWorker(ctx, w, "containerd", []string{"/usr/bin/containerd", "--config", config}, func(ctx context.Context) error {
		socket, err := l.WorkerPath(w.Name, containerdSocket)
		if err != nil {
			return err
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		return err
	}
	return l.ensureBaseImages(ctx, w)
}

// sumNamed writes a configuration under a name that changes with it, so that a
// program that runs with another is seen by its arguments.
func (l *Lab) sumNamed(w Worker, pattern string, data []byte) (string, error) {
	sum := sha256.Sum256(data)
	path := filepath.Join(l.paths.worker(w.Name), fmt.Sprintf(pattern, hex.EncodeToString(sum[:4])))
	if exists(path) {
		return path, nil
	}
	return path, writeFile(path, data, 0o644)
}

// ensureKubelet makes a worker's kubelet run.
func (l *Lab) ensureKubelet(ctx context.Context, dir string, w Worker) error {
	config, err := yaml.Marshal(l.kubeletConfig(w))
	if err != nil {
		return err
	}
	file, err := l.sumNamed(w, "kubelet-%s.yaml", config)
	if err != nil {
		return err
	}
	argv := []string{
		filepath.Join(dir, "kubernetes"), "kubelet", "--config=" + file,
		"--kubeconfig=" + l.paths.kube("pki", w.Name+".kubeconfig"),
		"--hostname-override=" + w.Name, "--node-ip=" + w.Address.String(),
		"--node-labels=topology.kubernetes.io/zone=" + w.Zone,
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = inNetns(l.paths.workerNetns(w.Name), func() error {
			conn, err = (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}}
	return l.ensureOnWorker(ctx, w, "kubelet", argv, func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, kubeletHealth, nil)
		if err != nil {
			return err
		}
		answer, err := (&http.Client{Transport: transport, Timeout: 5 * time.Second}).Do(r)
		if err != nil {
			return err
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s says %s", kubeletHealth, answer.Status)
		}
		return nil
	})
}
