package lab

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func kubeTestLab(t *testing.T) *Lab {
	t.Helper()
	c, err := ParseConfig([]byte("kubernetes: true\nzones: 2\nworkers: 3\n"))
	if err != nil {
		t.Fatal(err)
	}
	c.Name = "k"
	return newLab(c, newProgress(nil))
}

func TestWorkerList(t *testing.T) {
	l := kubeTestLab(t)
	var got []string
	for _, w := range l.Workers() {
		got = append(got, strings.Join([]string{w.Name, w.Address.String(), w.Zone, w.Pods.String()}, " "))
	}
	want := []string{"w1 10.90.0.31 z1 10.88.1.0/24", "w2 10.90.0.32 z2 10.88.2.0/24", "w3 10.90.0.33 z1 10.88.3.0/24"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("workers (-want +got):\n%s", d)
	}
	if _, err := l.Worker("w4"); !errors.Is(err, ErrNoNode) {
		t.Errorf("a worker too many: %v", err)
	}
	plain, err := DefaultConfig()
	if err != nil {
		t.Fatal(err)
	}
	if list := plain.WorkerList(); len(list) != 0 {
		t.Errorf("a lab without Kubernetes has workers %v", list)
	}
	if err := newLab(plain, newProgress(nil)).LoadImage(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "--kubernetes") {
		t.Errorf("an image for a lab without Kubernetes: %v", err)
	}
}

