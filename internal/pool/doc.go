// Package pool owns the reading of StoragePool files: which files, how many
// bytes, which documents, every fault in them at once, and the watch that
// swaps in a new set of pools when the files change.
//
// What a pool must look like is api/v1alpha1's business; what is done with a
// pool is the caller's. It refuses to know agents and backends.
package pool
