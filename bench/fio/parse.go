package fio

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"syscall"

	kjson "sigs.k8s.io/json"
)

// Output is what is kept of one run.
type Output struct {
	// Version is fio's.
	Version string `json:"version"`
	// Read and Write are what the job did; Sync are its fsyncs.
	Read  Direction `json:"read"`
	Write Direction `json:"write"`
	Sync  Direction `json:"sync"`
}

// Direction is what fio counted of one kind of request.
type Direction struct {
	Requests uint64  `json:"requests,omitempty"`
	IOPS     float64 `json:"iops,omitempty"`
	// Bytes is of a second.
	Bytes float64 `json:"bytesPerSecond,omitempty"`
	// Latency is from the submission to the completion of a request.
	Latency Latency `json:"latency,omitzero"`
}

// Latency is how long requests took, in nanoseconds.
type Latency struct {
	Mean float64 `json:"mean,omitempty"`
	Min  float64 `json:"min,omitempty"`
	Max  float64 `json:"max,omitempty"`
	// Histogram is fio's own: how many requests took about so long, by time.
	Histogram []Bin `json:"histogram,omitempty"`
}

// Bin is a part of a histogram.
type Bin struct {
	NS    uint64 `json:"ns"`
	Count uint64 `json:"n"`
}

// IsZero says that there were no requests.
func (l Latency) IsZero() bool { return l.Mean == 0 && l.Max == 0 && len(l.Histogram) == 0 }

// The parts of fio's output that are read. Pointers tell what is missing.
type (
	rawTop struct {
		Version *string  `json:"fio version"`
		Jobs    []rawJob `json:"jobs"`
	}
	rawJob struct {
		Name  *string       `json:"jobname"`
		Error *int          `json:"error"`
		Read  *rawDirection `json:"read"`
		Write *rawDirection `json:"write"`
		Sync  *rawDirection `json:"sync"`
	}
	rawDirection struct {
		Total *uint64     `json:"total_ios"`
		IOPS  *float64    `json:"iops"`
		Bytes *float64    `json:"bw_bytes"`
		CLat  *rawLatency `json:"clat_ns"`
		Lat   *rawLatency `json:"lat_ns"`
	}
	rawLatency struct {
		Min  *float64          `json:"min"`
		Max  *float64          `json:"max"`
		Mean *float64          `json:"mean"`
		N    *uint64           `json:"N"`
		Bins map[string]uint64 `json:"bins"`
	}
)

// maxOutput is far beyond what fio writes about one job.
const maxOutput = 16 << 20

// Parse reads what fio wrote with --output-format=json+ about one job. Notes that
// fio wrote before the JSON are passed over.
func Parse(data []byte, job string) (Output, error) {
	if len(data) > maxOutput {
		return Output{}, fmt.Errorf("fio's output: %d bytes: want at most %d", len(data), maxOutput)
	}
	o, err := parse(data, job)
	if err != nil {
		return Output{}, fmt.Errorf("fio's output: %w", err)
	}
	return o, nil
}

func parse(data []byte, job string) (Output, error) {
	var top rawTop
	strict, err := kjson.UnmarshalStrict(fromObject(data), &top, kjson.DisallowDuplicateFields)
	if err = errors.Join(append(strict, err)...); err != nil {
		return Output{}, fmt.Errorf("it is no JSON as fio writes it (%w); it begins %.80q", err, data)
	}
	switch {
	case top.Version == nil:
		return Output{}, missing(`"fio version"`)
	case len(top.Jobs) != 1:
		return Output{}, fmt.Errorf("jobs: %d of them: want 1", len(top.Jobs))
	}
	j := top.Jobs[0]
	switch {
	case j.Name == nil:
		return Output{}, missing("jobs[0].jobname")
	case *j.Name != job:
		return Output{}, fmt.Errorf("jobs[0].jobname: %.80q: want %q", *j.Name, job)
	case j.Error == nil:
		return Output{}, missing("jobs[0].error")
	case *j.Error != 0:
		return Output{}, &JobError{syscall.Errno(*j.Error)}
	case j.Read == nil || j.Write == nil || j.Sync == nil:
		return Output{}, missing("jobs[0].read, write or sync")
	}
	o := Output{Version: *top.Version}
	if o.Read, err = j.Read.direction("jobs[0].read"); err == nil {
		o.Write, err = j.Write.direction("jobs[0].write")
	}
	if err == nil {
		o.Sync, err = j.Sync.syncs("jobs[0].sync")
	}
	if err == nil && o.Read.Requests+o.Write.Requests == 0 {
		err = errors.New("jobs[0]: no request was done in the time")
	}
	return o, err
}

// fromObject leaves out lines before the one that is a brace alone.
func fromObject(data []byte) []byte {
	if i := bytes.Index(data, []byte("\n{\n")); i >= 0 && !bytes.HasPrefix(data, []byte("{")) {
		return data[i+1:]
	}
	return data
}

func missing(field string) error { return fmt.Errorf("%s is missing", field) }

