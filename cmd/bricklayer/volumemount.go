package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"bricklayer.csi/internal/mount"
)

func newVolumeMount(env environment) *cobra.Command {
	var o volumeOptions
	var mounts mountOptions
	var given []string
	cmd := &cobra.Command{
		Use:   "mount VOLUME DIRECTORY",
		Short: "Mount a volume on this host",
		Args:  exactly("VOLUME", "DIRECTORY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			flags, err := mount.ParseFlags(given)
			if err != nil {
				return err
			}
			return o.with(cmd.Context(), env, func(ctx context.Context, s *session) error {
				h, err := o.find(s, args[0])
				if err != nil {
					return err
				}
				v, err := s.Get(ctx, h)
				if err != nil {
					return err
				}
				target, err := realPath(args[1])
				if err != nil {
					return err
				}
				mounter, err := mounts.mounter(s.log)
				if err != nil {
					return err
				}
				return mounter.Glusterfs(ctx, mount.Source{Servers: v.Servers, Volume: v.Handle.Name}, target, flags)
			})
		},
	}
	o.AddFlags(cmd.Flags(), env)
	mounts.AddFlags(cmd.Flags())
	cmd.Flags().StringArrayVar(&given, "mount-flag", nil, "a mount flag, as in a StorageClass's mountOptions; may be given several times")
	return cmd
}

func newVolumeUnmount(env environment) *cobra.Command {
	var mounts mountOptions
	var log logOptions
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "unmount DIRECTORY",
		Short: "Unmount a volume from this host",
		Long: `Unmount a volume from this host. A mount whose client is gone or does not answer
is detached at once; one that is in use is left alone. No mount is no error.`,
		Args: exactly("DIRECTORY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := log.Validate(); err != nil {
				return err
			}
			target, err := realPath(args[0])
			if err != nil {
				return err
			}
			mounter, err := mounts.mounter(log.logger(env.err))
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return mounter.Unmount(ctx, target)
		},
	}
	mounts.AddFlags(cmd.Flags())
	log.AddFlags(cmd.Flags())
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait")
	return cmd
}

// realPath returns a directory's path as the mount table has it. Only what is
// above the directory is looked up: a dead mount at it would not answer.
func realPath(dir string) (string, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", dir, err)
	}
	if path == "/" {
		return "", usagef("/ is no directory to mount at")
	}
	above, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", fmt.Errorf("find %s: %w", dir, err)
	}
	return filepath.Join(above, filepath.Base(path)), nil
}
