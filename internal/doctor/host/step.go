package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Step is one change to a machine: plain data, so that it can be shown, written
// to a journal before it is taken, and taken back by another process. Just one of
// its parts is set.
type Step struct {
	Write *Write `json:"write,omitempty"`
	Move  *Move  `json:"move,omitempty"`
	Set   *Set   `json:"set,omitempty"`
	Exec  *Exec  `json:"exec,omitempty"`
}

// Write replaces a file, or makes one: at any moment the file is the old or the new.
type Write struct {
	Path string `json:"path"`
	// Old is what the file must hold before; nil where there must be none.
	Old *string `json:"old,omitempty"`
	New string  `json:"new"`
	// Mode is for a new file; an old one keeps its own.
	Mode fs.FileMode `json:"mode"`
}

// Move renames a file or a directory within its file system; To must be free.
type Move struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Set writes a value to a file of the kernel's, which takes it at once.
type Set struct {
	Path string `json:"path"`
	Old  string `json:"old"`
	New  string `json:"new"`
}

// Exec runs a program. Undo is the one that takes it back; where there is none
// the step cannot be taken back, and Note says what that means.
type Exec struct {
	Argv []string `json:"argv"`
	Undo []string `json:"undo,omitempty"`
	Note string   `json:"note,omitempty"`
}

// errChanged says that a machine is not as it was when a step was planned.
var errChanged = errors.New("it is no longer as it was when the change was planned; look again")

// Take carries a step out. It refuses where the machine has changed since the
// step was planned, and does nothing where the step was taken already.
func (h *Host) Take(ctx context.Context, s Step) error {
	switch {
	case s.Write != nil:
		return h.replace(s.Write.Path, s.Write.Old, &s.Write.New, s.Write.Mode)
	case s.Move != nil:
		return h.rename(s.Move.From, s.Move.To)
	case s.Set != nil:
		return h.set(s.Set.Path, s.Set.Old, s.Set.New)
	case s.Exec != nil:
		_, err := h.Run(ctx, s.Exec.Argv...)
		return err
	}
	return errors.New("a step without a change")
}

// Undo takes a step back. It does nothing where the step was not taken, and
// refuses where somebody has changed the same thing since.
func (h *Host) Undo(ctx context.Context, s Step) error {
	switch {
	case s.Write != nil:
		return h.replace(s.Write.Path, &s.Write.New, s.Write.Old, s.Write.Mode)
	case s.Move != nil:
		return h.rename(s.Move.To, s.Move.From)
	case s.Set != nil:
		return h.set(s.Set.Path, s.Set.New, s.Set.Old)
	case s.Exec != nil && len(s.Exec.Undo) > 0:
		_, err := h.Run(ctx, s.Exec.Undo...)
		return err
	}
	return nil
}

// replace makes a file that holds from hold to; nil is no file. One that holds to
// already is left alone, one that holds anything else is an error.
func (h *Host) replace(path string, from, to *string, mode fs.FileMode) error {
	var now *string
	text, err := h.ReadFile(path)
	switch {
	case err == nil:
		s := string(text)
		now = &s
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	switch {
	case same(now, to):
		return nil
	case !same(now, from):
		return fmt.Errorf("%s: %w", path, errChanged)
	case to == nil:
		if err := os.Remove(h.path(path)); err != nil {
			return h.error(path, err)
		}
		return h.syncDir(filepath.Dir(path))
	}
	return h.WriteFile(path, []byte(*to), mode)
}

func same(a, b *string) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

// WriteFile replaces a file, or makes one of that mode. Whenever the process or
// the machine ends, the file is the old one or the new one, with the old one's
// owner and mode. A symbolic link stays one: what it points to is replaced.
func (h *Host) WriteFile(path string, text []byte, mode fs.FileMode) error {
	target := h.path(path)
	if pointed, err := filepath.EvalSymlinks(target); err == nil {
		target = pointed
	}
	dir := filepath.Dir(target)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // directories of configuration are for all to read
		return h.error(path, err)
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(target)+".bricklayer-*")
	if err != nil {
		return h.error(path, err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it is gone where all went well
	err = fill(f, text, target, mode)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), target)
	}
	if err == nil {
		err = syncDir(dir)
	}
	return h.error(path, err)
}

// fill writes the text and takes owner and mode from the file that is to be replaced.
func fill(f *os.File, text []byte, like string, mode fs.FileMode) error {
	if _, err := f.Write(text); err != nil {
		return err
	}
	var old unix.Stat_t
	switch err := unix.Stat(like, &old); {
	case err == nil:
		mode = fs.FileMode(old.Mode & 0o7777)
		if err := f.Chown(int(old.Uid), int(old.Gid)); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	return f.Sync()
}

func (h *Host) syncDir(dir string) error { return h.error(dir, syncDir(h.path(dir))) }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (h *Host) rename(from, to string) error {
	_, err := os.Lstat(h.path(from))
	_, taken := os.Lstat(h.path(to))
	switch {
	case errors.Is(err, fs.ErrNotExist) && taken == nil:
		return nil
	case err != nil:
		return h.error(from, err)
	case taken == nil:
		return fmt.Errorf("%s: %w: %s is there, too", from, errChanged, to)
	}
	if err := os.MkdirAll(h.path(filepath.Dir(to)), 0o755); err != nil { //nolint:gosec // as the directory beside it is
		return h.error(to, err)
	}
	// RENAME_NOREPLACE: nothing that comes to be there in between is lost.
	if err := unix.Renameat2(unix.AT_FDCWD, h.path(from), unix.AT_FDCWD, h.path(to), unix.RENAME_NOREPLACE); err != nil {
		return fmt.Errorf("move %s to %s: %w", from, to, err)
	}
	return errors.Join(h.syncDir(filepath.Dir(to)), h.syncDir(filepath.Dir(from)))
}

func (h *Host) set(path, from, to string) error {
	now, err := h.ReadString(path)
	switch {
	case err != nil:
		return err
	case now == to:
		return nil
	case now != from:
		return fmt.Errorf("%s: %w: it holds %q", path, errChanged, now)
	}
	f, err := os.OpenFile(h.path(path), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return h.error(path, err)
	}
	_, err = f.WriteString(to + "\n")
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return h.error(path, err)
}

// Show returns what a step changes, a line for each thing, for a person to read.
func (s Step) Show() string {
	switch {
	case s.Write != nil && s.Write.Old == nil:
		return "make " + s.Write.Path + ":\n" + lines("+ ", s.Write.New)
	case s.Write != nil:
		return "change " + s.Write.Path + ":\n" + diff(*s.Write.Old, s.Write.New)
	case s.Move != nil:
		return "move " + s.Move.From + "\n  to " + s.Move.To + "\n"
	case s.Set != nil:
		return fmt.Sprintf("set %s from %s to %s\n", s.Set.Path, s.Set.Old, s.Set.New)
	case s.Exec != nil:
		text := "run " + strings.Join(s.Exec.Argv, " ") + "\n"
		if s.Exec.Note != "" {
			text += "  " + s.Exec.Note + "\n"
		}
		return text
	}
	return ""
}

func lines(prefix, text string) string {
	var b bytes.Buffer
	for line := range strings.Lines(text) {
		b.WriteString("  " + prefix + strings.TrimSuffix(line, "\n") + "\n")
	}
	return b.String()
}

// diff shows the lines between those that two texts begin and end with alike.
func diff(from, to string) string {
	a, b := strings.SplitAfter(from, "\n"), strings.SplitAfter(to, "\n")
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return lines("- ", strings.Join(a, "")) + lines("+ ", strings.Join(b, ""))
}
