package pool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"bricklayer.csi/api/v1alpha1"
)

// Limits on what is read. A pool of MaxNodes nodes with a few roots each is
// about 200 KiB.
const (
	MaxFileSize = 1 << 20
	MaxFiles    = 1000
)

// Load returns the pools in a file, or in the files of a directory that end in
// .yaml or .yml, sorted by name, with their defaults set. A file holds one or
// more YAML documents, each a StoragePool; a directory may be empty.
//
// The error is a *Faults with everything that is wrong, or what kept a file
// from being read.
func Load(path string) ([]v1alpha1.StoragePool, error) {
	files, err := poolFiles(path)
	if err != nil {
		return nil, err
	}
	var pools []v1alpha1.StoragePool
	faults := &Faults{}
	where := map[string]string{} // pool name -> file and document that has it
	for _, file := range files {
		text, err := readFile(file)
		if err != nil {
			return nil, err
		}
		for _, doc := range parse(file, text, faults) {
			if other, twice := where[doc.pool.Name]; twice && doc.pool.Name != "" {
				faults.add(doc.at, v1alpha1.FieldFault{
					Field: "metadata.name", Value: doc.pool.Name, Allowed: "a name that no other pool has; " + other + " has it too",
				}.Error())
			}
			where[doc.pool.Name] = doc.at
			pools = append(pools, doc.pool)
		}
	}
	if len(faults.List) > 0 {
		return nil, faults
	}
	slices.SortFunc(pools, func(a, b v1alpha1.StoragePool) int { return strings.Compare(a.Name, b.Name) })
	return pools, nil
}

// poolFiles returns path itself, or the pool files in it where it is a
// directory. Hidden entries are left out: Kubernetes keeps the real files of a
// mounted ConfigMap in one, and editors their copies.
func poolFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read pools: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("read pools: %w", err)
	}
	var files []string
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if strings.HasPrefix(e.Name(), ".") || ext != ".yaml" && ext != ".yml" {
			continue
		}
		files = append(files, filepath.Join(path, e.Name()))
	}
	if len(files) > MaxFiles {
		return nil, fmt.Errorf("read pools: %s holds %d pool files; allowed: at most %d", path, len(files), MaxFiles)
	}
	return files, nil
}

// readFile reads a regular file of at most MaxFileSize bytes. It opens without
// blocking, so that a pipe in the place of a file is refused, not waited for.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // #nosec G304 -- the administrator names the file
	if err != nil {
		return nil, fmt.Errorf("read pools: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read pools: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read pools: %w", &fs.PathError{Op: "open", Path: path, Err: errors.New("it is not a regular file")})
	}
	text, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("read pools: %w", err)
	}
	if len(text) > MaxFileSize {
		return nil, fmt.Errorf("read pools: %s is larger than %d bytes", path, MaxFileSize)
	}
	return text, nil
}

// document is one StoragePool and where it was found.
type document struct {
	at   string
	pool v1alpha1.StoragePool
}

// parse returns the pools in a file's text and adds its faults. A document
// with faults of form is left out: its fields mean nothing.
func parse(file string, text []byte, faults *Faults) []document {
	var docs []document
	found := false
	for _, part := range splitDocuments(text) {
		at := fmt.Sprintf("%s:%d", file, part.line)
		asJSON, err := yaml.YAMLToJSONStrict(part.text)
		if err != nil {
			found = true
			faults.add(at, oneLine(strings.TrimPrefix(err.Error(), "error converting YAML to JSON: "))+
				" (lines are counted from the beginning of this document)")
			continue
		}
		if bytes.Equal(bytes.TrimSpace(asJSON), []byte("null")) {
			continue // nothing but comments
		}
		found = true
		doc := document{at: at}
		strict, err := json.UnmarshalStrict(asJSON, &doc.pool)
		if err != nil {
			faults.add(at, err.Error())
			continue
		}
		for _, err := range strict {
			faults.add(at, err.Error()+"; is it spelt as in the reference of StoragePool?")
		}
		// A pool that was copied out of an API server has these; here they mean nothing.
		doc.pool.Status, doc.pool.DeletionTimestamp, doc.pool.ManagedFields = v1alpha1.StoragePoolStatus{}, nil, nil
		doc.pool.SetDefaults()
		for _, fault := range Validate(&doc.pool) {
			faults.add(at, fault.Error())
		}
		docs = append(docs, doc)
	}
	if !found {
		faults.add(file, "it holds no StoragePool")
	}
	return docs
}

// part is one document of a YAML stream and the line on which it begins.
type part struct {
	line int
	text []byte
}

// splitDocuments cuts a YAML stream at its document markers. A line that
// begins with --- and white space is a marker whatever stands before it (YAML
// 1.2, c-forbidden), so lines are all that need looking at.
func splitDocuments(stream []byte) []part {
	parts := []part{{line: 1}}
	line := 0
	for text := range bytes.Lines(stream) {
		line++
		if rest, ok := bytes.CutPrefix(text, []byte("---")); ok && (len(rest) == 0 || strings.ContainsRune(" \t\r\n", rune(rest[0]))) {
			parts = append(parts, part{line: line})
			text = rest
		}
		last := &parts[len(parts)-1]
		last.text = append(last.text, text...)
	}
	return parts
}

// oneLine joins the lines that the YAML parser writes its faults on.
func oneLine(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), ":\n", ":")
	return strings.Join(strings.Fields(strings.ReplaceAll(s, "\n", ";")), " ")
}
