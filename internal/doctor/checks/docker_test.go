package checks

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/hosttest"
)

const dockerUnit = `[Service]
EnvironmentFile=-/etc/default/docker
ExecStart=/usr/bin/dockerd -H fd:// \
  --containerd=/run/containerd/containerd.sock $DOCKER_OPTS
`

// docked is a machine with Docker.
func docked(t *testing.T, daemon string) *hosttest.Machine {
	m := hosttest.New(t)
	m.Write("/lib/systemd/system/docker.service", dockerUnit)
	if daemon != "" {
		m.Write(daemonJSON, daemon)
	}
	return m
}

func TestDockerHealthy(t *testing.T) {
	quiet(t, look(t, dockerRuntime, docked(t, "").Host), doctor.StatusFine)
	quiet(t, look(t, dockerRuntime, docked(t, "{\"log-driver\": \"json-file\", \"labels\": [\"a=b\"]}\n").Host), doctor.StatusFine)
}

func TestDockerInvalid(t *testing.T) {
	m := docked(t, "{\n  \"log-driver\": \"json-file\",\n}\n")
	if f := only(t, look(t, dockerRuntime, m.Host)); f.Severity != doctor.Error || !strings.Contains(f.Evidence[0], "line 3, column 1") {
		t.Errorf("found %+v", f)
	}
	m.Write(daemonJSON, "[]")
	quiet(t, look(t, dockerRuntime, m.Host), doctor.StatusError)
}

func TestDockerOptionTwice(t *testing.T) {
	m := docked(t, `{"hosts": ["unix:///x"], "debug": true, "runtimes": {}}`)
	f := only(t, look(t, dockerRuntime, m.Host))
	if !strings.Contains(f.Problem, "given hosts twice") || !strings.Contains(f.Evidence[1], "-H is in /lib/systemd/system/docker.service") {
		t.Errorf("found %+v", f)
	}
	// A drop-in takes the flag away, and the environment brings another.
	m.Write("/etc/systemd/system/docker.service.d/10.conf", "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd $DOCKER_OPTS\n")
	quiet(t, look(t, dockerRuntime, m.Host), doctor.StatusFine)
	m.Write("/etc/default/docker", "# x\nDOCKER_OPTS=\"--debug --add-runtime nvidia=/x\"\n")
	if f := only(t, look(t, dockerRuntime, m.Host)); !strings.Contains(f.Problem, "given debug twice") {
		t.Errorf("found %+v", f)
	}
}

func TestDockerOwners(t *testing.T) {
	m := docked(t, "{}")
	m.Answers["dpkg-query -S "+daemonJSON] = "nvidia-docker2, acme-base: " + daemonJSON + "\n"
	if f := only(t, look(t, dockerRuntime, m.Host)); f.Severity != doctor.Warning || !strings.Contains(f.Evidence[0], "acme-base, nvidia-docker2") {
		t.Errorf("found %+v", f)
	}
	m.Answers["dpkg-query -S "+daemonJSON] = "acme-base: " + daemonJSON + "\n"
	quiet(t, look(t, dockerRuntime, m.Host), doctor.StatusFine)
}

// The cure adds to the file and changes nothing that is there, however it is written.
func TestDockerNVIDIA(t *testing.T) {
	for name, c := range map[string]struct{ before, after string }{
		"tabs, no newline at the end": {
			"{\n\t\"storage-driver\":\"overlay2\" ,\n\t\"exec-opts\": [\"native.cgroupdriver=systemd\"]}",
			"{\n\t\"storage-driver\":\"overlay2\" ,\n\t\"exec-opts\": [\"native.cgroupdriver=systemd\"],\n\t\"runtimes\": {\n\t\t\"nvidia\": {\n\t\t\t\"path\": \"/usr/bin/nvidia-container-runtime\",\n\t\t\t\"runtimeArgs\": []\n\t\t}\n\t},\n\t\"default-runtime\": \"nvidia\"}",
		},
		"one line": {
			`{"debug": false, "max-concurrent-downloads":3}` + "\n",
			`{"debug": false, "max-concurrent-downloads":3, "runtimes": {"nvidia": {"path": "/usr/bin/nvidia-container-runtime", "runtimeArgs": []}}, "default-runtime": "nvidia"}` + "\n",
		},
		"another runtime, another default": {
			"{\n  \"default-runtime\": \"runc\",\n  \"runtimes\": {\n    \"kata\": {\"path\": \"kata\"}\n  }\n}\n",
			"{\n  \"default-runtime\": \"nvidia\",\n  \"runtimes\": {\n    \"kata\": {\"path\": \"kata\"},\n    \"nvidia\": {\n      \"path\": \"/usr/bin/nvidia-container-runtime\",\n      \"runtimeArgs\": []\n    }\n  }\n}\n",
		},
		"known, but not the default": {
			"{\"runtimes\": {\"nvidia\": {\"path\": \"nvidia-container-runtime\"}}}",
			"{\"runtimes\": {\"nvidia\": {\"path\": \"nvidia-container-runtime\"}}, \"default-runtime\": \"nvidia\"}",
		},
		"empty object": {
			"{}",
			"{\n    \"runtimes\": {\n        \"nvidia\": {\n            \"path\": \"/usr/bin/nvidia-container-runtime\",\n            \"runtimeArgs\": []\n        }\n    },\n    \"default-runtime\": \"nvidia\"\n}",
		},
		"no file": {"", "{\n    \"runtimes\": {\n        \"nvidia\": {\n            \"path\": \"/usr/bin/nvidia-container-runtime\",\n            \"runtimeArgs\": []\n        }\n    },\n    \"default-runtime\": \"nvidia\"\n}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			m := docked(t, c.before)
			quiet(t, look(t, dockerRuntime, m.Host), doctor.StatusFine)
			m.Write("/usr/bin/nvidia-container-runtime", "")
			j := fix(t, m, dockerRuntime, only(t, look(t, dockerRuntime, m.Host)))
			if diff := cmp.Diff(c.after, m.Read(daemonJSON)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			quiet(t, look(t, dockerRuntime, m.Host), doctor.StatusFine)
			if err := doctor.Undo(t.Context(), m.Host, j); err != nil {
				t.Fatal(err)
			}
			if there, _ := m.Exists(daemonJSON); there != (c.before != "") || there && m.Read(daemonJSON) != c.before {
				t.Error("undo did not bring back what was there")
			}
		})
	}
}

