package csi

import (
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"bricklayer.csi/internal/mount"
)

// model is what an orchestrator believes of one volume on one node.
type model struct {
	w         *worker
	mode      csipb.VolumeCapability_AccessMode_Mode
	staged    bool
	published map[string]bool // by pod: read-only
}

// TestAnyOrderOfCalls sends calls in any order, with clients dying between
// them, and compares the mount table with what the calls promised.
func TestAnyOrderOfCalls(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{w: newWorker(t), published: map[string]bool{}, mode: rapid.SampledFrom(modes).Draw(rt, "mode")}
		rt.Repeat(map[string]func(*rapid.T){
			"stage":     m.stage,
			"publish":   m.publish,
			"unpublish": m.unpublish,
			"unstage":   m.unstage,
			"die":       func(*rapid.T) { m.w.mounts.Break("pvc-1", mount.ErrStale) },
			"":          m.check,
		})
		for _, pod := range pods {
			m.w.want("unpublish at the end", m.w.unpublish(pod), codes.OK)
		}
		m.w.want("unstage at the end", m.w.unstage(), codes.OK)
		m.w.wantMounts(0)
	})
}

var modes = []csipb.VolumeCapability_AccessMode_Mode{podsMode, onePodMode, readersMode}

var pods = []string{"pod1", "pod2", "pod3"}

func (m *model) stage(rt *rapid.T) {
	if err := m.w.stage(); err != nil {
		rt.Fatalf("stage: %v", err)
	}
	m.staged = true
}

func (m *model) publish(rt *rapid.T) {
	pod := rapid.SampledFrom(pods).Draw(rt, "pod")
	wantReadOnly := rapid.Bool().Draw(rt, "readonly")
	shown, there := m.published[pod]
	before, _ := m.w.at(m.w.path(pod))
	staged, _ := m.w.at(m.w.staging)
	err := m.w.publish(pod, mode(m.mode), func(r *csipb.NodePublishVolumeRequest) { r.Readonly = wantReadOnly })
	effective := wantReadOnly || m.mode == readersMode
	switch code := status.Code(err); code {
	case codes.OK:
		if !m.staged {
			rt.Fatal("published what is not staged")
		}
		m.published[pod] = effective
	case codes.FailedPrecondition:
		if m.staged && m.mode != onePodMode {
			rt.Fatalf("publish: %v", err)
		}
	case codes.AlreadyExists:
		if !there || shown == effective || before.Device != staged.Device {
			rt.Fatalf("publish of %s, shown %v, read-only %v: %v", pod, there, shown, err)
		}
	default:
		rt.Fatalf("publish: %v", err)
	}
}

func (m *model) unpublish(rt *rapid.T) {
	pod := rapid.SampledFrom(pods).Draw(rt, "pod")
	if err := m.w.unpublish(pod); err != nil {
		rt.Fatalf("unpublish: %v", err)
	}
	delete(m.published, pod)
}

func (m *model) unstage(rt *rapid.T) {
	if err := m.w.unstage(); err != nil {
		rt.Fatalf("unstage: %v", err)
	}
	m.staged = false
}

// check compares the mount table with what was promised.
func (m *model) check(rt *rapid.T) {
	staged, mounted := m.w.at(m.w.staging)
	if mounted != m.staged {
		rt.Fatalf("staged %v, mounted %v", m.staged, mounted)
	}
	alive := 0
	for _, pod := range pods {
		got, mounted := m.w.at(m.w.path(pod))
		readOnly, want := m.published[pod]
		if mounted != want || mounted && got.ReadOnly != readOnly {
			rt.Fatalf("%s: mounted %v as %+v; want %v, read-only %v", pod, mounted, got, want, readOnly)
		}
		if mounted && m.staged && got.Device == staged.Device {
			alive++
		}
	}
	if m.mode == onePodMode && alive > 1 {
		rt.Fatalf("a volume for one pod is shown to %d", alive)
	}
}
