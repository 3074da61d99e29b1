package checks

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"bricklayer.csi/internal/doctor/host"
)

// sysctlDirs are where sysctl.d files lie. One in an earlier directory hides one
// of the same name in a later one; of all that count, the last by name wins.
var sysctlDirs = []string{"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"}

var moduleDirs = []string{"/etc/modules-load.d", "/run/modules-load.d", "/usr/local/lib/modules-load.d", "/usr/lib/modules-load.d", "/lib/modules-load.d"}

// effective returns the files of such directories that count, in the order in which
// they are read.
func effective(h *host.Host, dirs []string) ([]string, error) {
	byName := map[string]string{}
	for _, dir := range dirs {
		names, err := h.List(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if _, hidden := byName[name]; !hidden && strings.HasSuffix(name, ".conf") {
				byName[name] = path.Join(dir, name)
			}
		}
	}
	files := make([]string, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		files = append(files, byName[name])
	}
	return files, nil
}

// afterReboot reports whether a switch of net.bridge will be on after a reboot,
// and what says so.
func afterReboot(h *host.Host, key string) (on bool, why []string, err error) {
	value, file, err := lastSysctl(h, key)
	if err != nil {
		return false, nil, err
	}
	loaded, by, err := loadedAtBoot(h)
	if err != nil {
		return false, nil, err
	}
	switch {
	case value != "":
		why = append(why, file+" sets it to "+value+" at boot")
	default:
		why = append(why, "no file of sysctl.d sets it; the kernel sets it to 1")
	}
	why = append(why, by)
	return loaded && (value == "" || value == "1"), why, nil
}

// lastSysctl returns the value that a key of net.bridge gets at boot, and the file
// that has the last word; both empty where none has.
func lastSysctl(h *host.Host, key string) (value, from string, err error) {
	files, err := effective(h, sysctlDirs)
	if err != nil {
		return "", "", err
	}
	// systemd-sysctl leaves it out where nothing links to it; the older way reads it last.
	for _, file := range append(files, "/etc/sysctl.conf") {
		text, err := h.ReadString(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a link to /dev/null, or gone
		}
		if err != nil {
			return "", "", err
		}
		for line := range strings.Lines(text) {
			k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
			k = strings.ReplaceAll(strings.TrimPrefix(strings.TrimSpace(k), "-"), "/", ".")
			if ok && (k == "net.bridge."+key || k == "net.bridge.*" || k == "net.bridge.bridge-nf-call-*") {
				value, from = strings.TrimSpace(v), file
			}
		}
	}
	return value, from, nil
}

// loadedAtBoot reports whether the kernel will have br_netfilter after a reboot.
func loadedAtBoot(h *host.Host) (loaded bool, by string, err error) {
	there, err := h.Exists(bridgeSettings)
	if err != nil {
		return false, "", err
	}
	modules, err := h.ReadString("/proc/modules")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, "", err
	}
	module := slices.ContainsFunc(strings.Split(modules, "\n"), func(line string) bool { return strings.HasPrefix(line, bridgeModule+" ") })
	if there && !module {
		return true, bridgeModule + " is part of the kernel", nil
	}
	files, err := effective(h, moduleDirs)
	if err != nil {
		return false, "", err
	}
	for _, file := range append(files, "/etc/modules") {
		text, err := h.ReadString(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, "", err
		}
		for line := range strings.Lines(text) {
			if strings.ReplaceAll(strings.TrimSpace(line), "-", "_") == bridgeModule {
				return true, file + " loads " + bridgeModule + " at boot", nil
			}
		}
	}
	return false, "no file of modules-load.d loads " + bridgeModule + " at boot", nil
}
