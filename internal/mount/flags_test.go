package mount

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/internal/volume"
)

func TestFlags(t *testing.T) {
	f, err := ParseFlags([]string{"noatime", "acl", "nosuid", "log-level=ERROR", "attribute-timeout=0", "_netdev", "rw"})
	if err != nil {
		t.Fatal(err)
	}
	got := clientArgs([]string{"n1", "n2"}, DefaultPort, "vol", "/log/vol.log", "/mnt", f)
	want := []string{
		"--no-daemon", "--process-name=fuse", "--volfile-id=/vol", "--log-file=/log/vol.log", "--volfile-server=n1", "--volfile-server=n2",
		"--acl", "--log-level=ERROR", "--attribute-timeout=0", "--fuse-mountopts=noatime,nosuid", "/mnt",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if f, err := ParseFlags([]string{"ro"}); err != nil || !f.ReadOnly {
		t.Errorf("ro: %+v, %v", f, err)
	}
}

func TestBadFlags(t *testing.T) {
	for _, given := range [][]string{
		{""},
		{"RO"},
		{" ro"},
		{"ro "},
		{"ro,rw"},
		{"ro", "rw"},
		{"ro", "ro"},
		{"ro=1"},
		{"noatime=yes"},
		{"log-level"},
		{"log-level="},
		{"log-level=TRACE"},
		{"log-level=INFO,acl"},
		{"attribute-timeout=-1"},
		{"attribute-timeout=1.5"},
		{"attribute-timeout=+1"},
		{"attribute-timeout=99999999999999999999"},
		{"log-file=/etc/passwd"},
		{"volfile=/tmp/x"},
		{"volfile-server=evil"},
		{"backup-volfile-servers=evil"},
		{"xlator-option=*.a=b"},
		{"dump-fuse=/x"},
		{"fuse-mountopts=suid"},
		{"suid"},
		{"dev"},
		{"subdir-mount=/x"},
		{"process-name=x"},
		{"transport=unix"},
		{"oom-score-adj=-1000"},
		{"x-anything"},
		{"lru-limit=1 --xlator-option=a"},
		{"acl\nlog-file=/x"},
		{"no-root-squash=yes"},
		{"aux-gfid-mount"},
		{"context=x"},
		{strings.Repeat("a", 5000)},
	} {
		if _, err := ParseFlags(given); !volume.Is(err, volume.Invalid) || !strings.Contains(err.Error(), "mount_flags") {
			t.Errorf("%.60q: got %v; want Invalid", given, err)
		}
	}
}

func TestEveryFlagIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, known := range flagList {
		if known.why == "" || known.put == nil || (known.check == nil) != (known.says == "") || seen[known.name] {
			t.Errorf("%s: %+v", known.name, known)
		}
		seen[known.name] = true
	}
}

func TestSources(t *testing.T) {
	for servers, want := range map[string]bool{
		"n1": true, "10.0.0.1": true, "fd00::1,n2.example.org": true, "a-b": true,
		"": false, ",": false, "n1,": false, "n1,n1": false, "-o": false, "n1 n2": false, "n1:/v": false, "n1/x": false, "n_1": false,
		"n1\n": false, "0.0.0.0": false, "fe80::1%eth0": false, "224.0.0.1": false, "10.0.0": false, "10.0.0.256": false,
		"$(x)": false, strings.Repeat("a", 64): false, strings.Repeat("a.", 130) + "a": false,
		"1a,2a,3a,4a,5a,6a,7a,8a,9a,10a,11a,12a,13a,14a,15a,16a": true, "1a,2a,3a,4a,5a,6a,7a,8a,9a,10a,11a,12a,13a,14a,15a,16a,17a": false,
	} {
		if _, err := NewSource(servers, "vol"); (err == nil) != want {
			t.Errorf("%.40q: %v", servers, err)
		}
	}
	for _, name := range []string{"", "-v", "a/b", "..", "A", "a b", "snaps/x", strings.Repeat("a", 65)} {
		if _, err := NewSource("n1", name); !volume.Is(err, volume.Invalid) {
			t.Errorf("volume %q: %v", name, err)
		}
	}
}

// FuzzArguments looks that nothing that is accepted can become another argument.
func FuzzArguments(f *testing.F) {
	f.Add("n1,n2", "vol", "log-level=INFO")
	f.Add("-x", "../v", "xlator-option=a")
	f.Add("fd00::1", "a", "attribute-timeout=5")
	f.Fuzz(func(t *testing.T, servers, name, flag string) {
		src, err := NewSource(servers, name)
		if err != nil {
			return
		}
		flags, err := ParseFlags([]string{flag})
		if err != nil {
			return
		}
		for _, arg := range clientArgs(src.Servers, 1234, src.Volume, "/log", "/target", flags) {
			if !strings.HasPrefix(arg, "--") && arg != "/target" || strings.ContainsAny(arg, " \t\n\x00'\"\\$`;|&<>") {
				t.Errorf("an argument %q", arg)
			}
		}
	})
}
