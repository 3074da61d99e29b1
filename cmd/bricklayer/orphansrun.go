package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"bricklayer.csi/internal/orphans"
	"bricklayer.csi/internal/volume"
)

// orphanView is how the command shows one thing.
type orphanView struct {
	Kind    string     `json:"kind"`
	Pool    string     `json:"pool"`
	Node    string     `json:"node,omitempty"`
	Root    string     `json:"root,omitempty"`
	Name    string     `json:"name"`
	Handle  string     `json:"handle"`
	Bytes   int64      `json:"sizeBytes,omitempty"`
	Used    *int64     `json:"usedBytes,omitempty"`
	Created *time.Time `json:"created,omitempty"`
	// Result is what became of it, where it was to be removed.
	Result string `json:"result,omitempty"`
}

// orphansView is how the command shows all of them.
type orphansView struct {
	Orphans  []orphanView `json:"orphans"`
	Retained []orphanView `json:"retained"`
	// Unclaimed are shown where Kubernetes was asked.
	Unclaimed []orphanView `json:"unclaimed,omitempty"`
	Unknown   []string     `json:"unknown"`
}

func orphansViewOf(r orphans.Report) orphansView {
	v := orphansView{Orphans: []orphanView{}, Retained: []orphanView{}, Unknown: []string{}}
	for _, e := range r.Orphans {
		v.Orphans = append(v.Orphans, orphanViewOf(e))
	}
	for _, e := range r.Retained {
		v.Retained = append(v.Retained, orphanViewOf(e))
	}
	for _, e := range r.Unclaimed {
		v.Unclaimed = append(v.Unclaimed, orphanViewOf(e))
	}
	for _, err := range r.Unknown {
		v.Unknown = append(v.Unknown, err.Error())
	}
	return v
}

func orphanViewOf(e orphans.Entry) orphanView {
	v := orphanView{
		Kind: string(e.Kind), Pool: e.Pool, Node: e.Node, Root: e.Root, Name: e.Name,
		Handle: e.Handle.String(), Bytes: int64(e.Size),
	}
	if e.Used != nil {
		used := int64(*e.Used)
		v.Used = &used
	}
	if !e.Created.IsZero() {
		created := e.Created.UTC()
		v.Created = &created
	}
	return v
}

// table shows them, a line each.
func (v orphansView) table(w io.Writer) {
	if len(v.Orphans) == 0 {
		fmt.Fprint(w, "no orphans were found\n")
	}
	writeOrphans(w, v.Orphans)
	if len(v.Retained) > 0 {
		fmt.Fprintf(w, "\nretained by intent, and never removed by this command:\n")
		writeOrphans(w, v.Retained)
	}
	if len(v.Unclaimed) > 0 {
		fmt.Fprintf(w, "\nwhole volumes for which no PersistentVolume stands, and never removed by this command\n(delete one that nobody needs with: bricklayer volume delete HANDLE):\n")
		writeOrphans(w, v.Unclaimed)
	}
	for _, u := range v.Unknown {
		fmt.Fprintf(w, "unknown: %s\n", u)
	}
}

func writeOrphans(w io.Writer, views []orphanView) {
	if len(views) == 0 {
		return
	}
	fmt.Fprint(w, row("KIND", "POOL", "NODE/ROOT", "HANDLE", "SIZE", "USED", "AGE", "RESULT"))
	for _, v := range views {
		where, size, used, age := "", "", "", ""
		if v.Node != "" {
			where = v.Node + "/" + v.Root
		}
		if v.Bytes > 0 {
			size = volume.Size(v.Bytes).String()
		}
		if v.Used != nil {
			used = volume.Size(*v.Used).String()
		}
		if v.Created != nil {
			age = time.Since(*v.Created).Truncate(time.Second).String()
		}
		fmt.Fprint(w, row(v.Kind, v.Pool, where, v.Handle, size, used, age, v.Result))
	}
}

