package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// testRoot is an image's root with one package, and this test as its program.
func testRoot(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"usr/local/bin/bricklayer": program,
		"etc/os-release":           []byte("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n"),
		recordsDir + "/libstdc++6": []byte("Package: libstdc++6\nArchitecture: amd64\nSource: gcc-12 (12.2.0-14)\nVersion: 1:12.2.0-14+deb12u1\n" +
			"Conffiles:\n /etc/x: y\nDescription: GNU Standard C++ Library v3\n Version: of a line that goes on\n"),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBillOfMaterials(t *testing.T) {
	root := testRoot(t)
	args := []string{"--root", root, "--name", "registry.example/bricklayer", "--version", "v1"}
	var out, again bytes.Buffer
	if err := run(args, &out); err != nil {
		t.Fatal(err)
	}
	if err := run(args, &again); err != nil || !bytes.Equal(out.Bytes(), again.Bytes()) {
		t.Errorf("the same image is described in two ways (%v)", err)
	}
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(&out, cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if c := bom.Metadata.Component; c.Name != "registry.example/bricklayer" || c.Version != "v1" || c.Type != cdx.ComponentTypeContainer {
		t.Errorf("it describes %+v", c)
	}
	var purls []string
	for _, c := range *bom.Components {
		purls = append(purls, c.PackageURL)
		if c.Components != nil {
			for _, m := range *c.Components {
				purls = append(purls, m.PackageURL)
			}
		}
	}
	if want := "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12&upstream=gcc-12"; !slices.Contains(purls, want) {
		t.Errorf("%s is missing in %q", want, purls)
	}
	for _, prefix := range []string{"pkg:golang/stdlib@1.", "pkg:golang/github.com/CycloneDX/cyclonedx-go@v"} {
		if !slices.ContainsFunc(purls, func(p string) bool { return strings.HasPrefix(p, prefix) }) {
			t.Errorf("%s is missing in %q", prefix, purls)
		}
	}
}

// What cannot be described in full is not described.
func TestRefusesAHalfImage(t *testing.T) {
	for _, missing := range []string{"usr/local/bin/bricklayer", "etc/os-release", recordsDir + "/libstdc++6", recordsDir} {
		root := testRoot(t)
		if err := os.RemoveAll(filepath.Join(root, missing)); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := run([]string{"--root", root, "--name", "x", "--version", "y"}, &out); err == nil || out.Len() > 0 {
			t.Errorf("without %s: no error, or output", missing)
		}
	}
	root := testRoot(t)
	if err := os.WriteFile(filepath.Join(root, recordsDir, "bad"), []byte("Package: bad\nVersion: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := run([]string{"--root", root, "--name", "x", "--version", "y"}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "status.d/bad") || !strings.Contains(err.Error(), "Architecture") {
		t.Errorf("got %v, want an error that names the record and the field", err)
	}
	if err := run([]string{"--root", root}, &bytes.Buffer{}); err == nil {
		t.Error("a missing name is no error")
	}
}
