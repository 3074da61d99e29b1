package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
)

// measured is what the demo keeps of one run of fio.
type measured struct {
	version string
	// iops and bytesPerSecond are of the one direction that the job has.
	iops, bytesPerSecond float64
}

// parseFio reads what fio wrote with --output-format=json about one job. It takes
// nothing on trust: a field that is missing, unknown or out of range is an error,
// since a number that means something else than it did spoils a comparison
// without a word.
func parseFio(data []byte, job string, direction string) (measured, error) {
	m, err := readFio(data, job, direction)
	if err != nil {
		return measured{}, fmt.Errorf("fio's output: %w", err)
	}
	return m, nil
}

func readFio(data []byte, job, direction string) (measured, error) {
	top, err := parseObject("", data)
	if err != nil {
		return measured{}, err
	}
	if err := top.only("fio version", "timestamp", "timestamp_ms", "time", "jobs", "disk_util", "global options"); err != nil {
		return measured{}, err
	}
	var m measured
	if m.version, err = top.text("fio version"); err != nil {
		return measured{}, err
	}
	j, err := top.onlyJob(job)
	if err != nil {
		return measured{}, err
	}
	for _, other := range []string{"read", "write"} {
		d, err := j.direction(other)
		if err != nil {
			return measured{}, err
		}
		total, err := d.number("total_ios")
		switch {
		case err != nil:
			return measured{}, err
		case other == direction && total == 0:
			return measured{}, fmt.Errorf("%s.total_ios: 0: want more: the job did nothing in its time", d.path)
		case other != direction && total != 0:
			return measured{}, fmt.Errorf("%s.total_ios: %v: want 0 in a job that shall only %s", d.path, total, direction)
		}
	}
	d, err := j.direction(direction)
	if err != nil {
		return measured{}, err
	}
	for field, to := range map[string]*float64{"iops": &m.iops, "bw_bytes": &m.bytesPerSecond} {
		if *to, err = d.number(field); err != nil {
			return measured{}, err
		}
		if *to == 0 {
			return measured{}, fmt.Errorf("%s.%s: 0: want more", d.path, field)
		}
	}
	return m, nil
}

// onlyJob returns the one job that fio was asked to run, if it went well.
func (o object) onlyJob(name string) (object, error) {
	var jobs []json.RawMessage
	raw, err := o.field("jobs")
	if err == nil {
		err = json.Unmarshal(raw, &jobs)
	}
	switch {
	case err != nil:
		return object{}, err
	case len(jobs) != 1:
		return object{}, fmt.Errorf("jobs: %d of them: want 1", len(jobs))
	}
	j, err := parseObject("jobs[0]", jobs[0])
	if err != nil {
		return object{}, err
	}
	err = j.only("jobname", "groupid", "job_start", "error", "eta", "elapsed", "desc", "job options",
		"read", "write", "trim", "sync", "mixed", "job_runtime", "usr_cpu", "sys_cpu", "ctx", "majf", "minf",
		"iodepth_level", "iodepth_submit", "iodepth_complete", "latency_ns", "latency_us", "latency_ms",
		"latency_depth", "latency_target", "latency_percentile", "latency_window")
	if err != nil {
		return object{}, err
	}
	got, err := j.text("jobname")
	if err != nil {
		return object{}, err
	}
	if got != name {
		return object{}, fmt.Errorf("%s.jobname: %q: want %q", j.path, got, name)
	}
	code, err := j.number("error")
	if err == nil && code != 0 {
		err = fmt.Errorf("%s.error: %v: want 0: the job failed", j.path, code)
	}
	return j, err
}

// direction returns what fio counted of reads or of writes.
func (o object) direction(name string) (object, error) {
	raw, err := o.field(name)
	if err != nil {
		return object{}, err
	}
	d, err := parseObject(o.path+"."+name, raw)
	if err != nil {
		return object{}, err
	}
	return d, d.only("io_bytes", "io_kbytes", "bw_bytes", "bw", "iops", "runtime", "total_ios", "short_ios", "drop_ios",
		"slat_ns", "clat_ns", "lat_ns", "clat_prio", "lat_prio", "prios", "bw_min", "bw_max", "bw_agg", "bw_mean", "bw_dev",
		"bw_samples", "iops_min", "iops_max", "iops_mean", "iops_stddev", "iops_samples")
}

// object is a JSON object, and where in the output it stands.
type object struct {
	path   string
	fields map[string]json.RawMessage
}

func parseObject(path string, data []byte) (object, error) {
	where := ""
	if path != "" {
		where = path + ": "
	}
	o := object{path: path}
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&o.fields); err != nil {
		return object{}, fmt.Errorf("%sit is no JSON object (%w); it begins %s", where, err, start(data))
	}
	if o.fields == nil {
		return object{}, fmt.Errorf("%snull: want a JSON object", where)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return object{}, fmt.Errorf("%sthere is more behind the JSON object", where)
	}
	return o, nil
}

// start quotes the first of some text.
func start(data []byte) string {
	const most = 80
	if len(data) > most {
		return strconv.Quote(string(data[:most])) + "..."
	}
	return strconv.Quote(string(data))
}

func (o object) at(field string) string {
	if o.path == "" {
		return strconv.Quote(field)
	}
	return o.path + "." + field
}

// only refuses fields beyond those that are known.
func (o object) only(known ...string) error {
	var unknown []string
	for field := range o.fields {
		if !slices.Contains(known, field) {
			unknown = append(unknown, o.at(field))
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return fmt.Errorf("unknown field %s: this demo knows the output of fio 3.33, that of Debian 12", unknown[0])
}

func (o object) field(name string) (json.RawMessage, error) {
	raw, ok := o.fields[name]
	if !ok {
		return nil, fmt.Errorf("%s is missing", o.at(name))
	}
	return raw, nil
}

func (o object) text(name string) (string, error) {
	raw, err := o.field(name)
	if err != nil {
		return "", err
	}
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil || *s == "" {
		return "", fmt.Errorf("%s: %s: want a text", o.at(name), raw)
	}
	return *s, nil
}

func (o object) number(name string) (float64, error) {
	raw, err := o.field(name)
	if err != nil {
		return 0, err
	}
	var n *float64
	if err := json.Unmarshal(raw, &n); err != nil || n == nil || *n < 0 || math.IsInf(*n, 0) {
		return 0, fmt.Errorf("%s: %s: want a number of at least 0", o.at(name), raw)
	}
	return *n, nil
}
