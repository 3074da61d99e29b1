package plain

import (
	"slices"

	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/mark"
	"bricklayer.csi/internal/volume"
)

// volumeOptions returns all options that a new volume gets, in the order in
// which they are set: ours, then those of the class, which may overrule ours.
func (b *Backend) volumeOptions(m mark.Volume, class []volume.Option) ([]gluster.Option, error) {
	options := m.Options()
	if len(b.ClientNetworks) > 0 {
		allow, err := gluster.AllowList(b.ClientNetworks)
		if err != nil {
			return nil, err
		}
		options = append(options, gluster.Option{Key: "auth.allow", Value: allow})
	}
	if m.Enforce {
		// The size is the quota; a reserve on top of it would take a hundredth
		// of what was asked, and refuse writes for up to 5 s after an expand.
		options = append(options, gluster.Option{Key: "storage.reserve", Value: "0"})
	}
	for _, o := range class {
		i := slices.IndexFunc(options, func(ours gluster.Option) bool { return ours.Key == o.Key })
		if i < 0 {
			options = append(options, gluster.Option{})
			i = len(options) - 1
		}
		options[i] = gluster.Option(o)
	}
	return options, nil
}
