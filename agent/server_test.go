package agent_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"bricklayer.csi/agent"
	"bricklayer.csi/agent/agentpb"
	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/agent/certs"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// raw dials an agent as a program of another version might.
func raw(t *testing.T, s *served, i int) *grpc.ClientConn {
	t.Helper()
	files := tlsFiles(s.dir, certs.Controller)
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(files.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	conn, err := grpc.NewClient("passthrough:///"+s.targets[i].Address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: pool, Certificates: []tls.Certificate{cert}, ServerName: certs.AgentName(s.targets[i].Node, "lab"),
	})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestOtherProtocolVersion(t *testing.T) {
	s := newServed(t, agenttest.New(agenttest.Default(1)))
	stub := agentpb.NewAgentClient(raw(t, s, 0))
	for _, version := range []string{"", "0", "2", "one"} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-bricklayer-protocol", version)
		_, err := stub.Describe(ctx, &agentpb.DescribeRequest{})
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "node n1") {
			t.Errorf("version %q: %v", version, err)
		}
		found := false
		for _, d := range status.Convert(err).Details() {
			if f, ok := d.(*agentpb.Failure); ok && f.GetProtocol() == agent.Protocol {
				found = true
			}
		}
		if !found {
			t.Errorf("version %q: the answer does not carry the agent's version: %v", version, err)
		}
	}
	s.cluster.SetProtocol("n1", 7)
	_, err := s.node(t, 0).Describe(t.Context())
	if !volume.Is(err, volume.Precondition) || !strings.Contains(err.Error(), "version 7") || !strings.Contains(err.Error(), "version 1") {
		t.Errorf("got %v", err)
	}
}

func TestHealth(t *testing.T) {
	s := newServed(t, agenttest.New(agenttest.Default(1)))
	r, err := grpc_health_v1.NewHealthClient(raw(t, s, 0)).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("got %v, %v", r, err)
	}
}

// oddNode is a node whose Peers does what a test says.
type oddNode struct {
	agent.Node
	peers func(ctx context.Context) ([]gluster.Peer, error)
}

func (n oddNode) Peers(ctx context.Context) ([]gluster.Peer, error) { return n.peers(ctx) }

