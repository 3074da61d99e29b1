package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// hostPackages are the Debian packages that the host needs.
var hostPackages = []string{
	"e2fsprogs",
	"fio",
	"glusterfs-client",
	"iproute2",
	"mmdebstrap",
	"user-mode-linux",
	"util-linux",
	"xfsprogs",
}

// ensurePackages installs what is missing, and only that.
func ensurePackages(ctx context.Context, pr *progress, packages []string) error {
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		return fmt.Errorf("the lab needs a Debian host (dpkg-query not found); its parts come from the packages %s",
			strings.Join(packages, " "))
	}
	// dpkg-query fails where one package is unknown and still lists the others.
	out, err := run(ctx, append([]string{"dpkg-query", "-W", "-f", `${db:Status-Status} ${Package}\n`}, packages...)...)
	if ctx.Err() != nil {
		return err
	}
	missing := missingPackages(string(out), packages)
	if len(missing) == 0 {
		return nil
	}
	install := append([]string{"apt-get", "install", "-y", "--no-install-recommends"}, missing...)
	if os.Geteuid() != 0 {
		return fmt.Errorf("packages are missing on this host; run: sudo %s", strings.Join(install, " "))
	}
	pr.say("installing %s", strings.Join(missing, " "))
	if err := aptInstall(ctx, pr, install); err != nil {
		return fmt.Errorf("install missing packages: %w\nrun it by hand to see more: apt-get update && %s", err, strings.Join(install, " "))
	}
	return nil
}

func aptInstall(ctx context.Context, pr *progress, install []string) error {
	apt := func(argv ...string) error {
		full := append([]string{"env", "DEBIAN_FRONTEND=noninteractive"}, argv...)
		_, err := run(ctx, append(full, "-o", "DPkg::Lock::Timeout=120")...)
		return err
	}
	var first error
	if lists, _ := filepath.Glob("/var/lib/apt/lists/*Packages*"); len(lists) > 0 {
		if first = apt(install...); first == nil || ctx.Err() != nil {
			return first
		}
	}
	// No lists, or so old that what they name is gone from the mirror.
	pr.say("refreshing the package lists (apt-get update)")
	return errors.Join(apt("apt-get", "update"), apt(install...))
}

// missingPackages reads "STATUS NAME" lines of dpkg-query.
func missingPackages(status string, want []string) []string {
	have := map[string]bool{}
	for line := range strings.Lines(status) {
		if s, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok && s == "installed" {
			have[name] = true
		}
	}
	var missing []string
	for _, p := range want {
		if !have[p] {
			missing = append(missing, p)
		}
	}
	return missing
}
