package lab

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Stdio are the streams of a command in a guest; nil means none.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// sshLink is an open connection to a guest, and the boot it belongs to: after a
// power cut the old one would hang until TCP gives up.
type sshLink struct {
	client *ssh.Client
	boot   pidRecord
}

// quote makes one word of argv safe for the guest's shell.
func quote(argv []string) string {
	words := make([]string, len(argv))
	for i, a := range argv {
		words[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return strings.Join(words, " ")
}

// Exec runs a command on a node and answers its standard output. A command that
// fails is an *[ExitError]. When ctx ends the connection is given up; the command
// in the guest may still run.
func (l *Lab) Exec(ctx context.Context, node string, argv ...string) ([]byte, error) {
	var out, errOut bytes.Buffer
	err := l.Stream(ctx, node, Stdio{Out: &out, Err: &errOut}, argv...)
	if e, ok := errors.AsType[*ExitError](err); ok {
		e.Stdout, e.Stderr = out.Bytes(), errOut.Bytes()
	}
	return out.Bytes(), err
}

// Stream runs a command on a node with the given streams.
func (l *Lab) Stream(ctx context.Context, node string, io Stdio, argv ...string) error {
	n, err := l.Node(node)
	if err != nil {
		return err
	}
	if len(argv) == 0 {
		return fmt.Errorf("node %s: no command given", node)
	}
	client, session, err := l.session(ctx, n)
	if err != nil {
		return fmt.Errorf("node %s: ssh to %s: %w", node, n.Address, err)
	}
	defer func() { _ = session.Close() }()
	session.Stdin, session.Stdout, session.Stderr = io.In, io.Out, io.Err
	done := make(chan error, 1)
	go func() { done <- session.Run(quote(argv)) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		l.abandon(node, client, session, done)
		return &ExitError{Node: node, Argv: argv, Code: -1, Err: context.Cause(ctx)}
	}
	if err == nil {
		return nil
	}
	code := -1
	if e, ok := errors.AsType[*ssh.ExitError](err); ok {
		code = e.ExitStatus()
		err = fmt.Errorf("exit status %d", code)
	} else {
		l.drop(node, client)
	}
	return &ExitError{Node: node, Argv: argv, Code: code, Err: err}
}

// abandon ends one command and spares the others on the same connection, unless
// the guest answers nothing any more: then only the end of the connection lets go.
func (l *Lab) abandon(node string, client *ssh.Client, session *ssh.Session, done <-chan error) {
	_ = session.Signal(ssh.SIGKILL)
	_ = session.Close()
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-done: //nolint:errcheck // how a command ended that was given up is of no interest
	case <-t.C:
		l.drop(node, client)
		<-done //nolint:errcheck // as above
	}
}

// session opens a session on the node's connection, which is made anew where it
// is of an earlier boot or broken.
func (l *Lab) session(ctx context.Context, n Node) (*ssh.Client, *ssh.Session, error) {
	for fresh := false; ; {
		client, made, err := l.client(ctx, n)
		if err != nil {
			return nil, nil, err
		}
		fresh = fresh || made
		session, err := newSession(ctx, client)
		if err == nil {
			return client, session, nil
		}
		if _, refused := errors.AsType[*ssh.OpenChannelError](err); refused || ctx.Err() != nil {
			return nil, nil, err // the connection itself is good
		}
		l.drop(n.Name, client)
		if fresh {
			return nil, nil, err
		}
	}
}

func newSession(ctx context.Context, client *ssh.Client) (*ssh.Session, error) {
	type answer struct {
		session *ssh.Session
		err     error
	}
	done := make(chan answer, 1)
	go func() {
		s, err := client.NewSession()
		done <- answer{s, err}
	}()
	select {
	case a := <-done:
		return a.session, a.err
	case <-ctx.Done():
		go func() {
			if a := <-done; a.err == nil {
				_ = a.session.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

func (l *Lab) client(ctx context.Context, n Node) (c *ssh.Client, made bool, err error) {
	rec, err := loadPIDRecord(l.paths.pid(n.Name))
	if err != nil {
		return nil, false, err
	}
	if _, ok := rec.leader(); !ok {
		return nil, false, fmt.Errorf("its kernel does not run: %w", ErrNotUp)
	}
	l.mu.Lock()
	have, ok := l.links[n.Name]
	l.mu.Unlock()
	if ok && have.boot.PID == rec.PID && have.boot.Start == rec.Start {
		return have.client, false, nil
	}
	if ok {
		l.drop(n.Name, have.client)
	}
	c, err = l.dial(ctx, n)
	if err != nil {
		return nil, false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if other, ok := l.links[n.Name]; ok && other.boot.PID == rec.PID && other.boot.Start == rec.Start {
		_ = c.Close() // another caller was quicker
		return other.client, true, nil
	}
	l.links[n.Name] = sshLink{client: c, boot: rec}
	return c, true, nil
}

func (l *Lab) drop(node string, c *ssh.Client) {
	_ = c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.links[node].client == c {
		delete(l.links, node)
	}
}

// hangUp closes the connection to a node that is about to go.
func (l *Lab) hangUp(node string) {
	l.mu.Lock()
	have, ok := l.links[node]
	delete(l.links, node)
	l.mu.Unlock()
	if ok {
		_ = have.client.Close()
	}
}

func (l *Lab) dial(ctx context.Context, n Node) (*ssh.Client, error) {
	config, err := l.sshConfig()
	if err != nil {
		return nil, err
	}
	conn, err := l.Dial(ctx, "tcp", n.Address.String()+":22")
	if err != nil {
		return nil, err
	}
	// The handshake knows no context: the end of the connection ends it.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	c, chans, reqs, err := ssh.NewClientConn(conn, n.Name, config)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return ssh.NewClient(c, chans, reqs), nil
}

// Dial connects to an address of the lab's network from anywhere on the host.
func (l *Lab) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := inNetns(l.paths.netns(), func() (err error) {
		d := net.Dialer{Timeout: 5 * time.Second, FallbackDelay: -1} // one socket, on this thread
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

func (l *Lab) sshConfig() (*ssh.ClientConfig, error) {
	client, err := loadKey(l.paths.clientKey())
	if err != nil {
		return nil, err
	}
	host, err := loadKey(l.paths.hostKey())
	if err != nil {
		return nil, err
	}
	return &ssh.ClientConfig{
		User:              "root",
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(client)},
		HostKeyCallback:   ssh.FixedHostKey(host.PublicKey()),
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	}, nil
}

func loadKey(path string) (ssh.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key of the lab: %w", err)
	}
	s, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("key of the lab %s: %w", path, err)
	}
	return s, nil
}

// ensureKey makes a key pair once: path and path.pub.
func ensureKey(path string) error {
	if exists(path) && exists(path+".pub") {
		return nil
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "bricklayer lab")
	if err != nil {
		return err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return err
	}
	if err := writeFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return err
	}
	return writeFile(path+".pub", ssh.MarshalAuthorizedKey(signer.PublicKey()), 0o644)
}
