package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"bricklayer.csi/lab"
)

// facts are what lies under one brick, in words.
type facts struct{ path, below, limit, options string }

// factsOf asks the brick's node. Where its file system lies on a logical volume,
// lvs tells of that; else the directory's project quota is looked up.
func factsOf(ctx context.Context, l *lab.Lab, b brick) (facts, error) {
	out, err := l.Exec(ctx, b.node, "findmnt", "-n", "-r", "-o", "SOURCE,TARGET,FSTYPE,OPTIONS", "-T", b.path)
	if err != nil {
		return facts{}, err
	}
	m, err := parseMount(string(out))
	if err != nil {
		return facts{}, fmt.Errorf("findmnt of %s on %s: %w", b.path, b.node, err)
	}
	f := facts{path: b.path, options: m.fstype + ": " + m.options}
	if strings.HasPrefix(m.device, "/dev/mapper/") {
		err = f.setLVM(ctx, l, b, m)
	} else {
		err = f.setQuota(ctx, l, b, m)
	}
	return f, err
}

// mounted is a line of the mount table.
type mounted struct{ device, point, fstype, options string }

func parseMount(line string) (mounted, error) {
	f := strings.Fields(line)
	if len(f) != 4 {
		return mounted{}, fmt.Errorf("%q: want SOURCE TARGET FSTYPE OPTIONS", line)
	}
	return mounted{f[0], f[1], f[2], f[3]}, nil
}

// setLVM tells of the logical volume and its thin pool.
func (f *facts) setLVM(ctx context.Context, l *lab.Lab, b brick, m mounted) error {
	lvs := func(what, of string) ([]string, error) {
		out, err := l.Exec(ctx, b.node, "lvs", "--noheadings", "--units", "b", "--nosuffix", "--separator", "|", "-o", what, of)
		if err != nil {
			return nil, err
		}
		return parseLVS(string(out), strings.Count(what, ",")+1)
	}
	lv, err := lvs("lv_name,vg_name,lv_size,pool_lv", m.device)
	if err != nil {
		return fmt.Errorf("lvs of %s on %s: %w", m.device, b.node, err)
	}
	if lv[3] == "" {
		f.below = fmt.Sprintf("LV %s, %s\nof VG %s", lv[0], sizeOf(lv[2]), lv[1])
	} else {
		of := lv[1] + "/" + lv[3]
		pool, err := lvs("lv_size,chunk_size,zero", of)
		if err != nil {
			return fmt.Errorf("lvs of %s on %s: %w", of, b.node, err)
		}
		zeroed := ", zeroed before use"
		if pool[2] == "" {
			zeroed = ""
		}
		f.below = fmt.Sprintf("thin LV %s, %s\nin thin pool %s, %s\n(chunks of %s%s)\nof VG %s",
			lv[0], sizeOf(lv[2]), lv[3], sizeOf(pool[0]), sizeOf(pool[1]), zeroed, lv[1])
	}
	out, err := l.Exec(ctx, b.node, "df", "-B1", "--output=size", m.point)
	if err != nil {
		return err
	}
	bytes, err := lastNumber(string(out))
	if err != nil {
		return fmt.Errorf("df of %s on %s: %w", m.point, b.node, err)
	}
	f.limit = "its own XFS: " + size(bytes)
	return nil
}

func parseLVS(out string, want int) ([]string, error) {
	line := strings.TrimSpace(out)
	fields := strings.Split(line, "|")
	if len(fields) != want || strings.Contains(line, "\n") {
		return nil, fmt.Errorf("%q: want one line of %d fields", out, want)
	}
	for i := range fields {
		fields[i] = strings.TrimSpace(fields[i])
	}
	return fields, nil
}

// sizeOf shows bytes for people; what is no number is shown as it came.
func sizeOf(text string) string {
	bytes, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		return strconv.Quote(text)
	case bytes < mib:
		return strconv.FormatInt(bytes>>10, 10) + " KiB"
	}
	return size(bytes)
}

func lastNumber(out string) (int64, error) {
	words := strings.Fields(out)
	if len(words) == 0 {
		return 0, fmt.Errorf("%q: want a number", out)
	}
	return strconv.ParseInt(words[len(words)-1], 10, 64)
}

// setQuota tells of the directory's project and its limit.
func (f *facts) setQuota(ctx context.Context, l *lab.Lab, b brick, m mounted) error {
	out, err := l.Exec(ctx, b.node, "xfs_io", "-r", "-c", "lsproj", b.path)
	if err != nil {
		return err
	}
	project, err := lastNumber(string(out))
	if err != nil {
		return fmt.Errorf("the project of %s on %s: %w", b.path, b.node, err)
	}
	report, err := l.Exec(ctx, b.node, "xfs_quota", "-x", "-c", "report -p -n -N -b", m.point)
	if err != nil {
		return err
	}
	limit, err := parseQuota(string(report), project)
	if err != nil {
		return fmt.Errorf("xfs_quota report of %s on %s: %w", m.point, b.node, err)
	}
	f.below = fmt.Sprintf("a directory of the XFS on %s,\nno LVM", m.device)
	f.limit = fmt.Sprintf("XFS project quota: %s\n(project %d)", size(limit), project)
	return nil
}

// parseQuota finds a project's hard limit, in bytes, in a report of lines
// "#PROJECT USED SOFT HARD ...", in KiB.
func parseQuota(report string, project int64) (int64, error) {
	want := "#" + strconv.FormatInt(project, 10)
	for line := range strings.Lines(report) {
		f := strings.Fields(line)
		if len(f) < 4 || f[0] != want {
			continue
		}
		kib, err := strconv.ParseInt(f[3], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("line %q: %w", strings.TrimSpace(line), err)
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("it has no project %d", project)
}

// clientOptions are the options that a directory of a worker is mounted with there.
func clientOptions(ctx context.Context, l *lab.Lab, worker, dir string) (string, error) {
	out, err := l.InWorker(ctx, worker, "cat", "/proc/self/mounts")
	if err != nil {
		return "", err
	}
	return parseOptions(string(out), dir)
}

func parseOptions(mounts, dir string) (string, error) {
	for line := range strings.Lines(mounts) {
		if f := strings.Fields(line); len(f) >= 4 && f[1] == dir {
			return f[2] + ": " + f[3], nil
		}
	}
	return "", fmt.Errorf("%s is not mounted", dir)
}

var longHex = regexp.MustCompile(`[0-9a-f]{32}`)

// brief shortens heketi's names, which are of 32 hexadecimal digits each.
func brief(text string) string {
	return longHex.ReplaceAllStringFunc(text, func(id string) string { return id[:6] + "…" })
}
