//go:build kube

package v1alpha1_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/pool"
	"bricklayer.csi/lab/apiserver"
)

// files are the resource's definition and the policy that keeps what is in use.
const files = "../../deploy/helm/bricklayer/files"

// serve returns a client of an API server that knows the resource.
func serve(t *testing.T) dynamic.NamespaceableResourceInterface {
	t.Helper()
	s, err := apiserver.Start(t.Context(), t.TempDir(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	if _, err := s.Kubectl(t.Context(), nil, "apply", "--server-side", "-f", files); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Kubectl(t.Context(), nil, "wait", "--for=condition=Established", "crd/storagepools."+v1alpha1.Group, "--timeout=60s"); err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	return client.Resource(v1alpha1.SchemeGroupVersion.WithResource("storagepools"))
}

const soundPool = `
apiVersion: bricklayer.csi/v1alpha1
kind: StoragePool
metadata: {name: fast}
spec:
  nodes:
  - {name: n1, address: 10.0.0.11, zone: a, agent: "n1.example:24010", roots: [{name: r1, path: /bricks/r1}, {name: r2, path: /bricks/r2}]}
  - {name: n2, address: storage-2.example, roots: [{name: r1, path: /bricks/r1}]}
  clientNetworks: [10.0.0.0/16, "fd00::7", 192.0.2.7]
  maxOperations: 8
  heketi:
    url: https://heketi.example:8443
    user: admin
    keyFile: /etc/bricklayer/secrets/heketi/key
    caFile: /etc/bricklayer/ca.crt
    serverName: heketi
    clusterIDs: [abababababababababababababababab]
    maxInFlight: 3
`

// object returns the sound pool with some fields changed: PATH, VALUE, and so on;
// nil removes one.
func object(t *testing.T, changes ...any) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(soundPool), &u.Object); err != nil {
		t.Fatal(err)
	}
	for pair := range slices.Chunk(changes, 2) {
		u.Object = change(t, u.Object, strings.Split(pair[0].(string), "."), pair[1]).(map[string]any)
	}
	return u
}

func change(t *testing.T, in any, path []string, value any) any {
	t.Helper()
	if len(path) == 0 {
		return value
	}
	switch in := in.(type) {
	case map[string]any:
		if in[path[0]] = change(t, in[path[0]], path[1:], value); in[path[0]] == nil {
			delete(in, path[0])
		}
		return in
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil {
			t.Fatal(err)
		}
		for len(in) <= i {
			in = append(in, nil)
		}
		in[i] = change(t, in[i], path[1:], value)
		return in
	case nil:
		return change(t, map[string]any{}, path, value)
	}
	t.Fatalf("%v lies below %v", path, in)
	return nil
}

// load reads the pool as a file.
func load(t *testing.T, u *unstructured.Unstructured) error {
	t.Helper()
	text, err := yaml.Marshal(u.Object)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pool.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = pool.Load(file)
	return err
}

func node(name, address string) map[string]any {
	return map[string]any{"name": name, "address": address, "roots": []any{map[string]any{"name": "r1", "path": "/bricks/r1"}}}
}

func many(n int, item func(i int) any) []any {
	all := make([]any, n)
	for i := range all {
		all[i] = item(i)
	}
	return all
}

// label is what a name that is none is answered.
const label = "must be 1 to 40 of a-z, 0-9 and -, beginning and ending with a letter or digit"

const badPath = "must be an absolute path below /, without . and .. in it"

const badMemory = "must be 0 to 1Ti, such as 256Mi"

const badHost = "must be a host name or IP address, not loopback"

const badURL = "must be an http or https address without user, password and query, such as http://heketi:8080"

const badAgent = "must be HOST:PORT, such as storage-1:24010 or [fd00::1]:24010"

const badNetwork = "must be an IP address, or an IPv4 network such as 10.0.0.0/8 without host bits"

