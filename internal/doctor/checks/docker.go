package checks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/edit"
	"bricklayer.csi/internal/doctor/host"
)

var dockerRuntime = doctor.Check{
	ID: "docker-runtime", Title: "Docker's configuration is in conflict with itself or with a package", Severity: doctor.Error,
	Reads: `/etc/docker/daemon.json and what packages left beside it, the packages that own it, dockerd's arguments
(systemd's units, the running process), and whether NVIDIA's runtime or hook is installed.`,
	Why: `dockerd refuses to start with a daemon.json that is not JSON, or that sets an option which is among its
arguments, too. Packages that each bring a daemon.json overwrite one another's, or are not installed: the
runtime for GPUs is then gone, or the cgroup driver that kubelet expects, after an upgrade that nobody noticed.`,
	Mend: `Merge the files by hand: keep daemon.json as it is and add what the other one has, such as the entry in
"runtimes" and "default-runtime". Give each option in one place only. Then systemctl reload docker (restart for
what cannot be reloaded).`,
	Fix:  `adds the missing runtime to daemon.json, and leaves every other byte of it alone. It does not restart Docker.`,
	Host: checkDocker,
}

const daemonJSON = "/etc/docker/daemon.json"

func checkDocker(ctx context.Context, h *host.Host, r *doctor.Recorder) {
	text, err := h.ReadFile(daemonJSON)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.Unknown(daemonJSON, err)
		return
	}
	there := err == nil
	args, from, err := dockerArguments(h)
	if err != nil {
		r.Unknown("dockerd's arguments", err)
	}
	if !there && from == "" {
		if err == nil {
			r.Skip("Docker is not installed")
		}
		return
	}
	config := &edit.Value{Kind: '{'}
	if len(strings.TrimSpace(string(text))) > 0 {
		if config, err = edit.Parse(text); err == nil && config.Kind != '{' {
			err = errors.New("it is no object")
		}
		if err != nil {
			r.Found(doctor.Finding{
				Severity: doctor.Error, Object: daemonJSON, Problem: "dockerd does not start with this file: it is not JSON",
				Evidence: []string{err.Error()},
			})
			return
		}
	}
	dockerConflicts(r, config, args, from)
	dockerOwners(ctx, h, r, there)
	dockerNVIDIA(h, r, text, config, args)
}

// listOptions are keys of daemon.json whose flag has another name.
var listOptions = map[string]string{
	"hosts": "host", "labels": "label", "insecure-registries": "insecure-registry", "registry-mirrors": "registry-mirror",
	"dns-opts": "dns-opt", "exec-opts": "exec-opt", "log-opts": "log-opt", "storage-opts": "storage-opt",
	"authorization-plugins": "authorization-plugin", "default-ulimits": "default-ulimit",
	"allow-nondistributable-artifacts": "allow-nondistributable-artifacts", "default-address-pools": "default-address-pool",
	"node-generic-resources": "node-generic-resource", "cluster-store-opts": "cluster-store-opt",
}

var shortOptions = map[string]string{"-H": "host", "-D": "debug", "-l": "log-level", "-G": "group", "-s": "storage-driver", "-g": "graph", "-p": "pidfile", "-b": "bridge"}

// dockerConflicts finds options that are in the file and among the arguments.
func dockerConflicts(r *doctor.Recorder, config *edit.Value, args []string, from string) {
	given := map[string]string{}
	for _, arg := range args {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if strings.HasPrefix(arg, "--") {
			given[name] = arg
		} else if len(arg) >= 2 {
			if long, ok := shortOptions[arg[:2]]; ok {
				given[long] = arg
			}
		}
	}
	for _, key := range config.Keys {
		flag := key
		if other, ok := listOptions[key]; ok {
			flag = other
		}
		// Runtimes are the one thing that may come from both.
		if arg, ok := given[flag]; ok && key != "runtimes" {
			r.Found(doctor.Finding{
				Severity: doctor.Error, Object: daemonJSON,
				Problem:  "dockerd does not start: it is given " + key + " twice",
				Evidence: []string{fmt.Sprintf("%q is in %s", key, daemonJSON), fmt.Sprintf("%s is in %s", arg, from)},
				Mend:     "take it out of one of the two: a drop-in of docker.service with an ExecStart of its own, or the file",
			})
		}
	}
}

