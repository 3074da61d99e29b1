// Package certs owns the small certificate authority that a pool can have: one
// CA, one certificate for each storage node's agent, one for the controllers,
// and the names in them on which both sides of an agent's connection insist.
//
// It refuses to know how the files reach their hosts, and touches a network
// never. Whoever has cert-manager needs only the names from here.
package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"

	"bricklayer.csi/internal/volume"
)

// Lifetimes, and how long before its end a certificate is renewed.
const (
	CALifetime   = 10 * 365 * 24 * time.Hour
	LeafLifetime = 365 * 24 * time.Hour
	RenewBefore  = 90 * 24 * time.Hour
	// backdate lets a host whose clock is a little behind use a new certificate.
	backdate = time.Hour
)

// AgentName is the DNS name in the certificate of a node's agent.
func AgentName(node, pool string) string { return node + "." + pool + ".agent.bricklayer" }

// ControllerName is the DNS name in the certificate of a pool's controllers.
func ControllerName(pool string) string { return "controller." + pool + ".bricklayer" }

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newKey() (crypto.Signer, error) {
	// P-256 rather than Ed25519: hardware and libraries that only know the
	// former still exist, and none of our sizes or speeds depend on it.
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func newSerial() (*big.Int, error) {
	// 127 bits at random, never zero (RFC 5280, 4.1.2.2: positive, at most 20 octets).
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return n.Add(n, big.NewInt(1)), nil
}

// newCA makes a CA of its own for a pool.
func newCA(pool string, now time.Time) (pair, error) {
	t := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "bricklayer CA of pool " + pool},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(CALifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	return issue(t, nil)
}

// newLeaf makes a certificate for one name. Agents serve and controllers call;
// neither certificate can do the other's part.
func newLeaf(ca pair, name string, addresses []net.IP, usage x509.ExtKeyUsage, now time.Time) (pair, error) {
	t := &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName(name)},
		DNSNames:              []string{name},
		IPAddresses:           addresses,
		NotBefore:             now.Add(-backdate),
		NotAfter:              earlier(now.Add(LeafLifetime), ca.cert.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{usage},
		BasicConstraintsValid: true,
	}
	return issue(t, &ca)
}

// commonName cuts a name to what X.509 allows a common name (64 bytes); it is
// for people only.
func commonName(name string) string {
	return name[:min(len(name), 64)]
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// issue signs a template with the CA, or with its own key where there is none.
func issue(t *x509.Certificate, ca *pair) (pair, error) {
	key, err := newKey()
	if err != nil {
		return pair{}, err
	}
	if t.SerialNumber, err = newSerial(); err != nil {
		return pair{}, err
	}
	parent, signer := t, key
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer)
	if err != nil {
		return pair{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return pair{cert: cert, key: key}, err
}

func encodeCert(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func encodeKey(k crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func decodeCert(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("there is no PEM block CERTIFICATE in it")
	}
	return x509.ParseCertificate(block.Bytes)
}

func decodeKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("there is no PEM block PRIVATE KEY in it")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", key)
	}
	return signer, nil
}

func fail(kind volume.Kind, op, on string, err error, next string) error {
	return &volume.Error{Kind: kind, Op: op, On: on, Err: err, Next: next}
}
