package csi

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

const (
	podsMode    = csipb.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
	onePodMode  = csipb.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	readersMode = csipb.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
)

// worker is a driver with one volume and the paths that kubelet would use.
type worker struct {
	*driver
	t       *testing.T
	volume  *csipb.Volume
	dir     string
	staging string
}

func newWorker(t *testing.T) *worker {
	t.Helper()
	w := &worker{driver: newDriver(t), t: t}
	w.volume = w.mustCreate(t, "pvc-1")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w.dir, w.staging = dir, filepath.Join(dir, "staging")
	if err := os.Mkdir(w.staging, 0o750); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *worker) path(name string) string { return filepath.Join(w.dir, name) }

func (w *worker) stageRequest() *csipb.NodeStageVolumeRequest {
	return &csipb.NodeStageVolumeRequest{
		VolumeId: w.volume.GetVolumeId(), StagingTargetPath: w.staging,
		VolumeCapability: capability(podsMode), VolumeContext: w.volume.GetVolumeContext(),
	}
}

func (w *worker) publishRequest(pod string) *csipb.NodePublishVolumeRequest {
	return &csipb.NodePublishVolumeRequest{
		VolumeId: w.volume.GetVolumeId(), StagingTargetPath: w.staging, TargetPath: w.path(pod),
		VolumeCapability: capability(podsMode), VolumeContext: w.volume.GetVolumeContext(),
	}
}

func (w *worker) stage(change ...func(*csipb.NodeStageVolumeRequest)) error {
	req := w.stageRequest()
	for _, c := range change {
		c(req)
	}
	_, err := w.node.NodeStageVolume(testContext(w.t), req)
	return err
}

func (w *worker) publish(pod string, change ...func(*csipb.NodePublishVolumeRequest)) error {
	req := w.publishRequest(pod)
	for _, c := range change {
		c(req)
	}
	_, err := w.node.NodePublishVolume(testContext(w.t), req)
	return err
}

func (w *worker) unpublish(pod string) error {
	_, err := w.node.NodeUnpublishVolume(testContext(w.t), &csipb.NodeUnpublishVolumeRequest{VolumeId: w.volume.GetVolumeId(), TargetPath: w.path(pod)})
	return err
}

func (w *worker) unstage() error {
	_, err := w.node.NodeUnstageVolume(testContext(w.t), &csipb.NodeUnstageVolumeRequest{VolumeId: w.volume.GetVolumeId(), StagingTargetPath: w.staging})
	return err
}

// want fails the test unless err has the code.
func (w *worker) want(what string, err error, code codes.Code) {
	w.t.Helper()
	if status.Code(err) != code {
		w.t.Errorf("%s: got %v; want %v", what, err, code)
	}
}

// at returns the mount at a path.
func (w *worker) at(path string) (mount.Mount, bool) {
	w.t.Helper()
	table, err := w.mounts.Mounts(testContext(w.t))
	if err != nil {
		w.t.Fatal(err)
	}
	return mount.At(table, path)
}

// wantMounts fails the test unless there are that many mounts.
func (w *worker) wantMounts(n int) {
	w.t.Helper()
	table, err := w.mounts.Mounts(testContext(w.t))
	if err != nil || len(table) != n {
		w.t.Errorf("there are %d mounts, want %d: %+v, %v", len(table), n, table, err)
	}
}

func readOnly(r *csipb.NodePublishVolumeRequest) { r.Readonly = true }

func mode(m csipb.VolumeCapability_AccessMode_Mode) func(*csipb.NodePublishVolumeRequest) {
	return func(r *csipb.NodePublishVolumeRequest) { r.VolumeCapability = capability(m) }
}

