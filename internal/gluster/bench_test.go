package gluster

import (
	"bytes"
	"fmt"
	"strconv"
	"testing"
)

// manyVolumes returns the recorded answer of `volume info` as it would be with
// that many volumes of its kind.
func manyVolumes(b *testing.B, count int) []byte {
	b.Helper()
	const begin, end = "<volume>", "</volume>"
	recorded := recorded(b, "info-one.xml")
	from, to := bytes.Index(recorded, []byte(begin)), bytes.LastIndex(recorded, []byte(end))
	if from < 0 || to < from {
		b.Fatal("the recorded answer has no volume")
	}
	to += len(end)
	out := bytes.Clone(recorded[:from])
	for n := range count {
		out = append(out, bytes.ReplaceAll(recorded[from:to], []byte("r3"), fmt.Appendf(nil, "pvc-%d", n))...)
	}
	return append(out, bytes.Replace(recorded[to:], []byte("<count>1<"), []byte("<count>"+strconv.Itoa(count)+"<"), 1)...)
}

// BenchmarkVolumeInfo reads the answer that most calls ask for, from what the
// command printed on.
func BenchmarkVolumeInfo(b *testing.B) {
	for _, count := range []int{1, 1000} {
		printed := Output{Stdout: manyVolumes(b, count)}
		b.Run(fmt.Sprintf("volumes=%d", count), func(b *testing.B) {
			b.SetBytes(int64(len(printed.Stdout)))
			b.ReportAllocs()
			for b.Loop() {
				answers, err := take("volume info", printed, 1)
				if err != nil {
					b.Fatal(err)
				}
				volumes, err := parseVolumes("volume info", answers[0])
				if err != nil || len(volumes) != count {
					b.Fatalf("%d volumes, %v", len(volumes), err)
				}
			}
		})
	}
}

// BenchmarkVolumeStatus reads what a create looks at last.
func BenchmarkVolumeStatus(b *testing.B) {
	printed := output(b, "status-detail-r3.xml")
	b.ReportAllocs()
	for b.Loop() {
		answers, err := take("volume status", printed, 1)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := parseStatus("volume status", "r3", answers[0]); err != nil {
			b.Fatal(err)
		}
	}
}
