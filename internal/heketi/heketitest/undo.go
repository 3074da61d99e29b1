package heketitest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/heketi/heketi/pkg/glusterfs/api"
)

func (s *Server) volumeDelete(w http.ResponseWriter, r *http.Request) {
	v := s.db.Volumes[r.PathValue("id")]
	if v == nil {
		http.Error(w, "Id not found", http.StatusNotFound)
		return
	}
	o := s.newRun("delete", typeDelete)
	o.vol = v.Info.Id
	ok := s.begin(w, o, "Failed to set up volume delete", func() error {
		if v.Pending.Id != "" || slices.ContainsFunc(v.Bricks, func(id string) bool { return s.db.Bricks[id].Pending.Id != "" }) {
			return errConflict
		}
		for _, id := range v.Bricks {
			s.db.Bricks[id].Pending.Id = o.entry.Id
			o.entry.Actions = append(o.entry.Actions, action{Change: deleteBrick, Id: id})
		}
		o.entry.Actions = append(o.entry.Actions, action{Change: deleteVolume, Id: v.Info.Id})
		v.Pending.Id = o.entry.Id
		s.db.Operations[o.entry.Id] = o.entry
		return nil
	})
	if !ok {
		return
	}
	s.enqueue(w, r, func(int) (string, error) {
		defer o.end()
		err := o.clean()
		if err != nil && s.alive(o) {
			s.keep(o)
		}
		return "", err
	})
}

func (s *Server) alive(o *operation) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life == o.life
}

// keep takes a delete that failed back: the volume is there as before, as far
// as the database goes.
func (s *Server) keep(o *operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range o.bricks() {
		k.Pending.Id = ""
	}
	s.db.Volumes[o.vol].Pending.Id = ""
	delete(s.db.Operations, o.entry.Id)
}

func (s *Server) volumeExpand(w http.ResponseWriter, r *http.Request) {
	var request api.VolumeExpandRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil || request.Size < 1 {
		http.Error(w, "request unable to be parsed", http.StatusUnprocessableEntity)
		return
	}
	v := s.db.Volumes[r.PathValue("id")]
	if v == nil {
		http.Error(w, "Id not found", http.StatusNotFound)
		return
	}
	o := s.newRun("expand", typeExpand)
	o.vol = v.Info.Id
	ok := s.begin(w, o, "Failed to allocate volume expansion", func() error {
		bricks, err := s.place(v.Info.Cluster, v.Info.Id, request.Size, v.Info.Durability, v.Info.Snapshot.Factor, len(v.Bricks))
		if err != nil {
			return err
		}
		for _, k := range bricks {
			k.Pending.Id = o.entry.Id
			v.Bricks = append(v.Bricks, k.Info.Id)
			o.entry.Actions = append(o.entry.Actions, action{Change: addBrick, Id: k.Info.Id})
		}
		slices.Sort(v.Bricks)
		o.entry.Actions = append(o.entry.Actions, action{Change: growVolume, Id: v.Info.Id, Delta: request.Size})
		s.db.Operations[o.entry.Id] = o.entry
		return nil
	})
	if !ok {
		return
	}
	s.enqueue(w, r, func(int) (string, error) {
		defer o.end()
		err := o.grow(request.Size)
		if err != nil && s.alive(o) {
			o.rollBack()
		}
		return "/volumes/" + o.vol, err
	})
}

// grow makes the new bricks and adds them.
func (o *operation) grow(gib int) error {
	s := o.s
	if err := o.makeBricks(); err != nil {
		return err
	}
	err := o.step("gluster add-brick", func() error {
		g := s.storage.volumes[s.db.Volumes[o.vol].Info.Name]
		if g == nil {
			return fmt.Errorf("volume add-brick: failed: Unable to find volume")
		}
		for _, k := range o.bricks() {
			g.Bricks = append(g.Bricks, s.brick(k))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return o.step("finalize", func() error {
		for _, k := range o.bricks() {
			k.Pending.Id = ""
		}
		s.db.Volumes[o.vol].Info.Size += gib
		delete(s.db.Operations, o.entry.Id)
		return nil
	})
}

// clean undoes a create or an expansion, or carries out a delete. It goes by
// names: a Gluster volume of the name is deleted whoever made it.
func (o *operation) clean() error {
	s := o.s
	if o.entry.Type != typeExpand {
		err := o.step("gluster delete", func() error {
			if v := s.db.Volumes[o.vol]; v != nil {
				delete(s.storage.volumes, v.Info.Name)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	s.mu.Lock()
	bricks := o.bricks()
	s.mu.Unlock()
	for _, k := range bricks {
		err := o.step("brick destroy", func() error {
			name := s.brick(k).String()
			if s.storage.uses(name) {
				return errBusy
			}
			delete(s.storage.lvs, name)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return o.step("forget", func() error {
		v := s.db.Volumes[o.vol]
		for _, k := range bricks {
			v.Bricks = slices.DeleteFunc(v.Bricks, func(id string) bool { return id == k.Info.Id })
			s.free(k)
		}
		if o.entry.Type != typeExpand {
			c := s.db.Clusters[v.Info.Cluster]
			c.Info.Volumes = slices.DeleteFunc(c.Info.Volumes, func(id string) bool { return id == o.vol })
			delete(s.db.Volumes, o.vol)
		}
		delete(s.db.Operations, o.entry.Id)
		return nil
	})
}

// cleanup clears pending operations away that run no longer. It answers success
// whatever comes of it, as heketi does.
func (s *Server) cleanup(w http.ResponseWriter, r *http.Request) {
	var request api.PendingOperationsCleanRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		http.Error(w, "request unable to be parsed", http.StatusUnprocessableEntity)
		return
	}
	var runs []*operation
	for _, id := range request.Operations {
		e := s.db.Operations[id]
		if e == nil || e.Status == "" {
			continue
		}
		o := &operation{s: s, name: "clean", life: s.life, entry: e}
		for _, a := range e.Actions {
			if a.Change == addVolume || a.Change == deleteVolume || a.Change == growVolume {
				o.vol = a.Id
			}
		}
		runs = append(runs, o)
	}
	s.enqueue(w, r, func(int) (string, error) {
		for _, o := range runs {
			s.mu.Lock()
			full := len(s.tracked) >= s.config.OpLimit || s.tracked[o.entry.Id]
			if !full && s.life == o.life {
				s.tracked[o.entry.Id] = true
				s.most = max(s.most, len(s.tracked))
			}
			s.mu.Unlock()
			if !full {
				_ = o.clean()
				o.end()
			}
		}
		return "", nil
	})
}
