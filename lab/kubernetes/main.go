// Command kubernetes is every program of a small Kubernetes cluster in one file,
// for the lab: what they share, most of them, is built and kept once. The first
// argument says which one it is; the others are that program's own.
//
// It is a module of its own, with exactly the dependencies that this version of
// Kubernetes was released with, so that none of them reaches the product.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of the API client
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

var programs = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": manager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	"kubectl":                 kubectl.NewDefaultKubectlCommand,
}

func main() {
	name := strings.Join(os.Args[1:min(2, len(os.Args))], "")
	if name == "etcd" {
		etcdmain.Main(os.Args[1:])
		return
	}
	program := programs[name]
	if program == nil {
		fmt.Fprintf(os.Stderr, "%q: want etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet or kubectl, then its arguments\n", name)
		os.Exit(2)
	}
	os.Args = os.Args[1:]
	os.Exit(cli.Run(program()))
}
