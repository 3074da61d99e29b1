package guard

import "testing"

// BenchmarkTurns has turns that are free, and turns that many wait for.
func BenchmarkTurns(b *testing.B) {
	turn := func(b *testing.B, g *Guard) {
		b.Helper()
		if err := g.Do(b.Context(), Request{Flow: "class", Op: "test", On: "pool"}, func(*Turn) error { return nil }); err != nil {
			b.Error(err)
		}
	}
	b.Run("free", func(b *testing.B) {
		g := New(Settings{Operations: 4})
		b.ReportAllocs()
		for b.Loop() {
			turn(b, g)
		}
	})
	b.Run("contended", func(b *testing.B) {
		g := New(Settings{Operations: 1})
		b.ReportAllocs()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				turn(b, g)
			}
		})
	})
}
