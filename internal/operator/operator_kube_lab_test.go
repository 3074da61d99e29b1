//go:build kube && lab

package operator_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"bricklayer.csi/api/client/versioned"
	typed "bricklayer.csi/api/client/versioned/typed/api/v1alpha1"
	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/pool"
	"bricklayer.csi/lab"
	"bricklayer.csi/lab/apiserver"
)

const (
	files      = "../../deploy/helm/bricklayer/files"
	secretName = "heketi"
	// patience is for a busy machine; how long it took is logged.
	patience = 3 * time.Minute
)

// site is a controller on the lab's storage nodes, with pools of an API server of its own.
type site struct {
	*lab.Lab
	t       *testing.T
	server  *apiserver.Server
	kube    kubernetes.Interface
	pools   typed.StoragePoolInterface
	program string
	pool    string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{Lab: lab.Current(), t: t, program: filepath.Join(t.TempDir(), "bricklayer")}
	if err := s.EnsureHeketi(t.Context()); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", s.program, "bricklayer.csi/cmd/bricklayer")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	var err error
	if s.server, err = apiserver.Start(t.Context(), t.TempDir(), os.Stderr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.server.Stop)
	if _, err := s.server.Kubectl(t.Context(), nil, "apply", "--server-side", "-f", files); err != nil {
		t.Fatal(err)
	}
	if _, err := s.server.Kubectl(t.Context(), nil, "wait", "--for=condition=Established", "crd/storagepools."+v1alpha1.Group, "--timeout=60s"); err != nil {
		t.Fatal(err)
	}
	s.kube = kubernetes.NewForConfigOrDie(s.server.Config())
	s.pools = versioned.NewForConfigOrDie(s.server.Config()).BricklayerV1alpha1().StoragePools()
	s.key(s.readKey())
	return s
}

func (s *site) readKey() []byte {
	s.t.Helper()
	key, err := os.ReadFile(s.HeketiKeyFile())
	if err != nil {
		s.t.Fatal(err)
	}
	return key
}

