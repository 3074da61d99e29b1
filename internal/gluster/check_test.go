package gluster

import (
	"strings"
	"testing"

	"bricklayer.csi/internal/volume"
)

func TestCheckName(t *testing.T) {
	for _, good := range []string{"v", "pvc-123", "Foreign_Volume-1", "_x", strings.Repeat("v", 255)} {
		if err := checkName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "-v", "--xml", "a b", "a\nb", "a\x00b", "a.b", "a/b", "..", "all", "ALL", "help", "é", "v;rm",
		"v\t", strings.Repeat("v", 256),
	} {
		if err := checkName(bad); volume.KindOf(err) != volume.Invalid || err == nil {
			t.Errorf("%q: %v, want Invalid", bad, err)
		}
	}
}

func TestCreateRequestCheck(t *testing.T) {
	good := CreateRequest{Name: "v", Replica: 3, Bricks: bricks("v", 1, 2, 3)}
	edit := func(f func(r *CreateRequest)) CreateRequest {
		r := good
		r.Bricks = bricks("v", 1, 2, 3)
		f(&r)
		return r
	}
	brick := func(host, path string) CreateRequest {
		return edit(func(r *CreateRequest) { r.Bricks[1] = Brick{Host: host, Path: path} })
	}
	for name, r := range map[string]CreateRequest{
		"replica":  good,
		"arbiter":  edit(func(r *CreateRequest) { r.Arbiter = 1 }),
		"disperse": edit(func(r *CreateRequest) { r.Replica, r.Disperse, r.Redundancy = 0, 3, 1 }),
		"none":     edit(func(r *CreateRequest) { r.Replica, r.Bricks = 0, r.Bricks[:1] }),
		"name":     brick("n2.example.com", "/b"),
		"IPv6":     brick("fd00::2", "/b"),
	} {
		if err := r.check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, r := range map[string]CreateRequest{
		"name":              edit(func(r *CreateRequest) { r.Name = "-v" }),
		"replica 1":         edit(func(r *CreateRequest) { r.Replica = 1 }),
		"replica negative":  edit(func(r *CreateRequest) { r.Replica = -3 }),
		"replica huge":      edit(func(r *CreateRequest) { r.Replica = 1 << 40 }),
		"both":              edit(func(r *CreateRequest) { r.Disperse, r.Redundancy = 3, 1 }),
		"arbiter of 2":      edit(func(r *CreateRequest) { r.Replica, r.Arbiter, r.Bricks = 2, 1, r.Bricks[:2] }),
		"arbiters":          edit(func(r *CreateRequest) { r.Arbiter = 2 }),
		"no redundancy":     edit(func(r *CreateRequest) { r.Replica, r.Disperse = 0, 3 }),
		"all redundancy":    edit(func(r *CreateRequest) { r.Replica, r.Disperse, r.Redundancy = 0, 3, 2 }),
		"redundancy only":   edit(func(r *CreateRequest) { r.Redundancy = 1 }),
		"disperse 2":        edit(func(r *CreateRequest) { r.Replica, r.Disperse, r.Redundancy = 0, 2, 1 }),
		"no bricks":         edit(func(r *CreateRequest) { r.Bricks = nil }),
		"a brick too few":   edit(func(r *CreateRequest) { r.Bricks = r.Bricks[:2] }),
		"same brick":        edit(func(r *CreateRequest) { r.Bricks[2] = r.Bricks[0] }),
		"no host":           brick("", "/b"),
		"host a flag":       brick("--mode=x", "/b"),
		"host with blank":   brick("n 2", "/b"),
		"host with slash":   brick("n2/x", "/b"),
		"path relative":     brick("n2", "b"),
		"path the root":     brick("n2", "/"),
		"path not clean":    brick("n2", "/a/../b"),
		"path ends in /":    brick("n2", "/a/"),
		"path with blank":   brick("n2", "/a b"),
		"path with newline": brick("n2", "/a\nvolume delete x"),
		"path with NUL":     brick("n2", "/a\x00"),
		"path long":         brick("n2", "/"+strings.Repeat("a", 1024)),
		"path not ASCII":    brick("n2", "/é"),
	} {
		if err := r.check(); err == nil || volume.KindOf(err) != volume.Invalid {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
}

func TestCheckOptions(t *testing.T) {
	for key, value := range map[string]string{
		"user.bricklayer.handle":  "bl1.plain.lab.pvc-123",
		"user.bricklayer.size":    "1073741824",
		"auth.allow":              "10.90.0.0/24,192.168.0.*",
		"storage.owner-uid":       "-1",
		"user.x":                  `<&>"%;=é`,
		"cluster.lookup-optimize": "on",
	} {
		if err := checkOptions([]Option{{key, value}}); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	for name, o := range map[string][]Option{
		"none":            nil,
		"no key":          {{"", "v"}},
		"a word":          {{"group", "virt"}},
		"help":            {{"help", "x"}},
		"a flag":          {{"--xml.x", "v"}},
		"key with blank":  {{"a. b", "v"}},
		"key with =":      {{"a.b=c", "v"}},
		"key ends in dot": {{"a.", "v"}},
		"key long":        {{"a." + strings.Repeat("b", 128), "v"}},
		"no value":        {{"a.b", ""}},
		"value newline":   {{"a.b", "on\nstatus=0"}},
		"value blank":     {{"a.b", "a b"}},
		"value tab":       {{"a.b", "a\tb"}},
		"value NUL":       {{"a.b", "a\x00"}},
		"value escape":    {{"a.b", "\x1b[0m"}},
		"value not UTF-8": {{"a.b", "\xff"}},
		"value long":      {{"a.b", strings.Repeat("x", 4097)}},
		"misread network": {{"auth.allow", "10.0.0.0/8,10.90.0.0/25"}},
		"open network":    {{"auth.allow", "10.90.0.1/32"}},
		"odd length":      {{"auth.reject", "10.90.0.0/024"}},
		"twice":           {{"a.b", "1"}, {"a.b", "2"}},
		"too many":        make([]Option, 129),
	} {
		if err := checkOptions(o); err == nil || volume.KindOf(err) != volume.Invalid {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
}

// Whatever passes the checks is one word on a session's line.
func FuzzChecks(f *testing.F) {
	f.Add("v", "h", "/b", "a.b", "1")
	f.Fuzz(func(t *testing.T, name, host, path, key, value string) {
		words := []string{}
		if checkName(name) == nil {
			words = append(words, name)
		}
		if checkBrick("brick", Brick{Host: host, Path: path}) == nil {
			words = append(words, Brick{Host: host, Path: path}.String())
			if b, ok := ParseBrick(words[len(words)-1]); !ok || b.Host != host || b.Path != path {
				t.Errorf("brick %q comes back as %+v", words[len(words)-1], b)
			}
		}
		if checkOptions([]Option{{key, value}}) == nil {
			words = append(words, key, value)
		}
		if got := strings.FieldsFunc(strings.Join(words, " "), func(r rune) bool { return strings.ContainsRune(" \t\r\n\x00", r) }); len(got) != len(words) {
			t.Errorf("%q is read as %q", words, got)
		}
	})
}
