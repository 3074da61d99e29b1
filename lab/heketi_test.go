package lab

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestHeketiNeedsALVMDisk(t *testing.T) {
	c, err := ParseConfig([]byte("heketi: true\n"))
	if err != nil || !c.Heketi {
		t.Errorf("heketi: true over the defaults: %+v, %v", c, err)
	}
	if _, err := ParseConfig([]byte("heketi: true\ndisks: [{name: root1, sizeGiB: 1, use: brickRoot}]\n")); err == nil || !strings.Contains(err.Error(), "use: lvm") {
		t.Errorf("without a raw disk: %v, want an error that says which", err)
	}
	without := c
	without.Heketi = false
	if err := without.growsFrom(c); err == nil || !strings.Contains(err.Error(), "heketi") {
		t.Errorf("a lab that loses its heketi: %v, want an error", err)
	}
	if err := c.growsFrom(without); err != nil {
		t.Errorf("a lab that gets a heketi: %v", err)
	}
}

func TestHeketiTopology(t *testing.T) {
	c, err := ParseConfig([]byte("nodes: 4\nzones: 3\nheketi: true\ndisks:\n- {name: a, sizeGiB: 1, use: brickRoot}\n- {name: b, sizeGiB: 1, use: lvm}\n- {name: c, sizeGiB: 1, use: lvm}\n"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(newLab(c, newProgress(nil)).topology())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"devices":["/dev/ubdc","/dev/ubdd"],"node":{"hostnames":{"manage":["10.90.0.11"],"storage":["10.90.0.11"]},"zone":1}}`,
		`"storage":["10.90.0.14"]},"zone":1}`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the topology lacks %s:\n%s", want, text)
		}
	}
}
