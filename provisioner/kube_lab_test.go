//go:build kube && lab

package provisioner

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"bricklayer.csi/lab"
)

// These tests run against the lab's cluster and its storage nodes, with the
// controller as a process of its own:
//
//	go run ./cmd/lab up --name kube --kubernetes --heketi
//	go test -tags 'lab kube' -timeout 60m ./provisioner -run TestKube -v -lab kube
func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// kubeDriver is not the chart's: both may be there at once.
const kubeDriver = "provisioner-test.bricklayer.csi"

// site is the lab's cluster with a namespace of the test's own and controllers
// that the test starts and kills.
type site struct {
	t         *testing.T
	client    kubernetes.Interface
	program   string
	namespace string
	args      []string
	endpoint  string // of the CSI service; none where it is empty
	running   *exec.Cmd
	log       *os.File
}

func newSite(t *testing.T) *site {
	t.Helper()
	l := lab.Current()
	config, err := clientcmd.BuildConfigFromFlags("", l.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = 200, 400
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, client: client, program: filepath.Join(t.TempDir(), "bricklayer")}
	s.namespace = "prov-" + strings.ToLower(strings.TrimPrefix(t.Name(), "TestKube")) + "-" + string(uuid.NewUUID())[:4]
	s.args = []string{"--pools", l.PoolFile(), "--certs", filepath.Join(l.CertsDir(), "controller")}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", s.program, "bricklayer.csi/cmd/bricklayer")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if s.log, err = os.Create(filepath.Join(t.TempDir(), "controller.log")); err != nil {
		t.Fatal(err)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// close checks that nothing is left, as an administrator would.
func (s *site) close() {
	s.kill()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, verb := range []string{"volume list", "orphans"} {
		cmd := exec.CommandContext(ctx, s.program, append(strings.Fields(verb), s.args...)...)
		out, err := cmd.CombinedOutput()
		if s.t.Logf("bricklayer %s:\n%s", verb, out); err != nil || strings.Contains(string(out), "pvc-") {
			s.t.Errorf("bricklayer %s: %v", verb, err)
		}
	}
	if err := s.client.CoreV1().Namespaces().Delete(ctx, s.namespace, metav1.DeleteOptions{}); err != nil {
		s.t.Error(err)
	}
	if text, err := os.ReadFile(s.log.Name()); err == nil && s.t.Failed() {
		s.t.Logf("the controllers' log:\n%s", text[max(0, len(text)-20000):])
	}
}

// start starts a controller without leader election's pauses.
func (s *site) start(more ...string) {
	s.t.Helper()
	args := append([]string{
		"controller", "--kubeconfig", lab.Current().Kubeconfig(), "--driver-name", kubeDriver,
		"--endpoint", s.endpoint, "--leader-election=false",
	}, s.args...)
	s.running = s.spawn(s.program, append(args, more...)...)
}

// spawn starts a program that writes to the log.
func (s *site) spawn(program string, args ...string) *exec.Cmd {
	s.t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(s.t.Context()), program, args...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	return cmd
}

// kill ends the controller as kill -9 does.
func (s *site) kill() {
	if s.running != nil {
		_ = s.running.Process.Signal(syscall.SIGKILL)
		_ = s.running.Wait()
		s.running = nil
	}
}

func (s *site) class(name string, parameters map[string]string) {
	s.t.Helper()
	s.classOf(kubeDriver, name, parameters)
}

func (s *site) classOf(driver, name string, parameters map[string]string) {
	s.t.Helper()
	yes := true
	c := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: driver, Parameters: parameters, AllowVolumeExpansion: &yes,
	}
	classes := s.client.StorageV1().StorageClasses()
	_ = classes.Delete(s.t.Context(), name, metav1.DeleteOptions{})
	if _, err := classes.Create(s.t.Context(), c, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) claim(ctx context.Context, name, class, size string) error {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
			StorageClassName: &class,
		},
	}
	_, err := s.client.CoreV1().PersistentVolumeClaims(s.namespace).Create(ctx, c, metav1.CreateOptions{})
	return err
}

// await waits until all claims of the namespace satisfy a condition.
func (s *site) await(what string, most time.Duration, holds func([]corev1.PersistentVolumeClaim) bool) {
	s.t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(s.t.Context(), most)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		list, err := s.client.CoreV1().PersistentVolumeClaims(s.namespace).List(ctx, metav1.ListOptions{})
		if err == nil && holds(list.Items) {
			s.t.Logf("%s after %v", what, time.Since(began).Round(10*time.Millisecond))
			return
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("not in %v: %s (%v)\n%s", most, what, err, s.events())
		case <-tick.C:
		}
	}
}

func (s *site) events() string {
	list, err := s.client.CoreV1().Events(s.namespace).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	var b bytes.Buffer
	for _, e := range list.Items[max(0, len(list.Items)-40):] {
		fmt.Fprintf(&b, "%s %s %s: %s\n", e.Type, e.Reason, e.InvolvedObject.Name, e.Message)
	}
	return b.String()
}

func allBound(n int) func([]corev1.PersistentVolumeClaim) bool {
	return func(claims []corev1.PersistentVolumeClaim) bool {
		return len(claims) == n && !slices.ContainsFunc(claims, func(c corev1.PersistentVolumeClaim) bool { return c.Status.Phase != corev1.ClaimBound })
	}
}

