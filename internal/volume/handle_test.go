package volume

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestHandleRoundTrip(t *testing.T) {
	for _, h := range []Handle{
		{Plain, "gold", "pvc-0f3a"},
		{Heketi, "p", "x_y-1"},
		{Plain, strings.Repeat("p", MaxPoolName), strings.Repeat("v", MaxVolumeName)},
	} {
		id := h.String()
		if len(id) > MaxHandle {
			t.Errorf("%q has %d bytes, more than CSI allows", id, len(id))
		}
		if got, err := ParseHandle(id); err != nil || got != h {
			t.Errorf("ParseHandle(%q) = %v, %v", id, got, err)
		}
	}
}

func TestParseHandleRefusesForgeries(t *testing.T) {
	for _, id := range []string{
		"bl1.plain.gold", "bl1.plain.gold.a.b", "bl2.plain.gold.a", "bl1.lvm.gold.a", "bl1.plain..a", "bl1.plain.gold.",
		"bl1.plain.../etc.a", "bl1.plain.gold.../../x", "bl1.plain.gold.-rf", "bl1.plain.gold.a\nb", "bl1.plain.gold.a\x00",
		"bl1.plain.Gold.a", "bl1.plain.gold.A", "BL1.plain.gold.a", "bl1.plain.-gold.a", "bl1.plain.gold.a/b",
		"bl1.plain.gold." + strings.Repeat("a", MaxVolumeName+1), strings.Repeat("x", 4096), "\xff",
	} {
		if h, err := ParseHandle(id); !Is(err, NotFound) {
			t.Errorf("ParseHandle(%.40q) = %v, %v; want NotFound", id, h, err)
		}
	}
	if _, err := ParseHandle(""); !Is(err, Invalid) {
		t.Errorf("an empty ID: %v, want Invalid", err)
	}
}

func FuzzParseHandle(f *testing.F) {
	for _, id := range []string{"bl1.plain.gold.pvc-1", "bl1.heketi.p.v_1", "bl1.plain.a.b.c", "bl1...", ""} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		h, err := ParseHandle(id)
		if err != nil {
			return
		}
		if h.String() != id || len(id) > MaxHandle || strings.ContainsAny(id, "/\x00\n ,:") {
			t.Errorf("%q was read as %v, which writes %q", id, h, h)
		}
	})
}

func TestCheckRequestName(t *testing.T) {
	for _, bad := range []string{"", "a/b", "..", "a..b", "a\x00b", "a\nb", "-rf", "\xff\xfe", "a\u202eb", strings.Repeat("n", 129), strings.Repeat("n", 4096)} {
		if err := CheckRequestName(bad); !Is(err, Invalid) || !strings.HasPrefix(err.Error(), "name: ") {
			t.Errorf("CheckRequestName(%.20q) = %v", bad, err)
		}
	}
	for _, good := range []string{"pvc-1", "Ünï cödé", strings.Repeat("n", 128), "a.b", "UPPER_case"} {
		if err := CheckRequestName(good); err != nil {
			t.Errorf("CheckRequestName(%q) = %v", good, err)
		}
	}
}

// Two requests never share a name, whatever they are called, and every name is sound.
func TestDeriveNameKeepsRequestsApart(t *testing.T) {
	names := rapid.OneOf(
		rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,70}`),
		rapid.StringMatching(`bl-[0-9a-f]{32}`),
		rapid.String(),
	)
	prefixes := rapid.SampledFrom([]string{"", "p", "team-a"})
	rapid.Check(t, func(t *rapid.T) {
		a, b := names.Draw(t, "a"), names.Draw(t, "b")
		p, q := prefixes.Draw(t, "p"), prefixes.Draw(t, "q")
		x, y := DeriveName(p, a), DeriveName(q, b)
		if err := CheckName(x); err != nil {
			t.Fatalf("DeriveName(%q, %q) = %q: %v", p, a, x, err)
		}
		if (x == y) != (a == b && p == q) {
			t.Fatalf("(%q, %q) -> %q and (%q, %q) -> %q", p, a, x, q, b, y)
		}
	})
}

func TestDeriveNameKeepsReadableNames(t *testing.T) {
	if got := DeriveName("", "pvc-0b1c"); got != "pvc-0b1c" {
		t.Errorf("got %q", got)
	}
	if got := DeriveName("team", "pvc-0b1c"); got != "team_pvc-0b1c" {
		t.Errorf("got %q", got)
	}
	hashed := DeriveName("", "Some Name")
	if again := DeriveName("", hashed); again == hashed {
		t.Errorf("a request named like a hash (%q) shares its volume", hashed)
	}
}
