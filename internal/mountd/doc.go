// Package mountd owns the mount service of a worker node: a small process that
// holds the FUSE clients, so that the node service can be restarted and upgraded
// without a volume being lost, and the client by which the node service asks
// it. Server wraps a mount.Mounter and Client is one.
//
// It refuses to know CSI, Kubernetes and which volume belongs to whom. And it
// trusts nobody: whatever is asked is checked anew, so that the worst that a
// confused node service can do is to mount Gluster volumes below the directories
// that the administrator named.
package mountd
