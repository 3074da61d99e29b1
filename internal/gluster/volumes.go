package gluster

import (
	"encoding/xml"
	"fmt"
	"strconv"

	"bricklayer.csi/internal/volume"
)

// maxCount bounds the counts in an answer.
const maxCount = 1 << 20

type infoAnswer struct {
	XMLName xml.Name `xml:"cliOutput"`
	result
	Volumes []xmlVolume `xml:"volInfo>volumes>volume"`
	Count   string      `xml:"volInfo>volumes>count"`
}

type xmlVolume struct {
	Name            string      `xml:"name"`
	ID              string      `xml:"id"`
	Status          string      `xml:"statusStr"`
	BrickCount      string      `xml:"brickCount"`
	DistCount       string      `xml:"distCount"`
	ReplicaCount    string      `xml:"replicaCount"`
	ArbiterCount    string      `xml:"arbiterCount"`
	DisperseCount   string      `xml:"disperseCount"`
	RedundancyCount string      `xml:"redundancyCount"`
	Bricks          []xmlBrick  `xml:"bricks>brick"`
	OptCount        string      `xml:"optCount"`
	Options         []xmlOption `xml:"options>option"`
}

type xmlBrick struct {
	Name      string `xml:"name"`
	IsArbiter string `xml:"isArbiter"`
}

type xmlOption struct {
	Name  string `xml:"name"`
	Value string `xml:"value"`
}

// parseVolumes reads the answer of `volume info`, of one volume or of all.
func parseVolumes(command string, data []byte) ([]Volume, error) {
	var a infoAnswer
	if err := decode(command, data, &a); err != nil {
		return nil, err
	}
	var r reader
	if n := r.number("count", a.Count, maxCount); r.err == nil && int(n) != len(a.Volumes) {
		r.fail(volume.NewFieldError("count", a.Count, fmt.Sprintf("%d, as many as are described", len(a.Volumes))))
	}
	if r.err != nil {
		return nil, unreadable(command, r.err)
	}
	volumes := make([]Volume, len(a.Volumes))
	for i := range a.Volumes {
		v, err := a.Volumes[i].volume()
		if err != nil {
			return nil, unreadable(command, fmt.Errorf("volume %q: %w", a.Volumes[i].Name, err))
		}
		volumes[i] = v
	}
	return volumes, nil
}

func (x *xmlVolume) volume() (Volume, error) {
	var r reader
	count := func(field, text string) int { return int(r.number(field, text, maxCount)) }
	v := Volume{
		Name:       r.text("name", x.Name),
		ID:         r.text("id", x.ID),
		Status:     Status(x.Status),
		Replica:    count("replicaCount", x.ReplicaCount),
		Arbiter:    count("arbiterCount", x.ArbiterCount),
		Disperse:   count("disperseCount", x.DisperseCount),
		Redundancy: count("redundancyCount", x.RedundancyCount),
		Distribute: count("distCount", x.DistCount),
		Bricks:     make([]Brick, len(x.Bricks)),
		Options:    make(map[string]string, len(x.Options)),
	}
	switch v.Status {
	case StatusCreated, StatusStarted, StatusStopped:
	default:
		r.fail(volume.NewFieldError("statusStr", x.Status, "Created, Started or Stopped"))
	}
	if v.Replica == 1 { // glusterd's word for none
		v.Replica = 0
	}
	if n := count("brickCount", x.BrickCount); n != len(x.Bricks) {
		r.fail(volume.NewFieldError("brickCount", x.BrickCount, strconv.Itoa(len(x.Bricks))+", as many as are described"))
	}
	if n := count("optCount", x.OptCount); n != len(x.Options) {
		r.fail(volume.NewFieldError("optCount", x.OptCount, strconv.Itoa(len(x.Options))+", as many as are described"))
	}
	for i, b := range x.Bricks {
		v.Bricks[i] = r.brick("brick "+strconv.Itoa(i), b.Name)
		v.Bricks[i].Arbiter = b.IsArbiter == "1"
	}
	for _, o := range x.Options {
		v.Options[r.text("option name", o.Name)] = o.Value
	}
	return v, r.err
}

type listAnswer struct {
	XMLName xml.Name `xml:"cliOutput"`
	result
	Volumes []string `xml:"volList>volume"`
	Count   string   `xml:"volList>count"`
}

// parseNames reads the answer of `volume list`.
func parseNames(command string, data []byte) ([]string, error) {
	var a listAnswer
	if err := decode(command, data, &a); err != nil {
		return nil, err
	}
	var r reader
	if n := r.number("count", a.Count, maxCount); r.err == nil && int(n) != len(a.Volumes) {
		r.fail(volume.NewFieldError("count", a.Count, fmt.Sprintf("%d, as many as are named", len(a.Volumes))))
	}
	for _, name := range a.Volumes {
		r.text("volume", name)
	}
	if r.err != nil {
		return nil, unreadable(command, r.err)
	}
	return a.Volumes, nil
}
