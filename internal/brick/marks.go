package brick

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
)

const markVersion = 1

// markFile is what mark.json says: the mark, and what was decided for this
// brick alone.
type markFile struct {
	Version int `json:"version"`
	Mark
	// Quota is what was last set, so that one that was lost can be put back.
	Quota Quota `json:"quota"`
	// Enforce false is a brick that is meant to have no quota.
	Enforce bool `json:"enforce"`
}

// sameMark reports whether two marks say the same.
func sameMark(a, b Mark) bool {
	return a.Handle == b.Handle && a.Size == b.Size && a.Type == b.Type &&
		a.Fingerprint == b.Fingerprint && a.GID == b.GID &&
		slices.Equal(a.Layout, b.Layout) && a.Created.Equal(b.Created)
}

// readMark reads the mark in a directory such as volumes/NAME.
func (o *openRoot) readMark(dir string) (markFile, error) {
	name := path.Join(dir, markName)
	var m markFile
	if err := readJSON(o.dir, name, &m); err != nil {
		return markFile{}, err
	}
	if m.Version != markVersion {
		return markFile{}, fmt.Errorf("%s is of version %d, this program knows version %d", name, m.Version, markVersion)
	}
	return m, nil
}

// writeMark writes the mark in a directory such as volumes/NAME, durably.
func (o *openRoot) writeMark(dir string, m markFile) error {
	m.Version = markVersion
	m.Created = m.Created.UTC()
	below, err := o.dir.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer below.Close()
	if err := writeJSON(below, markName, m); err != nil {
		return err
	}
	return syncDir(below, ".")
}

// missing reports whether an error says that there is no such file or brick.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotThere)
}