var bad = []struct {
	name    string
	changes []any
	// field and message are the API server's.
	field, message string
}{
	{"no nodes", []any{"spec.nodes", nil, "spec.heketi", nil}, "spec.nodes", "must have at least one node where there is no heketi"},
	{"empty nodes", []any{"spec.nodes", []any{}, "spec.heketi", nil}, "spec.nodes", "must have at least one node where there is no heketi"},
	{"too many nodes", []any{"spec.nodes", many(501, func(i int) any { return node("n"+strconv.Itoa(i), "h"+strconv.Itoa(i)) })}, "spec.nodes", "must have at most 500 items"},
	{"node without name", []any{"spec.nodes.0.name", nil}, "spec.nodes[0].name", "Required value"},
	{"node name", []any{"spec.nodes.0.name", "-n"}, "spec.nodes[0].name", label},
	{"node name in capitals", []any{"spec.nodes.0.name", "N1"}, "spec.nodes[0].name", label},
	{"node name with a line end", []any{"spec.nodes.0.name", "n1\n"}, "spec.nodes[0].name", label},
	{"long node name", []any{"spec.nodes.0.name", strings.Repeat("a", 41)}, "spec.nodes[0].name", "may not be more than 40 bytes"},
	{"node name twice", []any{"spec.nodes.1.name", "n1"}, "spec.nodes[1]", "Duplicate value"},
	{"address twice", []any{"spec.nodes.1.address", "10.0.0.11"}, "spec.nodes", "must give each node an address that no other node has"},
	{"loopback", []any{"spec.nodes.0.address", "127.0.0.1"}, "spec.nodes[0].address", badHost},
	{"loopback of IPv6", []any{"spec.nodes.0.address", "::1"}, "spec.nodes[0].address", badHost},
	{"localhost", []any{"spec.nodes.0.address", "LocalHost"}, "spec.nodes[0].address", badHost},
	{"no address at all", []any{"spec.nodes.0.address", "0.0.0.0"}, "spec.nodes[0].address", badHost},
	{"IPv4 in IPv6", []any{"spec.nodes.0.address", "::ffff:10.0.0.1"}, "spec.nodes[0].address", badHost},
	{"address with a zone", []any{"spec.nodes.0.address", "fe80::1%eth0"}, "spec.nodes[0].address", badHost},
	{"option as address", []any{"spec.nodes.0.address", "--xml"}, "spec.nodes[0].address", badHost},
	{"zone", []any{"spec.nodes.0.zone", "z 1"}, "spec.nodes[0].zone", label},
	{"agent without port", []any{"spec.nodes.0.agent", "n1"}, "spec.nodes[0].agent", badAgent},
	{"agent's port", []any{"spec.nodes.0.agent", "n1:70000"}, "spec.nodes[0].agent", badAgent},
	{"agent's port 0", []any{"spec.nodes.0.agent", "n1:0"}, "spec.nodes[0].agent", badAgent},
	{"agent without host", []any{"spec.nodes.0.agent", ":24010"}, "spec.nodes[0].agent", badAgent},
	{"no roots", []any{"spec.nodes.0.roots", []any{}}, "spec.nodes[0].roots", "should have at least 1 items"},
	{"too many roots", []any{"spec.nodes.0.roots", many(17, func(i int) any {
		return map[string]any{"name": "r" + strconv.Itoa(i), "path": "/r" + strconv.Itoa(i)}
	})}, "spec.nodes[0].roots", "must have at most 16 items"},
	{"root name", []any{"spec.nodes.0.roots.0.name", ""}, "spec.nodes[0].roots[0].name", label},
	{"root name twice", []any{"spec.nodes.0.roots.1.name", "r1"}, "spec.nodes[0].roots[1]", "Duplicate value"},
	{"root path twice", []any{"spec.nodes.0.roots.1.path", "/bricks/r1"}, "spec.nodes[0].roots", "must give each root a path that no other root of the node has"},
	{"root path with dots", []any{"spec.nodes.0.roots.0.path", "/bricks/../etc"}, "spec.nodes[0].roots[0].path", badPath},
	{"root path ends in dots", []any{"spec.nodes.0.roots.0.path", "/bricks/.."}, "spec.nodes[0].roots[0].path", badPath},
	{"relative root path", []any{"spec.nodes.0.roots.0.path", "bricks"}, "spec.nodes[0].roots[0].path", badPath},
	{"root path with a slash too many", []any{"spec.nodes.0.roots.0.path", "/bricks/"}, "spec.nodes[0].roots[0].path", badPath},
	{"root is /", []any{"spec.nodes.0.roots.0.path", "/"}, "spec.nodes[0].roots[0].path", badPath},
	{"host bits", []any{"spec.clientNetworks.0", "10.90.0.1/24"}, "spec.clientNetworks[0]", badNetwork},
	{"IPv6 network", []any{"spec.clientNetworks.0", "fd00::/64"}, "spec.clientNetworks[0]", badNetwork},
	{"everyone", []any{"spec.clientNetworks.0", "*"}, "spec.clientNetworks[0]", badNetwork},
	{"too many networks", []any{"spec.clientNetworks", many(129, func(i int) any { return "10.0.0." + strconv.Itoa(i) })}, "spec.clientNetworks", "must have at most 128 items"},
	{"negative operations", []any{"spec.maxOperations", int64(-1)}, "spec.maxOperations", "should be greater than or equal to 0"},
	{"too many operations", []any{"spec.maxOperations", int64(65)}, "spec.maxOperations", "should be less than or equal to 64"},
	{"operations in words", []any{"spec.maxOperations", "four"}, "spec.maxOperations", "must be of type integer"},
	{"negative overcommitment", []any{"spec.overcommitPercent", int64(-1)}, "spec.overcommitPercent", "should be greater than or equal to 0"},
	{"too much overcommitment", []any{"spec.overcommitPercent", int64(10001)}, "spec.overcommitPercent", "should be less than or equal to 10000"},
	{"negative pace", []any{"spec.trashEntriesPerSecond", int64(-1)}, "spec.trashEntriesPerSecond", "should be greater than or equal to 0"},
	{"too fast", []any{"spec.trashEntriesPerSecond", int64(1000001)}, "spec.trashEntriesPerSecond", "should be less than or equal to 1000000"},
	{"peers in words", []any{"spec.managePeers", "yes"}, "spec.managePeers", "must be of type boolean"},
	{"roots in words", []any{"spec.initRoots", "yes"}, "spec.initRoots", "must be of type boolean"},
	{"default's key", []any{"spec.defaults", map[string]any{strings.Repeat("k", 41): "v"}}, "spec.defaults", "must have keys of at most 40 characters and values of at most 4096"},
	{"default's value", []any{"spec.defaults", map[string]any{"volumeoptions": strings.Repeat("v", 4097)}}, "spec.defaults", "must have keys of at most 40 characters and values of at most 4096"},
	{"default as a number", []any{"spec.defaults", map[string]any{"gidMin": int64(3000)}}, "spec.defaults.gidMin", "must be of type string"},
	{"misspelt field", []any{"spec.clientNetwork", "10.0.0.0/8"}, "", `unknown field "spec.clientNetwork"`},
	{"heketi without address", []any{"spec.heketi.url", nil}, "spec.heketi.url", "Required value"},
	{"heketi's scheme", []any{"spec.heketi.url", "heketi:8080"}, "spec.heketi.url", badURL},
	{"heketi as a file", []any{"spec.heketi.url", "file:///etc/passwd"}, "spec.heketi.url", badURL},
	{"heketi with a password", []any{"spec.heketi.url", "https://admin:s3cret@heketi"}, "spec.heketi.url", badURL},
	{"heketi with a query", []any{"spec.heketi.url", "https://heketi?"}, "spec.heketi.url", badURL},
	{"heketi's port", []any{"spec.heketi.url", "https://heketi:99999"}, "spec.heketi.url", badURL},
	{"user", []any{"spec.heketi.user", "a\nb"}, "spec.heketi.user", "must be 1 to 64 of letters, digits and . _ @ -, beginning with a letter or digit"},
	{"user without key", []any{"spec.heketi.keyFile", nil}, "spec.heketi.user", "must come with keyFile or keySecret, or all of them be left out"},
	{"key without user", []any{"spec.heketi.user", nil}, "spec.heketi.user", "must come with keyFile or keySecret, or all of them be left out"},
	{"two keys", []any{"spec.heketi.keySecret.namespace", "a", "spec.heketi.keySecret.name", "b"}, "spec.heketi.keySecret", "must not stand beside keyFile: a key has one place"},
	{"Secret's name", []any{"spec.heketi.keyFile", nil, "spec.heketi.keySecret.namespace", "a", "spec.heketi.keySecret.name", "../b"}, "spec.heketi.keySecret.name", "must be the name of a Secret"},
	{"relative key", []any{"spec.heketi.keyFile", "key"}, "spec.heketi.keyFile", badPath},
	{"CA without https", []any{"spec.heketi.url", "http://heketi"}, "spec.heketi.url", "must be an https address where caFile or serverName is given"},
	{"server name", []any{"spec.heketi.serverName", "a b"}, "spec.heketi.serverName", badHost},
	{"cluster", []any{"spec.heketi.clusterIDs.0", "ABC"}, "spec.heketi.clusterIDs[0]", "must be a heketi cluster ID of 32 hexadecimal digits"},
	{"cluster twice", []any{"spec.heketi.clusterIDs.1", strings.Repeat("ab", 16)}, "spec.heketi.clusterIDs[1]", "Duplicate value"},
	{"heketi's operations", []any{"spec.heketi.maxInFlight", int64(65)}, "spec.heketi.maxInFlight", "should be less than or equal to 64"},
	{"less than no memory", []any{"spec.guard.memoryReserve", "-1Mi"}, "spec.guard.memoryReserve", badMemory},
	{"more memory than there is", []any{"spec.guard.memoryPerBrick", "2Ti"}, "spec.guard.memoryPerBrick", badMemory},
	{"memory as a number", []any{"spec.guard.memoryReserve", int64(-1)}, "spec.guard.memoryReserve", badMemory},
	{"pressure", []any{"spec.guard.maxPressure", int64(101)}, "spec.guard.maxPressure", "should be less than or equal to 100"},
	{"bricks", []any{"spec.guard.maxBricksPerNode", int64(-1)}, "spec.guard.maxBricksPerNode", "should be greater than or equal to 0"},
	{"failures", []any{"spec.guard.breakerFailures", int64(1001)}, "spec.guard.breakerFailures", "should be less than or equal to 1000"},
	{"pause", []any{"spec.guard.breakerPauseSeconds", int64(3601)}, "spec.guard.breakerPauseSeconds", "should be less than or equal to 3600"},
	{"pool's name", []any{"metadata.name", "fast.1"}, "", "metadata.name " + label},
	{"long pool's name", []any{"metadata.name", strings.Repeat("a", 41)}, "", "metadata.name " + label},
}

