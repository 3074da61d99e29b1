package brick

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// freeProject returns the smallest project ID from FirstProject up that nothing
// carries. The root's turn is held, so nobody else is choosing one.
//
// What counts is what the disk says, so a crash cannot make two bricks share an
// ID. Whoever carries an ID has at least one inode (the brick directory), so it
// has a record with usage; that covers volumes, staging, archive, and files
// that somebody moved out of them. The trash is asked as well: an entry there
// keeps its ID until its name is gone, even when it is empty.
func (o *openRoot) freeProject(records []record) (uint32, error) {
	taken, err := readProjects(o.host.options.projectsFile)
	if err != nil {
		return 0, err
	}
	for _, r := range records {
		if !r.empty() || r.limit != (Quota{}) {
			taken[r.project] = true
		}
	}
	inTrash, err := o.trashProjects()
	if err != nil {
		return 0, err
	}
	for id := range inTrash {
		taken[id] = true
	}
	for id := FirstProject; id != 0; id++ {
		if !taken[id] {
			return id, nil
		}
	}
	return 0, errors.New("every project ID is taken")
}

// trashProjects returns the project IDs that entries of the trash keep.
func (o *openRoot) trashProjects() (map[uint32]bool, error) {
	names, err := subdirectories(o.dir, trashDir)
	if err != nil {
		return nil, err
	}
	ids := map[uint32]bool{}
	for _, name := range names {
		if id := trashProject(name); id != 0 {
			ids[id] = true
		}
	}
	return ids, nil
}

// trashName returns the name in the trash of a volume's directory; random
// distinguishes those without a project.
func trashName(volumeName string, project uint32, random string) string {
	if project != 0 {
		return fmt.Sprintf("%s.p%d", volumeName, project)
	}
	return volumeName + ".r" + random
}

// trashProject returns the project ID in a name in the trash, or 0.
func trashProject(name string) uint32 {
	_, suffix, ok := strings.Cut(name, ".p")
	if !ok {
		return 0
	}
	id, err := strconv.ParseUint(suffix, 10, 32)
	if err != nil || uint32(id) < FirstProject {
		return 0
	}
	return uint32(id)
}

// readProjects returns the IDs that an administrator gave out in /etc/projects,
// whose lines are ID:PATH. Lines that are not are left alone: they give out none.
func readProjects(name string) (map[uint32]bool, error) {
	ids := map[uint32]bool{}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return ids, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		number, _, _ := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		if id, err := strconv.ParseUint(number, 10, 32); err == nil {
			ids[uint32(id)] = true
		}
	}
	return ids, lines.Err()
}
