package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// freeAddress returns an address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// fetch returns a page once the server answers.
func fetch(ctx context.Context, t *testing.T, url string) (status int, body string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return resp.StatusCode, string(text)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not answer: %v", url, err)
		case <-tick.C:
		}
	}
}

// TestControllerProvisions has one controller serve a claim and CSI at once,
// with leader election, and tell of it.
func TestControllerProvisions(t *testing.T) {
	c := newCommand(t)
	className := "bricks"
	client := fake.NewClientset(
		&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: className, UID: "c1"}, Provisioner: "bricklayer.csi"},
		&corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{
				Name: "data", Namespace: "default", UID: "u1",
				Annotations: map[string]string{"volume.kubernetes.io/storage-provisioner": "bricklayer.csi"},
			},
			Spec: corev1.PersistentVolumeClaimSpec{
				StorageClassName: &className,
				Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("64Mi")}},
			},
		},
	)
	c.kubernetes = client
	c.env["POD_NAMESPACE"] = "storage"
	address := freeAddress(t)
	conn, log := serve(t, c, "controller", "--kubernetes", "--metrics-address", address)
	ctx, ready := call(t)

	var pv *corev1.PersistentVolume
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for pv == nil {
		select {
		case <-ctx.Done():
			t.Fatalf("no PersistentVolume came\n%s", log)
		case <-tick.C:
		}
		if found, err := client.CoreV1().PersistentVolumes().Get(ctx, "pvc-u1", metav1.GetOptions{}); err == nil {
			pv = found
		}
	}
	if out := c.must(t, "volume", "list"); !strings.Contains(out, pv.Spec.CSI.VolumeHandle) {
		t.Errorf("the volume of %s is not there:\n%s", pv.Name, out)
	}
	if _, err := csipb.NewControllerClient(conn).DeleteVolume(ctx, &csipb.DeleteVolumeRequest{VolumeId: pv.Spec.CSI.VolumeHandle}, ready); err != nil {
		t.Errorf("CSI does not know what the provisioner made: %v", err)
	}
	if l, err := client.CoordinationV1().Leases("storage").Get(ctx, "bricklayer.csi", metav1.GetOptions{}); err != nil || l.Spec.HolderIdentity == nil {
		t.Errorf("no lease is held: %v", err)
	}
	wanted := []string{
		`controller_persistentvolumeclaim_provision_total{class="bricks",source=""} 1`,
		`bricklayer_operation_seconds_count{operation="create",result="ok"} 1`,
		`bricklayer_operation_seconds_count{operation="delete",result="ok"} 1`,
		`bricklayer_operations_in_progress{operation="create"} 0`,
		`workqueue_adds_total{name="claims"}`,
		"go_goroutines",
	}
	// The library counts a claim a moment after its PersistentVolume is there.
	for {
		_, text := fetch(ctx, t, "http://"+address+"/metrics")
		missing := slices.DeleteFunc(slices.Clone(wanted), func(want string) bool { return strings.Contains(text, want) })
		if len(missing) == 0 {
			break
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
			t.Fatalf("the metrics do not say %q", missing)
		}
	}
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusOK, "/": http.StatusNotFound} {
		if got, text := fetch(ctx, t, "http://"+address+path); got != want {
			t.Errorf("%s: %d %s, want %d", path, got, text, want)
		}
	}
	c.cluster.CheckEmpty(t)
}

func TestKubernetesFlags(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	c := newCommand(t)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--kubernetes", "--workers", "0"}, `--workers: "0" is not allowed; allowed: 1 to 1000`},
		{[]string{"--endpoint", ""}, "--endpoint is empty, and neither --kubernetes nor --kubeconfig is given"},
		{[]string{"--kubernetes"}, "this process runs in no pod: give --kubeconfig instead"},
		{[]string{"--kubeconfig", "/nowhere"}, "cannot reach Kubernetes: "},
	} {
		_, stderr, code := c.run(append([]string{"controller"}, test.args...)...)
		if code != exitUsage || !strings.Contains(stderr, test.want) {
			t.Errorf("%q: exit code %d, %s; want %s", test.args, code, stderr, test.want)
		}
	}
}
