package csi

import (
	"errors"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

func group(gid string) func(*csipb.NodePublishVolumeRequest) {
	return func(r *csipb.NodePublishVolumeRequest) {
		c := capability(podsMode)
		c.GetMount().VolumeMountGroup = gid
		r.VolumeCapability = c
	}
}

// TestTheGroupOfAPod looks when a volume is given to a group: once before a pod
// sees it, never for readers, and again only for another pod.
func TestTheGroupOfAPod(t *testing.T) {
	w := newWorker(t)
	want := func(what string, calls ...string) {
		t.Helper()
		if diff := cmp.Diff(calls, w.groups.take(nil)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	id := w.volume.GetVolumeId()
	stageAs := func(r *csipb.NodeStageVolumeRequest) { r.GetVolumeCapability().GetMount().VolumeMountGroup = "1000" }
	w.want("stage", w.stage(stageAs), codes.OK)
	want("stage knows the first pod's group only")
	w.want("publish without a group", w.publish("pod0"), codes.OK)
	want("no group")
	w.want("publish", w.publish("pod1", group("1000")), codes.OK)
	want("a pod", id+" staging 0:1 1000")
	w.want("publish again", w.publish("pod1", group("1000")), codes.OK)
	want("a pod that has its mount")
	w.want("publish for another pod", w.publish("pod2", group("2000")), codes.OK)
	want("another pod", id+" staging 0:1 2000")
	w.want("publish to a reader", w.publish("pod3", group("1000"), readOnly), codes.OK)
	want("a reader")
	w.mounts.Break("pvc-1", mount.ErrStale)
	w.want("publish after the client died", w.publish("pod1", group("1000")), codes.OK)
	want("mounted anew", id+" staging 0:2 1000")
	for _, pod := range []string{"pod0", "pod1", "pod2", "pod3"} {
		w.want("unpublish", w.unpublish(pod), codes.OK)
	}
	w.want("unstage", w.unstage(), codes.OK)
	want("unstage", "stop "+id)
}

func TestAGroupThatTakesLong(t *testing.T) {
	w := newWorker(t)
	w.want("stage", w.stage(), codes.OK)
	w.groups.take(&volume.Error{Kind: volume.Busy, Err: errors.New("it goes on")})
	w.want("publish", w.publish("pod1", group("1000")), codes.Aborted)
	w.wantMounts(1)
	w.groups.take(nil)
	w.want("publish when it is done", w.publish("pod1", group("1000")), codes.OK)
	w.wantMounts(2)
}

func TestBadGroups(t *testing.T) {
	w := newWorker(t)
	w.want("stage", w.stage(), codes.OK)
	for _, gid := range []string{"-1", "root", "01", "+5", "2147483648", "1000 ", "99999999999999999999"} {
		w.want("group "+gid, w.publish("pod1", group(gid)), codes.InvalidArgument)
	}
	w.want("group 0", w.publish("pod1", group("0")), codes.OK)
}
