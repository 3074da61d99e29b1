package heketitest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/heketi/heketi/pkg/glusterfs/api"

	"bricklayer.csi/internal/gluster"
)

var (
	errNoSpace  = errors.New("No space")                                                                 //nolint:staticcheck // as heketi spells it
	errConflict = errors.New("The target exists, contains other items, or is in use.")                   //nolint:revive,staticcheck // as heketi spells it
	errKilled   = errors.New("killed")                                                                   // the operation belongs to a server that is no more
	errBusy     = errors.New("umount: /var/lib/heketi/mounts: target is busy")                           // what umount says of a brick in use
	errTaken    = "Unable to execute command on %s: volume create: %s: failed: Volume %s already exists" // gluster's text
)

// operation is one that runs.
type operation struct {
	s     *Server
	name  string
	life  int
	steps int
	entry *operationEntry
	vol   string
}

// step does one thing: it takes its time, asks the hook, and then changes the
// database or the nodes under the lock. It returns errKilled in a dead server.
func (o *operation) step(what string, do func() error) error {
	s := o.s
	s.mu.Lock()
	hook, pace := s.onStep, s.config.Step
	s.mu.Unlock()
	o.steps++
	if hook != nil {
		if err := hook(Step{Op: o.name, What: what, Number: o.steps}); errors.Is(err, ErrKill) {
			s.Kill()
			return errKilled
		} else if err != nil {
			return err
		}
	}
	if pace > 0 {
		timer := time.NewTimer(pace)
		defer timer.Stop()
		<-timer.C
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life != o.life {
		return errKilled
	}
	return do()
}

// begin is the part of an operation that is done before the answer: it is
// refused where too many run, and written into the database. s.mu is held.
func (s *Server) begin(w http.ResponseWriter, o *operation, complaint string, build func() error) bool {
	if len(s.tracked) >= s.config.OpLimit {
		http.Error(w, "Server busy. Retry operation later.", http.StatusTooManyRequests)
		return false
	}
	if s.hook(o, "build") {
		return false
	}
	if err := build(); err != nil {
		http.Error(w, fmt.Sprintf(complaint+": %v", err), http.StatusInternalServerError)
		return false
	}
	if s.hook(o, "answer") {
		return false
	}
	s.tracked[o.entry.Id] = true
	s.most = max(s.most, len(s.tracked))
	return true
}

// hook asks the hook about a step that is done under the lock, and reports
// whether the server was killed.
func (s *Server) hook(o *operation, what string) bool {
	o.steps++
	if s.onStep != nil && errors.Is(s.onStep(Step{Op: o.name, What: what, Number: o.steps}), ErrKill) {
		s.kill()
		return true
	}
	return false
}

// end takes an operation off the list of those that run.
func (o *operation) end() {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	if o.s.life == o.life {
		delete(o.s.tracked, o.entry.Id)
	}
}

func (s *Server) newRun(name string, kind int) *operation {
	return &operation{s: s, name: name, life: s.life, entry: s.newOperation(kind)}
}

func (s *Server) volumeCreate(w http.ResponseWriter, r *http.Request) {
	var request api.VolumeCreateRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		http.Error(w, "request unable to be parsed", http.StatusUnprocessableEntity)
		return
	}
	for _, id := range request.Clusters {
		if s.db.Clusters[id] == nil {
			http.Error(w, fmt.Sprintf("Cluster id %v not found", id), http.StatusBadRequest)
			return
		}
	}
	if request.Size < 1 || request.Gid < 0 || request.Gid >= 1<<31-1 {
		http.Error(w, "validation failed", http.StatusBadRequest)
		return
	}
	o := s.newRun("create", typeCreate)
	if !s.begin(w, o, "Failed to allocate new volume", func() error { return s.buildCreate(o, request) }) {
		return
	}
	s.enqueue(w, r, func(int) (string, error) {
		defer o.end()
		return "/volumes/" + o.vol, o.create()
	})
}

