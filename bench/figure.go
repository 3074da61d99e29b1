package bench

import (
	"errors"
	"strconv"

	"bricklayer.csi/bench/fio"
)

// figure is what a run achieved, in its job's unit.
func figure(j fio.Job, o fio.Output) (float64, error) {
	var v float64
	switch j.Unit {
	case fio.MiBps:
		v = (o.Read.Bytes + o.Write.Bytes) / (1 << 20)
	case fio.Files:
		// Not fio's own rate: it counts in whole milliseconds.
		if o.Read.Latency.Mean > 0 {
			v = float64(j.Clients()) * 1e9 / o.Read.Latency.Mean
		}
	default:
		v = o.Read.IOPS + o.Write.IOPS
	}
	if v <= 0 {
		return 0, errors.New("fio did nothing that counts as " + j.Unit)
	}
	return v, nil
}

// latencyOf says in words what a job's latencies are of.
func latencyOf(j fio.Job) string {
	switch {
	case j.Unit == fio.Files:
		return "one file"
	case j.Options["fsync"] == "1":
		return "the fsync after each write"
	}
	return "one request"
}

// latencies is the histogram of what latencyOf says.
func latencies(info JobInfo, o fio.Output) []fio.Bin {
	if info.Latency == latencyOf(fio.Job{Options: map[string]string{"fsync": "1"}}) {
		return o.Sync.Latency.Histogram
	}
	return fio.Merge(o.Read.Latency.Histogram, o.Write.Latency.Histogram)
}

// Short shows three digits, and of large numbers all before the point.
func Short(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
