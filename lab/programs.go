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

// programs are built once from a module of their own below lab, and kept in the
// cache under a name that changes with their sources.
type programs struct {
	// module is the module's directory below lab, and what messages call it.
	module, called string
	// sources are the files of the module that the programs are built from.
	sources []string
	// build puts the programs into a directory; goTool opens its command lines.
	build func(ctx context.Context, pr *progress, goTool []string, into string) error
}

// ensure answers the directory that holds the programs.
func (p programs) ensure(ctx context.Context, pr *progress) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", fmt.Errorf("build %s: %w: run this in a checkout, where lab/%s is", p.called, err, p.module)
	}
	source := filepath.Join(root, "lab", p.module)
	sum := sha256.New()
	for _, name := range p.sources {
		data, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", fmt.Errorf("build %s: %w", p.called, err)
		}
		_, _ = sum.Write(data)
	}
	cache := cacheDir()
	dir := filepath.Join(cache, p.module+"-"+hex.EncodeToString(sum.Sum(nil))[:16])
	if exists(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(ctx, filepath.Join(cache, "."+p.module+".lock"), func() {
		pr.say("another command builds %s: waiting for it", p.called)
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(dir) {
		return dir, nil
	}
	return dir, p.make(ctx, pr, source, dir)
}

// make builds the programs beside dir and puts them there when they are whole.
func (p programs) make(ctx context.Context, pr *progress, source, dir string) (err error) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("build %s: %w: it is built from its sources, with Go", p.called, err)
	}
	temporary, err := os.MkdirTemp(filepath.Dir(dir), p.module+"-build-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	argv := []string{"env", "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-buildvcs=false", goTool, "-C", source}
	if err := p.build(ctx, pr, argv, temporary); err != nil {
		return fmt.Errorf("build %s: %w", p.called, err)
	}
	if err := os.Chmod(temporary, 0o755); err != nil {
		return err
	}
	return os.Rename(temporary, dir)
}