// list looks once and changes nothing.
func (r *orphansRun) list(ctx context.Context, out io.Writer) error {
	seen, err := r.look(ctx)
	if err != nil {
		return err
	}
	v := orphansViewOf(seen)
	if err := r.out.write(out, v, v.table); err != nil {
		return err
	}
	return outcome(seen, 0)
}

// delete looks, shows what it found, waits for the grace, looks again, and
// removes what both looks found. The first list and the progress go to progress,
// so that what goes to out is one document.
func (r *orphansRun) delete(ctx context.Context, out, progress io.Writer) error {
	first, err := r.look(ctx)
	if err != nil {
		return err
	}
	v := orphansViewOf(first)
	if len(first.Orphans) == 0 {
		if err := r.out.write(out, v, v.table); err != nil {
			return err
		}
		return outcome(first, 0)
	}
	if err := (&outputOptions{format: "table"}).write(progress, v, v.table); err != nil {
		return err
	}
	err = orphans.Wait(ctx, r.grace, time.Minute, func(left time.Duration) {
		fmt.Fprintf(progress, "looking again in %s; what is unchanged then will be removed; interrupt to leave it\n", left.Round(time.Second))
	})
	if err != nil {
		return err
	}
	second, err := r.look(ctx)
	if err != nil {
		return err
	}
	result, failed, err := r.removeBoth(ctx, first, second, progress)
	if writeErr := r.out.write(out, result, result.table); writeErr != nil || err != nil {
		return errors.Join(err, writeErr)
	}
	return outcome(second, failed)
}

// removeBoth removes, volume by volume, what two looks found, and says of
// everything that the first one found what became of it.
func (r *orphansRun) removeBoth(ctx context.Context, first, second orphans.Report, progress io.Writer) (orphansView, int, error) {
	both := first.Both(second)
	result := orphansViewOf(orphans.Report{Retained: second.Retained, Unclaimed: second.Unclaimed, Unknown: second.Unknown})
	failed := 0
	for left := first.Orphans; len(left) > 0; {
		n := remainsOfOne(left)
		for i, said := range r.removeSome(ctx, left[:n], both) {
			v := orphanViewOf(left[i])
			v.Result = said.text
			if said.failed {
				failed++
			}
			if said.tried {
				fmt.Fprintf(progress, "%s %s %s: %s\n", v.Kind, v.Handle, v.Node, v.Result)
			}
			result.Orphans = append(result.Orphans, v)
		}
		left = left[n:]
	}
	return result, failed, context.Cause(ctx)
}

// remainsOfOne returns how many of the first entries are of the same kind and of
// one volume: entries are sorted.
func remainsOfOne(entries []orphans.Entry) int {
	n := 1
	for n < len(entries) && entries[n].Kind == entries[0].Kind && entries[n].Handle == entries[0].Handle && entries[n].Pool == entries[0].Pool {
		n++
	}
	return n
}

// removal is what became of one thing.
type removal struct {
	text          string
	tried, failed bool
}

// removeSome removes those of some entries that both looks found.
func (r *orphansRun) removeSome(ctx context.Context, entries, both []orphans.Entry) []removal {
	said := make([]removal, len(entries))
	var chosen []orphans.Entry
	var at []int
	for i, e := range entries {
		switch {
		case !slices.ContainsFunc(both, e.Same):
			said[i].text = "left alone: the second look did not find it unchanged"
		case ctx.Err() != nil:
			said[i].text = "left alone: interrupted"
		default:
			chosen, at = append(chosen, e), append(at, i)
		}
	}
	if len(chosen) == 0 {
		return said
	}
	for i, err := range r.remove(ctx, chosen) {
		s := &said[at[i]]
		s.tried = true
		switch {
		case err == nil:
			s.text = "removed"
		case errors.Is(err, orphans.ErrChanged):
			s.text = "left alone: " + err.Error()
		default:
			s.failed, s.text = true, "not removed: "+err.Error()
		}
	}
	return said
}