// dockerOwners finds packages that fight over the file.
func dockerOwners(ctx context.Context, h *host.Host, r *doctor.Recorder, there bool) {
	if !there {
		return
	}
	var owners []string
	if out, err := h.Run(ctx, "dpkg-query", "-S", daemonJSON); err == nil {
		for line := range strings.Lines(string(out)) {
			if names, file, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && file == daemonJSON && !strings.HasPrefix(names, "diversion") {
				owners = append(owners, strings.Split(names, ", ")...)
			}
		}
	}
	if out, err := h.Run(ctx, "rpm", "-qf", "--qf", `%{NAME}\n`, daemonJSON); err == nil {
		owners = append(owners, strings.Fields(string(out))...)
	}
	slices.Sort(owners)
	if owners = slices.Compact(owners); len(owners) > 1 {
		r.Found(doctor.Finding{
			Severity: doctor.Warning, Object: daemonJSON, Problem: "an upgrade of one of these packages undoes what the other one set",
			Evidence: []string{"owned by the packages " + strings.Join(owners, ", ")},
			Mend:     "keep your own merged file: on Debian dpkg-divert --add --rename " + daemonJSON + " first, elsewhere take it out of both packages' reach with --config-file",
		})
	}
}

// leftBeside are the endings of what packages leave beside a file that they may not replace.
var leftBeside = []string{".dpkg-dist", ".dpkg-new", ".ucf-dist", ".rpmnew"}

const nvidia = "nvidia"

// nvidiaRuntimes are where NVIDIA's packages put the runtime, nvidiaHooks the older hook.
var (
	nvidiaRuntimes = []string{"/usr/bin/nvidia-container-runtime", "/usr/local/nvidia/toolkit/nvidia-container-runtime"}
	nvidiaHooks    = []string{"/usr/bin/nvidia-container-runtime-hook", "/usr/bin/nvidia-container-toolkit", "/usr/share/containers/oci/hooks.d/oci-nvidia-hook.json"}
)

// firstOf returns the first of some paths that is there.
func firstOf(h *host.Host, paths []string) (string, error) {
	for _, p := range paths {
		if there, err := h.Exists(p); there || err != nil {
			return p, err
		}
	}
	return "", nil
}

// dockerNVIDIA finds a runtime for GPUs that is installed and that Docker does not use.
func dockerNVIDIA(h *host.Host, r *doctor.Recorder, text []byte, config *edit.Value, args []string) {
	runtime, err := firstOf(h, nvidiaRuntimes)
	hook, herr := firstOf(h, nvidiaHooks)
	if err = errors.Join(err, herr); err != nil {
		r.Unknown("NVIDIA's runtime", err)
		return
	}
	entry := config.Find("runtimes", nvidia)
	registered := entry != nil || slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, "nvidia=") })
	byDefault := slices.ContainsFunc(args, func(a string) bool { return a == "--default-runtime="+nvidia })
	if v := config.Find("default-runtime"); v != nil && v.Text == nvidia {
		byDefault = true
	}
	f := doctor.Finding{Severity: doctor.Warning, Object: daemonJSON}
	switch {
	case entry != nil && missingRuntime(h, entry):
		f.Severity = doctor.Error
		f.Problem = "the runtime nvidia does not exist: containers do not start with it"
		f.Evidence = []string{"runtimes.nvidia.path is " + entry.Find("path").Text}
	case runtime == "" && hook == "":
		return
	case runtime == "":
		if registered {
			return
		}
		f.Problem = "NVIDIA's hook is installed, but there is no runtime that would call it"
		f.Evidence = []string{hook + " is there", "none of " + strings.Join(nvidiaRuntimes, ", ")}
		f.Mend = "install nvidia-container-toolkit, which has both"
	case !registered:
		f.Problem = "containers get no GPU: NVIDIA's runtime is installed, and Docker does not know it"
		f.Evidence = append([]string{runtime + " is there", `no entry "nvidia" in "runtimes"`}, leftover(h)...)
		f.Fix = dockerFix(text, config, runtime)
	case !byDefault:
		f.Problem = "pods get no GPU: the runtime nvidia is known, but is not the default"
		f.Evidence = []string{`"default-runtime" is ` + orElse(config.Find("default-runtime"), "not set: runc")}
		f.Mend = "kubelet asks Docker for its default runtime"
		f.Fix = dockerFix(text, config, runtime)
	default:
		return
	}
	r.Found(f)
}

