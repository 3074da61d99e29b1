package brick

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"
)

const opEmpty = "empty the trash"

// lookAgain is how often the trash is looked at without being told: after an
// error, and where a root was not mounted.
const lookAgain = time.Minute

// The steps of emptying one entry of the trash. Each can be repeated; the
// entry's name, which holds its project, goes last.
const (
	stepEmptied = "empty: contents removed"
	stepCleared = "empty: limit cleared"
	stepGone    = "empty: entry removed"
)

// keepEmptying empties the root's trash whenever something comes into it.
func (r *root) keepEmptying(ctx context.Context) {
	for ctx.Err() == nil {
		if err := r.emptyTrash(ctx); err != nil && ctx.Err() == nil {
			r.host.log.WarnContext(ctx, "the trash of a brick root could not be emptied; trying again later",
				"root", r.config.Name, "error", err)
		}
		again := time.NewTimer(lookAgain)
		select {
		case <-r.removed:
		case <-again.C:
		case <-ctx.Done():
		}
		again.Stop()
	}
}

// emptyTrash clears limits that nothing carries any more and empties every entry
// of the trash once. An entry that resists does not keep the others.
func (r *root) emptyTrash(ctx context.Context) error {
	o, done, err := r.begin(ctx, opEmpty)
	if err != nil {
		return err
	}
	// A wiped brick's old limit becomes an orphan only when the kernel has freed
	// the last inode, some time after that was removed: hence again and again.
	err = o.clearOrphans()
	done() // emptying itself needs no turn
	if err != nil {
		return o.failIO(opEmpty, "", err)
	}
	names, err := subdirectories(o.dir, trashDir)
	if err != nil {
		return o.failIO(opEmpty, "", err)
	}
	p := newPace(r.host.policy().TrashEntriesPerSecond)
	var errs []error
	for _, name := range names {
		err := o.emptyEntry(ctx, name, p)
		if ctx.Err() != nil || errors.Is(err, errKilled) {
			return err
		}
		if err != nil {
			errs = append(errs, o.failIO(opEmpty, "", fmt.Errorf("%s: %w", o.path(trashDir, name), err)))
		}
	}
	return errors.Join(errs...)
}

// emptyEntry removes trash/NAME.pPROJECT and all that lies in it. The limit
// stays until that is gone: until then its space is not anybody else's.
func (o *openRoot) emptyEntry(ctx context.Context, name string, p *pace) error {
	began := time.Now()
	entry, err := openDir(o.dir, path.Join(trashDir, name))
	if err != nil {
		return ignoreMissing(err)
	}
	defer entry.Close()
	if err := emptyDir(ctx, entry, p); err != nil {
		return err
	}
	if err := o.after(stepEmptied); err != nil {
		return err
	}
	done, err := take(ctx, o.turn)
	if err != nil {
		return err
	}
	defer done()
	if err := o.clearLimit(trashProject(name)); err != nil {
		return err
	}
	if err := o.after(stepCleared); err != nil {
		return err
	}
	if err := o.dir.Remove(path.Join(trashDir, name)); err != nil {
		return ignoreMissing(err)
	}
	o.host.log.InfoContext(ctx, "removed brick emptied", "root", o.config.Name, "entry", name, "took", time.Since(began))
	return o.after(stepGone)
}

func ignoreMissing(err error) error {
	if missing(err) {
		return nil
	}
	return err
}
