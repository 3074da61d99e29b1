package fio

import (
	"bufio"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

//go:embed jobs/*.fio
var embedded embed.FS

// What a job's figure counts.
const (
	IOPS  = "IOPS"
	MiBps = "MiB/s"
	Files = "files/s"
)

// Job is one job file: one section, the options of which fio reads, and above it
// a comment "; bench: ..." that we read.
type Job struct {
	Name string
	// Title says in words what it does.
	Title string
	// Unit is IOPS, MiBps or Files.
	Unit string
	// Fresh jobs get an empty directory each time; the others work on files that
	// were written whole before the first round.
	Fresh bool
	// Timed jobs run for the time that the plan gives, the others until they are done.
	Timed bool
	// Options are fio's, by name.
	Options map[string]string
	// Text is the file as it was read.
	Text string
}

const (
	maxJobFile = 64 << 10
	maxJobs    = 64
	// defaultSize is how much a job without a size works on.
	defaultSize = 64 << 20
)

var (
	nameRE   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)
	optionRE = regexp.MustCompile(`^[a-z][a-z0-9_]{0,40}$`)
	// valueRE leaves out what fio would take from the environment, from another
	// file or as an expression, and what a shell's here-document would trip over.
	valueRE = regexp.MustCompile(`^[A-Za-z0-9 ,.:%/_+*=()-]{0,200}$`)
	fileRE  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$`)
)

// ours are the options that the plan sets, and those that reach out of the
// directory of the target: a job file must not.
var ours = []string{
	"directory", "output", "output_format", "include", "exec_prerun", "exec_postrun", "filename_format", "opendir",
	"runtime", "time_based", "ramp_time", "group_reporting", "thread", "randseed", "write_bw_log", "write_lat_log", "write_iops_log", "write_hist_log",
	"read_iolog", "write_iolog", "replay_redirect", "verify_state_save", "ioscheduler", "cgroup", "cgroup_root", "profile", "unlink",
	"clat_percentiles", "lat_percentiles", "percentile_list", "stonewall", "wait_for", "name", "numa_mem_policy",
}

// engines are those that work on files of a directory.
var engines = []string{
	"psync", "sync", "vsync", "pvsync", "pvsync2", "libaio", "posixaio", "io_uring", "mmap",
	"filecreate", "filestat", "filedelete",
}

// Embedded returns the jobs that come with the program, sorted by name.
func Embedded() ([]Job, error) {
	sub, err := fs.Sub(embedded, "jobs")
	if err != nil {
		return nil, err
	}
	return load(sub)
}

// Load reads all *.fio files of a directory, sorted by name.
func Load(dir string) ([]Job, error) {
	jobs, err := load(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("job files of %s: %w", dir, err)
	}
	return jobs, nil
}

func load(dir fs.FS) ([]Job, error) {
	files, err := fs.Glob(dir, "*.fio")
	if err != nil {
		return nil, err
	}
	if _, err := fs.Stat(dir, "."); err != nil {
		return nil, err
	}
	if len(files) == 0 || len(files) > maxJobs {
		return nil, fmt.Errorf("it holds %d files *.fio: want 1 to %d", len(files), maxJobs)
	}
	jobs := make([]Job, 0, len(files))
	for _, file := range files {
		data, err := fs.ReadFile(dir, file)
		if err != nil {
			return nil, err
		}
		j, err := ParseJob(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if want := strings.TrimSuffix(filepath.Base(file), ".fio"); j.Name != want {
			return nil, fmt.Errorf("%s: its section is [%s]: want [%s], as the file is called", file, j.Name, want)
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// ParseJob reads a job file.
func ParseJob(data []byte) (Job, error) {
	if len(data) > maxJobFile {
		return Job{}, fmt.Errorf("%d bytes: want at most %d", len(data), maxJobFile)
	}
	j := Job{Unit: IOPS, Timed: true, Options: map[string]string{}, Text: string(data)}
	lines := bufio.NewScanner(strings.NewReader(j.Text))
	lines.Buffer(nil, maxJobFile+1)
	for n := 1; lines.Scan(); n++ {
		if err := j.line(strings.TrimSpace(lines.Text())); err != nil {
			return Job{}, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return Job{}, err
	}
	if j.Name == "" {
		return Job{}, errors.New("it has no [section]: want one, the job's name")
	}
	return j, j.check()
}

func (j *Job) line(line string) error {
	switch {
	case line == "":
		return nil
	case line[0] == ';' || line[0] == '#':
		if directives, ok := strings.CutPrefix(strings.TrimSpace(line[1:]), "bench:"); ok {
			return j.directives(directives)
		}
		return nil
	case line[0] == '[':
		name, ok := strings.CutSuffix(line[1:], "]")
		switch {
		case j.Name != "":
			return fmt.Errorf("a second section %.80q: want one job a file, so that each has its own figure", line)
		case !ok || name == "global" || !nameRE.MatchString(name):
			return fmt.Errorf("section %.80q: want [NAME] of up to 40 of a-z, 0-9 and - (and no [global])", line)
		}
		j.Name = name
		return nil
	}
	key, value, _ := strings.Cut(line, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	_, twice := j.Options[key]
	switch {
	case j.Name == "":
		return fmt.Errorf("%.80q stands before the [section]", line)
	case !optionRE.MatchString(key):
		return fmt.Errorf("option %.80q: want a name of fio's, in small letters", key)
	case slices.Contains(ours, key):
		return fmt.Errorf("option %s: a job file must not set it: the benchmark does, or it reaches out of the directory that is measured", key)
	case twice:
		return fmt.Errorf("option %s is given twice", key)
	case !valueRE.MatchString(value):
		return fmt.Errorf("%s: %.80q: want letters, digits, spaces and , . : %% / _ + * = ( ) -", key, value)
	}
	j.Options[key] = value
	return nil
}

func (j *Job) directives(text string) error {
	for word := range strings.FieldsSeq(text) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "unit":
			if value != IOPS && value != MiBps && value != Files {
				return fmt.Errorf("bench: unit: %.80q: want %s, %s or %s", value, IOPS, MiBps, Files)
			}
			j.Unit = value
		case "fresh", "timed":
			on, err := strconv.ParseBool(value)
			if err != nil {
				return fmt.Errorf("bench: %s: %.80q: want true or false", key, value)
			}
			if key == "fresh" {
				j.Fresh = on
			} else {
				j.Timed = on
			}
		default:
			return fmt.Errorf("bench: %.80q: want unit=, fresh= or timed=", word)
		}
	}
	return nil
}

func (j *Job) check() error {
	o := j.Options
	if j.Title = o["description"]; j.Title == "" {
		j.Title = j.Name
	}
	if e := o["ioengine"]; !slices.Contains(engines, e) {
		return fmt.Errorf("ioengine: %.80q: want one of %s", e, strings.Join(engines, ", "))
	}
	if f, ok := o["filename"]; ok && !fileRE.MatchString(f) {
		return fmt.Errorf("filename: %.80q: want the name of a file in the target's directory", f)
	}
	if n, ok := o["numjobs"]; ok {
		if v, err := strconv.Atoi(n); err != nil || v < 1 || v > 256 {
			return fmt.Errorf("numjobs: %.80q: want 1 to 256", n)
		}
	}
	if !j.Timed && strings.HasPrefix(o["ioengine"], "file") != (j.Unit == Files) {
		return fmt.Errorf("bench: unit: %s with ioengine %s: %s are for filecreate, filestat and filedelete", j.Unit, o["ioengine"], Files)
	}
	if _, err := j.Bytes(); err != nil {
		return err
	}
	return nil
}

// Clients is how many work at once.
func (j Job) Clients() int {
	n, err := strconv.Atoi(j.Options["numjobs"])
	if err != nil {
		return 1
	}
	return n
}

// Writes reports whether the job writes into files, other than making them.
func (j Job) Writes() bool { return strings.Contains(j.Options["rw"], "w") } // fio reads where it is told nothing

// Pattern is of the names of the job's files, for a shell.
func (j Job) Pattern() string {
	if f, ok := j.Options["filename"]; ok {
		return f
	}
	return j.Name + ".*" // as fio calls them
}

// Bytes is how much space the job's files take, all clients' together.
func (j Job) Bytes() (int64, error) {
	size, err := bytesOf("size", j.Options, defaultSize)
	if each, ok := j.Options["filesize"]; ok && err == nil {
		if size, err = bytesOf("filesize", j.Options, 0); err != nil {
			return 0, err
		}
		files, convErr := strconv.Atoi(orOne(j.Options["nrfiles"]))
		if convErr != nil || files < 1 || files > 1_000_000 {
			return 0, fmt.Errorf("nrfiles: %.80q with filesize %s: want 1 to 1000000", j.Options["nrfiles"], each)
		}
		size *= int64(files)
	}
	return size * int64(j.Clients()), err
}

func orOne(text string) string {
	if text == "" {
		return "1"
	}
	return text
}

// bytesOf reads a size as fio does by default: k, m and g are powers of 1024.
func bytesOf(key string, options map[string]string, otherwise int64) (int64, error) {
	text, ok := options[key]
	if !ok {
		return otherwise, nil
	}
	units := map[byte]int64{'k': 1 << 10, 'm': 1 << 20, 'g': 1 << 30, 't': 1 << 40}
	number, unit := strings.ToLower(text), int64(1)
	if n := len(number); n > 0 && units[number[n-1]] > 0 {
		number, unit = number[:n-1], units[number[n-1]]
	}
	v, err := strconv.ParseInt(number, 10, 64)
	if err != nil || v < 1 || v > (1<<42)/unit {
		return 0, fmt.Errorf("%s: %.80q: want a number of bytes with k, m, g or t behind it, up to 4t", key, text)
	}
	return v * unit, nil
}

// file is the job as fio reads it: canonical, and without our comments.
func (j Job) file() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[%s]\n", j.Name)
	for _, key := range slices.Sorted(maps.Keys(j.Options)) {
		if value := j.Options[key]; value != "" {
			fmt.Fprintf(&b, "%s=%s\n", key, value)
		} else {
			fmt.Fprintf(&b, "%s\n", key)
		}
	}
	return b.String()
}

// layout is the job that writes another one's files whole.
func (j Job) layout() Job {
	options := map[string]string{"rw": "write", "bs": "1m", "ioengine": "psync", "end_fsync": "1", "fallocate": "none"}
	for _, key := range []string{"size", "filesize", "nrfiles", "filename", "numjobs"} {
		if v, ok := j.Options[key]; ok {
			options[key] = v
		}
	}
	if each, ok := j.Options["filesize"]; ok {
		options["bs"] = each // fio writes nothing to a file that is smaller than a block
		// An fsync for each of many small files takes minutes; the first run's end syncs all.
		delete(options, "end_fsync")
		options["create_fsync"], options["create_on_open"] = "0", "1"
	}
	if _, ok := options["size"]; !ok && options["filesize"] == "" {
		options["size"] = strconv.Itoa(defaultSize)
	}
	return Job{Name: j.Name, Title: "layout", Unit: MiBps, Options: options}
}

// Resize has the job work on so many bytes, all its clients together. Jobs of many
// small files stay as they are.
func (j Job) Resize(bytes int64) Job {
	if _, ok := j.Options["filesize"]; ok {
		return j
	}
	j.Options = maps.Clone(j.Options)
	j.Options["size"] = strconv.FormatInt(max(1<<20, bytes/int64(j.Clients())), 10)
	j.Text += "; size=" + j.Options["size"] + " by --file-size\n"
	return j
}

// LayoutKey is the same for jobs that work on the same files.
func (j Job) LayoutKey() string {
	l := j.layout()
	l.Name = j.Pattern() // in the place of the job's own
	return l.file()
}

// Select returns the jobs of the given names, in that order; all where none is named.
func Select(jobs []Job, names []string) ([]Job, error) {
	if len(names) == 0 {
		return jobs, nil
	}
	var chosen []Job
	for _, name := range names {
		i := slices.IndexFunc(jobs, func(j Job) bool { return j.Name == name })
		if i < 0 {
			all := make([]string, 0, len(jobs))
			for _, j := range jobs {
				all = append(all, j.Name)
			}
			return nil, fmt.Errorf("there is no job %.80q: there are %s", name, strings.Join(all, ", "))
		}
		chosen = append(chosen, jobs[i])
	}
	return chosen, nil
}
