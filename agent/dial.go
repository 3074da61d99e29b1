package agent

import (
	"errors"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"

	"bricklayer.csi/agent/agentpb"
	"bricklayer.csi/agent/certs"
	"bricklayer.csi/internal/trace"
	"bricklayer.csi/internal/volume"
)

// Target is where one node's agent is reached.
type Target struct {
	// Node is the name that must be in the agent's certificate.
	Node string
	// Address is host:port.
	Address string
}

// Validate says what is wrong with the target, naming the field.
func (t Target) Validate() error {
	if !isLabel(t.Node) {
		return volume.NewFieldError("node", t.Node, "a DNS label")
	}
	if host, port, err := net.SplitHostPort(t.Address); err != nil || host == "" || !isPort(port) {
		return volume.NewFieldError("agent", t.Address, "host:port, such as 10.0.0.1:24010")
	}
	return nil
}

// DialOptions put a Dialer together.
type DialOptions struct {
	// Pool is the pool whose agents are called.
	Pool string
	// TLS are the files of the controller's certificate for that pool.
	TLS TLSFiles
}

// Dialer makes the clients of one pool's agents and keeps them. It is safe for
// concurrent use.
type Dialer struct {
	pool   string
	keeper *keeper

	mu      sync.Mutex
	clients map[Target]*Client
	closed  bool
}

// Connections come back quickly after an agent was restarted, and a node that
// swallows packets is given up after a few seconds.
const (
	connectTimeout = 5 * time.Second
	firstBackoff   = 100 * time.Millisecond
	lastBackoff    = 2 * time.Second
)

// NewDialer checks the certificate's files; it connects to nothing.
func NewDialer(o DialOptions) (*Dialer, error) {
	return newDialer(o, newKeeper(o.TLS))
}

func newDialer(o DialOptions, k *keeper) (*Dialer, error) {
	if err := errors.Join(volume.CheckPoolName(o.Pool), o.TLS.Validate()); err != nil {
		return nil, err
	}
	if _, err := k.current(); err != nil {
		return nil, err
	}
	return &Dialer{pool: o.Pool, keeper: k, clients: map[Target]*Client{}}, nil
}

// CertificateExpires returns when the controller's certificate ends, and why
// newer files are not in use if they are not.
func (d *Dialer) CertificateExpires() (time.Time, error) {
	return d.keeper.expires()
}

// Node returns the client of one node: the same one for the same target.
func (d *Dialer) Node(t Target) (*Client, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, &volume.Error{Kind: volume.Unavailable, Op: "call agent", On: "node " + t.Node, Err: errors.New("the program is stopping")}
	}
	if c := d.clients[t]; c != nil {
		return c, nil
	}
	creds := &clientCreds{keeper: d.keeper, name: certs.AgentName(t.Node, d.pool)}
	conn, err := grpc.NewClient("passthrough:///"+t.Address,
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(), // storage nodes are never behind one
		grpc.WithStatsHandler(sentWatch{}), trace.Client(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{
			MinConnectTimeout: connectTimeout,
			Backoff:           backoff.Config{BaseDelay: firstBackoff, Multiplier: 1.6, Jitter: 0.2, MaxDelay: lastBackoff},
		}))
	if err != nil {
		return nil, At(t.Node, "call agent", "", err)
	}
	c := &Client{target: t, creds: creds, conn: conn, stub: agentpb.NewAgentClient(conn)}
	d.clients[t] = c
	return c, nil
}

// Keep closes the clients of all targets but these, after a pool has changed.
func (d *Dialer) Keep(targets []Target) error {
	keep := make(map[Target]bool, len(targets))
	for _, t := range targets {
		keep[t] = true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for t, c := range d.clients {
		if !keep[t] {
			errs = append(errs, c.Close())
			delete(d.clients, t)
		}
	}
	return errors.Join(errs...)
}

// Close closes all clients.
func (d *Dialer) Close() error {
	err := d.Keep(nil)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return err
}
