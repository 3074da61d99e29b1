package fio

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/bench/host"
)

// withFio is this host with a program of ours in fio's place.
func withFio(t *testing.T, script string) host.Host {
	t.Helper()
	dir := t.TempDir()
	if script != "" {
		if err := os.WriteFile(filepath.Join(dir, "fio"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, program := range []string{"sh", "cat", "sleep"} {
		if err := os.Symlink("/bin/"+program, filepath.Join(dir, program)); err != nil {
			t.Fatal(err)
		}
	}
	return host.Host{Prefix: []string{"env", "PATH=" + dir}}
}

func testJob(t *testing.T) Job {
	t.Helper()
	jobs, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	jobs, err = Select(jobs, []string{"4k-mixed"})
	if err != nil {
		t.Fatal(err)
	}
	return jobs[0]
}

func TestVersion(t *testing.T) {
	for name, tc := range map[string]struct{ script, want string }{
		"missing": {"", "apt-get install fio"},
		"old":     {"echo fio-2.16", "too old: want fio-3.30"},
		"no fio":  {"echo hello", "want fio-MAJOR.MINOR"},
		"killed":  {"kill -9 $$", "killed"},
		"ended":   {"kill -15 $$", "ended by the signal terminated"},
		"broken":  {"echo no such library >&2; exit 3", "no such library"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Version(t.Context(), withFio(t, tc.script)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want an error with %q", err, tc.want)
			}
		})
	}
	if v, err := Version(t.Context(), withFio(t, "echo fio-3.33")); err != nil || v != "fio-3.33" {
		t.Errorf("%q, %v", v, err)
	}
}

func TestRun(t *testing.T) {
	at, err := filepath.Abs("testdata/4k-mixed.json")
	if err != nil {
		t.Fatal(err)
	}
	seen := filepath.Join(t.TempDir(), "it's seen")
	h := withFio(t, `echo "$@" >"`+seen+`"; cat >>"`+seen+`"; cat `+at)
	o, err := Run(t.Context(), h, "/a directory/it's", testJob(t), Options{Duration: 1500 * time.Millisecond, Seed: 7})
	if err != nil || o.Read.Requests == 0 {
		t.Fatalf("%d reads, %v", o.Read.Requests, err)
	}
	data, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--directory=/a directory/it's ", "--runtime=1500ms", "--time_based", "--randseed=7", "[4k-mixed]\n", "rwmixread=70\n"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("fio saw no %q in:\n%s", want, data)
		}
	}
}

func TestRunFails(t *testing.T) {
	full, err := filepath.Abs("testdata/full.json")
	if err != nil {
		t.Fatal(err)
	}
	full = "sed 's/\"full\"/\"4k-mixed\"/' " + full
	for name, tc := range map[string]struct{ script, want string }{
		"killed":   {"kill -9 $$", "fio was killed"},
		"nonsense": {"echo '{'; echo 'not JSON'", "no JSON"},
		"silent":   {"exit 0", "no JSON"},
		"bad job":  {"echo 'fio: Bad option <rwmix>' >&2; exit 1", "Bad option"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Run(t.Context(), withFio(t, tc.script), "/x", testJob(t), Options{})
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "4k-mixed in /x") {
				t.Errorf("%v, want an error with %q that names the job and the directory", err, tc.want)
			}
		})
	}
	t.Run("no space", func(t *testing.T) {
		h := withFio(t, full+"; exit 1")
		h.Prefix[1] += ":/bin:/usr/bin"
		if _, err := Run(t.Context(), h, "/x", testJob(t), Options{}); err == nil || !strings.Contains(err.Error(), "the target is full") {
			t.Errorf("%v, want that the target is full", err)
		}
	})
}

func TestRunIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	begun := filepath.Join(t.TempDir(), "begun")
	h := withFio(t, "echo >"+begun+"; exec sleep 600")
	done := make(chan error, 1)
	go func() {
		_, err := Run(ctx, h, "/x", testJob(t), Options{Duration: time.Hour})
		done <- err
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := os.Stat(begun); err == nil {
			break
		}
	}
	cancel()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("%v, want the context's end", err)
	}
}
