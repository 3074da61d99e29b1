//go:build lab

package csi

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

// TestLifeOfAVolume takes one volume through what kubelet does with it, over
// real nodes and real mounts, with two pods and a client that dies.
func TestLifeOfAVolume(t *testing.T) {
	w := &worker{driver: newLabDriver(t), t: t}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w.dir, w.staging = dir, filepath.Join(dir, "staging")
	if err := os.Mkdir(w.staging, 0o750); err != nil {
		t.Fatal(err)
	}
	create := createRequest("csi-life")
	create.CapacityRange.RequiredBytes = 64 << 20
	create.Parameters = map[string]string{"gidMin": "5000", "gidMax": "5010"}
	made, err := w.controller.CreateVolume(testContext(t), create)
	if err != nil {
		t.Fatal(err)
	}
	w.volume = made.GetVolume()
	t.Cleanup(w.endAll)

	w.want("stage", w.stage(), codes.OK)
	w.want("publish", w.publish("writer"), codes.OK)
	w.want("publish read-only", w.publish("reader", readOnly), codes.OK)
	t.Run("its root belongs to the group of the class", w.testGroup)
	t.Run("a read-only pod cannot write", w.testReadOnly)
	t.Run("its size is what was asked, is enforced, and grows", w.testSize)
	t.Run("a client that dies is replaced", w.testDeadClient)
}

// endAll unpublishes, unstages and deletes; nothing may be left.
func (w *worker) endAll() {
	for _, pod := range []string{"writer", "reader", "later"} {
		w.want("unpublish "+pod, w.unpublish(pod), codes.OK)
	}
	w.want("unstage", w.unstage(), codes.OK)
	_, err := w.controller.DeleteVolume(testContext(w.t), &csipb.DeleteVolumeRequest{VolumeId: w.volume.GetVolumeId()})
	w.want("delete", err, codes.OK)
	noClients(w.t, w.dir)
}

func (w *worker) testGroup(t *testing.T) {
	info, err := os.Stat(w.path("writer"))
	if err != nil {
		t.Fatal(err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || strconv.Itoa(int(owner.Gid)) != w.volume.GetVolumeContext()["gid"] || owner.Gid < 5000 || owner.Gid > 5010 {
		t.Errorf("its group is %d; the context says %s, the class 5000 to 5010", owner.Gid, w.volume.GetVolumeContext()["gid"])
	}
	if got := info.Mode(); got != os.ModeDir|os.ModeSetgid|0o775 {
		t.Errorf("its mode is %v; want 2775", got)
	}
	// A user of that group writes, and what it makes belongs to the group.
	touch := exec.CommandContext(t.Context(), "touch", w.path("writer")+"/by-group")
	touch.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4242, Gid: 4242, Groups: []uint32{owner.Gid}}}
	openWay(t, w.dir)
	if out, err := touch.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	made, err := os.Stat(w.path("writer") + "/by-group")
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := made.Sys().(*syscall.Stat_t); !ok || s.Gid != owner.Gid || s.Uid != 4242 {
		t.Errorf("its owner is %d:%d; want 4242:%d", s.Uid, s.Gid, owner.Gid)
	}
}

// openWay lets every user pass through a test's directories.
func openWay(t *testing.T, dir string) {
	t.Helper()
	for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *worker) testReadOnly(t *testing.T) {
	if err := os.WriteFile(w.path("reader")+"/x", []byte("x"), 0o600); !errors.Is(err, syscall.EROFS) {
		t.Errorf("got %v; want EROFS", err)
	}
	if _, err := os.Stat(w.path("reader") + "/by-group"); err != nil {
		t.Errorf("the reader does not see what the writer wrote: %v", err)
	}
}

// fill appends to a file until the volume refuses, and returns its size and the refusal.
func fill(path string, most int64) (int64, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	block := make([]byte, 1<<20)
	for written := int64(0); err == nil && written < most; written += int64(len(block)) {
		if _, err = file.Write(block); err == nil {
			err = file.Sync()
		}
	}
	err = errors.Join(err, file.Close())
	info, statErr := os.Stat(path)
	if statErr != nil {
		return 0, errors.Join(err, statErr)
	}
	return info.Size(), err
}

func (w *worker) total(t *testing.T) int64 {
	t.Helper()
	resp, err := w.node.NodeGetVolumeStats(testContext(t), &csipb.NodeGetVolumeStatsRequest{VolumeId: w.volume.GetVolumeId(), VolumePath: w.path("writer")})
	if err != nil {
		t.Fatal(err)
	}
	if u := resp.GetUsage(); len(u) != 2 || u[1].GetTotal() <= 0 || u[0].GetUsed() < 0 {
		t.Errorf("stats: %v", u)
	}
	return resp.GetUsage()[0].GetTotal()
}

func (w *worker) testSize(t *testing.T) {
	if got := w.total(t); got != 64<<20 {
		t.Errorf("df shows %d bytes; want %d", got, 64<<20)
	}
	file := w.path("writer") + "/fill"
	size, err := fill(file, 128<<20)
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) || size > 64<<20 {
		t.Errorf("filled %d bytes, then %v; want at most 64 MiB, then ENOSPC or EDQUOT", size, err)
	}
	grown, err := w.controller.ControllerExpandVolume(testContext(t), &csipb.ControllerExpandVolumeRequest{
		VolumeId: w.volume.GetVolumeId(), CapacityRange: &csipb.CapacityRange{RequiredBytes: 128 << 20},
	})
	if err != nil || grown.GetCapacityBytes() != 128<<20 {
		t.Fatalf("expand: %v, %v", grown, err)
	}
	node, err := w.node.NodeExpandVolume(testContext(t), &csipb.NodeExpandVolumeRequest{VolumeId: w.volume.GetVolumeId(), VolumePath: w.path("writer")})
	if err != nil || node.GetCapacityBytes() != 128<<20 {
		t.Errorf("the node's answer: %v, %v", node, err)
	}
	// glusterd's posix translator looks at free space every five seconds.
	waitUntil(t, "the writer goes on", func() bool {
		_, err := fill(file, 1<<20)
		return err == nil
	})
	if err := os.Remove(file); err != nil {
		t.Error(err)
	}
}

func (w *worker) testDeadClient(t *testing.T) {
	health := func() string {
		t.Helper()
		resp, err := w.node.NodeGetVolumeHealth(testContext(t), &csipb.NodeGetVolumeHealthRequest{VolumeId: w.volume.GetVolumeId(), StagingTargetPath: w.staging})
		if err != nil {
			t.Fatal(err)
		}
		var reasons []string
		for _, e := range resp.GetVolumeHealth().GetHealthStatuses() {
			reasons = append(reasons, e.GetReason())
		}
		return strings.Join(reasons, ",")
	}
	if got := health(); got != "" {
		t.Errorf("a well volume has %s", got)
	}
	if out, err := exec.CommandContext(t.Context(), "pkill", "-KILL", "-f", "^glusterfs .*"+w.staging+"$").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	waitUntil(t, "the mount is stale", func() bool { return health() == staleMount })
	w.want("publish for a pod that comes later", w.publish("later"), codes.OK)
	w.want("publish again", w.publish("writer"), codes.OK)
	for _, pod := range []string{"later", "writer"} {
		if err := os.WriteFile(w.path(pod)+"/"+pod, []byte("x"), 0o600); err != nil {
			t.Error(err)
		}
	}
	if got := health(); got != "" && got != staleMount { // the reader's old mount is still there
		t.Errorf("health: %s", got)
	}
}
