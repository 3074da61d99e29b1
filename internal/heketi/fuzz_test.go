package heketi

import (
	"encoding/json"
	"strings"
	"testing"

	"bricklayer.csi/internal/heketi/heketitest"
	"bricklayer.csi/internal/volume"
)

// Nothing that heketi, or who answers in its place, may say makes us panic or
// return a volume that we did not make.
func FuzzDump(f *testing.F) {
	s := heketitest.New(heketitest.Default(3))
	defer s.Close()
	b := newBackend(f, s)
	spec := testSpec(f, "pvc-1", volume.GiB)
	mustCreate(f, b, spec)
	good, err := s.Backup()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(good))
	f.Add(strings.ReplaceAll(string(good), `"size":1`, `"size":-9223372036854775808`))
	f.Add(strings.ReplaceAll(string(good), `"factor":1`, `"factor":3e38`))
	f.Add(strings.ReplaceAll(string(good), `"free":`, `"free":1844674407370955`))
	f.Add(strings.ReplaceAll(string(good), `"Bricks":[`, `"Bricks":["nobody",`))
	f.Add(`{"volumeentries":{"":{}},"clusterentries":{"":{}},"nodeentries":{"":{}},"deviceentries":{"":{}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDump(text)
		if err != nil {
			return
		}
		v := newView(d)
		h := spec.Handle()
		found := v.find(h, nil)
		if found.id != "" && found.marks.handle != h {
			t.Errorf("found a volume that is marked %v", found.marks.handle)
		}
		got := v.describe(h, found)
		if got.Size < 0 || got.Size > volume.MaxSize {
			t.Errorf("size %d", got.Size)
		}
		for cluster := range v.Clusters {
			for _, typ := range []string{"replicate:3", "disperse:8:4", "none"} {
				p := spec.Parameters
				p.Type, _ = volume.ParseType(typ)
				p.Heketi.SnapFactor = float64(found.entry.Info.Snapshot.Factor)
				if n := v.largest(cluster, p, freeNow); n < 0 || n > volume.MaxSize {
					t.Errorf("largest %d", n)
				}
				if n := v.available(cluster, p); n < 0 || n > volume.MaxSize {
					t.Errorf("available %d", n)
				}
			}
		}
		var r Report
		b.inspectClusters(v, &r)
		inspectOperations(v, &r)
	})
}

// What is written as marks is read back, and options of a class never pass for marks.
func FuzzMarks(f *testing.F) {
	b := &Backend{}
	f.Add("bl1.heketi.lab.pvc-1", "0123456789abcdef", "performance.read-ahead off")
	f.Add("bl1.heketi.lab.a", "", "user.bricklayer.handle bl1.heketi.lab.b")
	f.Fuzz(func(t *testing.T, id, fingerprint, options string) {
		h, err := volume.ParseHandle(id)
		p, bad := volume.ParseParameters(map[string]string{"lvm": "true", "volumeoptions": options})
		if err != nil || bad != nil || strings.ContainsAny(fingerprint, " \t\n\v\f\r\u0085\u00a0") || strings.TrimSpace(fingerprint) == "" {
			return
		}
		for _, r := range fingerprint {
			if r > 126 || r < 33 {
				return
			}
		}
		entries := b.volumeOptions(marks{handle: h, fingerprint: fingerprint}, p.Options)
		if _, err := json.Marshal(entries); err != nil {
			t.Fatal(err)
		}
		m, ok := readMarks(append([]string{""}, entries...))
		if !ok || m.handle != h || m.fingerprint != fingerprint {
			t.Errorf("wrote %v %q, read %+v (%t) from %q", h, fingerprint, m, ok, entries)
		}
	})
}
