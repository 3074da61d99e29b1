package volume

import (
	"math"
	"testing"
)

func TestNewSizeRange(t *testing.T) {
	tests := []struct {
		name            string
		required, limit int64
		want            SizeRange
		kind            Kind
		ok              bool
	}{
		{name: "nothing asked", want: SizeRange{Required: DefaultSize}, ok: true},
		{name: "required only", required: 5, want: SizeRange{Required: 5}, ok: true},
		{name: "limit only", limit: 7 << 20, want: SizeRange{Required: 7 << 20, Limit: 7 << 20}, ok: true},
		{name: "large limit only", limit: 1 << 40, want: SizeRange{Required: DefaultSize, Limit: 1 << 40}, ok: true},
		{name: "limit below required", required: 10, limit: 9, kind: Invalid},
		{name: "negative", required: -1, kind: Invalid},
		{name: "negative limit", limit: math.MinInt64, kind: Invalid},
		{name: "near 2^63", required: math.MaxInt64, kind: OutOfRange},
		{name: "near 2^63, rounding would wrap", required: math.MaxInt64 - 1<<10, kind: OutOfRange},
		{name: "limit near 2^63", required: 1, limit: math.MaxInt64, kind: OutOfRange},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := NewSizeRange(test.required, test.limit)
			if test.ok && (err != nil || got != test.want) {
				t.Errorf("got %v, %v; want %v", got, err, test.want)
			}
			if !test.ok && !Is(err, test.kind) {
				t.Errorf("got %v, %v; want %v", got, err, test.kind)
			}
		})
	}
}

func TestPickRoundsUpWithinTheLimit(t *testing.T) {
	if got, err := (SizeRange{Required: 1}).Pick(MiB); err != nil || got != MiB {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := (SizeRange{Required: 3*MiB + 1, Limit: 6 * MiB}).Pick(3 * MiB); err != nil || got != 6*MiB {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := (SizeRange{Required: MiB + 1, Limit: MiB + 2}).Pick(MiB); !Is(err, OutOfRange) {
		t.Errorf("no multiple within the limit: %v", err)
	}
	if _, err := (SizeRange{Required: MaxSize}).Pick(3 * MiB); !Is(err, OutOfRange) {
		t.Errorf("rounding beyond the largest size: %v", err)
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"1", "1GiB", "1500MiB", "10G", "9223372036854775807", "16EiB", "18446744073709551616", "Gi", "-1", "1.5Gi", "1Gi1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		size, err := ParseSize(text)
		if err != nil {
			return
		}
		if size < 0 || size > MaxSize {
			t.Fatalf("%q was read as %d", text, size)
		}
		if again, err := ParseSize(size.String()); err != nil || again != size {
			t.Fatalf("%d is written %q and read back as %d, %v", size, size, again, err)
		}
	})
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]Size{"1Gi": GiB, "1GiB": GiB, "2G": 2e9, "0": 0, "7": 7, "1Ei": MaxSize} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "Gi", "-1", "1.5Gi", "2Ei", "1 Gi", "0x10", "1Gi1", "99999999999999999999", "20000000000G"} {
		if got, err := ParseSize(text); !Is(err, Invalid) {
			t.Errorf("ParseSize(%q) = %d, %v; want Invalid", text, got, err)
		}
	}
}
