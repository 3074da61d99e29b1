package brick

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/internal/volume"
)

func TestMakeGivesADirectoryWithMarkAndQuota(t *testing.T) {
	r := newRig(t)
	req := request("v1", 10*volume.MiB+1)
	b := r.mustMake(req)
	want := Brick{
		Ref: req.Ref, Mark: req.Mark, Path: filepath.Join(r.disk.path, "volumes/v1/brick"),
		Quota: Quota{Bytes: 10*volume.MiB + 4096, Inodes: 5000}, Used: b.Used, UsedInodes: 1, ProjectID: FirstProject,
	}
	if diff := cmp.Diff(want, b); diff != "" {
		t.Errorf("brick (-want +got):\n%s", diff)
	}
	info, err := os.Stat(b.Path)
	if err != nil {
		t.Fatal(err)
	}
	st, _ := info.Sys().(*syscall.Stat_t)
	if st.Mode&0o7777 != 0o2775 || int(st.Gid) != 2345 {
		t.Errorf("mode %o, gid %d", st.Mode, st.Gid)
	}
	data, err := os.ReadFile(filepath.Join(r.disk.path, "volumes/v1/mark.json"))
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"version", "handle", "size", "type", "fingerprint", "gid", "layout", "quota", "enforce"} {
		if _, ok := fields[key]; !ok {
			t.Errorf("the mark lacks %s: %s", key, data)
		}
	}
	if diff := cmp.Diff([]Brick{b}, r.bricks()); diff != "" {
		t.Errorf("Bricks (-want +got):\n%s", diff)
	}
	r.check()
}

func TestMakeAgainFindsTheSameBrick(t *testing.T) {
	r := newRig(t)
	req := request("v1", 10*volume.MiB)
	first := r.mustMake(req)
	if diff := cmp.Diff(first, r.mustMake(req)); diff != "" {
		t.Errorf("second call (-want +got):\n%s", diff)
	}
	r.restart()
	if diff := cmp.Diff(first, r.mustMake(req)); diff != "" {
		t.Errorf("after restart (-want +got):\n%s", diff)
	}
	grown, err := r.host.SetQuota(t.Context(), req.Ref, Quota{Bytes: 20 * volume.MiB})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(grown, r.mustMake(req)); diff != "" {
		t.Errorf("after expansion (-want +got):\n%s", diff)
	}
	r.check()
}

func TestMakeWithAnotherMarkIsRefused(t *testing.T) {
	r := newRig(t)
	r.mustMake(request("v1", 10*volume.MiB))
	for name, change := range map[string]func(*Mark){
		"size":        func(m *Mark) { m.Size++ },
		"type":        func(m *Mark) { m.Type = "none" },
		"fingerprint": func(m *Mark) { m.Fingerprint = "f2" },
		"gid":         func(m *Mark) { m.GID++ },
		"layout":      func(m *Mark) { m.Layout = m.Layout[:2] },
	} {
		req := request("v1", 10*volume.MiB)
		change(&req.Mark)
		_, err := r.host.Make(t.Context(), req)
		if !volume.Is(err, volume.Exists) {
			t.Errorf("other %s: %v", name, err)
		}
	}
	r.check()
}

func TestMakeLooksAtTheOtherRoots(t *testing.T) {
	r := newRig(t)
	second := filepath.Join(t.TempDir(), "second")
	if err := os.Mkdir(second, 0o755); err != nil {
		t.Fatal(err)
	}
	c := RootConfig{Name: "root2", Path: second}
	if _, err := Init(t.Context(), InitOptions{Pool: testPool, Root: c, AnyDirectory: true, NoQuota: true}); err != nil {
		t.Fatal(err)
	}
	r.options.Roots = append(r.options.Roots, c)
	r.restart()
	r.mustMake(request("v1", 10*volume.MiB))
	req := request("v1", 10*volume.MiB)
	req.Ref.Root, req.Enforce = "root2", false
	r.mustMake(req) // the same mark: another brick of the same volume
	req = request("v2", 10*volume.MiB)
	r.mustMake(req)
	req.Ref.Root, req.Mark.Size = "root2", 1
	_, err := r.host.Make(t.Context(), req)
	wantKind(t, err, volume.Exists)
	if got := len(r.bricks()); got != 3 {
		t.Errorf("%d bricks", got)
	}
}

