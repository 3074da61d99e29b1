package brick

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/internal/volume"
)

func TestFormatRefusesWhatIsNoDisk(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, []byte("precious"), 0o600))
	for name, c := range map[string]struct {
		device string
		kind   volume.Kind
	}{
		"a file":           {file, volume.Precondition},
		"a directory":      {dir, volume.Precondition},
		"a character dev.": {"/dev/null", volume.Precondition},
		"nothing":          {filepath.Join(dir, "none"), volume.Precondition},
		"an option":        {"--force", volume.Invalid},
		"relative":         {"sdb", volume.Invalid},
	} {
		_, err := Format(t.Context(), FormatOptions{Pool: testPool, Root: RootConfig{"root1", filepath.Join(dir, "mnt")}, Device: c.device})
		if !volume.Is(err, c.kind) {
			t.Errorf("%s: %v, want %v", name, err, c.kind)
		}
	}
	if data, _ := os.ReadFile(file); string(data) != "precious" {
		t.Errorf("the file was changed: %q", data)
	}
}

func TestSignatureNames(t *testing.T) {
	out := "# offset,uuid,label,type\n0x0,2bd2-1,,xfs\n0x218,oJtm,,LVM2_member\n\n"
	want := []string{"a signature of xfs at 0x0", "a signature of LVM2_member at 0x218"}
	if diff := cmp.Diff(want, signatureNames([]byte(out))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := signatureNames(nil); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

func TestFstab(t *testing.T) {
	line := fstabLine("UUID=1-2", "/bricks/my root")
	if want := `UUID=1-2 /bricks/my\040root xfs noatime,inode64,prjquota,nofail 0 0`; line != want {
		t.Errorf("%q, want %q", line, want)
	}
	for _, before := range []string{"", "/dev/sda1 / ext4 defaults 0 1\n", "no newline at the end"} {
		name := filepath.Join(t.TempDir(), "fstab")
		must(t, os.WriteFile(name, []byte(before), 0o600))
		for range 2 {
			must(t, appendLine(name, line))
		}
		data, err := os.ReadFile(name)
		must(t, err)
		if !strings.HasPrefix(string(data), before) || strings.Count(string(data), line+"\n") != 1 {
			t.Errorf("after %q: %q", before, data)
		}
	}
}
