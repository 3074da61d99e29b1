package mark

import "testing"

// BenchmarkRead is done for each volume that a survey of a pool finds.
func BenchmarkRead(b *testing.B) {
	v := marked(sample())
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := Read(v); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkOptions(b *testing.B) {
	v := sample()
	b.ReportAllocs()
	for b.Loop() {
		_ = v.Options()
	}
}