// buildCreate writes a new volume into the database, pending.
func (s *Server) buildCreate(o *operation, r api.VolumeCreateRequest) error {
	clusters := r.Clusters
	if len(clusters) == 0 {
		for id := range s.db.Clusters {
			clusters = append(clusters, id)
		}
		slices.Sort(clusters)
	}
	v := &volumeEntry{GlusterVolumeOptions: append(append([]string{""}, r.GlusterVolumeOptions...), "")}
	v.Info.Id, v.Info.Name, v.Info.Size, v.Info.Gid = s.newID(), r.Name, r.Size, r.Gid
	v.Info.Durability, v.Info.Snapshot, v.Info.Clusters = r.Durability, r.Snapshot, r.Clusters
	v.Info.Snapshot.Factor = max(1, v.Info.Snapshot.Factor)
	err := errNoSpace
	for _, id := range clusters {
		if s.nameTaken(id, r.Name) {
			err = fmt.Errorf("Volume name '%v' already in use", r.Name)
			continue
		}
		bricks, failed := s.place(id, v.Info.Id, r.Size, r.Durability, v.Info.Snapshot.Factor, 0)
		if failed != nil {
			err = failed
			continue
		}
		v.Info.Cluster = id
		for _, k := range bricks {
			k.Pending.Id = o.entry.Id
			v.Bricks = append(v.Bricks, k.Info.Id)
			o.entry.Actions = append(o.entry.Actions, action{Change: addBrick, Id: k.Info.Id})
		}
		o.entry.Actions = append(o.entry.Actions, action{Change: addVolume, Id: v.Info.Id})
		v.Pending.Id, o.vol = o.entry.Id, v.Info.Id
		slices.Sort(v.Bricks)
		s.db.Volumes[v.Info.Id], s.db.Operations[o.entry.Id] = v, o.entry
		s.db.Clusters[id].Info.Volumes = append(s.db.Clusters[id].Info.Volumes, v.Info.Id)
		return nil
	}
	return err
}

func (s *Server) nameTaken(cluster, name string) bool {
	return slices.ContainsFunc(s.db.Clusters[cluster].Info.Volumes, func(id string) bool { return s.db.Volumes[id].Info.Name == name })
}

// bricks returns the bricks that an operation adds or removes.
func (o *operation) bricks() []*brickEntry {
	var out []*brickEntry
	for _, a := range o.entry.Actions {
		if k := o.s.db.Bricks[a.Id]; k != nil && (a.Change == addBrick || a.Change == deleteBrick) {
			out = append(out, k)
		}
	}
	return out
}

func (s *Server) brick(k *brickEntry) gluster.Brick {
	return gluster.Brick{Host: s.db.Nodes[k.Info.NodeId].Info.Hostnames.Storage[0], Path: k.Info.Path}
}

// makeBricks makes the logical volumes, one step each.
func (o *operation) makeBricks() error {
	o.s.mu.Lock()
	bricks := o.bricks()
	o.s.mu.Unlock()
	for _, k := range bricks {
		err := o.step("brick", func() error {
			o.s.storage.lvs[o.s.brick(k).String()] = true
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// create does on the nodes what the database says, and undoes it where that fails.
func (o *operation) create() error {
	err := o.createOnNodes()
	if errors.Is(err, errKilled) {
		return err
	}
	if err != nil {
		o.rollBack()
		return err
	}
	return o.step("finalize", func() error {
		for _, k := range o.bricks() {
			k.Pending.Id = ""
		}
		o.s.db.Volumes[o.vol].Pending.Id = ""
		delete(o.s.db.Operations, o.entry.Id)
		return nil
	})
}

func (o *operation) createOnNodes() error {
	s := o.s
	if err := o.makeBricks(); err != nil {
		return err
	}
	s.mu.Lock()
	v := s.db.Volumes[o.vol]
	s.mu.Unlock()
	name := v.Info.Name
	err := o.step("gluster create", func() error {
		g := &gluster.Volume{Name: name, Status: gluster.StatusCreated, Options: map[string]string{}}
		for _, k := range o.bricks() {
			g.Bricks = append(g.Bricks, s.brick(k))
		}
		if s.storage.volumes[name] != nil {
			return fmt.Errorf(errTaken, g.Bricks[0].Host, name, name)
		}
		s.storage.volumes[name] = g
		return nil
	})
	if err != nil {
		return err
	}
	for _, entry := range v.GlusterVolumeOptions {
		if entry == "" {
			continue
		}
		err := o.step("gluster set", func() error {
			words := strings.Fields(entry)
			for i := 0; i+1 < len(words); i += 2 {
				if strings.HasPrefix(words[i], "bad.") {
					return fmt.Errorf("Unable to execute command on n1: volume set: failed: option : %s does not exist", words[i]) //nolint:staticcheck // as heketi spells it
				}
				s.storage.volumes[name].Options[words[i]] = words[i+1]
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return o.step("gluster start", func() error {
		s.storage.volumes[name].Status = gluster.StatusStarted
		return nil
	})
}

// rollBack undoes a create or an expansion, and marks the operation as failed
// where that fails.
func (o *operation) rollBack() {
	if err := o.clean(); err != nil && !errors.Is(err, errKilled) {
		o.s.mu.Lock()
		defer o.s.mu.Unlock()
		if o.s.life == o.life {
			o.entry.Status = "failed"
		}
	}
}