var good = []struct {
	name    string
	changes []any
}{
	{"as it is", nil},
	{"nodes alone", []any{"spec.heketi", nil}},
	{"heketi alone", []any{"spec.nodes", nil}},
	{"nothing optional", []any{"spec.clientNetworks", nil, "spec.maxOperations", nil, "spec.heketi", nil, "spec.nodes.0.zone", nil, "spec.nodes.0.agent", nil}},
	{"zero is the default", []any{"spec.maxOperations", int64(0), "spec.heketi.maxInFlight", int64(0)}},
	{"guard", []any{"spec.guard", map[string]any{"memoryReserve": "1Ti", "memoryPerBrick": int64(25165824), "maxPressure": int64(100), "maxBricksPerNode": int64(300), "breakerFailures": int64(3), "breakerPauseSeconds": int64(60)}}},
	{"overcommitment and pace", []any{"spec.overcommitPercent", int64(10000), "spec.trashEntriesPerSecond", int64(1000000)}},
	{"peers managed, roots initialised", []any{"spec.managePeers", true, "spec.initRoots", true}},
	{"defaults", []any{"spec.defaults", map[string]any{"volumetype": "replicate:3:arbiter:1", "volumeoptions": "server.event-threads 4,client.event-threads 4", "gidMin": "3000"}}},
	{"IPv6", []any{"spec.nodes.0.address", "fd00::11", "spec.nodes.0.agent", "[fd00::11]:24010"}},
	{"agent on loopback", []any{"spec.nodes.0.agent", "127.0.0.1:24010"}},
	{"path with dots in names", []any{"spec.nodes.0.roots.0.path", "/bricks/..a/.b/c.."}},
	{"heketi over http without a key", []any{"spec.heketi", map[string]any{"url": "http://10.0.0.1:8080/"}}},
	{"key in a Secret", []any{"spec.heketi.keyFile", nil, "spec.heketi.keySecret", map[string]any{"namespace": "bricklayer", "name": "heketi", "key": "admin"}}},
	{"500 nodes", []any{"spec.nodes", many(500, func(i int) any { return node("n"+strconv.Itoa(i), "h"+strconv.Itoa(i)) })}},
	{"100 nodes with long addresses", []any{"spec.nodes", many(100, func(i int) any {
		return node("n"+strconv.Itoa(i), fmt.Sprintf("%077d", i)+".io")
	})}},
	{"longest names", []any{"metadata.name", strings.Repeat("a", 40), "spec.nodes.0.name", strings.Repeat("a", 40)}},
}

