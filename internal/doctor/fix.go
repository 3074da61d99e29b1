package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"bricklayer.csi/internal/doctor/host"
)

// Journals is where a machine keeps what --fix did to it.
const Journals = "/var/lib/bricklayer/doctor"

// Journal is what was done to a machine to end one finding: enough to take it back.
type Journal struct {
	// ID names it: the time and the check.
	ID     string      `json:"id"`
	At     time.Time   `json:"at"`
	Check  string      `json:"check"`
	Object string      `json:"object"`
	Steps  []host.Step `json:"steps"`
	// Undone is when it was taken back.
	Undone *time.Time `json:"undone,omitempty"`
}

func (j Journal) path() string { return path.Join(Journals, j.ID+".json") }

// Fix ends a finding on a machine. What it will do is written to a journal first,
// so that a fix that is killed in the middle can be taken back, too. Each step
// refuses where the machine has changed since the finding was made.
func Fix(ctx context.Context, h *host.Host, check string, f Finding) (Journal, error) {
	now := h.Now().UTC()
	j := Journal{
		ID: now.Format("20060102T150405.000") + "-" + check, At: now,
		Check: check, Object: f.Object, Steps: f.Fix,
	}
	if err := j.write(h); err != nil {
		return j, fmt.Errorf("write down what will be done, nothing was done yet: %w", err)
	}
	for i, s := range f.Fix {
		if err := h.Take(ctx, s); err != nil {
			return j, fmt.Errorf("step %d of %d on %s: %w (take back what was done: bricklayer doctor undo %s)", i+1, len(f.Fix), h.Name, err, j.ID)
		}
	}
	return j, nil
}

func (j Journal) write(h *host.Host) error {
	text, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return err
	}
	return h.WriteFile(j.path(), append(text, '\n'), 0o600)
}

// Undo takes a fix back, the last step first. It may be repeated.
func Undo(ctx context.Context, h *host.Host, j Journal) error {
	for _, s := range slices.Backward(j.Steps) {
		if err := h.Undo(ctx, s); err != nil {
			return fmt.Errorf("take back %s on %s: %w", j.ID, h.Name, err)
		}
	}
	now := h.Now().UTC()
	j.Undone = &now
	return j.write(h)
}

// Fixes returns the journals of a machine, the oldest first.
func Fixes(h *host.Host) ([]Journal, error) {
	names, err := h.List(Journals)
	if err != nil {
		return nil, err
	}
	var all []Journal
	for _, name := range names {
		id, ok := strings.CutSuffix(name, ".json")
		if !ok || strings.HasPrefix(name, ".") {
			continue
		}
		text, err := h.ReadFile(path.Join(Journals, name))
		if err != nil {
			return nil, err
		}
		var j Journal
		if err := json.Unmarshal(text, &j); err != nil {
			return nil, fmt.Errorf("%s: %w", path.Join(Journals, name), err)
		}
		if j.ID != id {
			return nil, fmt.Errorf("%s: it says that it is %q; somebody changed it", path.Join(Journals, name), j.ID)
		}
		all = append(all, j)
	}
	return all, nil
}

// ErrNoFix says that there is nothing to take back.
var ErrNoFix = errors.New("there is no such fix that could be taken back")

// Find returns the journal of an ID, or the last one that was not taken back
// where the ID is empty.
func Find(all []Journal, id string) (Journal, error) {
	for _, j := range slices.Backward(all) {
		if id == j.ID || id == "" && j.Undone == nil {
			return j, nil
		}
	}
	return Journal{}, ErrNoFix
}