func TestEveryCallMayBeRepeated(t *testing.T) {
	w := newWorker(t)
	for range 3 {
		w.want("stage", w.stage(), codes.OK)
		w.want("publish", w.publish("pod1"), codes.OK)
		w.want("publish for another pod", w.publish("pod2", readOnly), codes.OK)
	}
	w.wantMounts(3)
	if m, _ := w.at(w.path("pod2")); !m.ReadOnly {
		t.Error("pod2 can write")
	}
	for range 3 {
		w.want("unpublish", w.unpublish("pod1"), codes.OK)
		w.want("unpublish", w.unpublish("pod2"), codes.OK)
		w.want("unstage", w.unstage(), codes.OK)
	}
	w.wantMounts(0)
	if _, err := os.Stat(w.path("pod1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the target directory is left: %v", err)
	}
	if _, err := os.Stat(w.staging); err != nil {
		t.Errorf("the staging directory is not ours to remove: %v", err)
	}
}

func TestAccessModes(t *testing.T) {
	for _, c := range []struct {
		mode     csipb.VolumeCapability_AccessMode_Mode
		second   codes.Code
		readOnly bool
	}{
		{onePodMode, codes.FailedPrecondition, false},
		{csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, codes.FailedPrecondition, false},
		{csipb.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY, codes.FailedPrecondition, true},
		{podsMode, codes.OK, false},
		{multiWriter, codes.OK, false},
		{csipb.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER, codes.OK, false},
		{readersMode, codes.OK, true},
	} {
		w := newWorker(t)
		w.want("stage", w.stage(), codes.OK)
		w.want("publish", w.publish("pod1", mode(c.mode)), codes.OK)
		w.want("publish again", w.publish("pod1", mode(c.mode)), codes.OK)
		w.want(c.mode.String()+" at another path", w.publish("pod2", mode(c.mode)), c.second)
		if m, _ := w.at(w.path("pod1")); m.ReadOnly != c.readOnly {
			t.Errorf("%v: read-only %v", c.mode, m.ReadOnly)
		}
		if _, err := os.Stat(w.path("pod2")); (err == nil) != (c.second == codes.OK) {
			t.Errorf("%v: a refused publish left a directory, or one is missing: %v", c.mode, err)
		}
		w.want("unpublish", w.unpublish("pod1"), codes.OK)
		w.want("publish after it", w.publish("pod3", mode(c.mode)), codes.OK)
	}
}

func TestOtherArgumentsAtTheSamePath(t *testing.T) {
	w := newWorker(t)
	w.want("publish before stage", w.publish("pod1"), codes.FailedPrecondition)
	w.want("stage", w.stage(), codes.OK)
	w.want("stage read-only", w.stage(func(r *csipb.NodeStageVolumeRequest) { r.VolumeCapability = capability(podsMode, "ro") }), codes.AlreadyExists)
	w.want("publish", w.publish("pod1"), codes.OK)
	w.want("publish read-only", w.publish("pod1", readOnly), codes.AlreadyExists)
	other := w.mustCreate(t, "pvc-2")
	theirs := func(r *csipb.NodeStageVolumeRequest) {
		r.VolumeId, r.VolumeContext = other.GetVolumeId(), other.GetVolumeContext()
	}
	w.want("stage another volume there", w.stage(theirs), codes.AlreadyExists)
	w.wantMounts(2)
}

func TestOnlyTheVolumesOwnMountsEnd(t *testing.T) {
	w := newWorker(t)
	w.mounts.Add(mount.Mount{Target: w.path("disk"), Root: "/", Type: "xfs", Source: "/dev/sdb1", Device: "8:17"})
	w.mounts.Add(mount.Mount{Target: w.path("other"), Root: "/", Type: "fuse.glusterfs", Source: "n1:/pvc-9", Device: "0:99"})
	for _, pod := range []string{"disk", "other"} {
		w.want("unpublish", w.unpublish(pod), codes.FailedPrecondition)
		w.want("publish", w.publish(pod), codes.FailedPrecondition) // not staged
	}
	w.want("stage", w.stage(), codes.OK)
	w.want("publish over a disk", w.publish("disk"), codes.AlreadyExists)
	w.wantMounts(3)
	if err := os.MkdirAll(w.path("full/of"), 0o750); err != nil {
		t.Fatal(err)
	}
	w.want("unpublish where files are", w.unpublish("full"), codes.FailedPrecondition)
	if _, err := os.Stat(w.path("full/of")); err != nil {
		t.Error(err)
	}
}