// What the API server refuses a file of pools refuses too, and the other way round.
func TestRulesAndFilesAgree(t *testing.T) {
	pools := serve(t)
	options := metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict, DryRun: []string{metav1.DryRunAll}}
	for _, test := range good {
		t.Run(test.name, func(t *testing.T) {
			u := object(t, test.changes...)
			if err := load(t, u); err != nil {
				t.Errorf("as a file: %v", err)
			}
			if _, err := pools.Create(t.Context(), u, options); err != nil {
				t.Errorf("API server: %v", err)
			}
		})
	}
	for _, test := range bad {
		t.Run(test.name, func(t *testing.T) {
			u := object(t, test.changes...)
			if err := load(t, u); err == nil {
				t.Error("as a file it is accepted")
			}
			_, err := pools.Create(t.Context(), u, options)
			if err == nil {
				t.Fatal("the API server accepts it")
			}
			if test.field == "" {
				if !strings.Contains(err.Error(), test.message) {
					t.Errorf("API server: %v; want %q", err, test.message)
				}
				return
			}
			// There may be others: where a field is missing, rules about it are not looked at.
			status := apierrors.APIStatus(nil)
			if !errors.As(err, &status) || status.Status().Details == nil {
				t.Fatalf("API server: %v", err)
			}
			causes := map[string]bool{}
			for _, c := range status.Status().Details.Causes {
				causes[c.Field+": "+c.Message] = true
				if c.Field == test.field && strings.Contains(c.Message, test.message) {
					return
				}
			}
			t.Errorf("API server: %q; want %s: %s", slices.Sorted(maps.Keys(causes)), test.field, test.message)
		})
	}
	if len(bad) < 30 {
		t.Errorf("only %d bad pools", len(bad))
	}
}

