package certs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/agent/certs"
	"bricklayer.csi/internal/volume"
)

func options(dir string) certs.Options {
	return certs.Options{Dir: dir, Pool: "lab", Nodes: []certs.Node{{Name: "n1", Addresses: []string{"10.90.0.11", "host.example"}}, {Name: "n2"}}}
}

func made(entries []certs.Entry) (names []string) {
	for _, e := range entries {
		if e.Made {
			names = append(names, e.Name)
		}
	}
	return names
}

func mustMake(t *testing.T, o certs.Options) []certs.Entry {
	t.Helper()
	entries, err := certs.Make(o)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestMake(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "certs")
	o := options(dir)
	if got := made(mustMake(t, o)); len(got) != 4 {
		t.Fatalf("made %q, want the CA, the controller's and two nodes'", got)
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: mode %v is open to others", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{certs.Controller, "n1", "n2"} {
		for _, f := range []string{certs.CAFile, certs.CertFile, certs.KeyFile} {
			if _, err := os.Stat(filepath.Join(dir, sub, f)); err != nil {
				t.Error(err)
			}
		}
	}
	if got := made(mustMake(t, o)); len(got) != 0 {
		t.Errorf("a second call made %q", got)
	}
	listed, err := certs.List(dir)
	if err != nil || len(listed) != 4 {
		t.Fatalf("list: %+v %v", listed, err)
	}
	if left := time.Until(listed[0].NotAfter); left < 9*365*24*time.Hour {
		t.Errorf("the CA ends in %v", left)
	}
	if left := time.Until(listed[1].NotAfter); left < 360*24*time.Hour || left > 366*24*time.Hour {
		t.Errorf("%s ends in %v", listed[1].Name, left)
	}
}

func TestRenewal(t *testing.T) {
	o := options(t.TempDir())
	key := filepath.Join(o.Dir, certs.CAKeyFile)
	first := mustMake(t, o)
	keyBefore, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	o.Now = func() time.Time { return first[1].NotAfter.Add(-certs.RenewBefore + time.Minute) }
	if got := made(mustMake(t, o)); len(got) != 3 {
		t.Errorf("near their end %q were renewed, want all three", got)
	}
	if got := made(mustMake(t, o)); len(got) != 0 {
		t.Errorf("renewed twice: %q", got)
	}
	if keyAfter, err := os.ReadFile(key); err != nil || string(keyAfter) != string(keyBefore) {
		t.Error("the CA's key was touched")
	}

	// In its last year a CA gives certificates that end with it, once.
	o.Now = func() time.Time { return first[0].NotAfter.Add(-24 * time.Hour) }
	if got := made(mustMake(t, o)); len(got) != 3 {
		t.Errorf("a day before the CA's end %q were renewed", got)
	}
	if got := made(mustMake(t, o)); len(got) != 0 {
		t.Errorf("renewed twice before the CA's end: %q", got)
	}
	o.Now = func() time.Time { return first[0].NotAfter.Add(time.Hour) }
	if _, err := certs.Make(o); !volume.Is(err, volume.Precondition) || !strings.Contains(err.Error(), "new one") {
		t.Errorf("after the CA's end: %v", err)
	}
}

// TestDamage takes files away or spoils them. The CA's key is never made anew
// under a certificate that is there, nor the other way round.
func TestDamage(t *testing.T) {
	for _, c := range []struct {
		name, file, content string // removed where the content is empty
		remade              int    // below 0: refused
	}{
		{"no CA certificate", certs.CAFile, "", -1},
		{"no CA key", certs.CAKeyFile, "", -1},
		{"CA key that is none", certs.CAKeyFile, "nonsense", -1},
		{"CA that is none", certs.CAFile, "nonsense", -1},
		{"no certificate", "n1/" + certs.CertFile, "", 1},
		{"certificate that is none", "n1/" + certs.CertFile, "nonsense", 1},
		{"no key", "controller/" + certs.KeyFile, "", 1},
		{"CA beside the certificate that is another", "n2/" + certs.CAFile, "nonsense", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(t.TempDir())
			mustMake(t, o)
			path := filepath.Join(o.Dir, c.file)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if c.content != "" {
				if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			entries, err := certs.Make(o)
			if c.remade < 0 {
				if !volume.Is(err, volume.Precondition) || !strings.Contains(err.Error(), o.Dir) {
					t.Errorf("got %v, want it refused", err)
				}
				return
			}
			if err != nil || len(made(entries)) != c.remade {
				t.Errorf("made %q, %v", made(entries), err)
			}
		})
	}
}

func TestBadOptions(t *testing.T) {
	for name, spoil := range map[string]func(*certs.Options){
		"no directory":       func(o *certs.Options) { o.Dir = "" },
		"pool with a dot":    func(o *certs.Options) { o.Pool = "a.b" },
		"node with a slash":  func(o *certs.Options) { o.Nodes[0].Name = "../x" },
		"node without name":  func(o *certs.Options) { o.Nodes[0].Name = "" },
		"node twice":         func(o *certs.Options) { o.Nodes[1].Name = "n1" },
		"node controller":    func(o *certs.Options) { o.Nodes[0].Name = certs.Controller },
		"renewal for always": func(o *certs.Options) { o.RenewBefore = certs.LeafLifetime },
		"renewal below zero": func(o *certs.Options) { o.RenewBefore = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t.TempDir())
			spoil(&o)
			if _, err := certs.Make(o); !volume.Is(err, volume.Invalid) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := certs.List(t.TempDir()); !volume.Is(err, volume.NotFound) {
		t.Errorf("list of an empty directory: %v", err)
	}
}
