//go:build lab

package csi

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"bricklayer.csi/internal/heketi"
	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/lab"
)

// inTree is a class that was written for kubernetes.io/glusterfs, and what its
// volume must look like on the nodes.
type inTree struct {
	parameters map[string]string
	prefix     string
	// info are parts of what gluster volume info shows.
	info []string
	// bricks is how many bricks the volume has, brickMiB how large each is, and
	// poolMiB how large its thin pool.
	bricks, brickMiB, poolMiB int
	gidMin, gidMax            int
	made                      *csipb.Volume
}

// inTreeClasses use every parameter of the in-tree plug-in among the three, but
// for its default: each class names its heketi, and none says lvm or pool.
func inTreeClasses(url, key, cluster string) map[string]*inTree {
	return map[string]*inTree{
		"replicate": {
			parameters: map[string]string{
				"resturl": url, "restuser": "admin", "restuserkey": key, "restauthenabled": "true", "clusterid": cluster,
				"volumetype": "replicate:2", "volumenameprefix": "dept-dev", "gidMin": "40000", "gidMax": "40010", "snapfactor": "2.5",
			},
			prefix: "dept-dev_", bricks: 2, brickMiB: 1024, poolMiB: 2560, gidMin: 40000, gidMax: 40010,
			info: []string{"Type: Replicate", "Number of Bricks: 1 x 2 = 2"},
		},
		"disperse": {
			parameters: map[string]string{
				"resturl": url + "/", "restuser": "admin", "secretNamespace": "default", "secretName": "heketi-secret",
				"volumetype": "disperse:2:1", "volumeoptions": "performance.readdir-ahead off, cluster.lookup-optimize on",
				"customepnameprefix": "dbstorage",
			},
			// heketi makes the bricks of a dispersed volume large enough for its size in all.
			bricks: 3, brickMiB: 1024, poolMiB: 1024, gidMin: 2000, gidMax: 2147483647,
			info: []string{"Type: Disperse", "Number of Bricks: 1 x (2 + 1) = 3", "performance.readdir-ahead: off", "cluster.lookup-optimize: on"},
		},
		"none": {
			parameters: map[string]string{
				"RestURL": url, "RestUser": "admin", "SecretNamespace": "default", "SecretName": "last-secret",
				"VolumeType": "none", "GidMin": "50000", "GidMax": "50000",
			},
			bricks: 1, brickMiB: 1024, poolMiB: 1024, gidMin: 50000, gidMax: 50000,
			info: []string{"Type: Distribute", "Number of Bricks: 1"},
		},
	}
}

// TestInTreeClasses has volumes made of three in-tree classes by their
// parameters alone, over a real heketi, and looks at them on the nodes.
func TestInTreeClasses(t *testing.T) {
	if testing.Short() {
		t.Skip("heketi takes minutes for its volumes; make test-lab-long runs it")
	}
	config := labtest.HeketiConfig(t, true)
	key, err := os.ReadFile(lab.Current().HeketiKeyFile())
	if err != nil {
		t.Fatal(err)
	}
	config.Secrets = heketi.DirSecrets(inTreeSecrets(t, string(key)))
	out, err := lab.Current().Heketi(testContext(t), "cluster", "list")
	if err != nil {
		t.Fatal(err)
	}
	_, id, found := strings.Cut(string(out), "Id:")
	if !found {
		t.Fatalf("no cluster in %q", out)
	}
	classes := inTreeClasses(config.URL, strings.TrimSpace(string(key)), strings.Fields(id)[0])
	d := newHeketiDriver(t, config)
	create := func(name string) (*csipb.Volume, error) {
		r := createRequest("intree-" + name)
		r.Parameters = classes[name].parameters
		answer, err := d.controller.CreateVolume(testContext(t), r)
		return answer.GetVolume(), err
	}
	each := func(do func(name string, c *inTree)) {
		var wg sync.WaitGroup
		for name, c := range classes {
			wg.Go(func() { do(name, c) })
		}
		wg.Wait()
	}
	each(func(name string, c *inTree) {
		began := time.Now()
		if c.made, err = create(name); err != nil {
			t.Errorf("create of class %s: %v", name, err)
		}
		t.Logf("created of class %s in %.1f s", name, time.Since(began).Seconds())
	})
	t.Cleanup(func() {
		each(func(name string, c *inTree) {
			if _, err := d.controller.DeleteVolume(testContext(t), &csipb.DeleteVolumeRequest{VolumeId: c.made.GetVolumeId()}); err != nil {
				t.Errorf("delete of class %s: %v", name, err)
			}
		})
	})
	if t.Failed() {
		return
	}
	for name, c := range classes {
		t.Run(name, func(t *testing.T) {
			if again, err := create(name); err != nil || again.GetVolumeId() != c.made.GetVolumeId() {
				t.Errorf("a repeated create: %v, %v; want %s", again, err, c.made.GetVolumeId())
			}
			c.check(t)
		})
	}
}

