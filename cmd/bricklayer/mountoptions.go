package main

import (
	"log/slog"

	"github.com/spf13/pflag"

	"bricklayer.csi/internal/mount"
)

// mountOptions say how this host mounts volumes.
type mountOptions struct {
	logDir, client string
}

// AddFlags adds the flags.
func (o *mountOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.logDir, "client-log-dir", "/var/log/bricklayer", "where the glusterfs clients write their logs, one file a volume")
	fs.StringVar(&o.client, "glusterfs", mount.DefaultClient, "the glusterfs client program")
}

// mounter returns what mounts on this host.
func (o *mountOptions) mounter(log *slog.Logger) (*mount.Linux, error) {
	return mount.New(mount.Options{LogDir: o.logDir, Client: o.client, Log: log})
}
