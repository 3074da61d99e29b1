package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"bricklayer.csi/internal/volume"
)

// volumeView is how the commands show a volume.
type volumeView struct {
	Handle  string     `json:"handle"`
	Pool    string     `json:"pool"`
	Name    string     `json:"name"`
	Type    string     `json:"type"`
	Bytes   int64      `json:"sizeBytes"`
	GID     int        `json:"gid"`
	Created *time.Time `json:"created,omitempty"`
	Servers []string   `json:"servers"`
	Bricks  []string   `json:"bricks"`
	// Problems is there only where health was asked for.
	Problems *[]problemView `json:"problems,omitempty"`
}

// problemView is one thing wrong with a volume.
type problemView struct {
	Kind   string `json:"kind"`
	Detail string `json:"detail"`
}

func viewOf(v volume.Volume, health *volume.Health) volumeView {
	view := volumeView{
		Handle: v.Handle.String(), Pool: v.Handle.Pool, Name: v.Handle.Name, Type: v.Type.String(),
		Bytes: int64(v.Size), GID: v.GID, Servers: v.Servers, Bricks: v.Bricks,
	}
	if !v.Created.IsZero() {
		created := v.Created.UTC()
		view.Created = &created
	}
	if health != nil {
		problems := make([]problemView, 0, len(health.Problems))
		for _, p := range health.Problems {
			problems = append(problems, problemView{Kind: string(p.Kind), Detail: p.Detail})
		}
		view.Problems = &problems
	}
	return view
}

// volume shows one volume, a field a line.
func (o *outputOptions) volume(w io.Writer, v volume.Volume, health *volume.Health) error {
	view := viewOf(v, health)
	return o.write(w, view, func(w io.Writer) {
		for _, field := range [][2]string{
			{"handle", view.Handle},
			{"type", view.Type},
			{"size", fmt.Sprintf("%s (%d bytes)", v.Size, view.Bytes)},
			{"gid", strconv.Itoa(view.GID)},
			{"created", view.created()},
			{"servers", list(view.Servers)},
		} {
			fmt.Fprint(w, row(field[0], field[1]))
		}
		for i, brick := range view.Bricks {
			fmt.Fprint(w, row("brick "+strconv.Itoa(i+1), brick))
		}
		if view.Problems == nil {
			return
		}
		if len(*view.Problems) == 0 {
			fmt.Fprint(w, row("health", "no problem was found"))
		}
		for _, p := range *view.Problems {
			fmt.Fprint(w, row(p.Kind, p.Detail))
		}
	})
}

// volumes shows several, a line each.
func (o *outputOptions) volumes(w io.Writer, all []volume.Volume) error {
	views := make([]volumeView, 0, len(all))
	for _, v := range all {
		views = append(views, viewOf(v, nil))
	}
	return o.write(w, views, func(w io.Writer) {
		fmt.Fprint(w, row("HANDLE", "TYPE", "SIZE", "GID", "CREATED", "SERVERS"))
		for i, v := range views {
			fmt.Fprint(w, row(v.Handle, v.Type, all[i].Size.String(), strconv.Itoa(v.GID), v.created(), list(v.Servers)))
		}
	})
}

func (v volumeView) created() string {
	if v.Created == nil {
		return ""
	}
	return v.Created.Format(time.RFC3339)
}
