package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// stateRoot holds one directory a lab. It is not configurable, so that `down`
// finds every lab from its name alone.
const stateRoot = "/var/lib/bricklayer-lab"

const netnsRoot = "/run/netns"

// paths are the places of one lab.
type paths struct{ name string }

func (p paths) state() string           { return filepath.Join(stateRoot, p.name) }
func (p paths) netnsName() string       { return "bricklayer-" + p.name }
func (p paths) netns() string           { return filepath.Join(netnsRoot, p.netnsName()) }
func (p paths) lock() string            { return filepath.Join(stateRoot, "."+p.name+".lock") }
func (p paths) config() string          { return filepath.Join(p.state(), "lab.yaml") }
func (p paths) record() string          { return filepath.Join(p.state(), "record.json") }
func (p paths) pool() string            { return filepath.Join(p.state(), "pool.yaml") }
func (p paths) certs() string           { return filepath.Join(p.state(), "certs") }
func (p paths) mnt() string             { return filepath.Join(p.state(), "mnt") }
func (p paths) bin() string             { return filepath.Join(p.state(), "bin") }
func (p paths) clientKey() string       { return filepath.Join(p.state(), "ssh", "client_ed25519") }
func (p paths) hostKey() string         { return filepath.Join(p.state(), "ssh", "host_ed25519") }
func (p paths) nodes() string           { return filepath.Join(p.state(), "nodes") }
func (p paths) node(n string) string    { return filepath.Join(p.nodes(), n) }
func (p paths) pid(n string) string     { return filepath.Join(p.node(n), "uml.json") }
func (p paths) console(n string) string { return filepath.Join(p.node(n), "console.log") }
func (p paths) share(n string) string   { return filepath.Join(p.node(n), "share") }
func (p paths) cow(n string) string     { return filepath.Join(p.node(n), "system.cow") }
func (p paths) disk(n, d string) string { return filepath.Join(p.node(n), "disk-"+d+".img") }

// cacheDir is where images are kept: the user's cache, or the system's where
// there is no home directory (a CI job).
func cacheDir() string {
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "bricklayer")
	}
	return "/var/cache/bricklayer"
}

// writeFile replaces a file whole or not at all: guests and other commands read
// these while they are written.
func writeFile(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
