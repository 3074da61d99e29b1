package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"bricklayer.csi/agent"
	"bricklayer.csi/agent/certs"
)

// poolsOptions say where the pools and the certificates for their agents are.
type poolsOptions struct{ pools, certs string }

// AddFlags adds the flags; their defaults may come from the environment.
func (o *poolsOptions) AddFlags(fs *pflag.FlagSet, env environment) {
	fs.StringVar(&o.pools, "pools", env.orElse("BRICKLAYER_POOLS", "/etc/bricklayer/pools"),
		"a StoragePool file, or a directory of them (environment: BRICKLAYER_POOLS)")
	fs.StringVar(&o.certs, "certs", env.orElse("BRICKLAYER_CERTS", "/etc/bricklayer/certs"),
		"the directory with ca.crt, tls.crt and tls.key of the controller, in a directory of the pool's name where there are several pools (environment: BRICKLAYER_CERTS)")
}

// Validate checks the flags.
func (o *poolsOptions) Validate() error {
	switch {
	case o.pools == "":
		return usagef("--pools is empty: give a StoragePool file or a directory of them")
	case o.certs == "":
		return usagef("--certs is empty: give the directory with the controller's certificate")
	}
	return nil
}

// tls returns the files of the certificate for a pool's agents.
func (o *poolsOptions) tls(pool string) agent.TLSFiles {
	dir := filepath.Join(o.certs, pool)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		dir = o.certs
	}
	return agent.TLSFiles{
		CA:   filepath.Join(dir, certs.CAFile),
		Cert: filepath.Join(dir, certs.CertFile),
		Key:  filepath.Join(dir, certs.KeyFile),
	}
}

// orElse returns the variable, or the default where it is not set.
func (e environment) orElse(variable, otherwise string) string {
	if v := e.getenv(variable); v != "" {
		return v
	}
	return otherwise
}
