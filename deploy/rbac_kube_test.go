//go:build kube && lab

package deploy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"bricklayer.csi/internal/labtest"
)

// unused are rights that a test cannot make use of at will, each with its reason.
var unused = map[string]string{
	"bricklayer-controller: list persistentvolumes":             streams,
	"bricklayer-controller: list persistentvolumeclaims":        streams,
	"bricklayer-controller: list storageclasses.storage.k8s.io": streams,
	"bricklayer-controller: get persistentvolumeclaims":         "asked where a write to a claim fails, to tell whether another has taken its name",
}

const streams = "an API server that cannot open a watch with a list, as before Kubernetes 1.34, is asked for the list"

// right is one thing that an account of the chart may do, or did.
type right struct{ account, verb, group, resource, namespace string }

// String returns a right as unused names it.
func (r right) String() string {
	resource := r.resource
	if r.group != "" {
		resource += "." + r.group
	}
	s := fmt.Sprintf("%s: %s %s", r.account, r.verb, resource)
	if r.namespace != "" {
		s += " in " + r.namespace
	}
	return s
}

// The shipped roles suffice, and they grant nothing that is not used: by the API
// server's own audit, from the installation to the end of this test, which is the
// last of the package and does once more whatever a right is for.
func TestRolesHoldWhatIsUsedAndNoMore(t *testing.T) {
	c := newCluster(t)
	c.useEveryRight(t)
	used, forbidden := c.audited(t)
	for r := range forbidden {
		t.Errorf("the shipped roles do not allow %v", r)
	}
	granted := c.granted(t)
	if len(granted) == 0 {
		t.Fatal("the accounts of the chart have no roles: this test looks in the wrong place")
	}
	for _, r := range granted {
		wanted := slices.ContainsFunc(used, func(u right) bool {
			return u.account == r.account && u.verb == r.verb && u.group == r.group && u.resource == r.resource && (r.namespace == "" || r.namespace == u.namespace)
		})
		reason, excused := unused[r.String()]
		switch {
		case !wanted && !excused:
			t.Errorf("the shipped roles allow what nobody used: %v", r)
		case wanted && excused:
			t.Logf("%v was used, although it is excused: %s", r, reason)
		}
	}
	t.Logf("%d rights are granted, %d kinds of requests were made", len(granted), len(used))
}

// useEveryRight lives through what the accounts have their rights for.
func (c cluster) useEveryRight(t *testing.T) {
	t.Helper()
	w1, _ := c.workers(t)
	// A class with a Secret; a volume that waits for its first pod, and grows; a
	// refusal, told more than once; a class whose capacity is published.
	c.apply(t, claim("roles-secret", "in-tree", "ReadWriteMany")+claim("roles", "plain-first", "ReadWriteMany")+
		pod("roles", w1, "roles", idle)+strings.Replace(claim("roles-large", "plain", "ReadWriteMany"), "1Gi", "900Gi", 1)+shortLived)
	c.bound(t, "roles-secret")
	pv := c.bound(t, "roles")
	c.kubectl(t, "patch", "pvc", "roles", "-p", `{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`)
	c.kubectl(t, "wait", "--for=jsonpath={.status.capacity.storage}=2Gi", "pvc/roles", "--timeout=3m")
	c.kubectl(t, "wait", "--for=condition=Ready", "pod/roles", "--timeout=2m")
	labtest.Eventually(t, 3*time.Minute, func(ctx context.Context) error {
		return c.told(ctx, "roles-large", "ProvisioningFailed", 2)
	})
	labtest.Eventually(t, time.Minute, func(ctx context.Context) error { return c.hasCapacity(ctx, "roles-short-lived", true) })
	c.kubectl(t, "delete", "storageclass", "roles-short-lived")
	// A claim that is gone before its volume is made.
	c.apply(t, claim("roles-gone", "plain", "ReadWriteMany"))
	labtest.Eventually(t, time.Minute, func(ctx context.Context) error {
		out, err := c.Kubectl(ctx, "get", "pvc", "roles-gone", "-o", "jsonpath={.metadata.finalizers}")
		if err == nil && !strings.Contains(string(out), "/provisioning") {
			err = fmt.Errorf("nothing is made for claim roles-gone yet: %s", out)
		}
		return err
	})
	c.kubectl(t, "delete", "pvc", "roles-gone", "--wait=false")
	// A mount that dies.
	if out, err := c.InWorker(t.Context(), w1, "sh", "-c", `kill -9 $(pgrep -f "[g]lusterfs .*$0")`, c.kubectl(t, "get", "pv", pv, "-o", "jsonpath={.spec.csi.volumeAttributes.volume}")); err != nil {
		t.Fatalf("kill the client of %s: %v\n%s", pv, err, out)
	}
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) error { return c.told(ctx, "roles", "VolumeClientGone", 1) })
	labtest.Eventually(t, time.Minute, func(ctx context.Context) error { return c.hasCapacity(ctx, "roles-short-lived", false) })
	c.gone(t, []string{"roles"}, []string{"roles", "roles-secret", "roles-large", "roles-gone"})
}

// shortLived is a class that a test deletes again.
const shortLived = `
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: roles-short-lived}
provisioner: bricklayer.csi
parameters: {lvm: "false"}
volumeBindingMode: WaitForFirstConsumer
`

