package csi

import (
	"maps"
	"strconv"
	"strings"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

// foreignPrefixes open the keys that kubelet and external-provisioner add.
var foreignPrefixes = []string{"csi.storage.k8s.io/", "storage.kubernetes.io/"}

// ownContext returns a context without the keys that are not ours.
func ownContext(given map[string]string) map[string]string {
	own := maps.Clone(given)
	maps.DeleteFunc(own, func(key, _ string) bool {
		for _, prefix := range foreignPrefixes {
			if strings.HasPrefix(key, prefix) {
				return true
			}
		}
		return false
	})
	return own
}

// fromContext reads a volume context, which may come from a PV that somebody
// wrote by hand, and refuses one that is not the handle's.
func fromContext(h volume.Handle, given map[string]string) (mount.Source, error) {
	own := ownContext(given)
	for key := range own {
		if key != volume.ContextServers && key != volume.ContextVolume && key != volume.ContextGID {
			return mount.Source{}, volume.NewFieldError("volume_context", key, "servers, volume and gid")
		}
	}
	src, err := mount.NewSource(own[volume.ContextServers], own[volume.ContextVolume])
	if err != nil {
		return mount.Source{}, err
	}
	if src.Volume != h.Name {
		return mount.Source{}, volume.NewFieldError("volume_context.volume", src.Volume, h.Name+", as the volume ID says")
	}
	if gid, said := own[volume.ContextGID]; said {
		if n, err := strconv.ParseUint(gid, 10, 31); err != nil || gid != strconv.FormatUint(n, 10) {
			return mount.Source{}, volume.NewFieldError("volume_context.gid", gid, "a group ID from 0 to 2147483647")
		}
	}
	return src, nil
}

func toVolume(v volume.Volume) *csipb.Volume {
	return &csipb.Volume{VolumeId: v.Handle.String(), CapacityBytes: int64(v.Size), VolumeContext: v.Context()}
}

// healthOf says how bad each kind of problem is to those who use the volume.
// A split brain is data loss, because whichever copy is kept, what was written
// to the other one goes. A part that does not answer is not known to be bad,
// but it is not known to be well either.
var healthOf = map[volume.ProblemKind]csipb.VolumeHealthErrorType{
	volume.BrickDown:    csipb.VolumeHealthErrorType_DEGRADED,
	volume.HealPending:  csipb.VolumeHealthErrorType_DEGRADED,
	volume.QuotaMissing: csipb.VolumeHealthErrorType_DEGRADED,
	volume.NearlyFull:   csipb.VolumeHealthErrorType_DEGRADED,
	volume.Unknown:      csipb.VolumeHealthErrorType_DEGRADED,
	volume.SplitBrain:   csipb.VolumeHealthErrorType_DATA_LOSS,
	volume.QuorumLost:   csipb.VolumeHealthErrorType_INACCESSIBLE,
	volume.NotStarted:   csipb.VolumeHealthErrorType_INACCESSIBLE,
}

// toHealth converts a volume's problems. The spec allows each pair of status
// and reason once a volume, so problems of one kind share an entry.
func toHealth(h volume.Health) *csipb.VolumeHealth {
	out := &csipb.VolumeHealth{VolumeId: h.Handle.String()}
	entries := map[string]*csipb.VolumeHealth_VolumeHealthEntry{}
	for _, p := range h.Problems {
		if e, there := entries[string(p.Kind)]; there {
			e.Message += "; " + p.Detail
			continue
		}
		status, known := healthOf[p.Kind]
		if !known {
			status = csipb.VolumeHealthErrorType_DEGRADED
		}
		e := &csipb.VolumeHealth_VolumeHealthEntry{Status: status, Reason: string(p.Kind), Message: p.Detail}
		entries[string(p.Kind)] = e
		out.HealthStatuses = append(out.HealthStatuses, e)
	}
	return out
}