// key sets heketi's key in the Secret that the pool names.
func (s *site) key(key []byte) {
	s.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: secretName}, Data: map[string][]byte{"key": key}}
	secrets := s.kube.CoreV1().Secrets("default")
	_, err := secrets.Update(s.t.Context(), secret, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = secrets.Create(s.t.Context(), secret, metav1.CreateOptions{})
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// control starts a controller; what it returns kills it.
func (s *site) control() (kill func()) {
	s.t.Helper()
	config, err := s.server.Kubeconfig()
	if err != nil {
		s.t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(filepath.Dir(s.program), "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(s.t.Context()), s.program, "controller", "--kubeconfig", config, "--pools-from=api",
		"--certs", filepath.Join(s.CertsDir(), "controller"), "--leader-election=false", "--endpoint=")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
	}
}

// create makes the lab's pool an object.
func (s *site) create() {
	s.t.Helper()
	loaded, err := pool.Load(s.PoolFile())
	if err != nil || len(loaded) == 0 || loaded[0].Spec.Heketi == nil {
		s.t.Fatalf("the lab's pool: %v, %+v", err, loaded)
	}
	p := loaded[0]
	s.pool = p.Name
	p.Spec.Heketi.KeyFile, p.Spec.Heketi.KeySecret = "", &v1alpha1.SecretKey{Namespace: "default", Name: secretName}
	if _, err := s.pools.Create(s.t.Context(), &p, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// until waits until the pool is as it should be, and logs how long that took.
func (s *site) until(what string, ok func(p *v1alpha1.StoragePool) error) {
	s.t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		p, err := s.pools.Get(ctx, s.pool, metav1.GetOptions{})
		if err == nil {
			err = ok(p)
		}
		if err == nil {
			s.t.Logf("%s: %v", what, time.Since(began).Round(100*time.Millisecond))
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(filepath.Dir(s.program), "log"))
			s.t.Fatalf("%s: %v\nstatus: %+v\nlog:\n%s", what, err, p.Status, log[max(0, len(log)-4000):])
		}
	}
}

// is waits for a condition.
func (s *site) is(what, condition string, want metav1.ConditionStatus) {
	s.t.Helper()
	s.until(what, func(p *v1alpha1.StoragePool) error {
		c := meta.FindStatusCondition(p.Status.Conditions, condition)
		if c == nil || c.Status != want {
			return fmt.Errorf("%s: %+v, want %s", condition, c, want)
		}
		return nil
	})
}

func (s *site) exec(node string, argv ...string) {
	s.t.Helper()
	if out, err := s.Exec(context.WithoutCancel(s.t.Context()), node, argv...); err != nil {
		s.t.Fatalf("%s: %v: %v\n%s", node, argv, err, out)
	}
}

func (s *site) each(do func(node string)) {
	for _, n := range s.Nodes() {
		do(n.Name)
	}
}

// A pool says how it is: it is broken in five ways, and each shows and goes.
func TestPoolTellsWhatIsWrong(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes: each fault is seen by a look, and its end by the next")
	}
	s := newSite(t)
	kill := s.control()
	t.Cleanup(func() { kill() })
	s.create()
	s.until("Ready, with true capacity", func(p *v1alpha1.StoragePool) error {
		if !meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady) || p.Status.Capacity == nil || p.Status.Capacity.Raw.IsZero() {
			return errors.New("not yet")
		}
		return nil
	})
	s.is("nothing is wrong", v1alpha1.ConditionDegraded, metav1.ConditionFalse)
	nodes := s.Nodes()
	first, second, third := nodes[0].Name, nodes[1].Name, nodes[2].Name
	const root = "/bricks/root1"
	faults := []struct {
		name, condition string
		broken          metav1.ConditionStatus
		spoil, mend     func()
	}{
		{
			"an agent is killed", v1alpha1.ConditionDegraded, metav1.ConditionTrue,
			func() { must(t, s.KillAgent(t.Context(), second)) }, func() { must(t, s.StartAgent(context.WithoutCancel(t.Context()), second)) },
		},
		{
			"a clock is set back", v1alpha1.ConditionTimeInSync, metav1.ConditionFalse,
			func() { s.exec(first, "sh", "-c", "date -s @$(($(date +%s) - 30))") },
			func() { s.exec(first, "date", "-s", fmt.Sprintf("@%d", time.Now().Unix())) },
		},
		{
			"a root is unmounted", v1alpha1.ConditionDegraded, metav1.ConditionTrue,
			func() {
				s.exec(third, "sh", "-c", `findmnt -rno SOURCE,OPTIONS "$0" >/run/mounted && umount -l "$0"`, root)
			},
			func() {
				s.exec(third, "sh", "-c", `read -r source options </run/mounted && mount -o "$options" "$source" "$0"`, root)
			},
		},
		{
			"roots are filled", v1alpha1.ConditionCapacityLow, metav1.ConditionTrue,
			func() {
				s.each(func(n string) {
					s.exec(n, "sh", "-c", `fallocate -l $(($(df --output=avail -B1 $0 | tail -1) * 95 / 100)) $0/filler`, root)
				})
			},
			func() { s.each(func(n string) { s.exec(n, "rm", "-f", root+"/filler") }) },
		},
		{
			"heketi's key is wrong", v1alpha1.ConditionHeketiReady, metav1.ConditionFalse,
			func() { s.key([]byte("wrong")) }, func() { s.key(s.readKey()) },
		},
	}
	for _, f := range faults {
		back := metav1.ConditionFalse
		if f.broken == back {
			back = metav1.ConditionTrue
		}
		f.spoil()
		mended := false
		t.Cleanup(func() {
			if !mended {
				f.mend()
			}
		})
		s.is(f.name, f.condition, f.broken)
		f.mend()
		mended = true
		s.is(f.name+" no more", f.condition, back)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A pool with a volume stays, whoever is killed, and what carries it; then it goes.
func TestPoolWithAVolumeStays(t *testing.T) {
	s := newSite(t)
	kill := s.control()
	t.Cleanup(func() { kill() })
	s.create()
	s.is("Ready", v1alpha1.ConditionReady, metav1.ConditionTrue)
	volume := func(args ...string) {
		t.Helper()
		args = append([]string{"volume"}, append(args, "--pools", s.PoolFile(), "--certs", filepath.Join(s.CertsDir(), "controller"))...)
		if out, err := exec.CommandContext(context.WithoutCancel(t.Context()), s.program, args...).CombinedOutput(); err != nil {
			t.Fatalf("bricklayer %v: %v\n%s", args, err, out)
		}
	}
	const name = "stays"
	volume("create", name, "--size", "64MiB")
	gone := false
	t.Cleanup(func() {
		if !gone {
			volume("delete", name, "--yes")
		}
	})
	s.until("the volume shows", func(p *v1alpha1.StoragePool) error {
		if p.Status.Volumes == nil || p.Status.Volumes.Plain != 1 || len(p.Status.InUse) == 0 {
			return fmt.Errorf("volumes: %+v", p.Status.Volumes)
		}
		return nil
	})
	kill()
	if err := s.pools.Delete(t.Context(), s.pool, metav1.DeleteOptions{}); !strings.Contains(fmt.Sprint(err), name) {
		t.Errorf("the pool is deleted, and the volume is not told: %v", err)
	}
	p, err := s.pools.Get(t.Context(), s.pool, metav1.GetOptions{})
	must(t, err)
	p.Spec.Nodes = p.Spec.Nodes[1:]
	if _, err := s.pools.Update(t.Context(), p, metav1.UpdateOptions{}); !strings.Contains(fmt.Sprint(err), name) {
		t.Errorf("a node with a brick is removed, and the volume is not told: %v", err)
	}
	// Where the policy is not there, the finalizer holds.
	if _, err := s.server.Kubectl(t.Context(), nil, "delete", "validatingadmissionpolicybinding", "storagepools."+v1alpha1.Group); err != nil {
		t.Fatal(err)
	}
	s.until("the pool is to go", func(*v1alpha1.StoragePool) error {
		if err := s.pools.Delete(t.Context(), s.pool, metav1.DeleteOptions{}); err != nil {
			return err
		}
		return nil
	})
	kill = s.control()
	s.until("the pool waits for its volume", func(p *v1alpha1.StoragePool) error {
		c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
		if c == nil || c.Reason != "Deleting" || !strings.Contains(c.Message, name) {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	volume("delete", name, "--yes")
	gone = true
	began := time.Now()
	for timer := time.NewTicker(200 * time.Millisecond); ; <-timer.C {
		if _, err := s.pools.Get(t.Context(), s.pool, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			t.Logf("the pool is gone: %v", time.Since(began).Round(100*time.Millisecond))
			return
		}
		if time.Since(began) > patience {
			t.Fatal("the pool does not go")
		}
	}
}
