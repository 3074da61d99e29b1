package checks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/host"
)

var containerdRuntime = doctor.Check{
	ID: "containerd-runtime", Title: "containerd's configuration keeps kubelet or GPUs out", Severity: doctor.Error,
	Reads: `/etc/containerd/config.toml (or the file that containerd is started with) and what it imports, whether
kubelet uses containerd, and whether NVIDIA's runtime is installed.`,
	Why: `containerd does not start with a file that is no TOML. The package containerd.io of Docker's brings one that
turns the plugin for Kubernetes off: kubelet then says that the runtime service is not implemented, and the node is
NotReady. A GPU's runtime that is installed and not in the file leaves pods without GPU.`,
	Mend: `Take "cri" out of disabled_plugins. For NVIDIA: nvidia-ctk runtime configure --runtime=containerd, or the
table runtimes.nvidia by hand. Then systemctl restart containerd; pods go on.`,
	Fix:  `empties disabled_plugins, or adds the table of the runtime at the end of the file; every other byte stays.`,
	Host: checkContainerd,
}

const containerdTOML = "/etc/containerd/config.toml"

func checkContainerd(_ context.Context, h *host.Host, r *doctor.Recorder) {
	file, installed, used, err := containerdFile(h)
	if err != nil {
		r.Unknown("processes", err)
		return
	}
	text, err := h.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && installed {
		text, err = nil, nil // the defaults
	}
	if errors.Is(err, fs.ErrNotExist) {
		r.Skip("containerd is not installed")
		return
	}
	if err != nil {
		r.Unknown(file, err)
		return
	}
	config, err := parseTOML(text)
	if err != nil {
		r.Found(doctor.Finding{
			Severity: doctor.Error, Object: file, Problem: "containerd does not start with this file: it is not TOML",
			Evidence: []string{err.Error()},
		})
		return
	}
	if used {
		containerdDisabled(r, file, text, config)
	}
	if err := imports(h, config); err != nil {
		r.Unknown("what "+file+" imports", err)
		return
	}
	containerdNVIDIA(h, r, file, text, config)
}

// containerdFile returns the file that containerd reads, whether containerd is
// there, and whether kubelet uses it.
func containerdFile(h *host.Host) (file string, installed, used bool, err error) {
	running, err := h.Running("containerd")
	if err != nil {
		return "", false, false, err
	}
	file = containerdTOML
	for _, p := range running {
		installed = true
		if v, ok := p.Flag("config"); ok {
			file = v
		}
		if i := slices.Index(p.Args, "-c"); i >= 0 && i+1 < len(p.Args) {
			file = p.Args[i+1]
		}
	}
	for _, name := range []string{"/usr/bin/containerd", "/usr/local/bin/containerd"} {
		there, err := h.Exists(name)
		if err != nil {
			return "", false, false, err
		}
		installed = installed || there
	}
	kubelet, err := h.Running("kubelet")
	for _, p := range kubelet {
		endpoint, given := p.Flag("container-runtime-endpoint")
		used = used || !given || strings.Contains(endpoint, "containerd")
	}
	return file, installed, used, err
}

func parseTOML(text []byte) (map[string]any, error) {
	config := map[string]any{}
	err := toml.Unmarshal(text, &config)
	if bad, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := bad.Position()
		return nil, fmt.Errorf("line %d, column %d: %w", line, column, err)
	}
	return config, err
}

// disabledLine is the setting on a line of its own, as Docker's package has it.
var disabledLine = regexp.MustCompile(`(?m)^(disabled_plugins[ \t]*=[ \t]*)\[[^\]\n]*\]`)

func containerdDisabled(r *doctor.Recorder, file string, text []byte, config map[string]any) {
	disabled, _ := config["disabled_plugins"].([]any)
	i := slices.IndexFunc(disabled, func(p any) bool { return p == "cri" || p == "io.containerd.grpc.v1.cri" })
	if i < 0 {
		return
	}
	f := doctor.Finding{
		Severity: doctor.Error, Object: file, Problem: "kubelet cannot use containerd: its plugin for Kubernetes is off",
		Evidence: []string{fmt.Sprintf("disabled_plugins has %v", disabled[i])},
	}
	// With other plugins in the list, or spread over lines, a person has to choose.
	if len(disabled) == 1 && len(disabledLine.FindAllIndex(text, -1)) == 1 {
		f.Fix = tomlStep(file, text, disabledLine.ReplaceAllString(string(text), "${1}[]"))
	}
	r.Found(f)
}

func tomlStep(file string, text []byte, changed string) []host.Step {
	w := host.Write{Path: file, New: changed, Mode: 0o644}
	if text != nil {
		old := string(text)
		w.Old = &old
	}
	return []host.Step{{Write: &w}}
}