func TestStaleMountsAreReplaced(t *testing.T) {
	w := newWorker(t)
	w.want("stage", w.stage(), codes.OK)
	w.want("publish", w.publish("pod1"), codes.OK)
	w.mounts.Break("pvc-1", mount.ErrStale)
	_, err := w.node.NodeGetVolumeStats(testContext(t), &csipb.NodeGetVolumeStatsRequest{VolumeId: w.volume.GetVolumeId(), VolumePath: w.path("pod1")})
	w.want("stats", err, codes.Unavailable)
	w.want("publish for a new pod", w.publish("pod2"), codes.OK)
	w.want("publish for the old pod", w.publish("pod1"), codes.OK)
	w.wantMounts(3)
	staged, _ := w.at(w.staging)
	for _, pod := range []string{"pod1", "pod2"} {
		if m, _ := w.at(w.path(pod)); m.Device != staged.Device {
			t.Errorf("%s still shows the dead client: %+v", pod, m)
		}
	}
	w.mounts.Break("pvc-1", mount.ErrStale)
	w.want("stage", w.stage(), codes.OK)
	w.mounts.Break("pvc-1", mount.ErrStale)
	w.want("unpublish", w.unpublish("pod1"), codes.OK)
	w.want("unpublish", w.unpublish("pod2"), codes.OK)
	w.want("unstage", w.unstage(), codes.OK)
	w.wantMounts(0)
}

func TestAClientThatLostItsBricksStays(t *testing.T) {
	for _, fault := range []error{mount.ErrDisconnected, mount.ErrSilent} {
		w := newWorker(t)
		w.want("stage", w.stage(), codes.OK)
		w.mounts.Break("pvc-1", fault)
		w.want("stage", w.stage(), codes.Unavailable)
		w.want("publish", w.publish("pod1"), codes.Unavailable)
		w.wantMounts(1)
		w.mounts.Break("pvc-1", nil)
		w.want("publish", w.publish("pod1"), codes.OK)
	}
}

func TestFailedMountsLeaveNothing(t *testing.T) {
	w := newWorker(t)
	fault := &volume.Error{Kind: volume.Unavailable, Op: "mount", Err: errors.New("no server answers")}
	w.mounts.FailNext("Glusterfs", fault)
	w.want("stage", w.stage(), codes.Unavailable)
	w.wantMounts(0)
	w.want("stage", w.stage(), codes.OK)
	w.mounts.FailNext("Bind", fault)
	w.want("publish", w.publish("pod1"), codes.Unavailable)
	if _, err := os.Stat(w.path("pod1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a failed publish left its directory: %v", err)
	}
	w.want("publish", w.publish("pod1"), codes.OK)
	w.mounts.Use(w.path("pod1"), true)
	w.want("unpublish while in use", w.unpublish("pod1"), codes.Aborted)
	w.wantMounts(2)
	w.mounts.Use(w.path("pod1"), false)
	w.want("unpublish", w.unpublish("pod1"), codes.OK)
}

