package heketi

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bricklayer.csi/internal/heketi/heketitest"
	"bricklayer.csi/internal/lifecycle"
	"bricklayer.csi/internal/lifecycle/lifecycletest"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/internal/volume/volumetest"
)

// quick makes the pauses fit a fake whose operations take milliseconds.
var quick = Timing{FirstPoll: time.Millisecond, LastPoll: 10 * time.Millisecond, Request: 5 * time.Second, Cache: time.Millisecond}

// key is a key that never changes.
type key volume.Secret

func (k key) Key(context.Context) (volume.Secret, error) { return volume.Secret(k), nil }

// newServer starts a fake heketi that ends with the test.
func newServer(t testing.TB, c heketitest.Config) *heketitest.Server {
	t.Helper()
	s := heketitest.New(c)
	t.Cleanup(s.Close)
	return s
}

// newBackend returns a backend over a fake, as one controller has it.
func newBackend(t testing.TB, s *heketitest.Server, change ...func(*Config)) *Backend {
	t.Helper()
	c := Config{
		Pool: "lab", URL: s.URL(), User: "admin", Key: key("adminkey"), MaxInFlight: 4,
		ClientNetworks: []string{"10.90.0.0/24"}, Timing: quick,
	}
	for _, f := range change {
		f(&c)
	}
	b, err := New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func testSpec(t testing.TB, name string, size volume.Size, parameters ...string) volume.Spec {
	t.Helper()
	return volumetest.Spec(t, name, size, append([]string{"pool", "lab", "lvm", "true"}, parameters...)...)
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestBackendSuiteOnFake(t *testing.T) {
	for name, gluster := range map[string]bool{"alone": false, "with agents": true} {
		t.Run(name, func(t *testing.T) {
			volumetest.Run(t, func(t *testing.T) volumetest.Fixture {
				t.Helper()
				s := newServer(t, heketitest.Default(6))
				agents := func(c *Config) {
					if gluster {
						c.Gluster = s.Gluster()
					}
				}
				return volumetest.Fixture{
					Backend: newBackend(t, s, agents), Second: newBackend(t, s, agents), Pool: "lab", LVM: true,
					Types: []string{"replicate:3", "replicate:2", "disperse:2:1", "disperse:4:2", "none"},
					Unit:  volume.GiB, Timeout: 10 * time.Second, Leftovers: s.Leftovers,
				}
			})
		})
	}
}

func mustCreate(t testing.TB, b *Backend, spec volume.Spec) volume.Volume {
	t.Helper()
	v, err := b.Create(testContext(t), spec)
	if err != nil {
		t.Fatalf("create %s: %v", spec.Name, err)
	}
	return v
}

// checkEmpty fails the test where anything is left.
func checkEmpty(t testing.TB, s *heketitest.Server) {
	t.Helper()
	left, err := s.Leftovers(testContext(t))
	if err != nil || len(left) > 0 {
		t.Errorf("left over (%v):\n%q", err, left)
	}
}

// wantOne fails the test unless there is exactly one whole volume, and then
// deletes it and looks that nothing is left.
func wantOne(t testing.TB, s *heketitest.Server, spec volume.Spec, size volume.Size) {
	t.Helper()
	b := newBackend(t, s)
	all, err := b.List(testContext(t), "lab")
	if err != nil || len(all) != 1 || all[0].Handle != spec.Handle() || all[0].Size != size {
		t.Errorf("listed %+v, %v; want one of %d bytes", all, err, size)
	}
	left, err := s.Leftovers(testContext(t))
	// A volume and its bricks in the database, three devices in use, the bricks' logical volumes, the Gluster volume.
	if len(all) == 1 && (err != nil || len(left) != 1+len(all[0].Bricks)+3+len(all[0].Bricks)+1) {
		t.Errorf("there is more or less than one volume (%v):\n%q", err, left)
	}
	if err := b.Delete(testContext(t), spec.Handle()); err != nil {
		t.Errorf("delete: %v", err)
	}
	checkEmpty(t, s)
}

// newService returns the use cases over a backend of its own: a controller
// that was just started.
func newService(t testing.TB, s *heketitest.Server, change ...func(*Config)) *lifecycle.Service {
	t.Helper()
	b := newBackend(t, s, change...)
	return lifecycletest.OnePool{Pool: b.Pool, Name: volume.Heketi, Backing: b, HeketiURL: b.URL}.Service()
}

func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
