package volume

import "testing"

func TestParseType(t *testing.T) {
	tests := []struct {
		text, want string
		bricks     int
	}{
		{"", "replicate:3", 3},
		{"replicate", "replicate:3", 3},
		{"Replicate:2", "replicate:2", 2},
		{"replicate:3:arbiter:1", "replicate:3:arbiter:1", 3},
		{"disperse:4:2", "disperse:4:2", 6},
		{" none ", "none", 1},
	}
	for _, test := range tests {
		got, err := ParseType(test.text)
		if err != nil || got.String() != test.want || got.Bricks() != test.bricks {
			t.Errorf("ParseType(%q) = %v with %d bricks, %v", test.text, got, got.Bricks(), err)
		}
	}
	for _, bad := range []string{
		"replicate:", "replicate:1", "replicate:0", "replicate:-3", "replicate:10", "replicate:3:2", "replicate:+3", "replicate:03",
		"replicate:3:arbiter:2", "replicate:2:arbiter:1", "replicate:arbiter:3:1", "replicate:3:arbiter", "replicate:99999999999999999999",
		"disperse", "disperse:4", "disperse:4:0", "disperse:2:2", "disperse:15:2", "disperse:4:2:1", "disperse:a:b", "none:1", "stripe:2", ":", "replicate 3",
	} {
		if got, err := ParseType(bad); !Is(err, Invalid) {
			t.Errorf("ParseType(%q) = %v, %v; want Invalid", bad, got, err)
		}
	}
}

// What df shows on a client is the smallest replica, or the data fragments
// together; that must be the volume's size for every type.
func TestBrickQuotasMakeUpTheSize(t *testing.T) {
	for _, text := range []string{"replicate:2", "replicate:3", "replicate:3:arbiter:1", "disperse:2:1", "disperse:3:1", "disperse:8:4", "none"} {
		typ, err := ParseType(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, asked := range []Size{1, MiB, 100*MiB + 1, GiB, 7*GiB + 5, MaxSize / 2} {
			size, err := (SizeRange{Required: asked}).Pick(typ.SizeUnit())
			if err != nil {
				t.Fatal(err)
			}
			for i := range typ.Bricks() {
				quota := typ.BrickQuota(i, size)
				switch {
				case quota%MiB != 0 || quota <= 0:
					t.Errorf("%s of %d: brick %d gets %d bytes, not whole MiB", text, size, i, quota)
				case typ.Durability == Disperse && quota*Size(typ.Data) != size:
					t.Errorf("%s of %d: %d fragments of %d bytes", text, size, typ.Data, quota)
				case typ.IsArbiter(i) && quota > size:
					t.Errorf("%s of %d: the arbiter gets %d bytes", text, size, quota)
				case typ.Durability != Disperse && !typ.IsArbiter(i) && quota != size:
					t.Errorf("%s of %d: brick %d gets %d bytes", text, size, i, quota)
				}
			}
		}
	}
}

func FuzzParseType(f *testing.F) {
	for _, s := range []string{"replicate:3", "replicate:3:arbiter:1", "disperse:4:2", "none", "replicate:arbiter:3", "::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		typ, err := ParseType(text)
		if err != nil {
			return
		}
		if again, err := ParseType(typ.String()); err != nil || again != typ || typ.Bricks() < 1 || typ.Bricks() > maxDisperse {
			t.Errorf("%q was read as %v, which reads back as %v, %v", text, typ, again, err)
		}
	})
}
