package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"

	"bricklayer.csi/internal/volume"
)

// TLSFiles are the files of one side's certificate, in the shape of a
// Kubernetes TLS secret. They are read again when they change.
type TLSFiles struct {
	// CA holds the certificates of the pool's CA; several while one replaces another.
	CA string `json:"ca"`
	// Cert and Key are this side's own.
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// Validate says what is wrong with the paths, naming the field.
func (f TLSFiles) Validate() error {
	for _, p := range []struct{ field, value string }{{"tls.ca", f.CA}, {"tls.cert", f.Cert}, {"tls.key", f.Key}} {
		if !filepath.IsAbs(p.value) {
			return volume.NewFieldError(p.field, p.value, "an absolute path")
		}
	}
	return nil
}

// keeper holds what the files said last, and reads them again when they change.
type keeper struct {
	files TLSFiles
	now   func() time.Time

	mu     sync.Mutex
	stamps [3]stamp
	have   *material
	// problem is why the present files are not used, while older ones still are.
	problem error
}

// material is one consistent reading of the three files.
type material struct {
	cas  *x509.CertPool
	cert tls.Certificate
	leaf *x509.Certificate
}

type stamp struct {
	modified time.Time
	size     int64
	inode    uint64
}

func newKeeper(f TLSFiles) *keeper { return &keeper{files: f, now: time.Now} }

// current returns the material. Where the files have changed but do not read,
// as in the middle of being replaced, it goes on with what it had.
func (k *keeper) current() (*material, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	stamps, err := k.stat()
	if err == nil && k.have != nil && stamps == k.stamps {
		return k.have, nil
	}
	var m *material
	if err == nil {
		m, err = k.read()
	}
	if err != nil {
		err = &volume.Error{
			Kind: volume.Precondition, Op: "read certificates", Err: err,
			Next: "bring CA, certificate and key together, or make them anew with bricklayer certs",
		}
		if k.have != nil {
			k.problem = err
			return k.have, nil
		}
		return nil, err
	}
	k.have, k.stamps, k.problem = m, stamps, nil
	return m, nil
}

// expires returns when the certificate in use ends, and why newer files are not
// in use if they are not.
func (k *keeper) expires() (time.Time, error) {
	m, err := k.current()
	if err != nil {
		return time.Time{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return m.leaf.NotAfter, k.problem
}

func (k *keeper) stat() (stamps [3]stamp, err error) {
	for i, path := range []string{k.files.CA, k.files.Cert, k.files.Key} {
		info, err := os.Stat(path)
		if err != nil {
			return stamps, err
		}
		stamps[i] = stamp{modified: info.ModTime(), size: info.Size()}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			stamps[i].inode = st.Ino
		}
	}
	return stamps, nil
}

func (k *keeper) read() (*material, error) {
	caData, err := os.ReadFile(k.files.CA)
	if err != nil {
		return nil, err
	}
	m := &material{cas: x509.NewCertPool()}
	if !m.cas.AppendCertsFromPEM(caData) {
		return nil, fmt.Errorf("%s holds no certificate", k.files.CA)
	}
	if m.cert, err = tls.LoadX509KeyPair(k.files.Cert, k.files.Key); err != nil {
		return nil, fmt.Errorf("%s, %s: %w", k.files.Cert, k.files.Key, err)
	}
	m.leaf, err = x509.ParseCertificate(m.cert.Certificate[0])
	return m, err
}

// own returns the material if this side's own certificate is in its time; the
// other side would only say "bad certificate".
func (k *keeper) own() (*material, error) {
	m, err := k.current()
	if err != nil {
		return nil, err
	}
	now := k.now()
	if now.After(m.leaf.NotAfter) || now.Before(m.leaf.NotBefore) {
		return nil, &volume.Error{
			Kind: volume.Denied, Op: "use certificate", On: k.files.Cert,
			Err: fmt.Errorf("our own certificate is valid from %s to %s, and it is %s",
				m.leaf.NotBefore.UTC().Format(time.RFC3339), m.leaf.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)),
			Next: "renew it with bricklayer certs, or see to the clock",
		}
	}
	return m, nil
}

func baseTLS() *tls.Config {
	// Without session tickets every connection is a full handshake, so a
	// certificate that has ended is noticed at the next connection.
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, SessionTicketsDisabled: true}
}

