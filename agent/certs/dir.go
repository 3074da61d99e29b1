package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bricklayer.csi/internal/volume"
)

// The files of a directory of certificates: DIR/ca.crt and DIR/ca.key, and for
// the controllers and each node a directory in the shape of a Kubernetes TLS
// secret.
const (
	CAFile     = "ca.crt"
	CAKeyFile  = "ca.key"
	CertFile   = "tls.crt"
	KeyFile    = "tls.key"
	Controller = "controller"
)

// Node is one storage node to make a certificate for.
type Node struct {
	// Name is its name in the pool.
	Name string
	// Addresses go into the certificate beside the name, for people who look
	// at it with other tools; agents and controllers go by the name alone.
	Addresses []string
}

// Options say what Make makes.
type Options struct {
	// Dir is the directory; it is made where it is missing.
	Dir  string
	Pool string
	// Nodes are those that must have a certificate. Certificates of nodes that
	// are not named are left alone.
	Nodes []Node
	// RenewBefore renews what ends sooner than that; 0 means the default of 90 days.
	RenewBefore time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Validate says what is wrong with the options, naming the field.
func (o Options) Validate() error {
	if o.Dir == "" {
		return volume.NewFieldError("dir", "", "a directory")
	}
	if err := volume.CheckPoolName(o.Pool); err != nil {
		return err
	}
	if o.RenewBefore < 0 || o.RenewBefore >= LeafLifetime {
		return volume.NewFieldError("renewBefore", o.RenewBefore.String(), "0 to less than "+LeafLifetime.String())
	}
	seen := map[string]bool{}
	for i, n := range o.Nodes {
		field := fmt.Sprintf("nodes[%d].name", i)
		if !isLabel(n.Name) || n.Name == Controller {
			return volume.NewFieldError(field, n.Name, "a DNS label other than "+Controller)
		}
		if seen[n.Name] {
			return volume.NewFieldError(field, n.Name, "each node once")
		}
		seen[n.Name] = true
	}
	return nil
}

func isLabel(s string) bool {
	return s != "" && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-' &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// Entry is one certificate of a directory.
type Entry struct {
	// Path is the certificate's file.
	Path string
	// Name is the DNS name in it, or the CA's subject.
	Name string
	// NotAfter is when it ends.
	NotAfter time.Time
	// Made is true where this call made it.
	Made bool
}

// Make makes the CA where there is none, and every certificate that is
// missing, ends soon, or does not come from this CA. What is good it leaves
// alone, so it can be called every day; a CA's key it never overwrites. Agents
// and controllers read the new files without a restart. It returns every
// certificate, the CA's first.
func Make(o Options) ([]Entry, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.RenewBefore == 0 {
		o.RenewBefore = RenewBefore
	}
	now := time.Now()
	if o.Now != nil {
		now = o.Now()
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fail(volume.Precondition, "make certificates", o.Dir, err, "")
	}
	ca, entry, err := openCA(o, now)
	if err != nil {
		return nil, err
	}
	entries := []Entry{entry}
	e, err := keepLeaf(o, ca, Controller, ControllerName(o.Pool), nil, x509.ExtKeyUsageClientAuth, now)
	if err != nil {
		return nil, err
	}
	entries = append(entries, e)
	for _, n := range o.Nodes {
		e, err := keepLeaf(o, ca, n.Name, AgentName(n.Name, o.Pool), parseIPs(n.Addresses), x509.ExtKeyUsageServerAuth, now)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func parseIPs(addresses []string) []net.IP {
	var ips []net.IP
	for _, a := range addresses {
		if ip := net.ParseIP(a); ip != nil {
			ips = append(ips, ip)
		}
	}
	return ips
}

// openCA reads the CA, or makes it where neither of its files is there.
func openCA(o Options, now time.Time) (pair, Entry, error) {
	certPath, keyPath := filepath.Join(o.Dir, CAFile), filepath.Join(o.Dir, CAKeyFile)
	ca, err := readPair(certPath, keyPath)
	made := false
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if ca, err = makeCA(o, certPath, keyPath, now); err != nil {
			return pair{}, Entry{}, err
		}
		made = true
	case err != nil:
		return pair{}, Entry{}, fail(volume.Precondition, "read the CA", o.Dir, err, "")
	}
	switch {
	case !ca.cert.IsCA:
		return pair{}, Entry{}, fail(volume.Precondition, "read the CA", certPath, errors.New("the certificate is not that of a CA"), "")
	case now.After(ca.cert.NotAfter):
		return pair{}, Entry{}, fail(volume.Precondition, "read the CA", certPath, fmt.Errorf("it ended at %v", ca.cert.NotAfter),
			"make a new one in another directory and bring its certificates to all nodes and controllers")
	}
	return ca, Entry{Path: certPath, Name: ca.cert.Subject.CommonName, NotAfter: ca.cert.NotAfter, Made: made}, nil
}

// makeCA writes the key first and never over another: if the certificate then
// cannot be written nothing has been signed yet.
func makeCA(o Options, certPath, keyPath string, now time.Time) (pair, error) {
	for _, path := range []string{certPath, keyPath} {
		if _, err := os.Lstat(path); err == nil {
			return pair{}, fail(volume.Precondition, "make the CA", path, errors.New("it is there without its other half"),
				"bring "+CAFile+" and "+CAKeyFile+" together again, or move the one aside to start with a new CA")
		}
	}
	ca, err := newCA(o.Pool, now)
	if err != nil {
		return pair{}, fail(volume.Internal, "make the CA", o.Dir, err, "")
	}
	key, err := encodeKey(ca.key)
	if err != nil {
		return pair{}, fail(volume.Internal, "make the CA", o.Dir, err, "")
	}
	if err := writeNew(keyPath, key); err != nil {
		return pair{}, fail(volume.Precondition, "write the CA's key", keyPath, err, "")
	}
	if err := writeNew(certPath, encodeCert(ca.cert)); err != nil {
		return pair{}, errors.Join(fail(volume.Precondition, "write the CA", certPath, err, ""), os.Remove(keyPath))
	}
	return ca, nil
}

// keepLeaf makes the certificate in DIR/SUB unless a good one is there.
func keepLeaf(o Options, ca pair, sub, name string, ips []net.IP, usage x509.ExtKeyUsage, now time.Time) (Entry, error) {
	dir := filepath.Join(o.Dir, sub)
	certPath, keyPath := filepath.Join(dir, CertFile), filepath.Join(dir, KeyFile)
	p, err := readPair(certPath, keyPath)
	caIn, caErr := os.ReadFile(filepath.Join(dir, CAFile))
	good := err == nil && caErr == nil && bytes.Equal(caIn, encodeCert(ca.cert)) &&
		p.cert.CheckSignatureFrom(ca.cert) == nil && slices.Equal(p.cert.DNSNames, []string{name}) &&
		sameIPs(p.cert.IPAddresses, ips) && slices.Contains(p.cert.ExtKeyUsage, usage) &&
		lasts(p.cert, ca.cert, now, o.RenewBefore)
	if !good {
		if p, err = newLeaf(ca, name, ips, usage, now); err != nil {
			return Entry{}, fail(volume.Internal, "make a certificate", name, err, "")
		}
		if err := writeLeaf(dir, ca, p); err != nil {
			return Entry{}, fail(volume.Precondition, "write a certificate", dir, err, "")
		}
	}
	return Entry{Path: certPath, Name: name, NotAfter: p.cert.NotAfter, Made: !good}, nil
}

// lasts reports whether a certificate need not be renewed. One that ends with
// its CA cannot be bettered by a new one.
func lasts(leaf, ca *x509.Certificate, now time.Time, before time.Duration) bool {
	return leaf.NotAfter.Sub(now) > before || leaf.NotAfter.Equal(ca.NotAfter) && now.Before(leaf.NotAfter)
}

func sameIPs(a, b []net.IP) bool {
	return slices.EqualFunc(a, b, func(x, y net.IP) bool { return x.Equal(y) })
}

// writeLeaf replaces each file at once. A reader that meets a new key beside
// an old certificate finds that they do not match and keeps what it has.
func writeLeaf(dir string, ca, p pair) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	key, err := encodeKey(p.key)
	if err != nil {
		return err
	}
	return errors.Join(
		writeFile(filepath.Join(dir, CAFile), encodeCert(ca.cert)),
		writeFile(filepath.Join(dir, KeyFile), key),
		writeFile(filepath.Join(dir, CertFile), encodeCert(p.cert)))
}

func readPair(certPath, keyPath string) (pair, error) {
	certData, certErr := os.ReadFile(certPath)
	keyData, keyErr := os.ReadFile(keyPath)
	if err := errors.Join(certErr, keyErr); err != nil {
		return pair{}, err
	}
	cert, err := decodeCert(certData)
	if err != nil {
		return pair{}, fmt.Errorf("%s: %w", certPath, err)
	}
	key, err := decodeKey(keyData)
	if err != nil {
		return pair{}, fmt.Errorf("%s: %w", keyPath, err)
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(cert.PublicKey) {
		return pair{}, fmt.Errorf("%s does not belong to %s", keyPath, certPath)
	}
	return pair{cert: cert, key: key}, nil
}

// List returns the certificates of a directory, the CA's first, without
// needing the CA's key, so that their ends can be watched anywhere.
func List(dir string) ([]Entry, error) {
	subs, err := os.ReadDir(dir)
	if err != nil {
		return nil, fail(volume.NotFound, "list certificates", dir, err, "")
	}
	paths := []string{filepath.Join(dir, CAFile)}
	for _, sub := range subs {
		path := filepath.Join(dir, sub.Name(), CertFile)
		if _, err := os.Stat(path); err == nil {
			paths = append(paths, path)
		}
	}
	var entries []Entry
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fail(volume.NotFound, "list certificates", path, err, "")
		}
		cert, err := decodeCert(data)
		if err != nil {
			return nil, fail(volume.Precondition, "list certificates", path, err, "")
		}
		e := Entry{Path: path, Name: cert.Subject.CommonName, NotAfter: cert.NotAfter}
		if len(cert.DNSNames) > 0 {
			e.Name = cert.DNSNames[0]
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// writeNew writes a file that must not be there.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// writeFile replaces a file at once, readable by its owner alone.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
