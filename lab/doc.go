// Package lab is the test bed: real GlusterFS storage nodes on one machine.
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
// Everything a lab started can be found again from its state directory and its
// network namespace alone, so [Down] works on a lab that was half built, was
// killed, or is long gone.
package lab