// serverTLS returns the agent's side: it demands a certificate of the pool's
// CA. Whose certificate it is the server checks at each call, where it can say
// so in words.
func (k *keeper) serverTLS() *tls.Config {
	c := baseTLS()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		m, err := k.current()
		if err != nil {
			return nil, err
		}
		c := baseTLS()
		c.Certificates = []tls.Certificate{m.cert}
		c.ClientCAs, c.ClientAuth = m.cas, tls.RequireAndVerifyClientCert
		c.Time = k.now
		return c, nil
	}
	return c
}

// clientCreds are the client's side towards one agent: TLS built anew for each
// connection from the files of that moment. They remember why the last
// connection was refused, as gRPC hands on only words.
type clientCreds struct {
	keeper *keeper
	name   string // in the agent's certificate

	mu      sync.Mutex
	refused error
}

var _ credentials.TransportCredentials = (*clientCreds)(nil)

// ClientHandshake implements credentials.TransportCredentials.
func (c *clientCreds) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	m, err := c.keeper.own()
	if err != nil {
		c.note(err)
		return nil, nil, err
	}
	cfg := baseTLS()
	cfg.RootCAs, cfg.ServerName, cfg.Time = m.cas, c.name, c.keeper.now
	cfg.Certificates = []tls.Certificate{m.cert}
	conn, info, err := credentials.NewTLS(cfg).ClientHandshake(ctx, c.name, raw)
	if err != nil {
		c.note(c.explain(err))
		return nil, nil, err
	}
	first, err := awaitAcceptance(ctx, conn)
	if err != nil {
		_ = conn.Close()
		c.note(c.explain(err))
		return nil, nil, err
	}
	c.note(nil)
	return &acceptedConn{Conn: conn, first: first}, info, nil
}

// awaitAcceptance returns once the agent has taken our certificate. Under TLS
// 1.3 a client's handshake ends before that; whoever writes on then may find
// the connection closed before the alert is read that says why. An HTTP/2
// server speaks first, so its first byte, which is returned, is the acceptance.
func awaitAcceptance(ctx context.Context, conn net.Conn) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn, first); err != nil {
		return nil, errors.Join(context.Cause(ctx), err)
	}
	return first, nil
}

// explain returns an error of kind Denied where a certificate was the cause.
func (c *clientCreds) explain(err error) error {
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &volume.Error{
			Kind: volume.Denied, Op: "verify the agent's certificate", Err: bad.Err,
			Next: "the agent must have a valid certificate for " + c.name + " from the CA in " + c.keeper.files.CA,
		}
	}
	if isAlert(err) {
		return &volume.Error{
			Kind: volume.Denied, Op: "show our certificate", Err: fmt.Errorf("the agent refused it: %w", err),
			Next: "the agent's log says why; it takes certificates from the CA of its own pool that are in their time",
		}
	}
	return nil
}

// isAlert reports whether the other side ended the connection with a TLS alert.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

func (c *clientCreds) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = err
}

// lastRefusal returns why the last connection was refused for a certificate, or nil.
func (c *clientCreds) lastRefusal() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused
}

// ServerHandshake implements credentials.TransportCredentials.
func (c *clientCreds) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are a client's credentials")
}

// Info implements credentials.TransportCredentials.
func (c *clientCreds) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls", SecurityVersion: "1.3", ServerName: c.name} //nolint:staticcheck // the interface wants it
}

// Clone implements credentials.TransportCredentials. The state is shared on
// purpose: gRPC clones for itself, and the client asks the original.
func (c *clientCreds) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials.
func (c *clientCreds) OverrideServerName(string) error {
	return errors.New("the agent's name is not to be overridden")
}

// acceptedConn gives back the byte that awaitAcceptance took.
type acceptedConn struct {
	net.Conn
	first []byte
}

// Read implements net.Conn.
func (a *acceptedConn) Read(p []byte) (int, error) {
	if len(a.first) > 0 && len(p) > 0 {
		n := copy(p, a.first)
		a.first = a.first[n:]
		return n, nil
	}
	return a.Conn.Read(p)
}

// SyscallConn lets gRPC set TCP_USER_TIMEOUT, by which a dead peer is noticed.
func (a *acceptedConn) SyscallConn() (syscall.RawConn, error) {
	if c, ok := a.Conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.New("the connection has no file descriptor")
}