// imports adds to a configuration what the files have that it imports.
func imports(h *host.Host, config map[string]any) error {
	patterns, _ := config["imports"].([]any)
	for _, p := range patterns {
		pattern, ok := p.(string)
		if !ok || !filepath.IsAbs(pattern) {
			continue
		}
		names, err := h.List(filepath.Dir(pattern))
		if err != nil {
			return err
		}
		for _, name := range names {
			if ok, err := filepath.Match(filepath.Base(pattern), name); err != nil || !ok {
				continue
			}
			text, err := h.ReadFile(filepath.Join(filepath.Dir(pattern), name))
			if err != nil {
				return err
			}
			more, err := parseTOML(text)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			merge(config, more)
		}
	}
	return nil
}

func merge(into, from map[string]any) {
	for k, v := range from {
		old, isTable := into[k].(map[string]any)
		table, andTable := v.(map[string]any)
		if isTable && andTable {
			merge(old, table)
			continue
		}
		into[k] = v
	}
}

// criTables are where the versions of the file have the runtimes.
var criTables = map[int64][]string{
	1: {"plugins", "cri", "containerd"},
	2: {"plugins", "io.containerd.grpc.v1.cri", "containerd"},
	3: {"plugins", "io.containerd.cri.v1.runtime", "containerd"},
}

func table(config map[string]any, keys ...string) map[string]any {
	for _, k := range keys {
		next, ok := config[k].(map[string]any)
		if !ok {
			return nil
		}
		config = next
	}
	return config
}

// containerdNVIDIA finds a runtime for GPUs that is installed and not used.
func containerdNVIDIA(h *host.Host, r *doctor.Recorder, file string, text []byte, config map[string]any) {
	runtime, err := firstOf(h, nvidiaRuntimes)
	device, derr := h.Exists("/dev/nvidiactl")
	if err = errors.Join(err, derr); err != nil {
		r.Unknown("NVIDIA's runtime", err)
		return
	}
	if runtime == "" {
		return
	}
	version, given := config["version"].(int64)
	if !given {
		version = 1
		if text == nil {
			version = 2
		}
	}
	keys, known := criTables[version]
	if !known {
		r.Unknown(file, fmt.Errorf("its version is %d, and only 1, 2 and 3 are known", version))
		return
	}
	f := doctor.Finding{Severity: doctor.Warning, Object: file}
	switch {
	case table(config, append(slices.Clone(keys), "runtimes", nvidia)...) == nil:
		f.Problem = "pods get no GPU: NVIDIA's runtime is installed, and containerd does not know it"
		f.Evidence = []string{runtime + " is there", "no table " + tableName(keys) + ".runtimes.nvidia"}
		f.Fix = containerdFix(file, text, version, runtime)
	case device && table(config, keys...)["default_runtime_name"] != nvidia:
		f.Problem = "pods that name no RuntimeClass get no GPU: the runtime nvidia is not the default"
		f.Evidence = []string{"default_runtime_name is not nvidia", "/dev/nvidiactl is there"}
		f.Mend = `set default_runtime_name = "nvidia" in ` + tableName(keys) + `; where pods name a RuntimeClass nothing has to be done`
	default:
		return
	}
	r.Found(f)
}

func tableName(keys []string) string {
	quoted := slices.Clone(keys)
	for i, k := range quoted {
		if strings.ContainsAny(k, ".") {
			quoted[i] = `"` + k + `"`
		}
	}
	return strings.Join(quoted, ".")
}

// containerdFix adds the runtime's table at the end. It is offered only where the
// text parses after, and nothing but the runtime is new.
func containerdFix(file string, text []byte, version int64, runtime string) []host.Step {
	name := tableName(append(slices.Clone(criTables[version]), "runtimes", nvidia))
	more := fmt.Sprintf("[%s]\n  runtime_type = \"io.containerd.runc.v2\"\n  [%s.options]\n    BinaryName = %q\n", name, name, runtime)
	changed := string(text)
	switch {
	case text == nil:
		changed = fmt.Sprintf("version = %d\n\n", version)
	case changed != "" && !strings.HasSuffix(changed, "\n"):
		changed += "\n\n"
	case changed != "":
		changed += "\n"
	}
	changed += more
	before, err := parseTOML(text)
	if err != nil {
		return nil
	}
	after, err := parseTOML([]byte(changed))
	if err != nil {
		return nil
	}
	added, err := parseTOML([]byte(more))
	if err != nil {
		return nil
	}
	if text == nil {
		before["version"] = version
	}
	merge(before, added)
	if !reflect.DeepEqual(before, after) {
		return nil
	}
	return tomlStep(file, text, changed)
}
