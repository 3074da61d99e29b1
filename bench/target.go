package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"bricklayer.csi/bench/host"
)

// Place is where a target's fio works.
type Place struct {
	Host host.Host
	// Dir is a directory that is there, on the file system that is measured.
	Dir string
	// Facts say what it is.
	Facts map[string]string
}

// Target is something to measure.
type Target interface {
	// Name is what the target is called in the report.
	Name() string
	// Kind says what it is, in a word or two.
	Kind() string
	// Open makes the target ready: it creates and mounts what has to be. What it
	// made is undone by Close, also where Open failed.
	Open(ctx context.Context) (Place, error)
	// Close undoes what Open did. It may be called again.
	Close(ctx context.Context) error
}

var targetRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$`)

// CheckTargetName refuses names that do not fit a table or a file's name.
func CheckTargetName(name string) error {
	if !targetRE.MatchString(name) {
		return fmt.Errorf("target %.80q: want a name of 1 to 24 of a-z, 0-9 and -, not at the ends", name)
	}
	return nil
}

// Directory is a directory that is there already.
type Directory struct {
	Called string
	Host   host.Host
	Dir    string
}

// NewDirectory checks the path.
func NewDirectory(name string, h host.Host, dir string) (*Directory, error) {
	if err := CheckTargetName(name); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || strings.ContainsAny(dir, "\n\x00") {
		return nil, fmt.Errorf("target %s: directory %.80q: want an absolute path, with no dots as elements", name, dir)
	}
	return &Directory{name, h, dir}, nil
}

// Name implements Target.
func (d *Directory) Name() string { return d.Called }

// Kind implements Target.
func (d *Directory) Kind() string { return "directory" }

// Open sees that the directory is there.
func (d *Directory) Open(ctx context.Context) (Place, error) {
	out, err := d.Host.Run(ctx, "cd "+host.Quote(d.Dir)+" && exec findmnt -n -o FSTYPE,SOURCE,OPTIONS -T .\n")
	if err != nil {
		return Place{}, fmt.Errorf("target %s: directory %s: %w", d.Called, d.Dir, err)
	}
	return Place{Host: d.Host, Dir: d.Dir, Facts: map[string]string{
		"directory": d.Dir, "host": d.Host.String(), "file system": strings.Join(strings.Fields(string(out)), " "),
	}}, nil
}

// Close has nothing to undo.
func (d *Directory) Close(context.Context) error { return nil }
