package lab

import (
	"fmt"
	"path/filepath"
)

// pauseImage holds a pod's namespaces; busyboxImage is for whatever a test wants to
// do in a pod. Both are made here.
const (
	pauseImage     = "bricklayer.lab/pause:1"
	busyboxImage   = "bricklayer.lab/busybox:1"
	kubeNameServer = "10.96.0.10"
)

// containerdConfig is for version 1.6 and 1.7 of containerd, the ones of Debian.
func containerdConfig(dir string) string {
	return fmt.Sprintf(`version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.internal.v1.opt"]

[grpc]
  address = %q

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  disable_tcp_service = true
  # Where root may not lower scores (no CAP_SYS_RESOURCE, as in containers), runc
  # would fail.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = %q
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
`, containerdSocket, pauseImage, filepath.Join(dir, "cni"))
}

// cniConfig gives pods addresses of the worker's own network behind a bridge; the
// lab routes to it.
func cniConfig(w Worker) string {
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": "lab",
  "plugins": [{
    "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}
  }]
}
`, w.Pods)
}

func (l *Lab) kubeletConfig(w Worker) map[string]any {
	pki := func(name string) string { return l.paths.kube("pki", name) }
	return map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address":           w.Address.String(),
		"tlsCertFile":       pki(w.Name + ".crt"),
		"tlsPrivateKeyFile": pki(w.Name + ".key"),
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
			"x509":      map[string]any{"clientCAFile": pki("ca.crt")},
		},
		"authorization":            map[string]any{"mode": "Webhook"},
		"containerRuntimeEndpoint": "unix://" + containerdSocket,
		"cgroupDriver":             "cgroupfs",
		"cgroupRoot":               l.paths.workerCgroup(w.Name),
		"failCgroupV1":             false,
		"failSwapOn":               false,
		"resolvConf":               "",
		"maxPods":                  200,
		// Nothing answers there: a name is known at once not to be found, and no pod
		// gets a warning that it has no name server.
		"clusterDNS":    []string{kubeNameServer},
		"clusterDomain": "cluster.local",
		// A worker shares disk and memory with everything else on this machine: only
		// where there is hardly any left shall pods have to go. Images stay: nothing
		// could pull them again.
		"evictionHard":                map[string]string{"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "50Mi"},
		"imageGCHighThresholdPercent": 100,
	}
}
