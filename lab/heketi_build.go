package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// heketiPackages are what is built, by the name that the programs get.
var heketiPackages = map[string]string{
	"heketi":     "github.com/heketi/heketi",
	"heketi-cli": "github.com/heketi/heketi/client/cli/go",
}

// ensureHeketiPrograms answers the directory that holds heketi and heketi-cli. They
// are built once from the module lab/heketi and kept in the cache, under a name
// that changes with the module's files.
func ensureHeketiPrograms(ctx context.Context, pr *progress) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", fmt.Errorf("build heketi: %w: run this in a checkout, where lab/heketi is", err)
	}
	source := filepath.Join(root, "lab", "heketi")
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", fmt.Errorf("build heketi: %w", err)
		}
		_, _ = sum.Write(data)
	}
	cache := cacheDir()
	dir := filepath.Join(cache, "heketi-"+hex.EncodeToString(sum.Sum(nil))[:16])
	if exists(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(ctx, filepath.Join(cache, ".heketi.lock"), func() {
		pr.say("another command builds heketi: waiting for it")
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(dir) {
		return dir, nil
	}
	return dir, buildHeketi(ctx, source, cache, dir, pr)
}

func buildHeketi(ctx context.Context, source, cache, dir string, pr *progress) (err error) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("build heketi: %w: it is built from its sources, with Go", err)
	}
	pr.say("building heketi and heketi-cli, once")
	temporary, err := os.MkdirTemp(cache, "heketi-build-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	for name, pkg := range heketiPackages {
		if _, err := run(ctx, "env", "CGO_ENABLED=0", "GOWORK=off", goTool, "-C", source, "build", "-trimpath",
			"-ldflags", "-s -w", "-o", filepath.Join(temporary, name), pkg); err != nil {
			return fmt.Errorf("build %s: %w", name, err)
		}
	}
	if err := os.Chmod(temporary, 0o755); err != nil {
		return err
	}
	return os.Rename(temporary, dir)
}
