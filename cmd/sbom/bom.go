package main

import (
	"bufio"
	"bytes"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// image is what is described.
type image struct {
	root, name, version, program string
}

// recordsDir holds a record of each Debian package of which the image has files,
// as images without a package manager keep them.
const recordsDir = "var/lib/dpkg/status.d"

// bom describes the image. The same image is always described by the same bytes:
// there is no time in it, and no serial number.
func (i image) bom() (*cdx.BOM, error) {
	root, err := os.OpenRoot(i.root)
	if err != nil {
		return nil, fmt.Errorf("open the image's root: %w", err)
	}
	defer root.Close()
	distribution, err := distributionOf(root)
	if err != nil {
		return nil, err
	}
	packages, err := packagesOf(root, distribution)
	if err != nil {
		return nil, err
	}
	program, err := programOf(root, i.program)
	if err != nil {
		return nil, err
	}
	components := append([]cdx.Component{distribution}, packages...)
	components = append(components, program)
	bom := cdx.NewBOM()
	bom.SerialNumber = ""
	bom.Metadata = &cdx.Metadata{Component: &cdx.Component{
		BOMRef: "image", Type: cdx.ComponentTypeContainer, Name: i.name, Version: i.version,
	}}
	bom.Components = &components
	return bom, nil
}

// distributionOf reads which Debian the packages are of.
func distributionOf(root *os.Root) (cdx.Component, error) {
	text, err := root.ReadFile("etc/os-release")
	if err != nil {
		return cdx.Component{}, fmt.Errorf("tell the distribution: %w", err)
	}
	said := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			said[key] = strings.Trim(value, `"'`)
		}
	}
	if said["ID"] == "" || said["VERSION_ID"] == "" {
		return cdx.Component{}, errors.New("tell the distribution: etc/os-release has no ID or no VERSION_ID")
	}
	return cdx.Component{
		BOMRef: "os", Type: cdx.ComponentTypeOS, Name: said["ID"], Version: said["VERSION_ID"], Description: said["PRETTY_NAME"],
	}, nil
}

// packagesOf reads the records of Debian's packages.
func packagesOf(root *os.Root, distribution cdx.Component) ([]cdx.Component, error) {
	records, err := fs.ReadDir(root.FS(), recordsDir)
	if err != nil {
		return nil, fmt.Errorf("read the records of Debian's packages: %w", err)
	}
	var packages []cdx.Component
	for _, r := range records {
		text, err := root.ReadFile(recordsDir + "/" + r.Name())
		if err != nil {
			return nil, fmt.Errorf("read the record of %s: %w", r.Name(), err)
		}
		p, err := packageOf(text, distribution)
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w", recordsDir, r.Name(), err)
		}
		packages = append(packages, p)
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("%s is empty: nobody could tell what is in the image", recordsDir)
	}
	return packages, nil
}

// packageOf reads one record: "Field: value" lines, of which those that go on
// begin with white space.
func packageOf(record []byte, distribution cdx.Component) (cdx.Component, error) {
	said := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(record))
	lines.Buffer(nil, len(record)+1)
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), ":")
		if ok && !strings.ContainsAny(key, " \t") {
			said[key] = strings.TrimSpace(value)
		}
	}
	for _, field := range []string{"Package", "Version", "Architecture"} {
		if said[field] == "" {
			return cdx.Component{}, fmt.Errorf("its field %s is missing", field)
		}
	}
	about := url.Values{"arch": {said["Architecture"]}, "distro": {distribution.Name + "-" + distribution.Version}}
	// Advisories are about source packages.
	if source, _, _ := strings.Cut(said["Source"], " "); source != "" {
		about.Set("upstream", source)
	}
	purl := "pkg:deb/" + distribution.Name + "/" + escape(said["Package"]) + "@" + escape(said["Version"]) + "?" + about.Encode()
	return cdx.Component{
		BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: said["Package"], Version: said["Version"],
		Description: said["Description"], PackageURL: purl,
	}, nil
}

// programOf reads from which modules the program was built.
func programOf(root *os.Root, name string) (cdx.Component, error) {
	f, err := root.Open(name)
	if err != nil {
		return cdx.Component{}, fmt.Errorf("open the program: %w", err)
	}
	defer f.Close()
	info, err := buildinfo.Read(f)
	if err != nil {
		return cdx.Component{}, fmt.Errorf("read the build information of %s: %w", name, err)
	}
	modules := []cdx.Component{module("stdlib", strings.TrimPrefix(info.GoVersion, "go"))}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		modules = append(modules, module(m.Path, m.Version))
	}
	slices.SortFunc(modules, func(x, y cdx.Component) int { return strings.Compare(x.BOMRef, y.BOMRef) })
	return cdx.Component{
		BOMRef: "program", Type: cdx.ComponentTypeApplication, Name: info.Path, Version: info.Main.Version,
		Components: &modules, Properties: &[]cdx.Property{
			{Name: "go:GOARCH", Value: setting(info, "GOARCH")}, {Name: "go:GOOS", Value: setting(info, "GOOS")},
		},
	}, nil
}

func module(path, version string) cdx.Component {
	elements := strings.Split(path, "/")
	for i, e := range elements {
		elements[i] = escape(e)
	}
	purl := "pkg:golang/" + strings.Join(elements, "/") + "@" + escape(version)
	return cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: purl}
}

func setting(info *buildinfo.BuildInfo, key string) string {
	at := slices.IndexFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == key })
	if at < 0 {
		return ""
	}
	return info.Settings[at].Value
}

// escape writes an element of a package URL, which keeps colons as they are.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "%3A", ":") }
