package brick

import (
	"strings"
	"testing"

	"bricklayer.csi/internal/volume"
)

func TestSetQuota(t *testing.T) {
	r := newRig(t)
	b := r.mustMake(request("v1", 10*volume.MiB))
	writeFile(t, 1<<20, b.Path, "file")
	for _, to := range []volume.Size{20 * volume.MiB, 20*volume.MiB + 1, 5 * volume.MiB} {
		got, err := r.host.SetQuota(t.Context(), b.Ref, Quota{Bytes: to, Inodes: 100})
		must(t, err)
		want, _ := to.RoundUp(4096)
		if got.Quota != (Quota{want, 100}) || got.Mark.Size != b.Mark.Size {
			t.Errorf("%v: %+v", to, got)
		}
		r.check()
	}
	r.restart()
	if got := r.bricks()[0].Quota.Bytes; got != 5*volume.MiB {
		t.Errorf("after a restart: %v", got)
	}
}

func TestSetQuotaRefuses(t *testing.T) {
	r := newRig(t)
	b := r.mustMake(request("v1", 10*volume.MiB))
	writeFile(t, 2<<20, b.Path, "file")
	for name, c := range map[string]struct {
		ref   Ref
		quota Quota
		kind  volume.Kind
	}{
		"below used":        {b.Ref, Quota{Bytes: volume.MiB}, volume.Precondition},
		"below used inodes": {b.Ref, Quota{Bytes: 10 * volume.MiB, Inodes: 1}, volume.Precondition},
		"beyond the root":   {b.Ref, Quota{Bytes: volume.MaxSize}, volume.Exhausted},
		"zero":              {b.Ref, Quota{}, volume.Invalid},
		"negative":          {b.Ref, Quota{Bytes: -5}, volume.Invalid},
		"no such volume":    {Ref{"root1", "v2"}, Quota{Bytes: volume.MiB}, volume.NotFound},
		"no such root":      {Ref{"root9", "v1"}, Quota{Bytes: volume.MiB}, volume.NotFound},
		"bad name":          {Ref{"root1", "v/1"}, Quota{Bytes: volume.MiB}, volume.Invalid},
	} {
		if _, err := r.host.SetQuota(t.Context(), c.ref, c.quota); !volume.Is(err, c.kind) {
			t.Errorf("%s: %v, want %v", name, err, c.kind)
		}
	}
	if got := r.bricks()[0].Quota; got != b.Quota {
		t.Errorf("quota became %+v", got)
	}
	r.check()
}

func TestSetQuotaUpToAllThatIsLeft(t *testing.T) {
	r := newRig(t)
	b := r.mustMake(request("v1", 10*volume.MiB))
	room := r.state().Available
	// The free space of a disk that others write to changes meanwhile.
	room -= room / 10
	if _, err := r.host.SetQuota(t.Context(), b.Ref, Quota{Bytes: 10*volume.MiB + room}); err != nil {
		t.Fatal(err)
	}
	_, err := r.host.SetQuota(t.Context(), b.Ref, Quota{Bytes: 10*volume.MiB + 2*room})
	wantKind(t, err, volume.Exhausted)
	r.check()
}

func TestSetQuotaOfAWipedBrickSaysWhatToDo(t *testing.T) {
	r := newRig(t)
	b := r.mustMake(request("v1", 10*volume.MiB))
	wipe(t, b.Path)
	_, err := r.host.SetQuota(t.Context(), b.Ref, Quota{Bytes: 20 * volume.MiB})
	wantKind(t, err, volume.Precondition)
	if !strings.Contains(err.Error(), "repair") {
		t.Errorf("%v", err)
	}
}
