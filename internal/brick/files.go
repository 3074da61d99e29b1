package brick

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// maxJSON bounds a marker or mark that is read, in bytes: ours are below 4 KiB.
const maxJSON = 1 << 20

// writeJSON puts value into the named file, whole or not at all, also across a
// power loss. The directory itself is not synced: the caller does that with the
// rename that follows.
func writeJSON(dir *os.Root, name string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	temp := name + ".new"
	f, err := dir.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, dir.Remove(temp))
	}
	return dir.Rename(temp, name)
}

// readJSON reads the named regular file into value. A field that value does
// not have, and anything after the first value, is an error.
func readJSON(dir *os.Root, name string, value any) error {
	f, err := dir.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return err
	} else if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxJSON+1))
	if err != nil {
		return err
	}
	if len(data) > maxJSON {
		return fmt.Errorf("%s is longer than %d bytes", name, maxJSON)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(value); err != nil {
		return fmt.Errorf("%s does not parse: %w", name, err)
	}
	if d.More() {
		return fmt.Errorf("%s has something after its end", name)
	}
	return nil
}

// syncDir makes the entries of a directory below the root durable.
func syncDir(dir *os.Root, name string) error {
	f, err := openDir(dir, name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// openDir opens a directory below the root, never through a link in the last element.
func openDir(dir *os.Root, name string) (*os.File, error) {
	if info, err := dir.Lstat(name); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: unix.ENOTDIR}
	}
	return dir.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// subdirectories lists the names of the directories in a directory below the
// root. A missing one has none.
func subdirectories(dir *os.Root, name string) ([]string, error) {
	f, err := openDir(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// exists reports whether something of that name is below the root.
func exists(dir *os.Root, name string) (bool, error) {
	_, err := dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
