//go:build kube && lab

package provisioner

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"bricklayer.csi/lab"
)

const (
	// besideDriver is the driver whose claims the standard sidecars work for.
	besideDriver = "sidecars-test.bricklayer.csi"
	// mostRatio is how much longer than with csi-provisioner a claim may take. Ours
	// writes to the claim once more, before and after, see guard; the aim is 1.
	mostRatio = 1.5
)

// TestKubeTime takes the time from a claim to its being bound with our provisioner,
// with csi-provisioner that calls a controller of ours over its socket, and that of
// the CSI call alone, in turns. The call goes to both controllers alike, so that
// neither is the one that has just worked.
func TestKubeTime(t *testing.T) {
	needSidecars(t)
	s := newSite(t)
	own := filepath.Join(t.TempDir(), "csi.sock")
	s.endpoint = "unix://" + own
	s.start()
	s.class("ours", map[string]string{"lvm": "false"})
	s.classOf(besideDriver, "theirs", map[string]string{"lvm": "false"})
	sockets := []string{own, s.beside("csi-provisioner", "--worker-threads=64", "--kube-api-qps=100", "--kube-api-burst=200")}
	calls, bound := 0, 0
	claimed := func(class string) func() {
		return func() {
			if err := s.claim(t.Context(), fmt.Sprintf("t%d", bound), class, "64Mi"); err != nil {
				t.Fatal(err)
			}
			bound++
			s.await(class+": bound", 2*time.Minute, allBound(bound))
		}
	}
	callers := []func(){caller(t, "own", sockets[0]), caller(t, "beside", sockets[1])}
	call := func() {
		callers[calls%2]()
		calls++
	}
	ways := []way{{"our provisioner", claimed("ours")}, {"csi-provisioner", claimed("theirs")}, {"CSI call alone", call}}
	for _, w := range ways { // whoever is first finds nothing warm
		w.do()
	}
	call()
	median := interleave(t, ways, 2*len(orders))
	s.removeAll()
	s.gone(5 * time.Minute)
	ours, theirs, alone := median[0], median[1], median[2]
	t.Logf("ours/csi-provisioner %.2f, ours/call %.2f, csi-provisioner/call %.2f", ratio(ours, theirs), ratio(ours, alone), ratio(theirs, alone))
	if r := ratio(ours, theirs); r > mostRatio {
		t.Errorf("from claim to bound takes %v with our provisioner and %v with csi-provisioner: %.2f times as long, want at most %.2f", ours, theirs, r, mostRatio)
	}
}

func needSidecars(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("the standard sidecars take minutes to build")
	}
}

// way is one way to the same end.
type way struct {
	name string
	do   func()
}

// orders are those in which three ways can be gone: each of them is the first and
// the last, and comes after each of the others, equally often.
var orders = [][]int{{0, 1, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}, {0, 2, 1}, {1, 0, 2}}

// interleave goes each of three ways so many times, and returns the median times.
func interleave(t *testing.T, ways []way, rounds int) []time.Duration {
	t.Helper()
	times := make([][]time.Duration, len(ways))
	for i := range rounds {
		for _, w := range orders[i%len(orders)] {
			began := time.Now()
			ways[w].do()
			times[w] = append(times[w], time.Since(began).Round(time.Millisecond))
		}
	}
	medians := make([]time.Duration, len(ways))
	for w, all := range times {
		slices.Sort(all)
		medians[w] = (all[(len(all)-1)/2] + all[len(all)/2]) / 2
		t.Logf("%s: median %v of %v", ways[w].name, medians[w], all)
	}
	return medians
}

func ratio(a, b time.Duration) float64 { return a.Seconds() / b.Seconds() }

