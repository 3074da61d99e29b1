//go:build !lab

package brick

// newDisk makes the disk of a test: with the build tag lab a real one.
var newDisk = fakeDisk

const machineRuns = "30"
