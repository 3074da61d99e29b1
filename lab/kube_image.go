package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

const busyboxProgram = "/bin/busybox" // static, of Debian's busybox-static

// Image is what MakeImage packs: one layer and how to start it.
type Image struct {
	Names      []string // such as registry.example/program:1
	Entrypoint []string
	Cmd        []string
	Env        []string // KEY=value; PATH is set where it is missing
	User       string
	Files      []ImageFile
}

// ImageFile is one file of an image: a copy of Source, a symbolic link to Link, a
// directory where the path ends with a slash, or else Data.
type ImageFile struct {
	Path   string // absolute
	Source string
	Link   string
	Data   []byte
	Mode   fs.FileMode // 0 means that of Source, else 0644, and 0755 for directories
}

// MakeImage writes an image as a docker-archive, which containerd, buildah and
// docker load. The same input gives the same bytes: nothing in it has a date.
func MakeImage(file string, image Image) (err error) {
	if len(image.Names) == 0 {
		return fmt.Errorf("make image %s: it has no name", file)
	}
	layer, err := os.CreateTemp(filepath.Dir(file), ".layer-*")
	if err != nil {
		return fmt.Errorf("make image %s: %w", file, err)
	}
	defer func() { err = errors.Join(err, layer.Close(), os.Remove(layer.Name())) }()
	sum := sha256.New()
	if err := writeLayer(io.MultiWriter(layer, sum), image.Files); err != nil {
		return fmt.Errorf("make image %s: %w", file, err)
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	config, err := json.Marshal(image.config(digest))
	if err != nil {
		return err
	}
	id := sha256.Sum256(config)
	name := hex.EncodeToString(id[:]) + ".json"
	manifest, err := json.Marshal([]map[string]any{{
		"Config": name, "RepoTags": image.Names, "Layers": []string{digest + "/layer.tar"},
	}})
	if err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(file), ".image-*")
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	err = errors.Join(
		addBytes(w, name, config, 0o644), addFile(w, digest+"/layer.tar", layer.Name(), 0o644),
		addBytes(w, "manifest.json", manifest, 0o644), w.Close(), out.Chmod(0o644), out.Close(),
	)
	if err == nil {
		err = os.Rename(out.Name(), file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make image %s: %w", file, err), os.Remove(out.Name()))
	}
	return nil
}

func (i Image) config(layer string) map[string]any {
	env := i.Env
	if !slices.ContainsFunc(env, func(s string) bool { return strings.HasPrefix(s, "PATH=") }) {
		env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
	}
	return map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config":  map[string]any{"Entrypoint": i.Entrypoint, "Cmd": i.Cmd, "Env": env, "User": i.User},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + layer}},
		"history": []any{map[string]any{"created_by": "bricklayer lab"}},
	}
}

// writeLayer packs files in the order given, each directory before what is in it.
func writeLayer(out io.Writer, files []ImageFile) error {
	w := tar.NewWriter(out)
	made := map[string]bool{".": true}
	var parents func(dir string) error
	parents = func(dir string) error {
		if made[dir] {
			return nil
		}
		made[dir] = true
		return errors.Join(parents(path.Dir(dir)), addDirectory(w, dir, 0o755))
	}
	for _, f := range files {
		name := strings.TrimPrefix(path.Clean(f.Path), "/")
		if !path.IsAbs(f.Path) || name == "" {
			return fmt.Errorf("path %q: want an absolute one below /", f.Path)
		}
		if err := parents(path.Dir(name)); err != nil {
			return err
		}
		var err error
		switch {
		case strings.HasSuffix(f.Path, "/"):
			made[name] = true
			err = addDirectory(w, name, orMode(f.Mode, 0o755))
		case f.Link != "":
			err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: f.Link, Mode: 0o777})
		case f.Source != "":
			err = addFile(w, name, f.Source, f.Mode)
		default:
			err = addBytes(w, name, f.Data, orMode(f.Mode, 0o644))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return w.Close()
}

func orMode(mode, otherwise fs.FileMode) fs.FileMode {
	if mode == 0 {
		return otherwise
	}
	return mode
}