// gone waits until no claim and no PersistentVolume of the namespace is left.
func (s *site) gone(most time.Duration) {
	s.t.Helper()
	s.await("no claim is left", most, func(c []corev1.PersistentVolumeClaim) bool { return len(c) == 0 })
	s.await("no PersistentVolume is left", most, func([]corev1.PersistentVolumeClaim) bool {
		list, err := s.client.CoreV1().PersistentVolumes().List(s.t.Context(), metav1.ListOptions{})
		return err == nil && !slices.ContainsFunc(list.Items, func(pv corev1.PersistentVolume) bool {
			return pv.Spec.ClaimRef != nil && pv.Spec.ClaimRef.Namespace == s.namespace
		})
	})
}

func (s *site) removeAll() {
	s.t.Helper()
	err := s.client.CoreV1().PersistentVolumeClaims(s.namespace).DeleteCollection(s.t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) storm(class string, n int) {
	s.t.Helper()
	var g errgroup.Group
	g.SetLimit(20)
	for i := range n {
		g.Go(func() error { return s.claim(s.t.Context(), fmt.Sprintf("c%d", i), class, "64Mi") })
	}
	if err := g.Wait(); err != nil {
		s.t.Fatal(err)
	}
}

// TestKubeLife is the life of a claim of each kind: bound, grown, deleted.
func TestKubeLife(t *testing.T) {
	s := newSite(t)
	s.class("bricks", map[string]string{"lvm": "false"})
	kinds := map[string]string{"bricks": "64Mi"}
	if l := lab.Current(); l.HeketiURL() != "" && !testing.Short() { // package deploy has one of heketi's, in minutes
		key, err := os.ReadFile(l.HeketiKeyFile())
		if err == nil {
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "heketi"}, Data: map[string][]byte{"key": key}}
			if _, err := s.client.CoreV1().Secrets(s.namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			// As written for the in-tree plug-in, but for the provisioner.
			s.class("intree", map[string]string{
				"resturl": l.HeketiURL(), "restuser": "admin", "secretNamespace": s.namespace, "secretName": "heketi",
			})
			kinds["intree"] = "1Gi"
		}
	}
	s.start()
	for class, size := range kinds {
		if err := s.claim(t.Context(), class, class, size); err != nil {
			t.Fatal(err)
		}
		s.await("bound: "+class, 3*time.Minute, allBound(1))
		c, err := s.client.CoreV1().PersistentVolumeClaims(s.namespace).Get(t.Context(), class, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pv, err := s.client.CoreV1().PersistentVolumes().Get(t.Context(), c.Spec.VolumeName, metav1.GetOptions{})
		if err != nil || pv.Annotations[gidAnnotation] == "" {
			t.Fatalf("the PersistentVolume: %v, %v", pv, err)
		}
		t.Logf("%s: %s, %v, gid %s", class, pv.Spec.CSI.VolumeHandle, pv.Spec.CSI.VolumeAttributes, pv.Annotations[gidAnnotation])
		want := resource.MustParse("2Gi")
		patch := []byte(`{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`)
		if _, err := s.client.CoreV1().PersistentVolumeClaims(s.namespace).Patch(t.Context(), class, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		s.await("grown to 2Gi: "+class, 3*time.Minute, func(c []corev1.PersistentVolumeClaim) bool {
			has := storage(c[0].Status.Capacity)
			return has.Cmp(want) >= 0 && len(c[0].Status.Conditions) == 0 && len(c[0].Status.AllocatedResourceStatuses) == 0
		})
		s.removeAll()
		s.gone(3 * time.Minute)
	}
	t.Logf("events:\n%s", s.events())
}

// TestKubeDeletedMidway deletes claims at many moments of their making.
func TestKubeDeletedMidway(t *testing.T) {
	s := newSite(t)
	s.class("bricks", map[string]string{"lvm": "false"})
	s.start()
	s.storm("bricks", 8)
	pause := time.NewTicker(700 * time.Millisecond)
	defer pause.Stop()
	for i := range 8 {
		<-pause.C
		if err := s.client.CoreV1().PersistentVolumeClaims(s.namespace).Delete(t.Context(), fmt.Sprintf("c%d", i), metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}
	s.gone(3 * time.Minute)
}

// TestKubeStorm has 50 claims bound at once and deleted at once.
func TestKubeStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes; chaos_test.go has the same on an API of its own")
	}
	s := newSite(t)
	s.class("bricks", map[string]string{"lvm": "false"})
	s.start()
	s.storm("bricks", 50)
	s.await("50 claims are bound", 10*time.Minute, allBound(50))
	s.removeAll()
	s.gone(10 * time.Minute)
}

// TestKubeKilled kills the controller every few seconds while 50 claims are
// made, half of which are deleted meanwhile, and while the rest go; the API
// server stands still for 20 s in the middle.
func TestKubeKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes; chaos_test.go has the same on an API of its own")
	}
	s := newSite(t)
	s.class("bricks", map[string]string{"lvm": "false"})
	s.start()
	stop := make(chan struct{})
	stopped := make(chan struct{})
	kills := 0
	go func() {
		defer close(stopped)
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				s.kill()
				s.start()
				kills++
			}
		}
	}()
	s.storm("bricks", 50)
	wait := func(d time.Duration) { <-time.After(d) }
	wait(8 * time.Second)
	for i := range 25 {
		if err := s.client.CoreV1().PersistentVolumeClaims(s.namespace).Delete(t.Context(), fmt.Sprintf("c%d", 2*i), metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}
	if err := lab.Current().PauseAPI(); err != nil {
		t.Error(err)
	}
	wait(20 * time.Second)
	if err := lab.Current().ResumeAPI(); err != nil {
		t.Error(err)
	}
	s.await("25 claims are left and bound", 15*time.Minute, allBound(25))
	s.removeAll()
	wait(8 * time.Second)
	close(stop)
	<-stopped
	s.gone(10 * time.Minute)
	t.Logf("the controller was killed %d times", kills)
}
