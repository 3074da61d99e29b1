// Package fio owns what the benchmarks know about fio: the job files, how a job
// is run, and what its JSON means.
//
// It refuses to know what is compared with what, and what lies below the
// directory that a job works in. A figure that is missing, or that contradicts
// another one, is an error: a number that means something else than it did
// would spoil a comparison without a word.
package fio