func TestMakeRefusesBadRequests(t *testing.T) {
	r := newRig(t)
	for name, c := range map[string]struct {
		kind   volume.Kind
		change func(*MakeRequest)
	}{
		"no volume":        {volume.Invalid, func(q *MakeRequest) { q.Ref.Volume = "" }},
		"path":             {volume.Invalid, func(q *MakeRequest) { q.Ref.Volume = "../v1" }},
		"option":           {volume.Invalid, func(q *MakeRequest) { q.Ref.Volume = "-v" }},
		"long":             {volume.Invalid, func(q *MakeRequest) { q.Ref.Volume = strings.Repeat("a", 65) }},
		"no root":          {volume.NotFound, func(q *MakeRequest) { q.Ref.Root = "" }},
		"unknown root":     {volume.NotFound, func(q *MakeRequest) { q.Ref.Root = "root9" }},
		"no handle":        {volume.Invalid, func(q *MakeRequest) { q.Mark.Handle = "" }},
		"other volume":     {volume.Invalid, func(q *MakeRequest) { q.Mark.Handle = "bl1.plain.pool1.v2" }},
		"other pool":       {volume.Invalid, func(q *MakeRequest) { q.Mark.Handle = "bl1.plain.pool2.v1" }},
		"no quota":         {volume.Invalid, func(q *MakeRequest) { q.Quota.Bytes = 0 }},
		"negative quota":   {volume.Invalid, func(q *MakeRequest) { q.Quota.Bytes = -1 }},
		"enormous quota":   {volume.Invalid, func(q *MakeRequest) { q.Quota.Bytes = 1<<63 - 1 }},
		"negative inodes":  {volume.Invalid, func(q *MakeRequest) { q.Quota.Inodes = -1 }},
		"negative gid":     {volume.Invalid, func(q *MakeRequest) { q.Mark.GID = -1 }},
		"enormous gid":     {volume.Invalid, func(q *MakeRequest) { q.Mark.GID = 1 << 32 }},
		"mode of a device": {volume.Invalid, func(q *MakeRequest) { q.Mode = 0o60755 }},
		"too large":        {volume.Exhausted, func(q *MakeRequest) { q.Quota.Bytes = volume.MaxSize }},
	} {
		req := request("v1", 10*volume.MiB)
		c.change(&req)
		if _, err := r.host.Make(t.Context(), req); !volume.Is(err, c.kind) {
			t.Errorf("%s: %v, want %v", name, err, c.kind)
		}
	}
	r.checkEmpty()
}

func TestMakePromisesNoMoreThanThereIs(t *testing.T) {
	r := newRig(t)
	before := r.state()
	r.mustMake(request("v1", before.Available/2))
	_, err := r.host.Make(t.Context(), request("v2", before.Available/2+before.Available/4))
	wantKind(t, err, volume.Exhausted)
	for _, part := range []string{"root1", r.disk.path, "committed", "overcommitPercent"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q lacks %q", err, part)
		}
	}
	// A removed brick counts until its space is free.
	r.mustRemove("v1", ToTrash)
	_, err = r.host.Make(t.Context(), request("v2", before.Available/2+before.Available/4))
	wantKind(t, err, volume.Exhausted)
	r.mustEmpty()
	r.mustMake(request("v2", before.Available/2+before.Available/4))
	r.check()

	r.options.OvercommitPercent = 300
	r.restart()
	r.mustMake(request("v3", before.Total))
	if s := r.state(); s.Committed <= s.Total {
		t.Errorf("overcommitted root: %+v", s)
	}
}

func TestMakeWithoutQuotas(t *testing.T) {
	r := newRig(t)
	req := request("v1", 10*volume.MiB)
	req.Enforce = false
	b := r.mustMake(req)
	if b.Quota != (Quota{}) || b.ProjectID == 0 || b.Problem != "" {
		t.Errorf("brick without quota: %+v", b)
	}
	if s := r.state(); s.Committed != 0 {
		t.Errorf("committed %d", s.Committed)
	}
	b, err := r.host.SetQuota(t.Context(), req.Ref, Quota{Bytes: volume.MiB})
	if err != nil || b.Quota.Bytes != volume.MiB {
		t.Errorf("SetQuota: %+v, %v", b, err)
	}
	r.check()
}

func TestMakeWhereTheFileSystemHasNoQuota(t *testing.T) {
	d := fakeDisk(t)
	h, err := New(Options{
		Pool: testPool, Roots: []RootConfig{{"root1", d.path}},
		openQuotas: func(*openRoot) quotas { return &fakeQuotas{top: d.path} },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer closing(t, h)
	if _, err := Init(t.Context(), InitOptions{Pool: testPool, Root: RootConfig{"root1", d.path}, AnyDirectory: true, NoQuota: true}); err != nil {
		t.Fatal(err)
	}
	_, err = h.Make(t.Context(), request("v1", volume.MiB))
	wantKind(t, err, volume.Precondition)
	if !strings.Contains(err.Error(), "prjquota") {
		t.Errorf("%q does not say prjquota", err)
	}
	req := request("v1", volume.MiB)
	req.Enforce = false
	b, err := h.Make(t.Context(), req)
	if err != nil || b.ProjectID != 0 || b.Problem != "" {
		t.Fatalf("Make: %+v, %v", b, err)
	}
	_, err = h.SetQuota(t.Context(), req.Ref, Quota{Bytes: volume.MiB})
	wantKind(t, err, volume.Precondition)
	if err := h.Remove(t.Context(), RemoveRequest{req.Ref, ToTrash}); err != nil {
		t.Fatal(err)
	}
	if err := h.EmptyTrash(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := h.States(t.Context())[0]; s.Trash != 0 || s.Problem != "" || s.Quota {
		t.Errorf("state: %+v", s)
	}
}

func TestCallsEndWithTheirContext(t *testing.T) {
	r := newRig(t)
	done, err := take(t.Context(), r.host.roots[0].turn)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = r.host.Make(ctx, request("v1", volume.MiB))
	wantKind(t, err, volume.Unavailable)
	wantKind(t, r.host.Remove(ctx, RemoveRequest{Ref{"root1", "v1"}, ToTrash}), volume.Unavailable)
	_, err = r.host.SetQuota(ctx, Ref{"root1", "v1"}, Quota{Bytes: 1})
	wantKind(t, err, volume.Unavailable)
	if err := r.host.EmptyTrash(ctx); err == nil {
		t.Error("EmptyTrash ended without an error")
	}
}
