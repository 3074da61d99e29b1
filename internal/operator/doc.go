// Package operator owns what a StoragePool of an API server is told about
// itself: its status, its events, and the finalizer that keeps it while volumes
// live on it.
//
// It looks at each pool from time to time and says what it saw, from scratch
// each time: nothing is remembered that is not in the resource, so that it may
// be killed at any moment. On storage nodes it does what the pool's spec asks for,
// and nothing that could lose data: it refuses to detach a peer or to empty a file
// system, and to know how agents and heketi are reached.
package operator
