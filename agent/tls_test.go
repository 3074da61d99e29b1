package agent_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bricklayer.csi/agent"
	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/agent/certs"
	"bricklayer.csi/internal/volume"
)

// logBuffer is a log that a test can read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// TestCertificatesRefused shows the agent of node n1, pool lab, every
// certificate that is not that of pool lab's controllers, and the controller
// every agent that is not n1 of pool lab. Both sides say why.
func TestCertificatesRefused(t *testing.T) {
	good, foreign, past := t.TempDir(), t.TempDir(), t.TempDir()
	makeCerts(t, good, "lab", "n1", "n2")
	makeCerts(t, foreign, "lab", "n1")
	// Another pool whose certificates one CA signs too, and certificates of
	// two years ago.
	otherPool := copyCA(t, good, t.TempDir())
	makeCerts(t, otherPool, "other", "n1")
	o := certs.Options{Dir: copyCA(t, good, past), Pool: "lab", Nodes: []certs.Node{{Name: "n1"}}, Now: func() time.Time { return time.Now().AddDate(-2, 0, 0) }}
	if _, err := certs.Make(o); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name                   string
		agentDir, agentWho     string
		callerDir, callerWho   string
		wantCaller, wantServer string // "" for a server that has nothing to say
	}{
		{"caller of another CA", good, "n1", foreign, certs.Controller, "unknown authority", ""},
		{"caller that trusts ours, but is of another CA", good, "n1", mixed(t, good, foreign), certs.Controller, "refused it", "unknown authority"},
		{"caller of another pool", good, "n1", otherPool, certs.Controller, `"controller.other.bricklayer"`, "controller.lab.bricklayer only"},
		{"caller that is an agent", good, "n1", good, "n2", "refused it", "incompatible key usage"},
		{"caller whose certificate has ended", good, "n1", past, certs.Controller, "our own certificate is valid from", ""},
		{"agent of another node", good, "n2", good, certs.Controller, "n1.lab.agent.bricklayer", "bad certificate"},
		{"agent of another pool", otherPool, "n1", good, certs.Controller, "n1.lab.agent.bricklayer", "bad certificate"},
		{"agent whose certificate has ended", past, "n1", good, certs.Controller, "expired", "bad certificate"},
		{"agent that is a controller", good, certs.Controller, good, certs.Controller, "valid for controller.lab.bricklayer", "bad certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log logBuffer
			fake := agenttest.New(agenttest.Default(1)).Node("n1")
			address := serve(t, agent.ServerOptions{Node: fake, Name: "n1", Pool: "lab", TLS: tlsFiles(c.agentDir, c.agentWho), Log: log.logger()})
			d, err := agent.NewDialer(agent.DialOptions{Pool: "lab", TLS: tlsFiles(c.callerDir, c.callerWho)})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			client, err := d.Node(agent.Target{Node: "n1", Address: address})
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.Describe(t.Context())
			t.Log(err)
			if !volume.Is(err, volume.Denied) || !strings.Contains(err.Error(), c.wantCaller) || !strings.Contains(err.Error(), "node n1") {
				t.Errorf("the caller is told %v (%v), want it denied with %q", err, volume.KindOf(err), c.wantCaller)
			}
			if c.wantServer != "" {
				awaitNode(t.Context(), t, "the agent's log says why: "+c.wantServer, func() error {
					if !strings.Contains(log.String(), c.wantServer) {
						return errors.New(log.String())
					}
					return nil
				})
			}
		})
	}
}

// copyCA puts the CA of one directory into another.
func copyCA(t *testing.T, from, to string) string {
	t.Helper()
	for _, f := range []string{certs.CAFile, certs.CAKeyFile} {
		copyFile(t, filepath.Join(from, f), filepath.Join(to, f))
	}
	return to
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// mixed returns a directory whose controller trusts one CA and comes from another.
func mixed(t *testing.T, trusts, comesFrom string) string {
	t.Helper()
	dir := t.TempDir()
	sub := filepath.Join(dir, certs.Controller)
	copyFile(t, filepath.Join(trusts, certs.CAFile), filepath.Join(sub, certs.CAFile))
	for _, f := range []string{certs.CertFile, certs.KeyFile} {
		copyFile(t, filepath.Join(comesFrom, certs.Controller, f), filepath.Join(sub, f))
	}
	return dir
}

func TestOldTLSIsRefused(t *testing.T) {
	dir := t.TempDir()
	makeCerts(t, dir, "lab", "n1")
	fake := agenttest.New(agenttest.Default(1)).Node("n1")
	address := serve(t, agent.ServerOptions{Node: fake, Name: "n1", Pool: "lab", TLS: tlsFiles(dir, "n1")})
	cert, err := tls.LoadX509KeyPair(tlsFiles(dir, certs.Controller).Cert, tlsFiles(dir, certs.Controller).Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*tls.Config{
		{MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}},
		{InsecureSkipVerify: true},
	} {
		conn, err := (&tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: c}).DialContext(t.Context(), "tcp", address)
		if err == nil { // under TLS 1.3 the refusal comes with the first read
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			_, err = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "remote error" {
			t.Errorf("got %v, want an alert", err)
		}
	}
}

// TestCertificatesAreReadAgain renews the certificates of both sides, then the
// whole CA, while agent and client run.
func TestCertificatesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	makeCerts(t, dir, "lab", "n1")
	fake := agenttest.New(agenttest.Default(1)).Node("n1")
	address := serve(t, agent.ServerOptions{Node: fake, Name: "n1", Pool: "lab", TLS: tlsFiles(dir, "n1")})
	d := dialer(t, dir, "lab")
	call := func(ctx context.Context) error {
		c, err := d.Node(agent.Target{Node: "n1", Address: address})
		if err != nil {
			return err
		}
		_, err = c.Describe(ctx)
		return errors.Join(err, d.Keep(nil)) // the next call makes a new connection
	}
	if err := call(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, err := d.CertificateExpires()
	if err != nil {
		t.Fatal(err)
	}

	later := func() time.Time { return time.Now().Add(certs.LeafLifetime - certs.RenewBefore + time.Hour) }
	entries, err := certs.Make(certs.Options{Dir: dir, Pool: "lab", Nodes: []certs.Node{{Name: "n1"}}, Now: later})
	if err != nil || entries[0].Made || !entries[1].Made || !entries[2].Made {
		t.Fatalf("renewal: %+v %v", entries, err)
	}
	second, err := d.CertificateExpires()
	if err != nil || !second.After(first) {
		t.Errorf("after the renewal: %v, %v; before: %v", second, err, first)
	}

	// A CA that takes the place of another: at first a file does not fit.
	fresh := t.TempDir()
	makeCerts(t, fresh, "lab", "n1")
	copyFile(t, tlsFiles(fresh, certs.Controller).Key, tlsFiles(dir, certs.Controller).Key)
	if at, err := d.CertificateExpires(); err == nil || !at.Equal(second) {
		t.Errorf("with a key that does not fit: %v, %v; want the last good certificate and the reason", at, err)
	}
	for _, who := range []string{certs.Controller, "n1"} {
		for _, f := range []string{certs.CAFile, certs.CertFile, certs.KeyFile} {
			copyFile(t, filepath.Join(fresh, who, f), filepath.Join(dir, who, f))
		}
	}
	if err := call(t.Context()); err != nil {
		t.Errorf("under the new CA: %v", err)
	}
}