// hasCapacity looks whether the capacity of a class is published, as it should be.
func (c cluster) hasCapacity(ctx context.Context, class string, want bool) error {
	out, err := c.Kubectl(ctx, "-n", namespace, "get", "csistoragecapacities", "-o", "jsonpath={.items[*].storageClassName}")
	if err != nil {
		return err
	}
	if is := slices.Contains(strings.Fields(string(out)), class); is != want {
		return fmt.Errorf("there are capacities of the classes %s; want one of %s: %v", out, class, want)
	}
	return nil
}

// told looks for an event about an object that was sent so many times.
func (c cluster) told(ctx context.Context, object, reason string, times int) error {
	out, err := c.Kubectl(ctx, "get", "events", "--field-selector", "involvedObject.name="+object+",reason="+reason, "-o", "jsonpath={.items[*].count}")
	if err != nil {
		return err
	}
	most := 0
	for field := range strings.FieldsSeq(string(out)) {
		var n int
		if _, err := fmt.Sscan(field, &n); err != nil {
			return err
		}
		most = max(most, n)
	}
	if most < times {
		return fmt.Errorf("event %s about %s: sent %d times, want %d", reason, object, most, times)
	}
	return nil
}

// accountPrefix opens the names of the chart's accounts in the audit.
const accountPrefix = "system:serviceaccount:" + namespace + ":"

// audited returns what the chart's accounts asked for since its installation, and
// what of it was forbidden.
func (c cluster) audited(t *testing.T) (used []right, forbidden map[right]bool) {
	t.Helper()
	installed, err := time.Parse(time.RFC3339, c.kubectl(t, "get", "namespace", namespace, "-o", "jsonpath={.metadata.creationTimestamp}"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(c.AuditLog())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	allowed := map[right]bool{}
	forbidden = map[right]bool{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		r, ok, decision := readAudit(t, lines.Bytes(), installed)
		switch {
		case !ok:
		case decision == "allow":
			allowed[r] = true
		default:
			forbidden[r] = true
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for r := range allowed {
		used = append(used, r)
	}
	return used, forbidden
}

// readAudit reads one event of the audit; ok is false where it is none of the
// chart's accounts', or older than since.
func readAudit(t *testing.T, line []byte, since time.Time) (r right, ok bool, decision string) {
	t.Helper()
	var e struct {
		Verb     string
		Received time.Time `json:"requestReceivedTimestamp"`
		User     struct{ Username string }
		Object   *struct{ APIGroup, Resource, Subresource, Namespace string } `json:"objectRef"`
		Notes    map[string]string                                            `json:"annotations"`
	}
	if err := json.Unmarshal(line, &e); err != nil {
		t.Fatalf("the API server's audit: %v: %s", err, line)
	}
	account, ours := strings.CutPrefix(e.User.Username, accountPrefix)
	if !ours || e.Object == nil || e.Received.Before(since) {
		return right{}, false, ""
	}
	r = right{account: account, verb: e.Verb, group: e.Object.APIGroup, resource: e.Object.Resource, namespace: e.Object.Namespace}
	if e.Object.Subresource != "" {
		r.resource += "/" + e.Object.Subresource
	}
	return r, true, e.Notes["authorization.k8s.io/decision"]
}

// granted returns what the roles that are bound to the chart's accounts allow.
func (c cluster) granted(t *testing.T) []right {
	t.Helper()
	var all []right
	var clusterBindings rbacv1.ClusterRoleBindingList
	c.list(t, &clusterBindings, "clusterrolebindings")
	for _, b := range clusterBindings.Items {
		all = append(all, c.rights(t, b.Subjects, b.RoleRef, "")...)
	}
	var bindings rbacv1.RoleBindingList
	c.list(t, &bindings, "rolebindings", "-A")
	for _, b := range bindings.Items {
		all = append(all, c.rights(t, b.Subjects, b.RoleRef, b.Namespace)...)
	}
	return all
}

func (c cluster) list(t *testing.T, into any, args ...string) {
	t.Helper()
	if err := json.Unmarshal([]byte(c.kubectl(t, append([]string{"get", "-o", "json"}, args...)...)), into); err != nil {
		t.Fatal(err)
	}
}

// rights returns what one binding gives to the chart's accounts.
func (c cluster) rights(t *testing.T, to []rbacv1.Subject, ref rbacv1.RoleRef, in string) []right {
	t.Helper()
	var all []right
	for _, s := range to {
		if s.Kind != rbacv1.ServiceAccountKind || s.Namespace != namespace {
			continue
		}
		args := []string{strings.ToLower(ref.Kind), ref.Name}
		if ref.Kind == "Role" {
			args = append(args, "-n", in)
		}
		var role rbacv1.ClusterRole // a Role's rules look the same
		c.list(t, &role, args...)
		for _, rule := range role.Rules {
			if slices.Contains(slices.Concat(rule.Verbs, rule.APIGroups, rule.Resources), "*") || len(rule.NonResourceURLs) > 0 {
				t.Errorf("%s %s has a rule that cannot be counted: %v", ref.Kind, ref.Name, rule)
			}
			for _, verb := range rule.Verbs {
				for _, group := range rule.APIGroups {
					for _, resource := range rule.Resources {
						all = append(all, right{s.Name, verb, group, resource, in})
					}
				}
			}
		}
	}
	return all
}
