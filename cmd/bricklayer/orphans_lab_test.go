//go:build lab

package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/internal/mark"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/lab"
)

// labMust runs a command line against the lab that must succeed.
func labMust(t *testing.T, args ...string) string {
	t.Helper()
	began := time.Now()
	out, errs, code := labRun(t, labEnv(), args...)
	if code != exitOK {
		t.Fatalf("bricklayer %s: exit code %d\n%s", strings.Join(args, " "), code, errs)
	}
	t.Logf("bricklayer %s: %.1f s", strings.Join(args, " "), time.Since(began).Seconds())
	return out
}

// labOrphans runs the command and returns what it found as "KIND NAME NODE RESULT".
func labOrphans(t *testing.T, code int, args ...string) []string {
	t.Helper()
	out, errs, got := labRun(t, labEnv(), append([]string{"orphans", "-o", "json"}, args...)...)
	var v orphansView
	if err := json.Unmarshal([]byte(out), &v); err != nil || got != code {
		t.Fatalf("orphans %v: exit code %d, want %d (%v)\n%s%s", args, got, code, err, out, errs)
	}
	if len(v.Unknown) > 0 {
		t.Errorf("unknown: %q", v.Unknown)
	}
	found := []string{}
	for _, o := range v.Orphans {
		result, _, _ := strings.Cut(o.Result, ":")
		found = append(found, strings.Join(strings.Fields(o.Kind+" "+o.Name+" "+o.Node+" "+result), " "))
	}
	return found
}

func wantSame(t *testing.T, what string, want, got []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// labLeft lists what is on the nodes and, with a heketi, in its database, without
// what changes by itself.
func labLeft(t *testing.T, look func(context.Context) ([]string, error)) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute) // cleanups call it too
	defer cancel()
	left, err := look(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// How much a brick's quota counts as used moves with glusterd's housekeeping.
	left = slices.DeleteFunc(left, func(s string) bool { return strings.Contains(s, " quota ") })
	slices.Sort(left)
	return left
}

// deleteInGluster takes a volume away as an administrator does who knows of nothing else.
func deleteInGluster(t *testing.T, name string) {
	t.Helper()
	const script = `gluster --mode=script volume stop "$1" force && gluster --mode=script volume delete "$1"`
	if _, err := lab.Current().Exec(t.Context(), "n1", "sh", "-c", script, "sh", name); err != nil {
		t.Fatal(err)
	}
}

