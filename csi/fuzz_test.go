package csi

import (
	"strings"
	"testing"

	"bricklayer.csi/internal/volume"
)

func FuzzToken(f *testing.F) {
	f.Add(token(volume.Handle{Backend: volume.Plain, Pool: "lab", Name: "v"}))
	f.Add("invalid-token")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := parseToken(text)
		if err != nil || text == "" {
			return
		}
		h, err := volume.ParseHandle(id)
		if err != nil || h.String() != id {
			t.Errorf("a token of %q: %v", id, err)
		}
		if again, err := parseToken(token(h)); err != nil || again != id {
			t.Errorf("%q became %q, %v", id, again, err)
		}
	})
}

func FuzzContext(f *testing.F) {
	f.Add("n1,n2", "v", "2000", "csi.storage.k8s.io/x")
	f.Add("-o", "../v", "-1", "log-file")
	h := volume.Handle{Backend: volume.Plain, Pool: "lab", Name: "v"}
	f.Fuzz(func(t *testing.T, servers, name, gid, key string) {
		src, err := fromContext(h, map[string]string{volume.ContextServers: servers, volume.ContextVolume: name, volume.ContextGID: gid, key: "x"})
		if err != nil {
			return
		}
		if src.Volume != "v" || strings.Join(src.Servers, ",") != servers || strings.ContainsAny(servers, " -\n/") && strings.HasPrefix(servers, "-") {
			t.Errorf("accepted %+v", src)
		}
	})
}
