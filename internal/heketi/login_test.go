package heketi

import (
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/internal/heketi/heketitest"
	"bricklayer.csi/internal/mark"
	"bricklayer.csi/internal/volume"
)

// Everything of an in-tree class reaches heketi.
func TestClassReachesHeketi(t *testing.T) {
	s := newServer(t, heketitest.Default(3))
	b := newBackend(t, s)
	v := mustCreate(t, b, testSpec(t, "Claim With Odd Name", volume.GiB+1,
		"volumetype", "replicate:2", "volumenameprefix", "dept", "gidMin", "3000", "gidMax", "3001", "snapfactor", "2.5",
		"clusterid", heketitest.ClusterID, "volumeoptions", "performance.readdir-ahead off, auth.allow 10.90.0.*, user.heketi.zone-checking none"))
	view, err := b.glance(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	e := view.find(v.Handle, nil).entry
	if e.Info.Size != 2 || e.Info.Snapshot.Factor != 2.5 || !e.Info.Snapshot.Enable || e.Info.Durability.Replicate.Replica != 2 || e.Info.Gid < 3000 || e.Info.Gid > 3001 {
		t.Errorf("heketi made %+v", e.Info)
	}
	options := strings.Join(e.GlusterVolumeOptions, "\n")
	for _, want := range []string{"performance.readdir-ahead off", `auth.allow "10.90.0.*"`, "\nuser.heketi.zone-checking none", mark.Handle + " " + v.Handle.String()} {
		if !strings.Contains(options, want) {
			t.Errorf("options %q lack %q", options, want)
		}
	}
	if strings.Contains(options, "10.90.0.0/24") {
		t.Errorf("the class's auth.allow does not overrule the pool's: %q", options)
	}
	if !strings.HasPrefix(v.Handle.Name, "dept_bl-") || v.Created.IsZero() || time.Since(v.Created) > time.Minute {
		t.Errorf("got %+v", v)
	}
	if diff := cmp.Diff([]string{"10.90.0.11", "10.90.0.12", "10.90.0.13"}, sorted(v.Servers)); diff != "" {
		t.Errorf("servers (-want +got):\n%s", diff)
	}
}

func TestLoginOfAClass(t *testing.T) {
	dir := t.TempDir()
	for path, text := range map[string]string{
		"ns/both/key": "adminkey\n", "ns/both/zzz": "wrong", "ns/last/aaa": "wrong", "ns/last/zzz": "adminkey", "ns/empty/.hidden": "x",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name       string
		parameters []string
		kind       volume.Kind
		says       string
	}{
		{name: "the pool's", parameters: nil},
		{name: "key", parameters: []string{"restuser", "admin", "restuserkey", "adminkey"}},
		{name: "wrong key", parameters: []string{"restuser", "admin", "restuserkey", "s3cret"}, kind: volume.Denied, says: "StorageClass"},
		{name: "secret", parameters: []string{"secretName", "both", "secretNamespace", "ns"}},
		{name: "secret before key", parameters: []string{"restuserkey", "s3cret", "secretName", "both", "secretNamespace", "ns"}},
		{name: "last of a secret", parameters: []string{"secretName", "last", "secretNamespace", "ns"}},
		{name: "no secret", parameters: []string{"secretName", "none", "secretNamespace", "ns"}, kind: volume.Precondition, says: "ns/none"},
		{name: "empty secret", parameters: []string{"secretName", "empty", "secretNamespace", "ns"}, kind: volume.Precondition, says: "ns/empty"},
		{name: "no authentication", parameters: []string{"restauthenabled", "false"}, kind: volume.Denied, says: "401"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, heketitest.Default(3))
			b := newBackend(t, s, func(c *Config) { c.Secrets = DirSecrets(dir) })
			_, err := b.Create(testContext(t), testSpec(t, "pvc-1", volume.GiB, test.parameters...))
			if test.says == "" && err != nil || test.says != "" && (!volume.Is(err, test.kind) || !strings.Contains(err.Error(), test.says)) {
				t.Errorf("got %v (%v), want %v that says %q", err, volume.KindOf(err), test.kind, test.says)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the key is shown: %v", err)
			}
		})
	}
	_, err := newBackend(t, newServer(t, heketitest.Default(3))).Create(testContext(t), testSpec(t, "pvc-1", volume.GiB, "secretName", "both", "secretNamespace", "ns"))
	if !volume.Is(err, volume.Precondition) || !strings.Contains(err.Error(), "no access to Secrets") {
		t.Errorf("without Secrets: %v", err)
	}
}

