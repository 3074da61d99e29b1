// Package mount owns every mount that Bricklayer makes on a worker node: the
// FUSE mount of a Gluster volume, the bind mounts of it, and their end. It also
// owns the question whether a mount still answers, and the one list of mount
// flags that a class may pass.
//
// It refuses to know CSI and Kubernetes, which volume belongs to whom, and where
// mounts should be: callers give paths, and decide what a mount is for.
//
// No function here touches a path below a mount without a bound on time: a FUSE
// client that has died or hangs must never hang its caller.
package mount
