package lab

import (
	"strings"
	"testing"
)

func TestDisksNeedSyncDisks(t *testing.T) {
	c, err := DefaultConfig()
	if err != nil {
		t.Fatal(err)
	}
	err = newLab(c, newProgress(nil)).SetDisks(t.Context(), "ssd")
	if err == nil || !strings.Contains(err.Error(), "--sync-disks") {
		t.Errorf("%v, want to be told what to do", err)
	}
	c.SyncDisks = true
	l := newLab(c, newProgress(nil))
	err = l.SetDisks(t.Context(), "tape")
	if err == nil || !strings.Contains(err.Error(), "unlimited, ssd, hdd") {
		t.Errorf("%v, want the profiles named", err)
	}
	if args := strings.Join(l.umlArgs(l.nodes[0]), " "); !strings.Contains(args, " ubdbs=") || !strings.Contains(args, " ubdcs=") {
		t.Errorf("%s: want synchronous disks", args)
	}
	old := c
	old.SyncDisks = false
	if err := c.growsFrom(old); err == nil || !strings.Contains(err.Error(), "syncDisks") {
		t.Errorf("%v, want syncDisks refused on a lab that stands", err)
	}
}

func TestDeviceUnder(t *testing.T) {
	if _, err := deviceUnder("/proc"); err == nil {
		t.Error("/proc lies on a device that can be held back?")
	}
	if _, err := deviceUnder("/nowhere"); err == nil {
		t.Error("no error for a path that is not there")
	}
}
