package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	k8stesting "k8s.io/client-go/testing"

	"github.com/spf13/pflag"
)

// storeFixture is a ConfigMap without content, and the store that writes it.
func storeFixture() (*fake.Clientset, *benchStore) {
	client := fake.NewClientset(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "bench-result", Namespace: "bricklayer-bench"}})
	return client, &benchStore{client: client, namespace: "bricklayer-bench", name: "bench-result"}
}

func storedIn(t *testing.T, client *fake.Clientset) *corev1.ConfigMap {
	t.Helper()
	got, err := client.CoreV1().ConfigMaps("bricklayer-bench").Get(t.Context(), "bench-result", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestBenchStore(t *testing.T) {
	client, store := storeFixture()
	dir := t.TempDir()
	if err := store.begin(t.Context(), time.Unix(1700000000, 0).UTC()); err != nil {
		t.Fatal(err)
	}
	if got := storedIn(t, client).Data[stateKey]; got != "running since 2023-11-14T22:13:20Z" {
		t.Errorf("while it runs its state is %q", got)
	}

	for name, text := range map[string]string{resultFile: `{"schema":"x"}`, markdownFile: "# It was slower\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.end(t.Context(), dir, nil); err != nil {
		t.Fatal(err)
	}
	got := storedIn(t, client)
	r, err := gzip.NewReader(bytes.NewReader(got.BinaryData[resultKey]))
	if err != nil {
		t.Fatalf("%v in %v", err, got)
	}
	if text, err := io.ReadAll(r); err != nil || string(text) != `{"schema":"x"}` {
		t.Errorf("the result reads %q, %v", text, err)
	}
	if got.Data[stateKey] != "done" || got.Data[reportKey] != "# It was slower\n" {
		t.Errorf("stored: %v", got.Data)
	}

	// The next run's beginning takes the last one's result away, and where it never
	// measures anything it says why.
	if err := store.begin(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := store.end(t.Context(), t.TempDir(), errors.New("fio is missing")); err != nil {
		t.Fatal(err)
	}
	got = storedIn(t, client)
	if got.Data[stateKey] != "failed: fio is missing" || got.Data[reportKey] != "" || len(got.BinaryData) != 0 {
		t.Errorf("stored: %v, %v", got.Data, got.BinaryData)
	}
}

func TestBenchStoreTooLarge(t *testing.T) {
	client, store := storeFixture()
	dir := t.TempDir()
	for name, size := range map[string]int{resultFile: 10, markdownFile: mostStored} {
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte("x"), size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.end(t.Context(), dir, nil); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want an error that says where the result is", err)
	}
	if got := storedIn(t, client); !strings.HasPrefix(got.Data[stateKey], "failed") || got.Data[reportKey] != "" {
		t.Errorf("stored: %v", got.Data)
	}
}

// A run of an hour must not end with a result that nobody may store.
func TestBenchStoreIsTriedFirst(t *testing.T) {
	c := newCommand(t)
	c.kubernetes = fake.NewClientset()
	out := filepath.Join(t.TempDir(), "out")
	args := []string{"bench", "io", "-t", "a=dir:/", "-t", "b=dir:/", "--out", out, "--config-map", "none"}
	if _, errs, code := c.run(append(args, "--kubernetes")...); code == exitOK || !strings.Contains(errs, "deploy/bench/job.yaml") {
		t.Errorf("no such ConfigMap: exit code %d, %q", code, errs)
	}
	if _, errs, code := c.run(args...); code != exitUsage || !strings.Contains(errs, "needs --kubeconfig") {
		t.Errorf("no cluster: exit code %d, %q", code, errs)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("it ran all the same")
	}
}

// benchJob is deploy/bench/job.yaml, read as an API server would.
type benchJob struct {
	job    *batchv1.Job
	role   *rbacv1.Role
	bind   *rbacv1.RoleBinding
	claims []string
	maps   []string
	names  []string // of namespaces
}

func readBenchJob(t *testing.T) benchJob {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "bench", "job.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	var b benchJob
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		object, _, err := decoder.Decode([]byte(document), nil, nil)
		if err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		b.add(t, object)
	}
	if b.job == nil || b.role == nil || b.bind == nil || len(b.names) != 1 {
		t.Fatal("a Job, a Role, a RoleBinding or a Namespace is missing")
	}
	return b
}

func (b *benchJob) add(t *testing.T, object runtime.Object) {
	t.Helper()
	switch o := object.(type) {
	case *corev1.Namespace:
		b.names = append(b.names, o.Name)
		return
	case *batchv1.Job:
		b.job = o
	case *rbacv1.Role:
		b.role = o
	case *rbacv1.RoleBinding:
		b.bind = o
	case *corev1.PersistentVolumeClaim:
		b.claims = append(b.claims, o.Name)
	case *corev1.ConfigMap:
		b.maps = append(b.maps, o.Name)
	case *corev1.ServiceAccount:
	default:
		t.Fatalf("a %T is in the manifest", object)
	}
	if meta, ok := object.(metav1.Object); !ok || meta.GetNamespace() != "bricklayer-bench" {
		t.Errorf("%T is in another namespace", object)
	}
}

// The Job's arguments are ones that the program takes, and what they name is there.
func TestBenchJobManifest(t *testing.T) {
	b := readBenchJob(t)
	pod := b.job.Spec.Template.Spec
	container := pod.Containers[0]
	if len(container.Args) < 3 || container.Args[0] != "bench" || container.Args[1] != "io" {
		t.Fatalf("it runs %v", container.Args)
	}
	var o benchOptions
	flags := pflag.NewFlagSet("bench io", pflag.ContinueOnError)
	env := environment{getenv: func(string) string { return "" }}
	o.AddFlags(flags, env)
	if err := flags.Parse(container.Args[2:]); err != nil {
		t.Fatal(err)
	}
	plan, done, err := o.plan(env, "run")
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if err := plan.Check(); err != nil {
		t.Error(err)
	}

	mounted := map[string]string{} // path to claim, or "" for others
	for _, m := range container.VolumeMounts {
		at := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if at < 0 {
			t.Fatalf("no volume %s", m.Name)
		}
		mounted[m.MountPath] = ""
		if claim := pod.Volumes[at].PersistentVolumeClaim; claim != nil {
			mounted[m.MountPath] = claim.ClaimName
		}
	}
	for _, target := range o.targets {
		_, dir, _ := strings.Cut(target, "=dir:")
		if !slices.Contains(b.claims, mounted[dir]) {
			t.Errorf("target %s is on no claim of the manifest: %v", target, mounted)
		}
	}
	if _, ok := mounted[filepath.Dir(o.out)]; !ok {
		t.Errorf("--out %s is on the image's own file system, which is read-only", o.out)
	}
	if !o.kube.on || o.namespace != b.job.Namespace || !slices.Contains(b.maps, o.configMap) {
		t.Errorf("the result goes to %s/%s; there is %v", o.namespace, o.configMap, b.maps)
	}
	if pod.ServiceAccountName != b.bind.Subjects[0].Name || b.bind.RoleRef.Name != b.role.Name {
		t.Error("the Job's account has not got the Role")
	}
}

// What the program asks of the API server is granted, and nothing else is.
func TestBenchJobRights(t *testing.T) {
	b := readBenchJob(t)
	client, store := storeFixture()
	if err := errors.Join(store.begin(t.Context(), time.Now()), store.end(t.Context(), t.TempDir(), nil)); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, action := range client.Actions() {
		patch, ok := action.(k8stesting.PatchAction)
		if !ok {
			t.Fatalf("it asks to %s %s", action.GetVerb(), action.GetResource().Resource)
		}
		used["patch "+patch.GetResource().Resource+" "+patch.GetName()] = true
	}
	granted := map[string]bool{}
	for _, rule := range b.role.Rules {
		for _, verb := range rule.Verbs {
			for _, resource := range rule.Resources {
				for _, name := range rule.ResourceNames {
					granted[verb+" "+resource+" "+name] = true
				}
				if len(rule.ResourceNames) == 0 {
					granted[verb+" "+resource+" of any name"] = true
				}
			}
		}
	}
	for what := range used {
		if !granted[what] {
			t.Errorf("it wants to %s, which is not granted", what)
		}
	}
	for what := range granted {
		if !used[what] {
			t.Errorf("to %s is granted, and not needed", what)
		}
	}
}