// caller returns what makes one volume by the CSI call; they are deleted when the
// test ends.
func caller(t *testing.T, name, socket string) func() {
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	csi := csipb.NewControllerClient(conn)
	var made []string
	t.Cleanup(func() {
		for _, id := range made {
			if _, err := csi.DeleteVolume(context.WithoutCancel(t.Context()), &csipb.DeleteVolumeRequest{VolumeId: id}); err != nil {
				t.Error(err)
			}
		}
		_ = conn.Close()
	})
	return func() {
		v, err := csi.CreateVolume(t.Context(), &csipb.CreateVolumeRequest{
			Name: fmt.Sprintf("pvc-%s-%d", name, len(made)), CapacityRange: &csipb.CapacityRange{RequiredBytes: 64 << 20},
			Parameters: map[string]string{"lvm": "false"},
			VolumeCapabilities: []*csipb.VolumeCapability{{
				AccessType: &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{}},
				AccessMode: &csipb.VolumeCapability_AccessMode{Mode: csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
			}},
		}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, v.GetVolume().GetVolumeId())
	}
}

// beside starts a controller of ours that serves CSI and nothing else, and one of
// the standard sidecars at its socket, which it returns.
func (s *site) beside(sidecar string, args ...string) string {
	s.t.Helper()
	programs, err := lab.Current().Sidecars(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	socket := filepath.Join(s.t.TempDir(), "csi.sock")
	s.aside(s.program, append([]string{"controller", "--driver-name", besideDriver, "--endpoint", "unix://" + socket}, s.args...)...)
	s.sidecar(filepath.Join(programs, sidecar), socket, args...)
	return socket
}

func (s *site) sidecar(program, socket string, args ...string) {
	s.t.Helper()
	s.aside(program, append([]string{"--csi-address", socket, "--kubeconfig", lab.Current().Kubeconfig()}, args...)...)
}

// aside runs a program until the test ends.
func (s *site) aside(program string, args ...string) {
	s.t.Helper()
	cmd := s.spawn(program, args...)
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
}

// TestKubeStandardResizer has csi-resizer grow a volume that our provisioner made,
// with our own growing off.
func TestKubeStandardResizer(t *testing.T) {
	needSidecars(t)
	s := newSite(t)
	programs, err := lab.Current().Sidecars(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "csi.sock")
	s.endpoint = "unix://" + socket
	s.class("ours", map[string]string{"lvm": "false"})
	s.start("--expand=false")
	if err := s.claim(t.Context(), "grows", "ours", "64Mi"); err != nil {
		t.Fatal(err)
	}
	s.await("bound", 2*time.Minute, allBound(1))
	patch := []byte(`{"spec":{"resources":{"requests":{"storage":"128Mi"}}}}`)
	if _, err := s.client.CoreV1().PersistentVolumeClaims(s.namespace).Patch(t.Context(), "grows", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	want := resource.MustParse("128Mi")
	grown := func(c []corev1.PersistentVolumeClaim) bool {
		has := storage(c[0].Status.Capacity)
		return has.Cmp(want) >= 0 && len(c[0].Status.Conditions) == 0
	}
	quiet := time.NewTimer(5 * time.Second)
	<-quiet.C
	s.await("the claim is as it was", time.Second, func(c []corev1.PersistentVolumeClaim) bool { return !grown(c) })
	s.sidecar(filepath.Join(programs, "csi-resizer"), socket)
	s.await("csi-resizer has grown it", 3*time.Minute, grown)
	pv := s.onlyPV()
	if has := storage(pv.Spec.Capacity); has.Cmp(want) < 0 {
		t.Errorf("the PersistentVolume says %s, want %s", has.String(), want.String())
	}
	t.Logf("events:\n%s", s.events())
	s.removeAll()
	s.gone(3 * time.Minute)
}

// onlyPV returns the PersistentVolume of the only claim.
func (s *site) onlyPV() *corev1.PersistentVolume {
	s.t.Helper()
	claims, err := s.client.CoreV1().PersistentVolumeClaims(s.namespace).List(s.t.Context(), metav1.ListOptions{})
	if err != nil || len(claims.Items) != 1 {
		s.t.Fatalf("claims: %v, %v", claims, err)
	}
	pv, err := s.client.CoreV1().PersistentVolumes().Get(s.t.Context(), claims.Items[0].Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return pv
}
