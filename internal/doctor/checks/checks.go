// Package checks owns the list of troubles that the doctor knows: for each what is
// read, when that is wrong, why it matters and how it is mended.
//
// It refuses to know how checks are run and shown (package doctor). A check says
// nothing of what it could not read except that it could not, and it changes nothing:
// what it would change is a plan in its finding.
package checks

import "bricklayer.csi/internal/doctor"

// All returns every check, in the order in which they are shown.
func All() []doctor.Check {
	return []doctor.Check{
		bridgeNetfilter,
		nodeFlapping,
		nodeMonitorGrace,
		kernelMemory,
		brickMemory,
		brickLimits,
		storageRoom,
		dockerRuntime,
		containerdRuntime,
		dashboardPatterns,
		clockSynchronised,
		clockSkew,
		lockTimes,
		glusterCtime,
		glusterdTornRecord,
		glusterOpVersion,
		glusterClientVersion,
		fuseClientNamespace,
		fuseMissing,
		mountStale,
		glusterPorts,
		thinPool,
		storageNode,
		glusterPeers,
		glusterVolumes,
		heketiState,
	}
}