// A new key and a new certificate are used without a restart.
func TestKeyAndCARotate(t *testing.T) {
	s := heketitest.NewTLS(heketitest.Default(3))
	t.Cleanup(s.Close)
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.HTTP().Certificate().Raw}))
	ca, keyFile := writeFile(t, "ca.crt", "nothing\n"), writeFile(t, "key", "old\n")
	b := newBackend(t, s, func(c *Config) { c.Key, c.CAFile = FileKey(keyFile), ca })
	list := func() error {
		_, err := b.List(testContext(t), "lab")
		return err
	}
	steps := []struct {
		name, file, text string
		kind             volume.Kind
		says             string
	}{
		{"no certificate", ca, "nothing\n", volume.Precondition, "ca.crt"},
		{"another CA", ca, otherCA, volume.Denied, "caFile"},
		{"good CA, old key", ca, certificate, volume.Denied, "signature is invalid"},
		{"no key", keyFile, "\n", volume.Precondition, "1 to 4096"},
		{"long key", keyFile, strings.Repeat("k", maxKey+1), volume.Precondition, "1 to 4096"},
		{"good key", keyFile, "adminkey\n", 0, ""},
		{"CA gone wrong again", ca, "nothing\n", volume.Precondition, "ca.crt"},
		{"and good again", ca, certificate, 0, ""},
	}
	for _, step := range steps {
		if err := os.WriteFile(step.file, []byte(step.text), 0o600); err != nil {
			t.Fatal(err)
		}
		b.views.outdate()
		err := list()
		if step.says == "" && err != nil || step.says != "" && (!volume.Is(err, step.kind) || !strings.Contains(err.Error(), step.says)) {
			t.Errorf("%s: got %v (%v), want %v that says %q", step.name, err, volume.KindOf(err), step.kind, step.says)
		}
	}
	wrongName := newBackend(t, s, func(c *Config) { c.Key, c.CAFile, c.ServerName = FileKey(keyFile), ca, "heketi.elsewhere" })
	if _, err := wrongName.List(testContext(t), "lab"); !volume.Is(err, volume.Denied) || !strings.Contains(err.Error(), "heketi.elsewhere") {
		t.Errorf("a certificate of another name: %v", err)
	}
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	b.views.outdate()
	if err := list(); !volume.Is(err, volume.Precondition) || !strings.Contains(err.Error(), keyFile) {
		t.Errorf("without a key file: %v", err)
	}
}

// heketi is not followed to another host: our token would go along.
func TestNoRedirectElsewhere(t *testing.T) {
	var visited atomic.Bool
	elsewhere := newServer(t, heketitest.Default(3))
	elsewhere.OnRequest(func(*http.Request) heketitest.Fault { visited.Store(true); return heketitest.Fault{} })
	s := newServer(t, heketitest.Default(3))
	b := newBackend(t, s)
	redirect := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL()+"/db/dump", http.StatusSeeOther)
	}
	s.HTTP().Config.Handler = http.HandlerFunc(redirect)
	if _, err := b.List(testContext(t), "lab"); !volume.Is(err, volume.Unavailable) || !strings.Contains(err.Error(), "another address") || visited.Load() {
		t.Errorf("got %v, followed: %v", err, visited.Load())
	}
}
