package pool

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/volume"
)

// good returns a sound pool document of that name.
func good(name string) string {
	return `apiVersion: bricklayer.csi/v1alpha1
kind: StoragePool
metadata: {name: ` + name + `}
spec:
  nodes:
  - name: n1
    address: 10.90.0.11
    roots:
    - {name: root1, path: /bricks/root1}
`
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func poolNames(pools []v1alpha1.StoragePool) string { return strings.Join(names(pools), " ") }

func TestLoadFileOfSeveralDocuments(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pools.yaml")
	write(t, file, "# nothing but a comment\n---\n"+good("zeta")+"--- # another\n"+good("alpha")+"---\n")
	pools, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := poolNames(pools); got != "alpha zeta" {
		t.Fatalf("pools %q, want alpha zeta", got)
	}
	want := v1alpha1.StoragePool{}
	want.APIVersion, want.Kind, want.Name = v1alpha1.APIVersion, v1alpha1.Kind, "alpha"
	want.Spec = v1alpha1.StoragePoolSpec{
		MaxOperations: v1alpha1.DefaultMaxOperations,
		Nodes: []v1alpha1.StorageNode{{
			Name: "n1", Address: "10.90.0.11", Agent: "10.90.0.11:24010",
			Roots: []v1alpha1.BrickRoot{{Name: "root1", Path: "/bricks/root1"}},
		}},
	}
	if diff := cmp.Diff(want, pools[0]); diff != "" {
		t.Error(diff)
	}
}

func TestLoadDirectory(t *testing.T) {
	dir := t.TempDir()
	if pools, err := Load(dir); err != nil || len(pools) != 0 {
		t.Fatalf("an empty directory gave %v, %v; want no pools", pools, err)
	}
	write(t, filepath.Join(dir, "b.yml"), good("beta"))
	write(t, filepath.Join(dir, "a.yaml"), good("alpha"))
	write(t, filepath.Join(dir, "README.md"), "not a pool")
	write(t, filepath.Join(dir, ".a.yaml.swp"), "not a pool either")
	write(t, filepath.Join(dir, ".hidden.yaml"), "nor this")
	pools, err := Load(dir)
	if err != nil || poolNames(pools) != "alpha beta" {
		t.Fatalf("got %q, %v; want alpha beta", poolNames(pools), err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want []string // parts of the error, all of them
	}{
		"empty":           {"", []string{"pool.yaml", "no StoragePool"}},
		"comment only":    {"# hello\n", []string{"no StoragePool"}},
		"not YAML":        {"a: [", []string{"pool.yaml:1", "line 1"}},
		"a list":          {"- a\n", []string{"pool.yaml:1", "cannot unmarshal array"}},
		"unknown field":   {good("a") + "  rots: []\n", []string{`unknown field "spec.rots"`}},
		"other case":      {strings.Replace(good("a"), "kind:", "Kind:", 1), []string{`unknown field "Kind"`, "kind:"}},
		"twice the key":   {good("a") + "kind: StoragePool\n", []string{"already set"}},
		"wrong type":      {good("a") + "  maxOperations: lots\n", []string{"maxOperations"}},
		"other kind":      {"apiVersion: v1\nkind: Pod\n", []string{"apiVersion", "kind", "metadata.name", "spec.nodes"}},
		"two faults":      {strings.NewReplacer("n1", "N1", "/bricks/root1", "bricks").Replace(good("a")), []string{"2 faults", "nodes[0].name", "roots[0].path"}},
		"faults in both":  {strings.Replace(good("a"), "n1", "N1", 1) + "---\n" + strings.Replace(good("b"), "n1", "N2", 1), []string{"pool.yaml:1", "pool.yaml:10", `"N1"`, `"N2"`}},
		"twice the name":  {good("a") + "---\n" + good("a"), []string{"pool.yaml:10", "metadata.name", "pool.yaml:1 has it too"}},
		"default":         {good("a") + "  defaults: {volumetype: raid5, pool: b}\n", []string{"2 faults", "spec.defaults.volumetype", "raid5", `spec.defaults: "pool"`}},
		"negative number": {good("a") + "  maxOperations: -1\n", []string{"spec.maxOperations", "1 to 64"}},
		"huge number":     {good("a") + "  maxOperations: 99999999999999999999\n", []string{"maxOperations"}},
		"many aliases":    {"a: &a [x,x,x,x,x,x,x,x,x]\n" + aliases(), []string{"excessive aliasing"}},
		"NUL bytes":       {"\x00\x00", []string{"pool.yaml:1"}},
		"too large":       {strings.Repeat("#", MaxFileSize+1), []string{"larger than 1048576 bytes"}},
		"a line of dash":  {"---\n---\n---\n", []string{"no StoragePool"}},
		"marker in block": {strings.Replace(good("a"), "{name: a}", "{name: a, annotations: {x: \"a\n---\nb\"}}", 1), []string{"pool.yaml:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pool.yaml")
			write(t, file, tc.text)
			pools, err := Load(file)
			if err == nil {
				t.Fatalf("loaded %v, want an error", pools)
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		})
	}
}

// aliases returns YAML whose aliases multiply by nine a line.
func aliases() string {
	var b strings.Builder
	for c := 'b'; c < 'k'; c++ {
		p := "*" + string(c-1)
		b.WriteString(string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat(p+",", 9), ",") + "]\n")
	}
	return b.String()
}

func TestFaultsAreInvalidAndBounded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pool.yaml")
	write(t, file, strings.Repeat("kind: Pod\n---\n", 100))
	_, err := Load(file)
	var faults *Faults
	if !errors.As(err, &faults) || volume.KindOf(err) != volume.Invalid {
		t.Fatalf("error %v (%v), want Faults of kind invalid", err, volume.KindOf(err))
	}
	if len(faults.List) != maxFaults || faults.More == 0 || !strings.Contains(err.Error(), "and "+strconv.Itoa(faults.More)+" more") {
		t.Errorf("%d faults listed and %d more, want %d listed and the rest counted", len(faults.List), faults.More, maxFaults)
	}
}

func TestLoadRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe.yaml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(pipe); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a pipe gave %v", err)
	}
	if _, err := Load(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an absent file gave %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(good("a"))
	f.Add(good("a") + "---\n" + good("b"))
	f.Add("---\n---\tx\n--- {}\n")
	f.Add("a: &a [*a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		faults := &Faults{}
		docs := parse("f", []byte(text), faults)
		if len(docs) == 0 && len(faults.List) == 0 {
			t.Error("neither a pool nor a fault")
		}
		if len(faults.List) == 0 {
			for _, d := range docs {
				if left := d.pool.Validate(); len(left) > 0 {
					t.Errorf("a pool was let through with %v", left)
				}
			}
		}
	})
}
