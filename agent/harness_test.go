package agent_test

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"bricklayer.csi/agent"
	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/agent/certs"
)

// served is a fake cluster whose nodes are reached over loopback with mutual TLS.
type served struct {
	cluster *agenttest.Cluster
	dir     string // of certificates
	targets []agent.Target
	dialer  *agent.Dialer
}

func tlsFiles(dir, who string) agent.TLSFiles {
	return agent.TLSFiles{
		CA: filepath.Join(dir, who, certs.CAFile), Cert: filepath.Join(dir, who, certs.CertFile), Key: filepath.Join(dir, who, certs.KeyFile),
	}
}

func makeCerts(t testing.TB, dir, pool string, nodes ...string) {
	t.Helper()
	o := certs.Options{Dir: dir, Pool: pool}
	for _, n := range nodes {
		o.Nodes = append(o.Nodes, certs.Node{Name: n})
	}
	if _, err := certs.Make(o); err != nil {
		t.Fatal(err)
	}
}

// serve starts a server around a node and returns its address.
func serve(t testing.TB, o agent.ServerOptions) string {
	t.Helper()
	stop, address := serveAt(t, o, "127.0.0.1:0")
	t.Cleanup(stop)
	return address
}

// serveAt starts a server at an address; stop stops it.
func serveAt(t testing.TB, o agent.ServerOptions, address string) (stop func(), bound string) {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s, err := agent.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	return func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Error("the server did not stop")
		}
	}, l.Addr().String()
}

func newServed(t testing.TB, c *agenttest.Cluster) *served {
	t.Helper()
	s := &served{cluster: c, dir: t.TempDir()}
	cfg := c.Config()
	var names []string
	for _, n := range cfg.Nodes {
		names = append(names, n.Name)
	}
	makeCerts(t, s.dir, cfg.Pool, names...)
	for _, name := range names {
		address := serve(t, agent.ServerOptions{Node: c.Node(name), Name: name, Pool: cfg.Pool, TLS: tlsFiles(s.dir, name)})
		s.targets = append(s.targets, agent.Target{Node: name, Address: address})
	}
	s.dialer = dialer(t, s.dir, cfg.Pool)
	return s
}

func dialer(t testing.TB, dir, pool string) *agent.Dialer {
	t.Helper()
	d, err := agent.NewDialer(agent.DialOptions{Pool: pool, TLS: tlsFiles(dir, certs.Controller)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (s *served) node(t testing.TB, i int) *agent.Client {
	t.Helper()
	c, err := s.dialer.Node(s.targets[i])
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *served) members(t testing.TB) []agenttest.Member {
	t.Helper()
	members := s.cluster.Members()
	for i := range members {
		members[i].Node = s.node(t, i)
	}
	return members
}

func TestServedFake(t *testing.T) {
	agenttest.TestNode(t, func(t *testing.T) []agenttest.Member {
		c := agenttest.New(agenttest.Default(3))
		t.Cleanup(func() { c.CheckEmpty(t) })
		return newServed(t, c).members(t)
	})
}