// tarMode is how tar writes the bits that fs.FileMode has in places of its own.
func tarMode(mode fs.FileMode) int64 {
	bits := int64(mode.Perm())
	for bit, value := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&bit != 0 {
			bits |= value
		}
	}
	return bits
}

func addDirectory(w *tar.Writer, name string, mode fs.FileMode) error {
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: tarMode(mode)})
}

func addBytes(w *tar.Writer, name string, data []byte, mode fs.FileMode) error {
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: tarMode(mode)}); err != nil {
		return err
	}
	_, err := io.Copy(w, bytes.NewReader(data))
	return err
}

func addFile(w *tar.Writer, name, source string, mode fs.FileMode) error {
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	mode = orMode(mode, st.Mode())
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: st.Size(), Mode: tarMode(mode)}); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// LoadImage gives every worker the images of a docker-archive or OCI archive.
func (l *Lab) LoadImage(ctx context.Context, file string) error {
	if len(l.Workers()) == 0 {
		return fmt.Errorf("load image %s: lab %s has no workers: lab up --name %s --kubernetes", file, l.config.Name, l.config.Name)
	}
	if err := l.eachWorker(ctx, func(ctx context.Context, w Worker) error { return l.importImage(ctx, w, file) }); err != nil {
		return fmt.Errorf("load image %s: %w", file, err)
	}
	return nil
}

// importImage hands the archive over as a standard input: the worker need not see
// the file.
func (l *Lab) importImage(ctx context.Context, w Worker, file string) error {
	argv, err := l.WorkerArgv(w.Name, ctr("images", "import", "-")...)
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, &said, &said
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Run(); err != nil {
		return hostError(ctx, ctr("images", "import", file), said.Bytes(), err)
	}
	return nil
}

// ctr is a command line of containerd's own client.
func ctr(args ...string) []string {
	return append([]string{"ctr", "--address=" + containerdSocket, "--namespace=k8s.io"}, args...)
}

// ensureBaseImages gives a worker the images that every cluster needs: the one that
// holds a pod together, and one with a shell.
func (l *Lab) ensureBaseImages(ctx context.Context, w Worker) error {
	out, err := l.InWorker(ctx, w.Name, ctr("images", "list", "--quiet")...)
	if err != nil {
		return err
	}
	have := strings.Fields(string(out))
	if slices.Contains(have, pauseImage) && slices.Contains(have, busyboxImage) {
		return nil
	}
	file := filepath.Join(l.paths.worker(w.Name), "base.tar")
	if err := makeBaseImage(ctx, file); err != nil {
		return err
	}
	return errors.Join(l.importImage(ctx, w, file), os.Remove(file))
}

// makeBaseImage packs busybox under both names: to hold a pod it only has to wait.
func makeBaseImage(ctx context.Context, file string) error {
	image, err := BusyboxImage(ctx, pauseImage, busyboxImage)
	if err != nil {
		return err
	}
	return MakeImage(file, image)
}

// BusyboxImage is an image of that name with a shell and what busybox has beside
// it; without a command it waits.
func BusyboxImage(ctx context.Context, names ...string) (Image, error) {
	applets, err := run(ctx, busyboxProgram, "--list")
	if err != nil {
		return Image{}, fmt.Errorf("list what busybox can do: %w", err)
	}
	image := Image{
		Names: names,
		Cmd:   []string{"/bin/sleep", "2147483647"},
		Files: []ImageFile{
			{Path: "/bin/busybox", Source: busyboxProgram, Mode: 0o755},
			{Path: "/tmp/", Mode: 0o777 | fs.ModeSticky},
			{Path: "/root/", Mode: 0o700},
			{Path: "/etc/passwd", Data: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")},
			{Path: "/etc/group", Data: []byte("root:x:0:\nnogroup:x:65534:\n")},
		},
	}
	for applet := range strings.FieldsSeq(string(applets)) {
		if applet != "busybox" && !strings.Contains(applet, "/") {
			image.Files = append(image.Files, ImageFile{Path: "/bin/" + applet, Link: "busybox"})
		}
	}
	return image, nil
}