// What carries volumes cannot be taken out of a pool, and the names are told.
func TestWhatIsInUseCannotGo(t *testing.T) {
	pools := serve(t)
	u, err := pools.Create(t.Context(), object(t), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	u.Object["status"] = map[string]any{
		"inUse":   map[string]any{"n1/r1": "bl-a, bl-b and 3 more"},
		"volumes": map[string]any{"plain": int64(5), "lvm": int64(1), "names": []any{"bl-a", "bl-b", "bl-z"}},
	}
	if u, err = pools.UpdateStatus(t.Context(), u, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitPolicy(t, pools, u)
	const inUse = "volumes have bricks on what would go or get another address: n1/r1 (bl-a, bl-b and 3 more)"
	tests := []struct {
		name, path string
		value      any
		message    string // empty: allowed
	}{
		{"node in use goes", "spec.nodes", []any{node("n2", "storage-2.example")}, inUse},
		{"all nodes go", "spec.nodes", nil, inUse},
		{"address changes", "spec.nodes.0.address", "10.0.0.99", inUse},
		{"root in use goes", "spec.nodes.0.roots", []any{map[string]any{"name": "r2", "path": "/bricks/r2"}}, inUse},
		{"root without bricks goes", "spec.nodes.0.roots", []any{map[string]any{"name": "r1", "path": "/bricks/r1"}}, ""},
		{"zone changes", "spec.nodes.0.zone", "b", ""},
		{"node without bricks gets another address", "spec.nodes.1.address", "10.0.0.98", ""},
		{"heketi with volumes goes", "spec.heketi", nil, "heketi made 1 of the pool's volumes (bl-a, bl-b, bl-z): it cannot go"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			changed := u.DeepCopy()
			changed.Object = change(t, changed.Object, strings.Split(test.path, "."), test.value).(map[string]any)
			_, err := pools.Update(t.Context(), changed, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
			switch {
			case test.message == "" && err != nil:
				t.Error(err)
			case test.message != "" && !strings.Contains(fmt.Sprint(err), test.message):
				t.Errorf("got %v, want %q", err, test.message)
			}
		})
	}
	const kept = "5 plain and 1 LVM volumes live on it (bl-a, bl-b, bl-z): delete them first"
	if err := pools.Delete(t.Context(), "fast", metav1.DeleteOptions{}); !strings.Contains(fmt.Sprint(err), kept) {
		t.Errorf("delete: %v, want %q", err, kept)
	}
	u.Object["status"] = map[string]any{"volumes": map[string]any{"plain": int64(0), "lvm": int64(0)}}
	if _, err = pools.UpdateStatus(t.Context(), u, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := pools.Delete(t.Context(), "fast", metav1.DeleteOptions{}); err != nil {
		t.Errorf("delete an empty pool: %v", err)
	}
}

// A pool of the largest size can be changed, and what is in use is found in it.
func TestLargePoolInUse(t *testing.T) {
	pools := serve(t)
	nodes := many(500, func(i int) any {
		n := node("n"+strconv.Itoa(i), "storage-"+strconv.Itoa(i)+".example.org")
		n["roots"] = many(4, func(i int) any {
			return map[string]any{"name": "r" + strconv.Itoa(i), "path": "/bricks/r" + strconv.Itoa(i)}
		})
		return n
	})
	u, err := pools.Create(t.Context(), object(t, "spec.nodes", nodes), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	inUse := map[string]any{}
	for i := range 500 {
		for j := range 4 {
			inUse[fmt.Sprintf("n%d/r%d", i, j)] = "bl-0123456789abcdef0123456789abcdef and 9 more"
		}
	}
	u.Object["status"] = map[string]any{"inUse": inUse}
	if u, err = pools.UpdateStatus(t.Context(), u, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitPolicy(t, pools, u)
	ok := change(t, u.DeepCopy().Object, []string{"spec", "nodes", "499", "zone"}, "b").(map[string]any)
	if _, err := pools.Update(t.Context(), &unstructured.Unstructured{Object: ok}, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Errorf("another zone: %v", err)
	}
	if u.Object["spec"], err = without(u, 499); err != nil {
		t.Fatal(err)
	}
	if _, err := pools.Update(t.Context(), u, metav1.UpdateOptions{}); !strings.Contains(fmt.Sprint(err), "n499/r3 (bl-0123") {
		t.Errorf("a node goes: %v", err)
	}
}

func without(u *unstructured.Unstructured, i int) (any, error) {
	spec, _, err := unstructured.NestedMap(u.Object, "spec")
	if err != nil {
		return nil, err
	}
	nodes, _, err := unstructured.NestedSlice(u.Object, "spec", "nodes")
	spec["nodes"] = slices.Delete(nodes, i, i+1)
	return spec, err
}

// awaitPolicy waits until the API server heeds the policy, which it reads a moment
// after it was made.
func awaitPolicy(t *testing.T, pools dynamic.NamespaceableResourceInterface, u *unstructured.Unstructured) {
	t.Helper()
	spec, err := without(u, 0)
	if err != nil {
		t.Fatal(err)
	}
	changed := &unstructured.Unstructured{Object: maps.Clone(u.Object)}
	changed.Object["spec"] = spec
	for {
		if _, err = pools.Update(t.Context(), changed, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			return
		}
		timer := time.NewTimer(100 * time.Millisecond)
		select {
		case <-timer.C:
		case <-t.Context().Done():
			t.Fatal("the policy was never heeded")
		}
	}
}
