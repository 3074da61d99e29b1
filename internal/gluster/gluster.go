// Package gluster owns the gluster command line: what is asked of glusterd, as
// arguments; what it answers, parsed from --xml into types; and what it
// refuses, as typed errors.
//
// It refuses to know what a volume is for: names, sizes, quotas and marks are
// the caller's. Nothing outside this package reads gluster's texts.
package gluster

import (
	"context"
	"strings"
)

// Cluster is a Gluster trusted pool as seen from one of its nodes. It is
// implemented by CLI on the node itself and by the agent's client from afar.
// Errors that glusterd gave are of type *Error.
type Cluster interface {
	// CreateVolume makes a volume and leaves it in StatusCreated. Reason Exists
	// where the name is taken, BrickInUse where a brick carries another volume's ID.
	CreateVolume(ctx context.Context, r CreateRequest) error
	// StartVolume starts a volume. Reason AlreadyStarted where it runs.
	StartVolume(ctx context.Context, name string) error
	// StopVolume stops a volume, mounted or not. Reason NotStarted where it does
	// not run, or one node thinks so; after that answer too it runs nowhere.
	StopVolume(ctx context.Context, name string) error
	// DeleteVolume removes a stopped volume from Gluster; its bricks' files stay.
	DeleteVolume(ctx context.Context, name string) error
	// SetOptions sets all of the options in one transaction. The name AllVolumes
	// addresses options of the whole cluster.
	SetOptions(ctx context.Context, name string, options []Option) error
	// Volume returns one volume. Reason NotFound where there is none.
	Volume(ctx context.Context, name string) (Volume, error)
	// Volumes returns every volume. One that is made or removed meanwhile may be
	// in it or not; all others are.
	Volumes(ctx context.Context) ([]Volume, error)
	// VolumeStatus returns the state of the brick processes of a started volume.
	// Bricks on peers that are down are returned as not online.
	VolumeStatus(ctx context.Context, name string) ([]BrickStatus, error)
	// HealInfo returns how many entries wait to be healed, a brick. A volume that
	// keeps no copies has nothing to heal: no entries and no error.
	HealInfo(ctx context.Context, name string) ([]BrickHeal, error)
	// Peers returns the nodes of the trusted pool, this one included.
	Peers(ctx context.Context) ([]Peer, error)
	// ProbePeer takes a host into the trusted pool; one that is in it already is no
	// error, and may be known by that name from then on. Reason PeerRefused where
	// it is in another trusted pool or has volumes, PeerDown where its glusterd does
	// not answer.
	ProbePeer(ctx context.Context, host string) error
}

// AllVolumes is the name under which SetOptions addresses the whole cluster.
const AllVolumes = "all"

// Option is one volume option.
type Option struct {
	Key, Value string
}

// Brick is one brick of a volume.
type Brick struct {
	// Host is the peer's address as the volume was created with it.
	Host string
	// Path is the brick directory on that host.
	Path string
	// Arbiter is true where the brick holds names only.
	Arbiter bool
}

// String returns HOST:PATH, as gluster writes it.
func (b Brick) String() string { return b.Host + ":" + b.Path }

// ParseBrick reads HOST:PATH; the host may be an IPv6 address.
func ParseBrick(text string) (Brick, bool) {
	i := strings.Index(text, ":/") // a host has no slash, a path may have both
	if i <= 0 {
		return Brick{}, false
	}
	return Brick{Host: text[:i], Path: text[i+1:]}, true
}

// CreateRequest asks for a volume of one replica or disperse set. At most one
// of Replica and Disperse is above zero; none means a single plain brick or distribution.
type CreateRequest struct {
	Name string
	// Replica is the number of copies, the arbiter's included.
	Replica int
	// Arbiter is 0 or 1; the last brick of the set is the arbiter.
	Arbiter int
	// Disperse is the number of bricks of a disperse set, Redundancy those that may fail.
	Disperse, Redundancy int
	Bricks               []Brick
}

// Status is whether a volume runs.
type Status string

// The states of a volume, as glusterd names them.
const (
	StatusCreated Status = "Created"
	StatusStarted Status = "Started"
	StatusStopped Status = "Stopped"
)

// Volume is a volume as `gluster volume info` describes it.
type Volume struct {
	Name   string
	ID     string
	Status Status
	// Replica, Arbiter, Disperse, Redundancy and Distribute are its counts; zero where they do not apply.
	Replica, Arbiter, Disperse, Redundancy, Distribute int
	Bricks                                             []Brick
	// Options are those that were set, by key.
	Options map[string]string
}

// BrickStatus is a brick process as `gluster volume status VOL detail` describes it.
type BrickStatus struct {
	Brick  Brick
	Online bool
	// PID is the brick process on its host; 0 where it does not run.
	PID int
	// SizeTotal and SizeFree are what the brick's statfs shows, in bytes; 0 where unknown.
	SizeTotal, SizeFree int64
	// InodesTotal and InodesFree likewise.
	InodesTotal, InodesFree int64
}

// BrickHeal is what `gluster volume heal VOL info summary` says of a brick.
type BrickHeal struct {
	Brick Brick
	// Connected is false where the brick did not answer; the counts are then meaningless.
	Connected bool
	// Pending entries wait for a heal; SplitBrain entries cannot be healed by themselves.
	Pending, SplitBrain int64
}

// InCluster is glusterd's word for a peer that is as it should be.
const InCluster = "Peer in Cluster"

// Peer is a node of the trusted pool.
type Peer struct {
	UUID string
	// Hostname is how glusterd calls the peer; "localhost" for the node that answers.
	Hostname string
	// Names are all names and addresses by which glusterd knows the peer.
	Names []string
	// Local is true for the node that answers.
	Local     bool
	Connected bool
	// State is glusterd's word for the peer, such as "Peer in Cluster" or "Peer Rejected".
	State string
}
