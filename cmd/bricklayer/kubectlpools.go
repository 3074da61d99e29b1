package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"bricklayer.csi/api/client/versioned"
	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/volume"
)

// storagePoolView is how the plug-in shows a StoragePool. What its status does not
// tell is empty.
type storagePoolView struct {
	Name string `json:"name"`
	// Ready and Degraded are True, False or Unknown, as the conditions are.
	Ready    string `json:"ready"`
	Degraded string `json:"degraded"`
	// Why says what is not as it must be.
	Why string `json:"why,omitempty"`
	// Raw, Committed and Free are space, such as 60Gi.
	Raw       string    `json:"raw,omitempty"`
	Committed string    `json:"committed,omitempty"`
	Free      string    `json:"free,omitempty"`
	Plain     int32     `json:"plain"`
	LVM       int32     `json:"lvm"`
	Nodes     int       `json:"nodes"`
	Reachable int       `json:"reachableNodes"`
	Created   time.Time `json:"created"`
}

func newKubectlPools(env environment) *cobra.Command {
	var o kubectlOptions
	cmd := &cobra.Command{
		Use:   "pools",
		Short: "List the StoragePools of the cluster, and what is wrong with them",
		Example: `  kubectl bricklayer pools
  kubectl bricklayer pools --context production -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, client, err := o.clients(env)
			if err != nil {
				return err
			}
			found, err := listPools(cmd.Context(), client)
			if err != nil {
				return err
			}
			views := make([]storagePoolView, 0, len(found))
			for _, p := range found {
				views = append(views, storagePoolViewOf(p))
			}
			return o.out.write(cmd.OutOrStdout(), views, func(w io.Writer) { writeStoragePools(w, views) })
		},
	}
	o.AddFlags(cmd.Flags())
	return cmd
}

// listPools returns the StoragePools of the cluster.
func listPools(ctx context.Context, client versioned.Interface) ([]v1alpha1.StoragePool, error) {
	found, err := client.BricklayerV1alpha1().StoragePools().List(ctx, metav1.ListOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, &volume.Error{
			Kind: volume.Precondition, Op: "list StoragePools", Err: err,
			Next: "the cluster does not have them: pools come from the chart's values there, unless it is installed with poolsFrom: api",
		}
	case err != nil:
		return nil, listFailed("StoragePools", err)
	}
	return found.Items, nil
}

// listFailed is the error of an API server that does not tell what there is.
func listFailed(what string, err error) error {
	kind, next := volume.Unavailable, "see whether the API server answers"
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		kind, next = volume.Denied, "use a kubeconfig or a context that may list them"
	}
	return &volume.Error{Kind: kind, Op: "list " + what, Err: err, Next: next}
}

func storagePoolViewOf(p v1alpha1.StoragePool) storagePoolView {
	v := storagePoolView{
		Name: p.Name, Ready: string(metav1.ConditionUnknown), Degraded: string(metav1.ConditionUnknown),
		Nodes: len(p.Spec.Nodes), Created: p.CreationTimestamp.UTC(),
	}
	if c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionDegraded); c != nil {
		v.Degraded = string(c.Status)
		if c.Status == metav1.ConditionTrue {
			v.Why = c.Message
		}
	}
	if c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		v.Ready = string(c.Status)
		if c.Status == metav1.ConditionFalse {
			v.Why = c.Message
		}
	}
	if c := p.Status.Capacity; c != nil {
		v.Raw, v.Committed, v.Free = c.Raw.String(), c.Committed.String(), c.Free.String()
	}
	if c := p.Status.Volumes; c != nil {
		v.Plain, v.LVM = c.Plain, c.LVM
	}
	for _, n := range p.Status.Nodes {
		if n.Reachable {
			v.Reachable++
		}
	}
	return v
}

func writeStoragePools(w io.Writer, views []storagePoolView) {
	fmt.Fprint(w, row("POOL", "READY", "DEGRADED", "NODES", "RAW", "COMMITTED", "FREE", "PLAIN", "LVM", "AGE"))
	for _, v := range views {
		nodes := fmt.Sprintf("%d/%d", v.Reachable, v.Nodes)
		fmt.Fprint(w, row(v.Name, v.Ready, v.Degraded, nodes, v.Raw, v.Committed, v.Free,
			strconv.Itoa(int(v.Plain)), strconv.Itoa(int(v.LVM)), duration.HumanDuration(time.Since(v.Created))))
	}
	for _, v := range views {
		if v.Why != "" {
			fmt.Fprintf(w, "pool %s: %s\n", v.Name, v.Why)
		}
	}
}