func missingRuntime(h *host.Host, entry *edit.Value) bool {
	p := entry.Find("path")
	if p == nil || !path.IsAbs(p.Text) {
		return false // a name that dockerd looks for in its PATH
	}
	there, err := h.Exists(p.Text)
	return err == nil && !there
}

func orElse(v *edit.Value, otherwise string) string {
	if v == nil {
		return otherwise
	}
	return v.Text
}

// leftover says which package's version of the file has lost.
func leftover(h *host.Host) []string {
	for _, ending := range leftBeside {
		text, err := h.ReadFile(daemonJSON + ending)
		if err != nil {
			continue
		}
		if v, err := edit.Parse(text); err == nil && v.Find("runtimes", nvidia) != nil {
			return []string{daemonJSON + ending + " has the entry: a package could not put it into the file"}
		}
	}
	return nil
}

// dockerFix merges NVIDIA's runtime into the file.
func dockerFix(text []byte, config *edit.Value, runtime string) []host.Step {
	w := host.Write{Path: daemonJSON, Mode: 0o644}
	if text == nil {
		w.New = "{\n    \"runtimes\": {\n        \"nvidia\": {\n            \"path\": " + edit.Quote(runtime) + ",\n            \"runtimeArgs\": []\n        }\n    },\n    \"default-runtime\": \"nvidia\"\n}\n"
		return []host.Step{{Write: &w}}
	}
	old := string(text)
	w.Old = &old
	entry := "{\n\t\"path\": " + edit.Quote(runtime) + ",\n\t\"runtimeArgs\": []\n}"
	for _, ensure := range []func(text []byte, config *edit.Value) (edit.Change, bool){
		func(text []byte, config *edit.Value) (edit.Change, bool) {
			runtimes := config.Find("runtimes")
			switch {
			case runtimes == nil:
				return edit.Insert(text, config, "runtimes", "{\n\t\"nvidia\": "+strings.ReplaceAll(entry, "\n", "\n\t")+"\n}"), true
			case runtimes.Kind == '{' && runtimes.Find(nvidia) == nil:
				return edit.Insert(text, runtimes, nvidia, entry), true
			}
			return edit.Change{}, false
		},
		func(text []byte, config *edit.Value) (edit.Change, bool) {
			v := config.Find("default-runtime")
			switch {
			case v == nil:
				return edit.Insert(text, config, "default-runtime", edit.Quote(nvidia)), true
			case v.Text != nvidia:
				return edit.Change{Start: v.Start, End: v.End, New: edit.Quote(nvidia)}, true
			}
			return edit.Change{}, false
		},
	} {
		if change, needed := ensure(text, config); needed {
			text = edit.Apply(text, []edit.Change{change})
			var err error
			if config, err = edit.Parse(text); err != nil {
				return nil // never written; the finding says how to do it by hand
			}
		}
	}
	w.New = string(text)
	return []host.Step{{Write: &w}}
}