func TestHostileNodeRequests(t *testing.T) {
	w := newWorker(t)
	for _, path := range []string{"relative", "../up", "/", "//double", w.dir + "/../x", w.dir + "/a\x00b", w.dir + "/a\nb", w.dir + "/x/", "/" + strings.Repeat("a", 4096)} {
		w.want("stage at "+path, w.stage(func(r *csipb.NodeStageVolumeRequest) { r.StagingTargetPath = path }), codes.InvalidArgument)
		w.want("publish at "+path, w.publish("x", func(r *csipb.NodePublishVolumeRequest) { r.TargetPath = path }), codes.InvalidArgument)
		_, err := w.node.NodeUnpublishVolume(testContext(t), &csipb.NodeUnpublishVolumeRequest{VolumeId: w.volume.GetVolumeId(), TargetPath: path})
		w.want("unpublish at "+path, err, codes.InvalidArgument)
		_, err = w.node.NodeUnstageVolume(testContext(t), &csipb.NodeUnstageVolumeRequest{VolumeId: w.volume.GetVolumeId(), StagingTargetPath: path})
		w.want("unstage at "+path, err, codes.InvalidArgument)
	}
	for key, value := range map[string]string{
		"servers": "-oroot", "volume": "other", "gid": "-1", "log-file": "/etc/passwd", "Servers": "n1",
	} {
		context := maps.Clone(w.volume.GetVolumeContext())
		context[key] = value
		w.want("stage with "+key, w.stage(func(r *csipb.NodeStageVolumeRequest) { r.VolumeContext = context }), codes.InvalidArgument)
	}
	w.want("stage without context", w.stage(func(r *csipb.NodeStageVolumeRequest) { r.VolumeContext = nil }), codes.InvalidArgument)
	w.want("forged ID", w.stage(func(r *csipb.NodeStageVolumeRequest) { r.VolumeId = "bl1.plain.lab.../../etc" }), codes.NotFound)
	w.want("bad flag", w.stage(func(r *csipb.NodeStageVolumeRequest) { r.VolumeCapability = capability(podsMode, "dump-fuse=/x") }), codes.InvalidArgument)
	w.want("no staging path", w.publish("x", func(r *csipb.NodePublishVolumeRequest) { r.StagingTargetPath = "" }), codes.FailedPrecondition)
	w.want("onto the staging path", w.publish("x", func(r *csipb.NodePublishVolumeRequest) { r.TargetPath = r.GetStagingTargetPath() }), codes.InvalidArgument)
	w.want("stage", w.stage(), codes.OK)
	if err := os.Symlink("/etc", w.path("link")); err != nil {
		t.Fatal(err)
	}
	w.want("publish onto a link", w.publish("link"), codes.FailedPrecondition)
	w.want("publish without a parent", w.publish("no/parent"), codes.FailedPrecondition)
	w.wantMounts(1)
}

func TestPathsBehindLinks(t *testing.T) {
	w := newWorker(t)
	w.want("stage", w.stage(), codes.OK)
	if err := os.Symlink(w.dir, w.path("link")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		w.want("publish", w.publish("link/pod1"), codes.OK)
	}
	w.wantMounts(2)
	w.want("unpublish", w.unpublish("link/pod1"), codes.OK)
	w.wantMounts(1)
	w.want("unpublish below nothing", w.unpublish("no/parent"), codes.OK)
}

func TestOneCallAVolume(t *testing.T) {
	w := newWorker(t)
	busy := make(chan error)
	w.mounts.Volume = func(string) (mount.Usage, error) {
		_, err := w.node.NodeUnstageVolume(testContext(t), &csipb.NodeUnstageVolumeRequest{VolumeId: w.volume.GetVolumeId(), StagingTargetPath: w.staging})
		go func() { busy <- err }()
		return mount.Usage{}, nil
	}
	w.want("stage", w.stage(), codes.OK)
	w.want("unstage meanwhile", <-busy, codes.Aborted)
}

