package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"bricklayer.csi/api/client/versioned"
)

// kubectlPlugin is the name under which this program is a plug-in of kubectl.
const kubectlPlugin = "kubectl-bricklayer"

// newKubectl returns the commands of the plug-in: what an administrator asks of a
// cluster with the rights of a kubeconfig, and those that ask the storage itself.
func newKubectl(env environment) *cobra.Command {
	root := group(kubectlPlugin, "Look at Bricklayer's pools and volumes in a Kubernetes cluster")
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl bricklayer"}
	root.Long = `Look at Bricklayer's pools and volumes in a Kubernetes cluster.

pools and volumes ask the API server alone. orphans, doctor and top are those of
'bricklayer': they ask the storage nodes, by --pools and --certs.

` + exitHelp
	root.AddCommand(newKubectlPools(env), newKubectlVolumes(env), newOrphans(env), newDoctor(env), newTop(env))
	for _, cmd := range root.Commands() {
		cmd.Example = strings.ReplaceAll(cmd.Example, "  bricklayer ", "  kubectl bricklayer ")
	}
	return root
}

// kubectlOptions say which cluster is asked, as kubectl has it.
type kubectlOptions struct {
	kubeconfig, context string
	out                 outputOptions
}

// AddFlags adds the flags.
func (o *kubectlOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "the kubeconfig file; where it is left out what kubectl takes: KUBECONFIG, or ~/.kube/config")
	fs.StringVar(&o.context, "context", "", "which of its contexts; the current one where it is left out")
	o.out.AddFlags(fs)
}

// config returns how the API server is reached.
func (o *kubectlOptions) config() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.context}).ClientConfig()
	if err != nil {
		return nil, usagef("cannot reach Kubernetes: %w", err)
	}
	config.UserAgent = kubectlPlugin + "/" + version
	config.Timeout, config.QPS, config.Burst = apiPatience, apiQPS, apiBurst
	return config, nil
}

// clients returns those of the API server, tests' own where they gave some.
func (o *kubectlOptions) clients(env environment) (kubernetes.Interface, versioned.Interface, error) {
	if err := o.out.Validate(); err != nil {
		return nil, nil, err
	}
	if env.kubernetes != nil && env.storagePools != nil {
		return env.kubernetes, env.storagePools, nil
	}
	config, err := o.config()
	if err != nil {
		return nil, nil, err
	}
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("reach Kubernetes: %w", err)
	}
	pools, err := versioned.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("reach the StoragePools of Kubernetes: %w", err)
	}
	return core, pools, nil
}
