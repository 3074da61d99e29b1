package pods_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/pods"
)

// Of three nodes one never starts the pod, one answers nonsense, one answers.
func TestLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		for _, n := range []string{"good", "hangs", "odd"} {
			if _, err := client.CoreV1().Nodes().Create(t.Context(), &core.Node{ObjectMeta: metav1.ObjectMeta{Name: n}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		client.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
			p := a.(clienttesting.CreateAction).GetObject().(*core.Pod)
			p.Name = "doctor-" + p.Spec.NodeName
			p.Status.Phase = core.PodPending
			if p.Spec.NodeName != "hangs" {
				p.Status.Phase = core.PodFailed // its exit code says that it found something
			}
			return false, nil, nil
		})
		began := time.Now()
		results := pods.Look(t.Context(), pods.Options{
			Client: client, Namespace: "default", Image: "x", Limit: 10 * time.Second, Checks: []string{"a"},
			Logs: func(_ context.Context, pod string) ([]byte, error) {
				switch pod {
				case "doctor-good":
					return []byte(`{"results": [{"check": "a", "target": "container", "status": "fine"}]}` + "\nbricklayer doctor: it found warnings\n"), nil
				case "doctor-odd":
					return []byte("exec format error"), nil
				}
				return nil, errors.New("no such pod")
			},
		})
		if took := time.Since(began); took > 11*time.Second {
			t.Errorf("it took %s", took)
		}
		var got []string
		for _, r := range results {
			got = append(got, fmt.Sprintf("%s %s %s %v", r.Target, r.Check, r.Status, r.Unknown))
		}
		if len(got) != 3 || got[0] != "good a fine []" || !strings.Contains(got[1], "hangs node unknown") || !strings.Contains(got[1], "within 10s") || !strings.Contains(got[2], "exec format error") {
			t.Errorf("got\n%s", strings.Join(got, "\n"))
		}
		left, err := client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(left.Items) != 0 {
			t.Errorf("pods are left: %v (%v)", left.Items, err)
		}
	})
}

func TestLookWithoutACluster(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("list", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("forbidden")
	})
	results := pods.Look(t.Context(), pods.Options{Client: client, Limit: time.Second})
	if len(results) != 1 || results[0].Status != doctor.StatusUnknown || results[0].Unknown[0].Why != "forbidden" {
		t.Errorf("got %+v", results)
	}
}
