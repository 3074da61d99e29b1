//go:build kube

package operator_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"bricklayer.csi/api/client/versioned"
	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/lab/apiserver"
)

// The controllers' role as the chart has it suffices to look after pools. No storage
// node is needed for that: that none answers is something to tell as well.
func TestShippedRoleSuffices(t *testing.T) {
	s, err := apiserver.Start(t.Context(), t.TempDir(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	chart, err := exec.CommandContext(t.Context(), "../../bin/helm", "template", "bricklayer", "../../deploy/helm/bricklayer",
		"--namespace", "bricklayer", "--kube-version", "1.36.0", "--set", "poolsFrom=api").Output()
	if err != nil {
		t.Fatalf("helm: %v (make test-k8s builds it)", err)
	}
	for _, args := range [][]string{
		{"create", "namespace", "bricklayer"},
		{"apply", "--server-side", "-f", "-"},
		{"wait", "--for=condition=Established", "crd/storagepools." + v1alpha1.Group, "--timeout=60s"},
	} {
		if _, err := s.Kubectl(t.Context(), bytes.NewReader(chart), args...); err != nil {
			t.Fatal(err)
		}
	}
	log := controlAs(t, s, "system:serviceaccount:bricklayer:bricklayer-controller")
	pools := versioned.NewForConfigOrDie(s.Config()).BricklayerV1alpha1().StoragePools()
	p := &v1alpha1.StoragePool{ObjectMeta: metav1.ObjectMeta{Name: "fast"}}
	p.Spec.Nodes = []v1alpha1.StorageNode{{Name: "n1", Address: "192.0.2.1", Roots: []v1alpha1.BrickRoot{{Name: "r1", Path: "/bricks/r1"}}}}
	if _, err := pools.Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, log, "the status, the finalizer and the events", func(ctx context.Context) error {
		found, err := pools.Get(ctx, "fast", metav1.GetOptions{})
		if err != nil {
			return err
		}
		events, err := kubernetes.NewForConfigOrDie(s.Config()).CoreV1().Events("").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=StoragePool"})
		if err != nil {
			return err
		}
		if c := meta.FindStatusCondition(found.Status.Conditions, v1alpha1.ConditionReady); c == nil || c.Reason != "NoUsableNode" || len(found.Finalizers) != 1 || len(events.Items) == 0 {
			return fmt.Errorf("%+v, finalizers %v, %d events", c, found.Finalizers, len(events.Items))
		}
		return nil
	})
	if err := pools.Delete(t.Context(), "fast", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, log, "that nobody knows what is on the node", func(ctx context.Context) error {
		found, err := pools.Get(ctx, "fast", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if c := meta.FindStatusCondition(found.Status.Conditions, v1alpha1.ConditionReady); c == nil || c.Reason != "Deleting" {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	out, err := s.Kubectl(t.Context(), nil, "get", "storagepools", "-o", "wide")
	t.Logf("kubectl get storagepools -o wide: %v\n%s", err, out)
	if text, err := os.ReadFile(log); err != nil || strings.Contains(string(text), "forbidden") {
		t.Errorf("something is forbidden (%v):\n%s", err, text)
	}
}

// controlAs starts a controller with the rights of an account, and returns its log.
func controlAs(t *testing.T, s *apiserver.Server, account string) (log string) {
	t.Helper()
	dir := t.TempDir()
	admin, err := s.Kubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range config.AuthInfos {
		user.Impersonate = account
	}
	kubeconfig, program, log := filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "bricklayer"), filepath.Join(dir, "log")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "bricklayer.csi/cmd/bricklayer").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	file, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "controller", "--kubeconfig", kubeconfig, "--pools-from=api",
		"--certs", dir, "--lease-namespace=bricklayer", "--endpoint=")
	cmd.Stdout, cmd.Stderr = file, file
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = file.Close()
	})
	return log
}

// await waits for what is to come, and shows the log where it does not.
func await(t *testing.T, log, what string, ok func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			text, _ := os.ReadFile(log)
			t.Fatalf("%s: %v\n%s", what, err, text[max(0, len(text)-6000):])
		}
	}
}