func TestKubernetesConfig(t *testing.T) {
	for _, tt := range []struct{ name, yaml, want string }{
		{"too many workers", "kubernetes: true\nworkers: 10", "workers: 10: want 1 to 9"},
		{"network of the services", "kubernetes: true\nnetwork: 10.96.0.0/24", "want one apart from 10.96.0.0/24"},
		{"network of the pods", "kubernetes: true\nnetwork: 10.88.7.0/24", "want one apart from 10.88.0.0/16"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ParseConfig([]byte(tt.yaml)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := ParseConfig([]byte("network: 10.88.7.0/24")); err != nil {
		t.Errorf("without Kubernetes that network is free: %v", err)
	}
	old := kubeTestLab(t).config
	less, none := old, old
	less.Workers, none.Kubernetes = 2, false
	for _, c := range []Config{less, none} {
		if err := c.growsFrom(old); err == nil || !strings.Contains(err.Error(), "take it down first") {
			t.Errorf("from %d workers to %d (%v): %v", old.Workers, c.Workers, c.Kubernetes, err)
		}
	}
}

func TestKubeLinkBatch(t *testing.T) {
	l := kubeTestLab(t)
	want := `addr replace 10.96.0.1/32 dev lo
link set veth-w1 master br0 up
route replace 10.88.1.0/24 via 10.90.0.31
link add veth-w2 type veth peer name eth0 netns bricklayer.k.w2
link set veth-w2 master br0 up
route replace 10.88.2.0/24 via 10.90.0.32
link add veth-w3 type veth peer name eth0 netns bricklayer.k.w3
link set veth-w3 master br0 up
route replace 10.88.3.0/24 via 10.90.0.33
`
	if d := cmp.Diff(want, l.kubeLinkBatch([]link{{Name: "veth-w1"}})); d != "" {
		t.Errorf("links (-want +got):\n%s", d)
	}
}

func TestUnreadyNodes(t *testing.T) {
	var list nodeList
	const answer = `{"items": [
		{"metadata": {"name": "w1"}, "status": {"conditions": [{"type": "DiskPressure", "status": "False"}, {"type": "Ready", "status": "True"}]}},
		{"metadata": {"name": "w2"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown", "message": "kubelet stopped posting"}]}}]}`
	if err := json.Unmarshal([]byte(answer), &list); err != nil {
		t.Fatal(err)
	}
	want := []string{"w2 is not Ready: kubelet stopped posting", "w3 is no node of the cluster"}
	if d := cmp.Diff(want, list.unready(kubeTestLab(t).Workers())); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// The certificates are of one authority, last over a second call, and the
// kubeconfigs name the API server.
func TestKubePKI(t *testing.T) {
	dir := t.TempDir()
	for _, c := range kubeTestLab(t).kubeCerts() {
		if err := ensureKubeCert(dir, c); err != nil {
			t.Fatal(err)
		}
	}
	ca, _, err := loadKubeCert(dir, "ca")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range kubeTestLab(t).kubeCerts()[1:] {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, c.name+".crt"), filepath.Join(dir, c.name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		if err := pair.Leaf.CheckSignatureFrom(ca); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		for _, a := range c.addresses {
			if err := pair.Leaf.VerifyHostname(a.String()); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if err := ensureKubeCert(dir, c); err != nil {
			t.Fatal(err)
		}
		if again, _, err := loadKubeCert(dir, c.name); err != nil || !again.Equal(pair.Leaf) {
			t.Errorf("%s was made twice: %v", c.name, err)
		}
	}
	l := kubeTestLab(t)
	if err := l.writeKubeconfig(dir, kubeAdmin); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "admin.kubeconfig"))
	if err != nil || !bytes.Contains(data, []byte("server: https://10.90.0.1:443")) {
		t.Errorf("kubeconfig: %v\n%s", err, data)
	}
	if st, err := os.Stat(filepath.Join(dir, "admin.kubeconfig")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the administrator's key is readable: %v %v", st.Mode(), err)
	}
}

// members reads a tar.
func members(t *testing.T, data []byte) (map[string]*tar.Header, map[string][]byte) {
	t.Helper()
	headers, content := map[string]*tar.Header{}, map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return headers, content
		}
		if err != nil {
			t.Fatal(err)
		}
		if content[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		headers[h.Name] = h
	}
}

func TestMakeImage(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "program")
	if err := os.WriteFile(source, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	image := Image{
		Names: []string{"a.example/x:1"}, Entrypoint: []string{"/opt/bin/program"}, Env: []string{"A=1"},
		Files: []ImageFile{
			{Path: "/opt/bin/program", Source: source},
			{Path: "/opt/bin/other", Link: "program"},
			{Path: "/tmp/", Mode: 0o777 | fs.ModeSticky},
			{Path: "/etc/motd", Data: []byte("hello\n")},
		},
	}
	var made [2][]byte
	for i := range made {
		file := filepath.Join(dir, "image.tar")
		if err := MakeImage(file, image); err != nil {
			t.Fatal(err)
		}
		var err error
		if made[i], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(made[0], made[1]) {
		t.Error("the same image made twice differs")
	}
	_, files := members(t, made[0])
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	layer := files[manifest[0].Layers[0]]
	sum := sha256.Sum256(layer)
	if !bytes.Contains(files[manifest[0].Config], []byte("sha256:"+hex.EncodeToString(sum[:]))) {
		t.Error("the configuration does not name the layer's digest")
	}
	headers, content := members(t, layer)
	if h := headers["opt/bin/program"]; h == nil || h.Mode != 0o755 || string(content["opt/bin/program"]) != "#!/bin/sh\n" {
		t.Errorf("program: %+v", h)
	}
	if h := headers["opt/bin/other"]; h == nil || h.Linkname != "program" {
		t.Errorf("link: %+v", h)
	}
	if h := headers["tmp/"]; h == nil || h.Mode != 0o1777 {
		t.Errorf("directory: %+v", h)
	}
	for _, parent := range []string{"opt/", "opt/bin/", "etc/"} {
		if headers[parent] == nil {
			t.Errorf("%s is not in the layer", parent)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*-*")); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestMakeImageRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, image := range map[string]Image{
		"no name":       {},
		"relative path": {Names: []string{"x:1"}, Files: []ImageFile{{Path: "etc/motd"}}},
		"the root":      {Names: []string{"x:1"}, Files: []ImageFile{{Path: "/"}}},
		"no source":     {Names: []string{"x:1"}, Files: []ImageFile{{Path: "/x", Source: filepath.Join(dir, "none")}}},
	} {
		if err := MakeImage(filepath.Join(dir, "image.tar"), image); err == nil || !strings.Contains(err.Error(), "image.tar") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left over: %v %v", entries, err)
	}
}

func TestRemoveCgroup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab")
	if err := os.MkdirAll(filepath.Join(dir, "w1", "kubepods", "pod"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(removeCgroup(dir), removeCgroup(dir)); err != nil || exists(dir) {
		t.Errorf("removed: %v, %v", !exists(dir), err)
	}
}

func TestBuildProgress(t *testing.T) {
	var told string
	b := &buildProgress{say: func(format string, args ...any) { told = fmt.Sprintf(format, args...) }, what: "x", unit: "built"}
	out, err := b.run(t.Context(), []string{"sh", "-c", "echo out; echo a >&2; echo b >&2"})
	if err != nil || string(out) != "out\n" || b.count != 2 {
		t.Errorf("out %q, %d lines, %v", out, b.count, err)
	}
	if b.tell(); !strings.HasPrefix(told, "x: 2 built after ") {
		t.Errorf("it tells %q", told)
	}
	if _, err := b.run(t.Context(), []string{"sh", "-c", "echo because >&2; exit 3"}); err == nil || !strings.Contains(err.Error(), "because") {
		t.Errorf("a build that fails: %v", err)
	}
	if !strings.Contains(kubeLinkFlags(), "-X k8s.io/component-base/version.gitVersion="+kubeVersion) {
		t.Errorf("link flags %s", kubeLinkFlags())
	}
	mod, err := os.ReadFile("kubernetes/go.mod")
	if err != nil || !strings.Contains(string(mod), "k8s.io/kubernetes "+kubeVersion+"\n") {
		t.Errorf("kubernetes/go.mod is not of %s: %v", kubeVersion, err)
	}
}
