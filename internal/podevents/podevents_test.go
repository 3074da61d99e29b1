package podevents

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/mount/mounttest"
)

const kubelet = "/var/lib/kubelet/"

func podPath(uid, pv string) string {
	return kubelet + "pods/" + uid + "/volumes/kubernetes.io~csi/" + pv + "/mount"
}

func pod(name, uid string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(uid)},
		Spec:       corev1.PodSpec{NodeName: "w1"},
	}
}

// world is a node with a volume that two pods use, and another volume that one of them uses.
func world(t *testing.T) (*mounttest.Fake, *fake.Clientset, *Watcher) {
	t.Helper()
	f := mounttest.NewFake()
	for v, uids := range map[string][]string{"pv-a": {"u1", "u2"}, "pv-b": {"u1"}} {
		staging := kubelet + "plugins/" + v + "/globalmount"
		if err := f.Glusterfs(t.Context(), mount.Source{Servers: []string{"n1"}, Volume: v}, staging, mount.Flags{}); err != nil {
			t.Fatal(err)
		}
		for _, uid := range uids {
			if err := f.Bind(t.Context(), staging, podPath(uid, v), false); err != nil {
				t.Fatal(err)
			}
		}
	}
	client := fake.NewClientset(pod("web-1", "u1"), pod("web-2", "u2"), pod("other", "u3"))
	w, err := New(Options{Node: "w1", Driver: "bricklayer.csi", Mounts: f, Client: client})
	if err != nil {
		t.Fatal(err)
	}
	return f, client, w
}

func events(t *testing.T, client *fake.Clientset) []corev1.Event {
	t.Helper()
	list, err := client.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func TestPodsAreToldOnce(t *testing.T) {
	f, client, w := world(t)
	look := func() {
		t.Helper()
		if err := w.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	look()
	f.Break("pv-b", mount.ErrDisconnected) // comes back by itself
	look()
	if n := len(client.Actions()); n != 0 {
		t.Errorf("all is well, but the API server was asked %d times", n)
	}
	f.Break("pv-a", fmt.Errorf("%w; it ended at noon: signal: killed", mount.ErrStale))
	look()
	look()
	got := map[string]corev1.Event{}
	for _, e := range events(t, client) {
		got[e.InvolvedObject.Name] = e
	}
	if len(events(t, client)) != 2 || len(got) != 2 {
		t.Fatalf("got %v; want one for each of two pods", got)
	}
	e := got["web-1"]
	if e.Namespace != "shop" || e.InvolvedObject.UID != "u1" || e.Type != corev1.EventTypeWarning || e.Reason != Reason ||
		e.Source.Component != "bricklayer.csi" || e.Source.Host != "w1" ||
		!strings.Contains(e.Message, "pv-a") || !strings.Contains(e.Message, "signal: killed") || !strings.Contains(e.Message, "Delete the pod") {
		t.Errorf("got %+v", e)
	}
	t.Log(e.Message)
	// Mounted anew, and dead again: that is news.
	for _, path := range []string{podPath("u1", "pv-a"), kubelet + "plugins/pv-a/globalmount"} {
		if err := f.Unmount(t.Context(), path); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Glusterfs(t.Context(), mount.Source{Servers: []string{"n1"}, Volume: "pv-a"}, kubelet+"plugins/pv-a/globalmount", mount.Flags{}); err != nil {
		t.Fatal(err)
	}
	if err := f.Bind(t.Context(), kubelet+"plugins/pv-a/globalmount", podPath("u1", "pv-a"), false); err != nil {
		t.Fatal(err)
	}
	look()
	f.Break("pv-a", mount.ErrStale)
	look()
	if n := len(events(t, client)); n != 3 {
		t.Errorf("there are %d events; want one more for web-1 alone", n)
	}
}

func TestWhatFailsIsTriedAgain(t *testing.T) {
	f, client, w := world(t)
	f.Break("pv-a", mount.ErrStale)
	for _, verb := range []string{"list", "create"} {
		fail := true
		client.PrependReactor(verb, "*", func(ktesting.Action) (bool, runtime.Object, error) {
			if !fail {
				return false, nil, nil
			}
			return true, nil, errors.New("the API server is away")
		})
		if err := w.look(t.Context()); err == nil || !strings.Contains(err.Error(), "is away") {
			t.Errorf("%s: %v", verb, err)
		}
		fail = false
	}
	f.FailNext("Mounts", errors.New("no mount service"))
	if err := w.look(t.Context()); err == nil {
		t.Error("no table, but no error")
	}
	if err := w.look(t.Context()); err != nil || len(events(t, client)) != 2 {
		t.Errorf("got %d events, %v", len(events(t, client)), err)
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, client, w := world(t)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		f.Break("pv-a", mount.ErrStale)
		synctest.Wait()
		if n := len(events(t, client)); n != 0 {
			t.Errorf("%d events before the first look", n)
		}
		time.Sleep(4 * DefaultEvery) //nolint:forbidigo // the time of the test's bubble
		synctest.Wait()
		if n := len(events(t, client)); n != 2 {
			t.Errorf("%d events; want 2", n)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestWhosePath(t *testing.T) {
	for path, want := range map[string]bool{
		podPath("u1", "pv-a"): true,
		kubelet + "plugins/kubernetes.io/csi/bricklayer.csi/x/globalmount": false,
		kubelet + "pods/u1/volume-subpaths/pv-a/web/0":                     false,
		kubelet + "pods/u1/volumes/kubernetes.io~nfs/pv-a/mount":           false,
		"/mount": false, "": false, "/a/b/c/d/e/mount": false,
	} {
		if uid, pv, ok := podOf(path); ok != want || ok && (uid != "u1" || pv != "pv-a") {
			t.Errorf("%q: %q, %q, %v", path, uid, pv, ok)
		}
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no options, but no error")
	}
}