func serveOdd(t *testing.T, log *logBuffer, peers func(ctx context.Context) ([]gluster.Peer, error)) *agent.Client {
	t.Helper()
	dir := t.TempDir()
	makeCerts(t, dir, "lab", "n1")
	fake := agenttest.New(agenttest.Default(1)).Node("n1")
	address := serve(t, agent.ServerOptions{Node: oddNode{Node: fake, peers: peers}, Name: "n1", Pool: "lab", TLS: tlsFiles(dir, "n1"), Log: log.logger()})
	c, err := dialer(t, dir, "lab").Node(agent.Target{Node: "n1", Address: address})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPanicIsAnError(t *testing.T) {
	var log logBuffer
	c := serveOdd(t, &log, func(context.Context) ([]gluster.Peer, error) { panic("no such luck") })
	_, err := c.Peers(t.Context())
	if !volume.Is(err, volume.Internal) || !strings.Contains(err.Error(), "no such luck") || !strings.Contains(err.Error(), "node n1") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(log.String(), "server_test.go") {
		t.Error("the log has no stack")
	}
	if _, err := c.Describe(t.Context()); err != nil {
		t.Errorf("the agent is gone after a panic: %v", err)
	}
}

func TestTooManyCalls(t *testing.T) {
	var log logBuffer
	block, begun := make(chan struct{}), make(chan struct{}, 100)
	c := serveOdd(t, &log, func(ctx context.Context) ([]gluster.Peer, error) {
		begun <- struct{}{}
		select {
		case <-block:
		case <-ctx.Done():
		}
		return nil, nil
	})
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			if _, err := c.Peers(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	for range 64 {
		<-begun
	}
	_, err := c.Describe(t.Context())
	if !volume.Is(err, volume.Busy) || !strings.Contains(err.Error(), "node n1") {
		t.Errorf("one call more: %v, want Busy", err)
	}
	close(block)
	all.Wait()
	if _, err := c.Describe(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestRequestIDAndLog(t *testing.T) {
	var log logBuffer
	seen := ""
	c := serveOdd(t, &log, func(ctx context.Context) ([]gluster.Peer, error) {
		seen = agent.RequestID(ctx)
		return nil, &gluster.Error{Reason: gluster.Locked, Command: "pool list", Text: "Another transaction is in progress"}
	})
	_, err := c.Peers(agent.WithRequestID(t.Context(), "abc-123"))
	if !volume.Is(err, volume.Busy) || seen != "abc-123" {
		t.Errorf("request ID %q, error %v", seen, err)
	}
	for _, want := range []string{"verb=Peers", "request_id=abc-123", "outcome=busy", "took="} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, log.String())
		}
	}
	if _, err := c.Peers(agent.WithRequestID(t.Context(), "two\nlines")); err == nil {
		t.Error("no error")
	}
	if seen == "" || strings.Contains(seen, "lines") {
		t.Errorf("a request ID that forges a log line became %q", seen)
	}
	_ = c.SetOptions(t.Context(), "x", []gluster.Option{{Key: "auth.allow", Value: "s3cret-value"}})
	if strings.Contains(log.String(), "s3cret-value") {
		t.Error("the log shows an option's value")
	}
}

// TestErrorsTravel sends errors of every kind and reason through a server.
func TestErrorsTravel(t *testing.T) {
	var next error
	var log logBuffer
	c := serveOdd(t, &log, func(context.Context) ([]gluster.Peer, error) { return nil, next })
	for _, kind := range volume.Kinds() {
		next = &volume.Error{Kind: kind, Op: "do it", On: "volume x", Err: errors.New("because"), Next: "do that"}
		_, err := c.Peers(t.Context())
		if volume.KindOf(err) != kind || err == nil || err.Error() != "do it on node n1, volume x: because (do that)" {
			t.Errorf("%v arrived as %v: %v", kind, volume.KindOf(err), err)
		}
	}
	for _, reason := range []gluster.Reason{
		gluster.Other, gluster.Exists, gluster.NotFound, gluster.NotStarted, gluster.AlreadyStarted, gluster.NotStopped, gluster.Locked,
		gluster.PeerDown, gluster.BrickInUse, gluster.BrickMissing, gluster.QuorumLost, gluster.BadOption, gluster.DaemonDown, gluster.Timeout,
	} {
		sent := &gluster.Error{Reason: reason, Command: "volume start x", Text: "no"}
		next = agent.At("n1", "start volume", "volume x", fmt.Errorf("in the middle: %w", sent))
		_, err := c.Peers(t.Context())
		var got *gluster.Error
		if !errors.As(err, &got) || got.Reason != reason || got.Command != sent.Command || got.Text != sent.Text {
			t.Errorf("%v arrived as %v", next, err)
		}
		if volume.KindOf(err) != sent.ErrorKind() || err.Error() != next.Error() {
			t.Errorf("%v arrived as %v (%v)", next, err, volume.KindOf(err))
		}
	}
	next = errors.New(strings.Repeat("long \xff", 10000))
	if _, err := c.Peers(t.Context()); !volume.Is(err, volume.Internal) || len(err.Error()) > 5000 {
		t.Errorf("a long one arrived as %.100v", err)
	}
}

func TestUnsentAndLost(t *testing.T) {
	var log logBuffer
	c := serveOdd(t, &log, func(ctx context.Context) ([]gluster.Peer, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := c.Peers(ctx)
	if !volume.Is(err, volume.Unavailable) || agent.Unsent(err) {
		t.Errorf("a call without an answer: %v", err)
	}
	dir := t.TempDir()
	makeCerts(t, dir, "lab", "n1")
	gone, err := dialer(t, dir, "lab").Node(agent.Target{Node: "n1", Address: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	err = gone.StartVolume(t.Context(), "x")
	if !volume.Is(err, volume.Unavailable) || !agent.Unsent(err) || !strings.Contains(err.Error(), "node n1") {
		t.Errorf("nobody listens: %v", err)
	}
	if _, err := gone.MakeBrick(t.Context(), brick.MakeRequest{Ref: brick.Ref{Volume: "\xff"}}); !agent.Unsent(err) {
		t.Errorf("nobody listens, and the name is no UTF-8: %v", err)
	}
}

// TestRestart shows that a client comes back by itself when its agent does.
func TestRestart(t *testing.T) {
	c := agenttest.New(agenttest.Default(1))
	dir := t.TempDir()
	makeCerts(t, dir, "lab", "n1")
	o := agent.ServerOptions{Node: c.Node("n1"), Name: "n1", Pool: "lab", TLS: tlsFiles(dir, "n1")}
	stop, address := serveAt(t, o, "127.0.0.1:0")
	client, err := dialer(t, dir, "lab").Node(agent.Target{Node: "n1", Address: address})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Peers(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := client.Peers(t.Context()); !volume.Is(err, volume.Unavailable) {
		t.Errorf("without agent: %v", err)
	}
	stop, _ = serveAt(t, o, address)
	defer stop()
	awaitNode(t.Context(), t, "the client is back", func() error { _, err := client.Peers(t.Context()); return err })
}
