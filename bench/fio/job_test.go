package fio

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEmbedded(t *testing.T) {
	jobs, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range jobs {
		if j.Title == j.Name {
			t.Errorf("%s has no description", j.Name)
		}
		again, err := ParseJob([]byte(j.file()))
		if err != nil {
			t.Errorf("%s as fio reads it: %v", j.Name, err)
		}
		if diff := cmp.Diff(j.Options, again.Options); diff != "" {
			t.Errorf("%s: what fio reads differs:\n%s", j.Name, diff)
		}
		if n, err := j.Bytes(); err != nil || n < 1<<10 || n > 64<<20 {
			t.Errorf("%s takes %d bytes (%v), want it to fit small volumes", j.Name, n, err)
		}
		// fio's own looks at files would be answered for a second, and the job's with them.
		if delay, _ := strconv.Atoi(j.Options["startdelay"]); j.Options["nrfiles"] != "" && !j.Fresh && delay < 2 {
			t.Errorf("%s measures what the kernel remembers: want startdelay=2 or more", j.Name)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "0 files") {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := Load(filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that is not there: no error")
	}
	text := "[mine]\nrw=read\nioengine=psync\n"
	if err := os.WriteFile(filepath.Join(dir, "mine.fio"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	jobs, err := Load(dir)
	if err != nil || len(jobs) != 1 || jobs[0].Unit != IOPS || !jobs[0].Timed || jobs[0].Fresh {
		t.Errorf("%+v (%v), want one timed job in IOPS", jobs, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "other.fio"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "want [other]") {
		t.Errorf("a file of another name: %v", err)
	}
	if _, err := Select(jobs, []string{"theirs"}); err == nil || !strings.Contains(err.Error(), "there are mine") {
		t.Errorf("a job that is not there: %v", err)
	}
}

func TestParseJobRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "no [section]",
		"rw=read":                                "before the [section]",
		"[global]\nrw=read":                      "no [global]",
		"[A B]":                                  "want [NAME]",
		"[a]\n[b]":                               "second section",
		"[a]\nrw=read\nrw=write":                 "given twice",
		"[a]\nexec_prerun=rm -rf /":              "must not set it",
		"[a]\ndirectory=/etc":                    "must not set it",
		"[a]\nioengine=psync\nfilename=../x":     "filename",
		"[a]\nioengine=psync\nfilename=/dev/sda": "filename",
		"[a]\nioengine=psync\nfilename=a:b":      "filename",
		"[a]\nbs=${HOME}":                        "want letters",
		"[a]\nbs=`id`":                           "want letters",
		"[a]\nBS=4k":                             "in small letters",
		"[a]\nrw=read":                           "ioengine",
		"[a]\nioengine=exec":                     "ioengine",
		"[a]\nioengine=psync\nsize=-1":           "size",
		"[a]\nioengine=psync\nsize=50%":          "size",
		"[a]\nioengine=psync\nsize=9t":           "size",
		"[a]\nioengine=psync\nnumjobs=0":         "numjobs",
		"[a]\nioengine=filecreate\nfilesize=4k\nnrfiles=x":             "nrfiles",
		"; bench: unit=furlongs\n[a]\nioengine=psync":                  "want IOPS",
		"; bench: fresh=maybe\n[a]\nioengine=psync":                    "want true or false",
		"; bench: colour=red\n[a]\nioengine=psync":                     "want unit=",
		"; bench: timed=false unit=files/s\n[a]\nioengine=psync\n":     "filecreate",
		"[a]\nioengine=psync\n" + strings.Repeat("; long\n", 64<<10/6): "at most",
	} {
		if _, err := ParseJob([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want an error with %q", text, err, want)
		}
	}
}

func FuzzParseJob(f *testing.F) {
	jobs, err := Embedded()
	if err != nil {
		f.Fatal(err)
	}
	for _, j := range jobs {
		f.Add([]byte(j.Text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		j, err := ParseJob(data)
		if err != nil {
			return
		}
		for _, text := range []string{j.file(), j.layout().file()} {
			if strings.Contains(text, "END_OF_JOB\n") || strings.Contains(text, "$") || strings.Contains(text, "..\n") {
				t.Errorf("it reaches out: %q", text)
			}
			if _, err := ParseJob([]byte(text)); err != nil {
				t.Errorf("what fio would read is refused: %v: %q", err, text)
			}
		}
	})
}

func TestResize(t *testing.T) {
	jobs, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range jobs {
		before, _ := j.Bytes()
		after, err := j.Resize(16 << 20).Bytes()
		want := int64(16 << 20)
		if j.Options["filesize"] != "" { // many small files stay as they are
			want = before
		}
		if err != nil || after != want {
			t.Errorf("%s: %d bytes (%v), want %d", j.Name, after, err, want)
		}
		if again, _ := j.Bytes(); again != before {
			t.Errorf("%s: the job itself changed", j.Name)
		}
	}
}

func TestFilesThatAJobWrites(t *testing.T) {
	for text, want := range map[string]string{
		"[a]\nioengine=psync":                               "",
		"[a]\nioengine=psync\nrw=randread":                  "",
		"[a]\nioengine=filecreate":                          "",
		"[a]\nioengine=psync\nrw=randwrite":                 "a.*",
		"[a]\nioengine=psync\nrw=rw\nnumjobs=4":             "a.*",
		"[a]\nioengine=psync\nrw=randrw\nfilename=data.bin": "data.bin",
	} {
		j, err := ParseJob([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if j.Writes() {
			got = j.Pattern()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
