// Package operator owns what a StoragePool of an API server is told about
// itself: its status, its events, and the finalizer that keeps it while volumes
// live on it.
//
// It looks at each pool from time to time and says what it saw, from scratch
// each time: nothing is remembered that is not in the resource, so that it may
// be killed at any moment. It refuses to know how agents and heketi are reached,
// and changes nothing on a storage node.
package operator