// inTreeSecrets makes the Secrets that the classes name: one with the entry
// "key", and one of which the last entry counts.
func inTreeSecrets(t *testing.T, key string) string {
	t.Helper()
	dir := t.TempDir()
	for path, text := range map[string]string{"heketi-secret/key": key, "last-secret/a": "wrong", "last-secret/z": key} {
		path = filepath.Join(dir, "default", path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// check looks at the volume in Gluster, and at its bricks on the nodes.
func (c *inTree) check(t *testing.T) {
	t.Helper()
	l := lab.Current()
	name := c.made.GetVolumeContext()["volume"]
	if !strings.HasPrefix(name, c.prefix) || strings.Contains(name, "_") != (c.prefix != "") {
		t.Errorf("it is called %q; want it to begin with %q", name, c.prefix)
	}
	info, err := l.Exec(testContext(t), "n1", "gluster", "volume", "info", name)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range append(c.info, "Status: Started", "user.bricklayer.handle: "+c.made.GetVolumeId()) {
		if !strings.Contains(string(info), want) {
			t.Errorf("gluster volume info lacks %q:\n%s", want, info)
		}
	}
	gid, err := strconv.Atoi(c.made.GetVolumeContext()["gid"])
	if err != nil || gid < c.gidMin || gid > c.gidMax {
		t.Errorf("its group ID is %q; want %d to %d", c.made.GetVolumeContext()["gid"], c.gidMin, c.gidMax)
	}
	bricks := 0
	for line := range strings.Lines(string(info)) {
		number, brick, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if !strings.HasPrefix(number, "Brick") || !strings.Contains(brick, ":/") {
			continue
		}
		bricks++
		host, path, _ := strings.Cut(brick, ":")
		at := slices.IndexFunc(l.Nodes(), func(n lab.Node) bool { return n.Address.String() == host })
		if at < 0 {
			t.Errorf("brick %s is on no node of the lab", brick)
			continue
		}
		c.checkBrick(t, l.Nodes()[at].Name, path, gid)
	}
	if bricks != c.bricks {
		t.Errorf("it has %d bricks, want %d", bricks, c.bricks)
	}
}

// checkBrick looks at a brick's directory, its logical volume and the thin pool
// that this lies in.
func (c *inTree) checkBrick(t *testing.T, node, path string, gid int) {
	t.Helper()
	const script = `set -e
stat -c '%g %a %F' "$1"
lv=$(awk -v at="${1%/brick}" '$2 == at {print $1}' /proc/mounts)
lvs --noheadings --nosuffix --units m -o lv_size,pool_lv "$lv"
pool=$(lvs --noheadings -o vg_name,pool_lv "$lv" | awk '{print $1 "/" $2}')
lvs --noheadings --nosuffix --units m -o lv_size,segtype "$pool"`
	out, err := lab.Current().Exec(testContext(t), node, "sh", "-c", script, "sh", path)
	if err != nil {
		t.Fatalf("%s:%s: %v", node, path, err)
	}
	words := strings.Fields(string(out))
	if len(words) != 7 {
		t.Fatalf("%s:%s: %q", node, path, out)
	}
	mib := func(text string) int { f, _ := strconv.ParseFloat(text, 64); return int(f) }
	want := fmt.Sprintf("%d 2775 directory, %d MiB of a thin-pool of %d", gid, c.brickMiB, c.poolMiB)
	got := fmt.Sprintf("%s %s %s, %d MiB of a %s of %d", words[0], words[1], words[2], mib(words[3]), words[6], mib(words[5]))
	if got != want {
		t.Errorf("%s:%s is %s\nwant %s", node, path, got, want)
	}
}
