package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/pager"

	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/csi"
	"bricklayer.csi/internal/volume"
)

// claimedView is how the plug-in shows a PersistentVolume of the driver's.
type claimedView struct {
	Pool string `json:"pool"`
	// Kind is plain or lvm, as in a pool's status.
	Kind string `json:"kind"`
	// Claim is NAMESPACE/NAME, empty where no claim has the volume.
	Claim  string `json:"claim,omitempty"`
	Size   string `json:"size"`
	Phase  string `json:"phase"`
	Name   string `json:"persistentVolume"`
	Handle string `json:"handle"`
	// Counted says whether the pool's status tells of the volume: yes, no, or unknown
	// where the status is not there or does not name all of its volumes.
	Counted string `json:"counted"`
}

func newKubectlVolumes(env environment) *cobra.Command {
	var o kubectlOptions
	var driver, poolName string
	cmd := &cobra.Command{
		Use:   "volumes",
		Short: "List the driver's PersistentVolumes by pool, kind and claim",
		Long: `List the driver's PersistentVolumes by pool, kind (plain: lvm "false"; lvm: lvm
"true") and claim, and whether the pool's status counts each: one that it does not
count was not there when the status was written. A status names but some of many volumes: of
others that is unknown.`,
		Example: `  kubectl bricklayer volumes
  kubectl bricklayer volumes --pool fast -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			core, client, err := o.clients(env)
			if err != nil {
				return err
			}
			views, err := listClaimed(cmd.Context(), core, driver)
			if err != nil {
				return err
			}
			views = slices.DeleteFunc(views, func(v claimedView) bool { return poolName != "" && v.Pool != poolName })
			pools, err := listPools(cmd.Context(), client)
			if err != nil && !volume.Is(err, volume.Precondition) { // pools that are no objects have no status
				return err
			}
			count(views, pools)
			return o.out.write(cmd.OutOrStdout(), views, func(w io.Writer) { writeClaimed(w, views) })
		},
	}
	o.AddFlags(cmd.Flags())
	cmd.Flags().StringVar(&driver, "driver-name", csi.DefaultDriverName, "the name of the CSI driver whose PersistentVolumes are listed")
	cmd.Flags().StringVar(&poolName, "pool", "", "those of this pool only")
	return cmd
}

// listClaimed returns the PersistentVolumes of a driver, by pool, kind and claim. One
// whose handle is none of ours is shown with that alone.
func listClaimed(ctx context.Context, client kubernetes.Interface, driver string) ([]claimedView, error) {
	views := []claimedView{}
	all := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return client.CoreV1().PersistentVolumes().List(ctx, o)
	})
	err := all.EachListItem(ctx, metav1.ListOptions{}, func(o runtime.Object) error {
		if pv, ok := o.(*corev1.PersistentVolume); ok && pv.Spec.CSI != nil && pv.Spec.CSI.Driver == driver {
			views = append(views, claimedViewOf(pv))
		}
		return nil
	})
	if err != nil {
		return nil, listFailed("PersistentVolumes", err)
	}
	slices.SortFunc(views, func(a, b claimedView) int {
		return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Claim, b.Claim), cmp.Compare(a.Name, b.Name))
	})
	return views, nil
}

// kinds are the backends as a pool's status has them.
var kinds = map[volume.BackendName]string{volume.Plain: "plain", volume.Heketi: "lvm"}

func claimedViewOf(pv *corev1.PersistentVolume) claimedView {
	size := pv.Spec.Capacity[corev1.ResourceStorage]
	v := claimedView{Name: pv.Name, Handle: pv.Spec.CSI.VolumeHandle, Size: size.String(), Phase: string(pv.Status.Phase), Counted: "unknown"}
	if h, err := volume.ParseHandle(v.Handle); err == nil {
		v.Pool, v.Kind = h.Pool, kinds[h.Backend]
	}
	if c := pv.Spec.ClaimRef; c != nil {
		v.Claim = c.Namespace + "/" + c.Name
	}
	return v
}

// count says of each volume whether its pool's status tells of it.
func count(views []claimedView, pools []v1alpha1.StoragePool) {
	for i := range views {
		v := &views[i]
		at := slices.IndexFunc(pools, func(p v1alpha1.StoragePool) bool { return p.Name == v.Pool })
		h, err := volume.ParseHandle(v.Handle)
		if at < 0 || err != nil || pools[at].Status.Volumes == nil {
			continue
		}
		counts := pools[at].Status.Volumes
		switch {
		case slices.Contains(counts.Names, h.Name) || inUse(pools[at].Status.InUse, h.Name):
			v.Counted = "yes"
		case int(counts.Plain)+int(counts.LVM) == len(counts.Names):
			v.Counted = "no"
		}
	}
}

// inUse reports whether a status names a volume on some root.
func inUse(roots map[string]string, name string) bool {
	for _, names := range roots {
		if slices.Contains(strings.FieldsFunc(names, func(r rune) bool { return r == ',' || r == ' ' }), name) {
			return true
		}
	}
	return false
}

func writeClaimed(w io.Writer, views []claimedView) {
	fmt.Fprint(w, row("POOL", "KIND", "CLAIM", "SIZE", "PHASE", "PERSISTENTVOLUME", "COUNTED"))
	for _, v := range views {
		fmt.Fprint(w, row(v.Pool, v.Kind, v.Claim, v.Size, v.Phase, v.Name, v.Counted))
	}
}
