// Package pool owns the reading of StoragePools: from files (which files, how
// many bytes, which documents, every fault in them at once) or from an API
// server, and the watch that swaps in a new set of pools when they change.
//
// What a pool must look like is api/v1alpha1's business; what is done with a
// pool is the caller's. It refuses to know agents and backends.
package pool
