// Package lab is the test bed: real GlusterFS storage nodes on one machine, and
// beside them, where asked for, a real heketi and a real Kubernetes cluster.
//
// It owns User-Mode Linux guests with their own network namespace, disks,
// glusterd, sshd and Bricklayer agent: it makes them, repairs them, breaks them
// on request and removes them. The rest of the module uses it from tests (see
// [Main] and [Current]); people use it through cmd/lab.
//
// It refuses to know what the nodes are for: no volume, placement, quota or CSI
// call is made here, and nothing of the product imports it. What a guest needs
// beyond its packages reaches it through one read-only directory of the host, so
// that a new agent or a new certificate needs no new image.
//
// A worker node of Kubernetes is no guest but a few namespaces of the host (see
// [Worker]): it needs the host's FUSE, and a second kernel would be slow.
//
// Everything a lab started can be found again from its state directory and its
// network namespaces alone, so [Down] works on a lab that was half built, was
// killed, or is long gone.
package lab