// unfinished leaves what a controller leaves that dies before it starts a volume.
func unfinished(t *testing.T, name string) {
	t.Helper()
	n := labtest.Config(t).Nodes[0]
	place := brick.Place{Node: n.Name, Root: n.Roots[0]}
	m := mark.Volume{
		Handle: volume.Handle{Backend: volume.Plain, Pool: labtest.PoolName, Name: name}, Size: 64 * volume.MiB,
		Type: volume.Type{Durability: volume.None}, Fingerprint: "0123456789abcdef", GID: volume.MinGID,
		Layout: []brick.Place{place}, OnDelete: volume.DeleteData,
	}
	b, err := n.Agent.MakeBrick(t.Context(), brick.MakeRequest{
		Ref: brick.Ref{Root: place.Root, Volume: name}, Mark: m.Brick(), Quota: brick.Quota{Bytes: m.Size}, Enforce: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	err = n.Agent.CreateVolume(t.Context(), gluster.CreateRequest{Name: name, Bricks: []gluster.Brick{{Host: n.Address, Path: b.Path}}})
	if err != nil {
		t.Fatal(err)
	}
}

// TestOrphansOnRealNodes leaves brick directories without a volume and a volume
// that was never started beside a volume in use.
func TestOrphansOnRealNodes(t *testing.T) {
	labMust(t, "volume", "create", "neighbour", "--size", "64MiB")
	t.Cleanup(func() {
		labMust(t, "volume", "delete", "neighbour", "--yes")
		labtest.CheckEmpty(t)
	})
	before := labLeft(t, labtest.Leftovers)
	wantSame(t, "with nothing but a sound volume", []string{}, labOrphans(t, exitOK))
	labMust(t, "volume", "create", "gone", "--size", "64MiB")
	deleteInGluster(t, "gone")
	unfinished(t, "half")
	with := labLeft(t, labtest.Leftovers)

	listed := []string{
		"brick-directory gone n1", "brick-directory gone n2", "brick-directory gone n3", "unfinished-volume half",
	}
	wantSame(t, "listed", listed, labOrphans(t, exitOK))
	wantSame(t, "a dry run changed", with, labLeft(t, labtest.Leftovers))
	removed := make([]string, len(listed))
	for i, line := range listed {
		removed[i] = line + " removed"
	}
	began := time.Now()
	wantSame(t, "removed", removed, labOrphans(t, exitOK, "--delete", "--grace", "2s"))
	t.Logf("%d orphans removed in %.1f s, 2 s of grace among them", len(removed), time.Since(began).Seconds())
	wantSame(t, "what is left", before, labLeft(t, labtest.Leftovers))
	wantSame(t, "afterwards", []string{}, labOrphans(t, exitOK))
	if out := labMust(t, "volume", "get", "neighbour", "--health"); !strings.Contains(out, "no problem was found") {
		t.Errorf("the neighbour suffered:\n%s", out)
	}
}

// needHeketi starts the lab's heketi.
func needHeketi(t *testing.T) *lab.Lab {
	t.Helper()
	l := lab.Current()
	if err := l.EnsureHeketi(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestPoolCheckInTheLab asks the lab's heketi, with its agents and without.
func TestPoolCheckInTheLab(t *testing.T) {
	l := needHeketi(t)
	if out := labMust(t, "pool", "check", l.PoolFile()); !strings.Contains(out, "HEKETI") || strings.Contains(out, "error:") || strings.Contains(out, "warning:") {
		t.Errorf("of a sound heketi:\n%s", out)
	}
	if said := labDoctor(t, "--check", "heketi").said(); len(said) > 0 {
		t.Errorf("the doctor of a sound heketi:\n%s", strings.Join(said, "\n"))
	}
	env := labEnv()
	env["BRICKLAYER_CERTS"] = t.TempDir()
	if out, errs, code := labRun(t, env, "pool", "check", l.PoolFile()); code != exitOK || !strings.Contains(out, "warning:") {
		t.Errorf("without certificates: exit code %d\n%s%s", code, out, errs)
	}
	if err := l.KillHeketi(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.StartHeketi(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if out, errs, code := labRun(t, labEnv(), "pool", "check", l.PoolFile()); code != exitLater || !strings.Contains(out, "error:") {
		t.Errorf("of a dead heketi: exit code %d\n%s%s", code, out, errs)
	}
	if said := labDoctor(t, "--check", "heketi").said(); len(said) != 1 || !strings.HasPrefix(said[0], "unknown heketi heketi of pool lab: ") {
		t.Errorf("the doctor of a dead heketi:\n%s", strings.Join(said, "\n"))
	}
}

// TestOrphansOfHeketiOnRealNodes takes away from Gluster what heketi has, and
// from heketi what Gluster has, beside a volume in use.
func TestOrphansOfHeketiOnRealNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes: run it with make test-lab-long")
	}
	l := needHeketi(t)
	create := func(name string) { labMust(t, "volume", "create", name, "--size", "1GiB", "-p", "lvm=true") }
	remove := func(name string) { labMust(t, "volume", "delete", "bl1.heketi.lab."+name, "--yes") }
	create("lvm-neighbour")
	t.Cleanup(func() {
		remove("lvm-neighbour")
		labtest.CheckHeketiEmpty(t)
	})
	before := labLeft(t, labtest.HeketiLeftovers)
	wantSame(t, "with nothing but a sound volume", []string{}, labOrphans(t, exitOK))

	create("lost")
	deleteInGluster(t, "lost")
	with := labLeft(t, labtest.HeketiLeftovers)
	wantSame(t, "listed", []string{"only-in-heketi lost"}, labOrphans(t, exitOK))
	wantSame(t, "a dry run changed", with, labLeft(t, labtest.HeketiLeftovers))
	if out, _, code := labRun(t, labEnv(), "pool", "check", l.PoolFile()); code != exitFailed || !strings.Contains(out, "volume lost is in heketi") {
		t.Errorf("pool check: exit code %d\n%s", code, out)
	}
	if said := labDoctor(t, "--check", "heketi").said(); len(said) != 1 || !strings.HasPrefix(said[0], "error heketi heketi of pool lab: volume lost is in heketi") {
		t.Errorf("the doctor:\n%s", strings.Join(said, "\n"))
	}
	wantSame(t, "removed", []string{"only-in-heketi lost removed"}, labOrphans(t, exitOK, "--delete", "--grace", "2s"))
	wantSame(t, "what is left", before, labLeft(t, labtest.HeketiLeftovers))

	older := copyDatabase(t, nil)
	create("forgotten")
	with = labLeft(t, labtest.HeketiLeftovers)
	newer := copyDatabase(t, older)
	wantSame(t, "with yesterday's database", []string{"unknown-to-heketi forgotten"}, labOrphans(t, exitOK))
	if out, _, code := labRun(t, labEnv(), "pool", "check", l.PoolFile()); code != exitFailed || !strings.Contains(out, "volume forgotten is in Gluster") {
		t.Errorf("pool check: exit code %d\n%s", code, out)
	}
	wantSame(t, "never removed", []string{"unknown-to-heketi forgotten not removed"}, labOrphans(t, exitFailed, "--delete", "--grace", "2s"))
	copyDatabase(t, newer)
	wantSame(t, "with its own database again", with, labLeft(t, labtest.HeketiLeftovers))
	wantSame(t, "afterwards", []string{}, labOrphans(t, exitOK))
	remove("forgotten")
}

// copyDatabase returns a copy of heketi's database, taken while heketi does not
// run, and puts another one in its place where one is given.
func copyDatabase(t *testing.T, instead []byte) []byte {
	t.Helper()
	l := lab.Current()
	file := filepath.Join(filepath.Dir(l.HeketiKeyFile()), "heketi.db")
	if err := l.KillHeketi(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if instead != nil {
		if err := os.WriteFile(file, instead, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.StartHeketi(t.Context()); err != nil {
		t.Fatal(err)
	}
	return text
}
