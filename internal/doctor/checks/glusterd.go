package checks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/host"
)

// glusterVolumesDir holds glusterd's record of each volume.
const glusterVolumesDir = "/var/lib/glusterd/vols"

// tornDir is where --fix moves records to. glusterd does not look there, and it is
// on the same file system.
const tornDir = "/var/lib/glusterd/bricklayer-torn"

// settled is how long a record must lie unchanged before a running glusterd is
// taken to have done with it.
const settled = 30 * time.Second

var glusterdTornRecord = doctor.Check{
	ID: "glusterd-torn-record", Title: "glusterd's record of a volume is torn", Severity: doctor.Error,
	Reads: `The directories in ` + glusterVolumesDir + `: each must have an info that is not empty, and no empty file in bricks.
Whether glusterd runs.`,
	Why: `A glusterd, or a node, that ends while a new volume is written down leaves a directory without its info, or
with an empty file for a brick. glusterd refuses to start with such a record ("Unable to restore volume"), so the
whole node is gone from its cluster: its bricks do not come back, and no volume can be made or deleted anywhere.`,
	Mend: `With glusterd stopped, move the directory of that volume out of ` + glusterVolumesDir + ` and start glusterd: it takes
the volume's record from its peers, where they have it. If no peer has the volume it was never finished. No brick's
data are in that directory.`,
	Fix:  `moves the directory to ` + tornDir + `. Only while glusterd does not run; start it afterwards.`,
	Host: checkTornRecords,
}

func checkTornRecords(_ context.Context, h *host.Host, r *doctor.Recorder) {
	there, err := h.Exists(glusterVolumesDir)
	if err != nil {
		r.Unknown(glusterVolumesDir, err)
		return
	}
	if !there {
		r.Skip("this is no storage node: there is no " + glusterVolumesDir)
		return
	}
	running, err := h.Running("glusterd")
	if err != nil {
		r.Unknown("glusterd's process", err)
		return
	}
	names, err := h.List(glusterVolumesDir)
	if err != nil {
		r.Unknown(glusterVolumesDir, err)
		return
	}
	for _, name := range names {
		dir := path.Join(glusterVolumesDir, name)
		info, err := h.Stat(dir)
		if err != nil || !info.IsDir() {
			continue
		}
		torn, err := tornRecord(h, dir)
		switch {
		case err != nil:
			r.Unknown("record of volume "+name, err)
		case torn == "":
		case len(running) > 0 && h.Now().Sub(info.ModTime()) < settled:
			// It may be writing it this moment.
			r.Unknown("record of volume "+name, fmt.Errorf("%s, but it was changed within the last %s and glusterd runs: look again", torn, settled))
		default:
			r.Found(tornFinding(h, name, dir, torn, len(running) > 0))
		}
	}
}

func tornFinding(h *host.Host, name, dir, torn string, running bool) doctor.Finding {
	f := doctor.Finding{
		Severity: doctor.Error, Object: "volume " + name,
		Problem:  "glusterd does not start with this record",
		Evidence: []string{torn},
	}
	if running {
		f.Problem = "glusterd will not start again with this record"
		f.Evidence = append(f.Evidence, "glusterd runs; it read its records before")
		f.Mend = "stop glusterd first; bricks and clients go on without it"
		return f
	}
	f.Evidence = append(f.Evidence, "glusterd does not run")
	to := path.Join(tornDir, name+"-"+h.Now().UTC().Format("20060102T150405"))
	f.Fix = []host.Step{{Move: &host.Move{From: dir, To: to}}}
	f.Mend = "mv " + dir + " " + to + " and start glusterd"
	return f
}

// tornRecord returns what is wrong with a record, or nothing.
func tornRecord(h *host.Host, dir string) (string, error) {
	empty := func(file string) (string, error) {
		info, err := h.Stat(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return file + " is missing", nil
		case err != nil:
			return "", err
		case info.Mode().IsRegular() && info.Size() == 0:
			return file + " is empty", nil
		}
		return "", nil
	}
	if torn, err := empty(path.Join(dir, "info")); torn != "" || err != nil {
		return torn, err
	}
	bricks, err := h.List(path.Join(dir, "bricks"))
	if err != nil {
		return "", err
	}
	for _, b := range bricks {
		if torn, err := empty(path.Join(dir, "bricks", b)); torn != "" || err != nil {
			return torn, err
		}
	}
	return "", nil
}

var glusterCtime = doctor.Check{
	ID: "gluster-ctime", Title: "replicas give a file different times of change", Severity: doctor.Warning,
	Reads: `The option features.ctime in glusterd's records of volumes (` + glusterVolumesDir + `/*/info).`,
	Why: `Without features.ctime each replica answers with the time at which its own disk was changed, by its own clock.
A program that sees the time of a file move although nobody touched it stops: Lucene, and with it Solr and
Elasticsearch, says "Underlying file changed by an external force" and gives up its index.`,
	Mend: `gluster volume set VOLUME features.ctime on
It is on by default since Gluster 5. Keep the clocks right all the same (clock-skew).`,
	Fix:  `runs that command for the volume.`,
	Host: checkCtime,
}

func checkCtime(_ context.Context, h *host.Host, r *doctor.Recorder) {
	names, err := h.List(glusterVolumesDir)
	if err != nil {
		r.Unknown(glusterVolumesDir, err)
		return
	}
	if len(names) == 0 {
		r.Skip("there are no volumes here")
		return
	}
	for _, name := range names {
		file := path.Join(glusterVolumesDir, name, "info")
		text, err := h.ReadString(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // glusterd-torn-record speaks of it
		}
		if err != nil {
			r.Unknown("volume "+name, err)
			continue
		}
		for line := range strings.Lines(text) {
			if k, v, _ := strings.Cut(strings.TrimSpace(line), "="); k == "features.ctime" && isOff(v) {
				r.Found(doctor.Finding{
					Severity: doctor.Warning, Object: "volume " + name,
					Problem:  "programs that watch times of files may find them changed",
					Evidence: []string{file + ": features.ctime=" + v},
					Fix:      []host.Step{ctimeStep(name, v)},
				})
			}
		}
	}
}

func ctimeStep(volume, old string) host.Step {
	set := func(value string) []string {
		return []string{"gluster", "--mode=script", "volume", "set", volume, "features.ctime", value}
	}
	return host.Step{Exec: &host.Exec{Argv: set("on"), Undo: set(old)}}
}

func isOff(v string) bool {
	switch strings.ToLower(v) {
	case "off", "no", "false", "0", "disable":
		return true
	}
	return false
}
