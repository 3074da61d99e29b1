// Package apiserver runs the lab's kube-apiserver with its etcd alone, on
// loopback, for tests that need nothing of a cluster but its API: up in seconds,
// no root, no network of its own.
//
// It owns the two processes and their directory. It refuses to know what is kept
// in the API, and has no nodes, no scheduler and no controllers.
package apiserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"bricklayer.csi/lab"
)

const (
	// patience bounds the start, on a machine that does much else.
	patience = 2 * time.Minute
	// grace is what a program has to end by itself.
	grace = 10 * time.Second
)

// Server is a running API server.
type Server struct {
	dir, program string
	url, token   string
	running      []*exec.Cmd
	ended        chan string // one message a program that ended
}

// Start starts an API server that keeps its files in dir, which must be empty and
// outlive it. The programs are built first where they are not yet, which is told
// to w. Stop must be called in the end.
func Start(ctx context.Context, dir string, w io.Writer) (*Server, error) {
	programs, err := lab.KubernetesPrograms(ctx, w)
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	s := &Server{
		dir: dir, program: filepath.Join(programs, "kubernetes"),
		url: "https://127.0.0.1:" + ports[2], token: rand.Text(), ended: make(chan string, 2),
	}
	if err := s.writeFiles(); err != nil {
		return nil, err
	}
	if err := s.start(ports); err != nil {
		s.Stop()
		return nil, err
	}
	if err := s.await(ctx); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Server) file(name string) string { return filepath.Join(s.dir, name) }

// writeFiles makes the one user, and the key that accounts' tokens are signed with.
func (s *Server) writeFiles() error {
	if err := os.WriteFile(s.file("tokens"), []byte(s.token+",admin,admin,system:masters\n"), 0o600); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(s.file("accounts.key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

func (s *Server) start(ports []string) error {
	client, peer := "http://127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[1]
	err := s.run("etcd", "--data-dir="+s.file("etcd"), "--log-level=warn", "--unsafe-no-fsync",
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer)
	if err != nil {
		return err
	}
	return s.run("kube-apiserver", "--etcd-servers="+client,
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port="+ports[2], "--cert-dir="+s.dir,
		"--token-auth-file="+s.file("tokens"), "--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged=true",
		"--disable-admission-plugins=ServiceAccount", "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+s.file("accounts.key"), "--service-account-signing-key-file="+s.file("accounts.key"))
}

// run starts one program. It goes with this process, however that ends.
func (s *Server) run(name string, args ...string) error {
	out, err := os.Create(s.file(name + ".log"))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(s.program, append([]string{name}, args...)...) //nolint:noctx // Stop ends it, later than any context of the start
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	s.running = append(s.running, cmd)
	go func() { s.ended <- fmt.Sprintf("%s ended (%v); its log is %s", name, cmd.Wait(), out.Name()) }()
	return nil
}

// await waits until the API answers.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last := errors.New("it was not asked yet")
	for {
		select {
		case how := <-s.ended:
			s.ended <- how // for Stop
			return fmt.Errorf("start an API server in %s: %s", s.dir, how)
		case <-ctx.Done():
			return fmt.Errorf("start an API server in %s: %w", s.dir, errors.Join(ctx.Err(), last))
		case <-tick.C:
		}
		if last = s.ready(ctx); last == nil {
			return nil
		}
	}
}

func (s *Server) ready(ctx context.Context) error {
	client, err := discovery.NewDiscoveryClientForConfig(s.Config())
	if err != nil {
		return err // its certificate is not written yet
	}
	return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

// Config returns how its administrator reaches it.
func (s *Server) Config() *rest.Config {
	return &rest.Config{
		Host: s.url, BearerToken: s.token, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAFile: s.file("apiserver.crt")},
	}
}

// Kubeconfig writes Config to a file, once, and returns its path.
func (s *Server) Kubeconfig() (string, error) {
	const name = "only"
	path := s.file("kubeconfig")
	return path, clientcmd.WriteToFile(api.Config{
		Clusters:       map[string]*api.Cluster{name: {Server: s.url, CertificateAuthority: s.file("apiserver.crt")}},
		AuthInfos:      map[string]*api.AuthInfo{name: {Token: s.token}},
		Contexts:       map[string]*api.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	}, path)
}

// Kubectl returns what kubectl answers to these arguments; the error has what it
// wrote to standard error.
func (s *Server) Kubectl(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	config, err := s.Kubeconfig()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, s.program, append([]string{"kubectl", "--kubeconfig=" + config, "--cache-dir=" + s.file("kubectl")}, args...)...)
	cmd.Stdin = stdin
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("kubectl %v: %w: %s", args, err, exit.Stderr)
	}
	return string(out), err
}

// Stop ends the programs.
func (s *Server) Stop() {
	for _, cmd := range s.running {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	for range s.running {
		select {
		case <-s.ended:
		case <-timer.C:
			for _, cmd := range s.running {
				_ = cmd.Process.Kill() // likewise
			}
			<-s.ended
		}
	}
}

// freePorts returns TCP ports of loopback that nobody has at this moment.
func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not block
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}