func TestNodeStatsAndExpand(t *testing.T) {
	w := newWorker(t)
	stats := func(path string) (*csipb.NodeGetVolumeStatsResponse, error) {
		return w.node.NodeGetVolumeStats(testContext(t), &csipb.NodeGetVolumeStatsRequest{VolumeId: w.volume.GetVolumeId(), VolumePath: path})
	}
	_, err := stats(w.path("pod1"))
	w.want("stats of nothing", err, codes.NotFound)
	w.want("stage", w.stage(), codes.OK)
	w.want("publish", w.publish("pod1"), codes.OK)
	got, err := stats(w.path("pod1"))
	if err != nil || len(got.GetUsage()) != 2 || got.GetUsage()[0].GetTotal() != 1<<30 || got.GetUsage()[0].GetUsed() != 4096 || got.GetUsage()[1].GetUsed() != 100 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := w.controller.ControllerExpandVolume(testContext(t), &csipb.ControllerExpandVolumeRequest{
		VolumeId: w.volume.GetVolumeId(), CapacityRange: &csipb.CapacityRange{RequiredBytes: 2 << 30},
	}); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*csipb.CapacityRange{"no size": nil, "size": {RequiredBytes: 2 << 30}} {
		resp, err := w.node.NodeExpandVolume(testContext(t), &csipb.NodeExpandVolumeRequest{VolumeId: w.volume.GetVolumeId(), VolumePath: w.path("pod1"), CapacityRange: r})
		if err != nil || resp.GetCapacityBytes() != 2<<30 {
			t.Errorf("%s: got %v, %v", name, resp, err)
		}
	}
	_, err = w.node.NodeExpandVolume(testContext(t), &csipb.NodeExpandVolumeRequest{VolumeId: w.volume.GetVolumeId(), VolumePath: w.path("pod1"), CapacityRange: &csipb.CapacityRange{RequiredBytes: -1}})
	w.want("negative size", err, codes.InvalidArgument)
}

func TestNodeHealth(t *testing.T) {
	for _, c := range []struct {
		fault  error
		reason string
	}{{nil, ""}, {mount.ErrStale, staleMount}, {mount.ErrDisconnected, bricksUnreachable}, {mount.ErrSilent, mountSilent}} {
		w := newWorker(t)
		w.want("stage", w.stage(), codes.OK)
		w.want("publish", w.publish("pod1"), codes.OK)
		w.mounts.Break("pvc-1", c.fault)
		resp, err := w.node.NodeGetVolumeHealth(testContext(t), &csipb.NodeGetVolumeHealthRequest{VolumeId: w.volume.GetVolumeId()})
		if err != nil {
			t.Fatal(err)
		}
		storage, err := w.node.NodeGetStorageHealth(testContext(t), &csipb.NodeGetStorageHealthRequest{})
		if err != nil {
			t.Fatal(err)
		}
		entries, backends := resp.GetVolumeHealth().GetHealthStatuses(), storage.GetBackendHealth()
		if c.fault == nil {
			if len(entries) != 0 || len(backends) != 0 {
				t.Errorf("well: got %v, %v", entries, backends)
			}
			continue
		}
		if len(entries) != 1 || entries[0].GetReason() != c.reason || entries[0].GetStatus() != csipb.VolumeHealthErrorType_INACCESSIBLE {
			t.Errorf("%v: got %v", c.fault, entries)
		}
		if len(backends) != 1 || backends[0].GetReason() != c.reason || !strings.Contains(backends[0].GetMessage(), "pvc-1") {
			t.Errorf("%v: got %v", c.fault, backends)
		}
		w.mounts.SetReady(errors.New("no /dev/fuse"))
		storage, err = w.node.NodeGetStorageHealth(testContext(t), &csipb.NodeGetStorageHealthRequest{})
		if err != nil || len(storage.GetBackendHealth()) != 2 || storage.GetBackendHealth()[0].GetReason() != clientMissing {
			t.Errorf("without FUSE: got %v, %v", storage, err)
		}
	}
}

func TestNodeIDs(t *testing.T) {
	for id, want := range map[string]bool{"worker-1.example": true, "": false, "a b": false, "a\nb": false, strings.Repeat("a", 257): false} {
		if _, err := NewNode(NodeOptions{ID: id}); (err == nil) != want {
			t.Errorf("%q: %v", id, err)
		}
	}
}