func TestDockerNVIDIAByPackageOnly(t *testing.T) {
	m := docked(t, "{}")
	m.Write("/usr/bin/nvidia-container-runtime", "")
	m.Write(daemonJSON+".dpkg-dist", `{"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}`)
	f := only(t, look(t, dockerRuntime, m.Host))
	if !strings.Contains(strings.Join(f.Evidence, "\n"), ".dpkg-dist has the entry") {
		t.Errorf("found %+v", f)
	}
	m = docked(t, `{"runtimes": {"nvidia": {"path": "/gone/nvidia"}}}`)
	if f := only(t, look(t, dockerRuntime, m.Host)); f.Severity != doctor.Error || !strings.Contains(f.Evidence[0], "/gone/nvidia") {
		t.Errorf("found %+v", f)
	}
	m = docked(t, "{}")
	m.Write("/usr/bin/nvidia-container-runtime-hook", "")
	if f := only(t, look(t, dockerRuntime, m.Host)); !strings.Contains(f.Problem, "no runtime that would call it") {
		t.Errorf("found %+v", f)
	}
}

func TestContainerdPluginOff(t *testing.T) {
	m := hosttest.New(t)
	quiet(t, look(t, containerdRuntime, m.Host), doctor.StatusSkipped)
	m.Process(30, "/usr/bin/containerd")
	quiet(t, look(t, containerdRuntime, m.Host), doctor.StatusFine)
	const before = "#   Copyright\n\ndisabled_plugins = [\"cri\"]\n\n#root = \"/var/lib/containerd\"\n"
	m.Write(containerdTOML, before)
	quiet(t, look(t, containerdRuntime, m.Host), doctor.StatusFine) // nobody wants it here
	m.Process(31, "/usr/bin/kubelet", "--container-runtime-endpoint=unix:///run/containerd/containerd.sock")
	fix(t, m, containerdRuntime, only(t, look(t, containerdRuntime, m.Host)))
	if got, want := m.Read(containerdTOML), strings.Replace(before, `["cri"]`, "[]", 1); got != want {
		t.Errorf("the file is now\n%s", got)
	}
	quiet(t, look(t, containerdRuntime, m.Host), doctor.StatusFine)
	m.Write(containerdTOML, "disabled_plugins = [\n  \"cri\", \"zfs\",\n]\n")
	if f := only(t, look(t, containerdRuntime, m.Host)); len(f.Fix) != 0 {
		t.Errorf("a list that somebody has to think about: %+v", f)
	}
	m.Write(containerdTOML, "version = \n")
	if f := only(t, look(t, containerdRuntime, m.Host)); !strings.Contains(f.Evidence[0], "line 1") {
		t.Errorf("found %+v", f)
	}
}

func TestContainerdNVIDIA(t *testing.T) {
	for version, name := range map[string]string{
		"version = 2\n":                `plugins."io.containerd.grpc.v1.cri".containerd`,
		"version = 3\n":                `plugins."io.containerd.cri.v1.runtime".containerd`,
		"oom_score = 0 # the oldest\n": "plugins.cri.containerd",
	} {
		m := hosttest.New(t)
		before := version + "root = '/x' # ours\n[" + name + "]\n  snapshotter = \"overlayfs\""
		m.Write(containerdTOML, before)
		quiet(t, look(t, containerdRuntime, m.Host), doctor.StatusFine)
		m.Write("/usr/bin/nvidia-container-runtime", "")
		fix(t, m, containerdRuntime, only(t, look(t, containerdRuntime, m.Host)))
		after := m.Read(containerdTOML)
		if !strings.HasPrefix(after, before+"\n\n["+name+".runtimes.nvidia]\n") {
			t.Errorf("the file is now\n%s", after)
		}
		quiet(t, look(t, containerdRuntime, m.Host), doctor.StatusFine)
		m.Write("/dev/nvidiactl", "")
		if f := only(t, look(t, containerdRuntime, m.Host)); !strings.Contains(f.Problem, "not the default") {
			t.Errorf("found %+v", f)
		}
		m.Write(containerdTOML, "imports = [\"/etc/containerd/conf.d/*.toml\"]\n"+after)
		m.Write("/etc/containerd/conf.d/99-nvidia.toml", "["+name+"]\n default_runtime_name = \"nvidia\"\n")
		quiet(t, look(t, containerdRuntime, m.Host), doctor.StatusFine)
	}
}
