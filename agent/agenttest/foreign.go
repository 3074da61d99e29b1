package agenttest

import "bricklayer.csi/internal/gluster"

// AddForeignVolume puts a started volume into the fake Gluster that somebody
// made by hand, on directories that are none of ours.
func (c *Cluster) AddForeignVolume(name string, bricks ...gluster.Brick) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.volumes[name] = &fakeVolume{
		id:      "foreign-" + name,
		request: gluster.CreateRequest{Name: name, Bricks: bricks},
		status:  gluster.StatusStarted,
		options: map[string]string{},
	}
}
