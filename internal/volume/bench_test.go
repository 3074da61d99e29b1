package volume

import "testing"

func BenchmarkParseHandle(b *testing.B) {
	id := Handle{Plain, "gold", "pvc-0f3a6e0c-6a41-4f2b-9a34-1f2f3a4b5c6d"}.String()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseHandle(id); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHandleString(b *testing.B) {
	h := Handle{Plain, "gold", "pvc-0f3a6e0c-6a41-4f2b-9a34-1f2f3a4b5c6d"}
	b.ReportAllocs()
	for b.Loop() {
		_ = h.String()
	}
}

// BenchmarkDeriveName has a name that stands and one that must be hashed.
func BenchmarkDeriveName(b *testing.B) {
	for _, test := range []struct{ name, request string }{
		{"stands", "pvc-0f3a6e0c-6a41-4f2b-9a34-1f2f3a4b5c6d"},
		{"hashed", "A claim of Nomad's, with a name of its own"},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = DeriveName("team", test.request)
			}
		})
	}
}

// benchParameters is a class as people write them.
func benchParameters() map[string]string {
	return map[string]string{
		"lvm": "false", "pool": "gold", "volumetype": "replicate:3:arbiter:1", "volumenameprefix": "team",
		"volumeoptions": "performance.write-behind on, client.event-threads 4, server.event-threads 4, features.shard on",
		"gidMin":        "3000", "gidMax": "4000", "onDelete": "archive",
	}
}

func BenchmarkParseParameters(b *testing.B) {
	raw := benchParameters()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseParameters(raw); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFingerprint is taken for each volume that a create looks at.
func BenchmarkFingerprint(b *testing.B) {
	p, err := ParseParameters(benchParameters())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = p.Fingerprint()
	}
}
