package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// The programs of the control plane, by the name that the one file knows them by.
const (
	kubeEtcd      = "etcd"
	kubeAPI       = "kube-apiserver"
	kubeManager   = "kube-controller-manager"
	kubeScheduler = "kube-scheduler"
)

const (
	kubeAdmin = "admin" // whose kubeconfig may do everything
	// kubePort is the API server's, the same as that of its Service, see kubeServiceIP.
	kubePort     = 443
	kubePatience = 2 * time.Minute
)

func (l *Lab) kubeURL() string {
	return "https://" + net.JoinHostPort(l.config.Gateway().String(), strconv.Itoa(kubePort))
}

// kubePrograms are the control plane in the order of their start, with their
// arguments.
func (l *Lab) kubePrograms() [][]string {
	pki := func(name string) string { return l.paths.kube("pki", name) }
	const client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
	controller := func(name string, more ...string) []string {
		config := pki(name + ".kubeconfig")
		return append([]string{
			name, "--kubeconfig=" + config, "--authentication-kubeconfig=" + config, "--authorization-kubeconfig=" + config,
			"--bind-address=127.0.0.1", "--leader-elect=false",
		}, more...)
	}
	return [][]string{
		{
			kubeEtcd, "--data-dir=" + l.paths.kube("etcd"), "--log-level=warn",
			"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
			// A lab's cluster need not outlive a crash of the host.
			"--unsafe-no-fsync",
		},
		{
			kubeAPI, "--etcd-servers=" + client, "--bind-address=0.0.0.0",
			"--advertise-address=" + l.config.Gateway().String(), "--secure-port=" + strconv.Itoa(kubePort),
			"--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"),
			"--client-ca-file=" + pki("ca.crt"), "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
			"--kubelet-client-certificate=" + pki("apiserver-kubelet.crt"), "--kubelet-client-key=" + pki("apiserver-kubelet.key"),
			"--kubelet-certificate-authority=" + pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
			"--service-cluster-ip-range=" + kubeServiceNet.String(), "--allow-privileged=true",
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + pki("accounts.key"), "--service-account-signing-key-file=" + pki("accounts.key"),
			"--audit-policy-file=" + l.paths.auditPolicy(), "--audit-log-path=" + l.paths.auditLog(),
		},
		controller(kubeManager, "--service-account-private-key-file="+pki("accounts.key"), "--root-ca-file="+pki("ca.crt"),
			"--use-service-account-credentials", "--allocate-node-cidrs=false",
			// With the 15 s that it has otherwise, the first bind of a claim can take as long.
			"--pvclaimbinder-sync-period=1s"),
		controller(kubeScheduler),
	}
}

// ensureControlPlane starts what of the control plane does not run, and waits until
// the API answers.
func (l *Lab) ensureControlPlane(ctx context.Context, dir string) error {
	if err := l.ensureAuditPolicy(); err != nil {
		return err
	}
	for _, args := range l.kubePrograms() {
		if err := l.ensureKubeProgram(ctx, dir, args); err != nil {
			return err
		}
		if args[0] != kubeAPI {
			continue
		}
		if err := l.awaitAPI(ctx); err != nil {
			return err
		}
	}
	// The first thing that the controller manager makes, without which no pod starts.
	return l.awaitKube(ctx, kubeManager, "/api/v1/namespaces/default/serviceaccounts/default")
}

func (l *Lab) awaitAPI(ctx context.Context) error { return l.awaitKube(ctx, kubeAPI, "/readyz") }

