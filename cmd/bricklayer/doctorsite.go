package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/host"
	"bricklayer.csi/internal/doctor/pods"
	"bricklayer.csi/internal/pool"
	"bricklayer.csi/internal/volume"
)

// doctorSiteOptions say what there is beside this machine.
type doctorSiteOptions struct {
	kubeconfig string
	pools      poolsOptions
	dashboards []string
	grafana    string
	token      string
	image      string
	namespace  string
}

// AddFlags adds the flags.
func (o *doctorSiteOptions) AddFlags(fs *pflag.FlagSet, env environment) {
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "look at the Kubernetes cluster of this kubeconfig file, too")
	fs.StringVar(&o.image, "image", "", "with --kubeconfig: look at each node, too, by a short-lived privileged pod of this image of Bricklayer's")
	fs.StringVar(&o.namespace, "namespace", "default", "with --image: the namespace of those pods")
	fs.StringVar(&o.pools.pools, "pools", env.getenv("BRICKLAYER_POOLS"),
		"ask the agents of these pools, too: a StoragePool file, or a directory of them (environment: BRICKLAYER_POOLS)")
	fs.StringVar(&o.pools.certs, "certs", env.orElse("BRICKLAYER_CERTS", "/etc/bricklayer/certs"),
		"with --pools: the directory with ca.crt, tls.crt and tls.key of the controller (environment: BRICKLAYER_CERTS)")
	fs.StringSliceVar(&o.dashboards, "dashboards", nil, "Grafana's dashboards to judge: files, or directories of .json files")
	fs.StringVar(&o.grafana, "grafana", "", "a Grafana whose dashboards to judge, such as https://grafana.example.com")
	fs.StringVar(&o.token, "grafana-token-file", "", "with --grafana: a file with a token that may read")
}

// Validate checks the flags.
func (o *doctorSiteOptions) Validate() error {
	if o.image != "" && o.kubeconfig == "" {
		return usagef("--image says nothing without --kubeconfig")
	}
	if o.grafana == "" {
		return nil
	}
	u, err := url.Parse(o.grafana)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return volume.NewFieldError("--grafana", o.grafana, "an http or https URL without a password in it")
	}
	return nil
}

// open reaches what was named; the site is nil where nothing was.
func (o *doctorSiteOptions) open(ctx context.Context, env environment, local *host.Host) (*doctor.Site, func(), error) {
	s := &doctor.Site{Local: local}
	done := func() {}
	if err := o.openCluster(env, s); err != nil {
		return nil, done, err
	}
	if o.pools.pools != "" {
		closers, err := o.openPools(env, s)
		done = func() {
			for _, c := range closers {
				c.Close()
			}
		}
		if err != nil {
			done()
			return nil, func() {}, err
		}
	}
	for _, name := range o.dashboards {
		s.Dashboards = append(s.Dashboards, dashboardFiles(local, name)...)
	}
	if o.grafana != "" {
		s.Dashboards = append(s.Dashboards, o.grafanaDashboards(ctx)...)
	}
	if s.Kubernetes == nil && len(s.Storage) == 0 && len(s.Dashboards) == 0 {
		s = nil
	}
	return s, done, nil
}

// podPatience bounds the look at one node by a pod, the pod's start included.
const podPatience = 25 * time.Second

// lookAtNodes looks at each node of the cluster by a pod there, if that is asked for.
func (o *doctorSiteOptions) lookAtNodes(ctx context.Context, s *doctor.Site, only []string) []doctor.Result {
	if o.image == "" || s == nil || s.Kubernetes == nil {
		return nil
	}
	return pods.Look(ctx, pods.Options{Client: s.Kubernetes, Namespace: o.namespace, Image: o.image, Checks: only, Limit: podPatience})
}

// apiPatience bounds one request to the API server, so that one that hangs is unknown.
const apiPatience = 10 * time.Second

func (o *doctorSiteOptions) openCluster(env environment, s *doctor.Site) error {
	if o.kubeconfig == "" {
		return nil
	}
	if env.kubernetes != nil {
		s.Kubernetes = env.kubernetes
		return nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return usagef("--kubeconfig: %w", err)
	}
	config.UserAgent = "bricklayer-doctor/" + version
	config.Timeout, config.QPS, config.Burst = apiPatience, apiQPS, apiBurst
	s.Server = config.Host
	s.Kubernetes, err = kubernetes.NewForConfig(config)
	return err
}

// openPools adds the storage nodes of the pools.
func (o *doctorSiteOptions) openPools(env environment, s *doctor.Site) ([]io.Closer, error) {
	resources, err := pool.Load(o.pools.pools)
	if err != nil {
		return nil, err
	}
	closers := []io.Closer{o.openHeketis(env, resources, s)}
	for _, r := range resources {
		if len(r.Spec.Nodes) == 0 {
			continue
		}
		a, err := env.dial(&o.pools, r.Name)
		if err != nil {
			return closers, err
		}
		closers = append(closers, a)
		for _, n := range r.Spec.Nodes {
			node, err := a.Node(agent.Target{Node: n.Name, Address: n.Agent})
			if err != nil {
				return closers, err
			}
			s.Storage = append(s.Storage, doctor.Storage{Pool: r.Name, Name: n.Name, Agent: node})
		}
	}
	return closers, nil
}

// dashboardFiles reads a file, or the files of a directory. One that cannot be
// read is unknown, not an error.
func dashboardFiles(h *host.Host, name string) []doctor.Dashboard {
	name, err := filepath.Abs(name)
	if err != nil {
		return []doctor.Dashboard{{Name: name, Err: err}}
	}
	info, err := h.Stat(name)
	if err != nil {
		return []doctor.Dashboard{{Name: name, Err: err}}
	}
	files := []string{name}
	if info.IsDir() {
		files = nil
		names, err := h.List(name)
		if err != nil {
			return []doctor.Dashboard{{Name: name, Err: err}}
		}
		for _, n := range names {
			if strings.HasSuffix(n, ".json") {
				files = append(files, filepath.Join(name, n))
			}
		}
	}
	var all []doctor.Dashboard
	for _, f := range files {
		d := doctor.Dashboard{Name: f, File: true}
		d.Text, d.Err = h.ReadFile(f)
		all = append(all, d)
	}
	return all
}

func (o *doctorSiteOptions) grafanaDashboards(ctx context.Context) []doctor.Dashboard {
	g := grafana{base: strings.TrimSuffix(o.grafana, "/"), client: &http.Client{Timeout: apiPatience}}
	if o.token != "" {
		text, err := os.ReadFile(o.token)
		if err != nil {
			return []doctor.Dashboard{{Name: o.grafana, Err: err}}
		}
		g.token = strings.TrimSpace(string(text))
	}
	all, err := g.dashboards(ctx)
	if err != nil {
		all = append(all, doctor.Dashboard{Name: o.grafana, Err: err})
	}
	return all
}

// changeRoot makes a directory the root of this process, so that it sees a machine
// from within a container as the machine sees itself.
func changeRoot(dir string) error {
	if err := errors.Join(unix.Chroot(dir), unix.Chdir("/")); err != nil {
		return fmt.Errorf("make %s the root of this process: %w", dir, err)
	}
	return nil
}
