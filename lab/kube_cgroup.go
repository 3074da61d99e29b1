package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	cgroupRoot = "/sys/fs/cgroup"
	cgroupBase = "/bricklayer-lab"
)

// Below labCgroup lie the pods of all workers of a lab.
func (p paths) labCgroup() string { return cgroupBase + "/" + p.name }

func (p paths) workerCgroup(worker string) string { return p.labCgroup() + "/" + worker }

// cgroupHierarchies are the mount points of the host's control groups: one for each
// controller in the old version, one for all in the new; both where they are mixed.
func cgroupHierarchies() (v1, v2 []string) {
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, nil
	}
	dirs := []string{cgroupRoot}
	for _, e := range entries {
		if e.IsDir() { // symbolic links lead to others of them
			dirs = append(dirs, filepath.Join(cgroupRoot, e.Name()))
		}
	}
	for _, dir := range dirs {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) != nil {
			continue
		}
		switch {
		case st.Type == unix.CGROUP_SUPER_MAGIC:
			v1 = append(v1, dir)
		case st.Type == unix.CGROUP2_SUPER_MAGIC && dir == cgroupRoot:
			return nil, []string{dir}
		case st.Type == unix.CGROUP2_SUPER_MAGIC:
			v2 = append(v2, dir)
		}
	}
	return v1, v2
}

// ensureCgroups makes a control group in which a kubelet can make those of its pods.
// Kubelet wants it to be there, with its controllers.
func ensureCgroups(path string) error {
	v1, v2 := cgroupHierarchies()
	switch {
	case len(v1) > 0:
		for _, root := range v1 {
			if err := ensureCgroupV1(root, path); err != nil {
				return err
			}
		}
		return nil
	case len(v2) > 0:
		return ensureCgroupV2(v2[0], path)
	}
	return fmt.Errorf("%s: no control groups are mounted there: kubelet needs them", cgroupRoot)
}

func ensureCgroupV1(root, path string) error {
	dir := root
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		parent := dir
		dir = filepath.Join(dir, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		// A new group of CPUs has none, and takes no process.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			have, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil || len(bytes.TrimSpace(have)) > 0 {
				continue // another controller's, or done
			}
			want, err := os.ReadFile(filepath.Join(parent, file))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, file), want, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// ensureCgroupV2 hands the controllers down along the path.
func ensureCgroupV2(root, path string) error {
	if err := os.MkdirAll(filepath.Join(root, path), 0o755); err != nil {
		return err
	}
	dir := root
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if err != nil {
			return err
		}
		for c := range strings.FieldsSeq(string(controllers)) {
			// One that cannot be handed down is missed by kubelet, which says which.
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644)
		}
		dir = filepath.Join(dir, name)
	}
	return nil
}

// removeCgroups takes a control group and all below it away. Their processes have
// ended; the kernel may need a moment to see it.
func removeCgroups(ctx context.Context, path string) error {
	v1, v2 := cgroupHierarchies()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, root := range append(v1, v2...) {
		dir := filepath.Join(root, path)
		var last error
		err := until(ctx, 20*time.Millisecond, func() (bool, error) {
			last = removeCgroup(dir)
			return last == nil, nil
		})
		if err != nil {
			return fmt.Errorf("remove control group %s: %w", dir, errors.Join(last, err))
		}
		_ = os.Remove(filepath.Dir(dir)) // goes with the last lab
	}
	return nil
}

// removeCgroup removes the groups from the deepest up; their files are the kernel's.
func removeCgroup(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	for i := len(dirs) - 1; i >= 0 && err == nil; i-- {
		if err = os.Remove(dirs[i]); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return err
}