func (r *rawDirection) direction(path string) (Direction, error) {
	for field, there := range map[string]bool{"total_ios": r.Total != nil, "iops": r.IOPS != nil, "bw_bytes": r.Bytes != nil, "clat_ns": r.CLat != nil} {
		if !there {
			return Direction{}, missing(path + "." + field)
		}
	}
	d := Direction{Requests: *r.Total, IOPS: *r.IOPS, Bytes: *r.Bytes}
	for field, v := range map[string]float64{"iops": d.IOPS, "bw_bytes": d.Bytes} {
		if !positive(v) {
			return Direction{}, fmt.Errorf("%s.%s: %v: want a number of at least 0", path, field, v)
		}
	}
	if d.Requests > 0 && d.IOPS == 0 {
		return Direction{}, fmt.Errorf("%s.iops: 0 with %d requests done", path, d.Requests)
	}
	var err error
	d.Latency, err = r.CLat.latency(path + ".clat_ns")
	return d, err
}

// syncs reads the fsyncs, of which fio counts no rate.
func (r *rawDirection) syncs(path string) (Direction, error) {
	if r.Total == nil || r.Lat == nil {
		return Direction{}, missing(path + ".total_ios or lat_ns")
	}
	l, err := r.Lat.latency(path + ".lat_ns")
	return Direction{Requests: *r.Total, Latency: l}, err
}

func (r *rawLatency) latency(path string) (Latency, error) {
	if r.N == nil || r.Min == nil || r.Max == nil || r.Mean == nil {
		return Latency{}, missing(path + ".N, min, max or mean")
	}
	l := Latency{Mean: *r.Mean, Min: *r.Min, Max: *r.Max}
	if !positive(l.Min) || !positive(l.Mean) || !positive(l.Max) || l.Min > l.Max {
		return Latency{}, fmt.Errorf("%s: min %v, mean %v, max %v: want three numbers in this order, of at least 0", path, l.Min, l.Mean, l.Max)
	}
	if *r.N == 0 {
		return Latency{}, nil
	}
	var count uint64
	for text, n := range r.Bins {
		ns, err := strconv.ParseUint(text, 10, 63)
		if err != nil || n > math.MaxUint64-count {
			return Latency{}, fmt.Errorf("%s.bins: %.40q: %d: want nanoseconds and a count", path, text, n)
		}
		count += n
		l.Histogram = append(l.Histogram, Bin{ns, n})
	}
	if count != *r.N && count != 0 {
		return Latency{}, fmt.Errorf("%s.bins: %d requests in all: want %d, as N says", path, count, *r.N)
	}
	slices.SortFunc(l.Histogram, func(a, b Bin) int { return int(min(1, max(-1, int64(a.NS)-int64(b.NS)))) })
	return l, nil
}

func positive(v float64) bool { return v >= 0 && !math.IsInf(v, 0) }

// JobError is fio's word that a job failed, with the error of the system call.
type JobError struct{ Errno syscall.Errno }

func (e *JobError) Error() string {
	text := fmt.Sprintf("the job failed: %v", e.Errno)
	switch is := func(all ...syscall.Errno) bool { return slices.Contains(all, e.Errno) }; {
	case is(syscall.ENOSPC, syscall.EDQUOT):
		text += " (the target is full: give the volume more, or the job a smaller size)"
	case is(syscall.ENOTCONN, syscall.ESTALE, syscall.EIO):
		text += " (the mount is gone, or its client reaches no brick)"
	case is(syscall.EINVAL):
		text += " (the file system refuses what the job asks for, such as direct=1 or its ioengine)"
	}
	return text
}

// Unwrap returns the error of the system call.
func (e *JobError) Unwrap() error { return e.Errno }

// Merge returns the histogram of several together.
func Merge(all ...[]Bin) []Bin {
	sum := map[uint64]uint64{}
	for _, h := range all {
		for _, b := range h {
			sum[b.NS] += b.Count
		}
	}
	var merged []Bin
	for _, ns := range slices.Sorted(maps.Keys(sum)) {
		merged = append(merged, Bin{ns, sum[ns]})
	}
	return merged
}

// Percentile returns the time within which that share (0 to 1) of the requests of
// a sorted histogram were done, in nanoseconds; 0 where there were none.
func Percentile(h []Bin, share float64) float64 {
	var all, sum uint64
	for _, b := range h {
		all += b.Count
	}
	for _, b := range h {
		if sum += b.Count; float64(sum) >= share*float64(all) {
			return float64(b.NS)
		}
	}
	return 0
}

// versionOf reads "fio-3.33" and the like.
func versionOf(text string) (major, minor int, err error) {
	first, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	number, ok := strings.CutPrefix(first, "fio-")
	number, _, _ = strings.Cut(number, "-") // of a build from a repository
	a, b, _ := strings.Cut(number, ".")
	if b == "" {
		b = "0"
	}
	b, _, _ = strings.Cut(b, ".")
	major, majorErr := strconv.Atoi(a)
	minor, minorErr := strconv.Atoi(b)
	if !ok || majorErr != nil || minorErr != nil {
		return 0, 0, fmt.Errorf("fio --version says %.80q: want fio-MAJOR.MINOR", first)
	}
	return major, minor, nil
}
