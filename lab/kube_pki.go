package lab

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
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"
)

const kubeCertLife = 365 * 24 * time.Hour

// kubeCert is one certificate of the cluster: who it is for, and under which
// addresses and names it serves, if it does.
type kubeCert struct {
	name         string // of its files
	user         string
	group        string
	addresses    []netip.Addr
	hosts        []string
	isAuthority  bool
	signedByFile string // name of the authority; empty: by itself
}

// kubeCerts are the authority, the API server with its client of kubelets, the
// administrator, the controllers, and each worker's kubelet.
func (l *Lab) kubeCerts() []kubeCert {
	const ca = "ca"
	list := []kubeCert{
		{name: ca, user: "lab " + l.config.Name, isAuthority: true},
		{
			name: "apiserver", user: "kube-apiserver", signedByFile: ca,
			addresses: []netip.Addr{l.config.Gateway(), kubeServiceIP, netip.MustParseAddr("127.0.0.1")},
			hosts:     []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		},
		{name: "apiserver-kubelet", user: "kube-apiserver-kubelet-client", group: "system:masters", signedByFile: ca},
		{name: kubeAdmin, user: "lab-admin", group: "system:masters", signedByFile: ca},
		{name: kubeManager, user: "system:kube-controller-manager", signedByFile: ca},
		{name: kubeScheduler, user: "system:kube-scheduler", signedByFile: ca},
	}
	for _, w := range l.Workers() {
		list = append(list, kubeCert{
			name: w.Name, user: "system:node:" + w.Name, group: "system:nodes", signedByFile: ca,
			addresses: []netip.Addr{w.Address}, hosts: []string{w.Name},
		})
	}
	return list
}

// ensureKubePKI makes what is missing of the cluster's certificates, kubeconfigs
// and the key of its service accounts. They last as long as the lab.
func (l *Lab) ensureKubePKI() error {
	dir := l.paths.kube("pki")
	for _, c := range l.kubeCerts() {
		if err := ensureKubeCert(dir, c); err != nil {
			return fmt.Errorf("certificate %s: %w", c.name, err)
		}
		if c.group == "" && len(c.hosts) > 0 || c.isAuthority {
			continue // no client
		}
		if err := l.writeKubeconfig(dir, c.name); err != nil {
			return err
		}
	}
	if exists(filepath.Join(dir, "accounts.key")) {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return writeKey(filepath.Join(dir, "accounts.key"), key)
}

func ensureKubeCert(dir string, c kubeCert) error {
	certFile, keyFile := filepath.Join(dir, c.name+".crt"), filepath.Join(dir, c.name+".key")
	if exists(certFile) && exists(keyFile) {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	now := time.Now()
	cert := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: c.user},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(kubeCertLife),
		BasicConstraintsValid: true, IsCA: c.isAuthority, DNSNames: c.hosts,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if c.group != "" {
		cert.Subject.Organization = []string{c.group}
	}
	for _, a := range c.addresses {
		cert.IPAddresses = append(cert.IPAddresses, net.IP(a.AsSlice()))
	}
	parent, signer := cert, crypto.Signer(key)
	if c.isAuthority {
		cert.KeyUsage, cert.ExtKeyUsage = x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
	} else if parent, signer, err = loadKubeCert(dir, c.signedByFile); err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), signer)
	if err != nil {
		return err
	}
	if err := writeKey(keyFile, key); err != nil {
		return err
	}
	return writeFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

func loadKubeCert(dir, name string) (*x509.Certificate, crypto.Signer, error) {
	var der [2][]byte
	for i, file := range []string{name + ".crt", name + ".key"} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return nil, nil, err
		}
		block, _ := pem.Decode(data)
		if block == nil {
			return nil, nil, fmt.Errorf("%s is damaged: take the lab down and up again", filepath.Join(dir, file))
		}
		der[i] = block.Bytes
	}
	cert, err1 := x509.ParseCertificate(der[0])
	key, err2 := x509.ParseECPrivateKey(der[1])
	return cert, key, errors.Join(err1, err2)
}

// writeKubeconfig lets the owner of a certificate find the API server. It holds the
// certificate, so that it can be copied.
func (l *Lab) writeKubeconfig(dir, name string) error {
	path := filepath.Join(dir, name+".kubeconfig")
	if exists(path) {
		return nil
	}
	var data [3][]byte
	for i, file := range []string{"ca.crt", name + ".crt", name + ".key"} {
		var err error
		if data[i], err = os.ReadFile(filepath.Join(dir, file)); err != nil {
			return err
		}
	}
	lab := "lab-" + l.config.Name
	config, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": lab,
		"clusters": []any{map[string]any{"name": lab, "cluster": map[string]any{
			"server": l.kubeURL(), "certificate-authority-data": data[0],
		}}},
		"users": []any{map[string]any{"name": name, "user": map[string]any{
			"client-certificate-data": data[1], "client-key-data": data[2],
		}}},
		"contexts": []any{map[string]any{"name": lab, "context": map[string]any{"cluster": lab, "user": name}}},
	})
	if err != nil {
		return err
	}
	return writeFile(path, config, 0o600)
}