// awaitKube asks the API until it answers, as long as the program that makes the
// answer runs.
func (l *Lab) awaitKube(ctx context.Context, program, path string) error {
	short, cancel := context.WithTimeout(ctx, kubePatience)
	defer cancel()
	var last error
	err := until(short, 50*time.Millisecond, func() (bool, error) {
		if last = l.getKube(short, path, nil); last == nil {
			return true, nil
		}
		if rec, err := loadPIDRecord(l.paths.kubePID(program)); err != nil || !runs(rec) {
			return false, errors.Join(errors.New(program+" ended"), err)
		}
		return false, nil
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%s%s does not answer: %w; the log of %s (%s) ends:\n%s", l.kubeURL(), path,
			errors.Join(last, err), program, l.paths.kubeLog(program), fileTail(l.paths.kubeLog(program)))
	}
	return err
}

func runs(rec pidRecord) bool {
	_, ok := rec.leader()
	return ok
}

func fileTail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return tail(string(data), 1500)
}

// ensureKubeProgram makes one program of the control plane run as it should: one
// that was stopped goes on, one with other arguments starts anew.
func (l *Lab) ensureKubeProgram(ctx context.Context, dir string, args []string) error {
	rec, err := loadPIDRecord(l.paths.kubePID(args[0]))
	if err != nil {
		return err
	}
	argv := append([]string{filepath.Join(dir, "kubernetes")}, args...)
	if p, ok := rec.leader(); ok && slices.Equal(rec.Args, argv) {
		if p.stopped() {
			l.say("kubernetes: %s was paused, lets it go on", args[0])
			return syscall.Kill(p.pid, syscall.SIGCONT)
		}
		return nil
	}
	if err := l.endKubeProgram(ctx, args[0]); err != nil {
		return err
	}
	l.say("kubernetes: starting %s", args[0])
	return l.startRecorded(l.hostArgv(argv...), argv, l.netns, l.paths.kubePID(args[0]), l.paths.kubeLog(args[0]), nil)
}

// startRecorded starts a program that outlives this command, and puts it on record.
func (l *Lab) startRecorded(argv, args []string, netns uint64, record, log string, attr *syscall.SysProcAttr) error {
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	// Not CommandContext: see above.
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // see above
	cmd.Stdout, cmd.Stderr, cmd.Dir = f, f, "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = attr
	if attr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", args[0], err)
	}
	rec, err := newPIDRecord(cmd.Process.Pid, netns, args)
	if err == nil {
		err = rec.save(record)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("record the process of %s: %w", args[0], err), cmd.Process.Kill(), cmd.Wait())
	}
	go func() { _ = cmd.Wait() }()
	return nil
}

// endKubeProgram ends one program with kill -9, if it runs.
func (l *Lab) endKubeProgram(ctx context.Context, name string) error {
	rec, err := loadPIDRecord(l.paths.kubePID(name))
	if err != nil {
		return err
	}
	if err := endRecorded(ctx, rec); err != nil {
		return fmt.Errorf("end %s: %w", name, err)
	}
	return nil
}

// endRecorded kills what a record names and waits until it is gone.
func endRecorded(ctx context.Context, rec pidRecord) error {
	return until(ctx, 10*time.Millisecond, func() (bool, error) {
		p, ok := rec.leader()
		if !ok {
			return true, nil
		}
		if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return false, fmt.Errorf("kill process %d: %w", p.pid, err)
		}
		return false, nil
	})
}

// getKube reads one thing from the API as the administrator; into may be nil.
func (l *Lab) getKube(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.kubeURL()+path, nil)
	if err != nil {
		return err
	}
	config, err := l.kubeTLS()
	if err != nil {
		return err
	}
	transport := &http.Transport{DialContext: l.Dial, DisableKeepAlives: true, TLSClientConfig: config}
	answer, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 16<<20))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, answer.Status, tail(string(body), 500))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

func (l *Lab) kubeTLS() (*tls.Config, error) {
	ca, err := os.ReadFile(l.paths.kube("pki", "ca.crt"))
	if err != nil {
		return nil, err
	}
	cert, err := tls.LoadX509KeyPair(l.paths.kube("pki", kubeAdmin+".crt"), l.paths.kube("pki", kubeAdmin+".key"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, nil
}
