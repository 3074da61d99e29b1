package mount

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/volume"
)

// Lines of real logs of Gluster 10.3.
const (
	noVolume = `[2026-11-24 06:01:57.603126 +0000] E [glusterfsd-mgmt.c:2206:mgmt_getspec_cbk] 0-glusterfs: failed to get the 'volume file' from server
[2026-11-24 06:01:57.603160 +0000] E [glusterfsd-mgmt.c:2366:mgmt_getspec_cbk] 0-mgmt: failed to fetch volume file (key:/no-such-volume)
[2026-11-24 06:01:57.603400 +0000] W [glusterfsd.c:1458:cleanup_and_exit] (-->/lib/libgfrpc.so.0(+0xf965) [0x7fc9fd994965] ) 0-: received signum (0), shutting down
`
	stopped = `[2026-11-24 06:02:11.100000 +0000] I [MSGID: 100030] [glusterfsd.c:2767:main] 0-glusterfs: Started running version
[2026-11-24 06:02:11.144000 +0000] E [MSGID: 0] [fuse-bridge.c:5328:fuse_first_lookup] 0-fuse: first lookup on root failed (Transport endpoint is not connected)
`
)

func TestFailedMountsAreExplained(t *testing.T) {
	for _, c := range []struct {
		name  string
		log   string
		cause error
		kind  volume.Kind
		says  string
	}{
		{"no volume", noVolume, unix.ENOTCONN, volume.NotFound, "key:/no-such-volume"},
		{"stopped", stopped, unix.ENOTCONN, volume.Unavailable, "first lookup on root failed"},
		{"address not allowed", "[t] E [MSGID: 114044] [client-handshake.c:781:cb] 0-v-client-0: SETVOLUME on remote-host failed: Authentication failed\n", errClientEnded, volume.Denied, "auth.allow"},
		{"too slow", "", context.DeadlineExceeded, volume.Unavailable, "in time"},
		{"nothing known", "", errClientEnded, volume.Internal, "read /log/v.log"},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := writeLog(t, "an older line\n", c.log)
			err := explain(Source{Volume: "v"}, "/mnt", c.cause, log.tail(), "/log/v.log")
			if volume.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) || !errors.Is(err, c.cause) {
				t.Errorf("got %v (%v); want %v and %q", err, volume.KindOf(err), c.kind, c.says)
			}
			if strings.Contains(err.Error(), "signum") || strings.Contains(err.Error(), "older") {
				t.Errorf("noise in %v", err)
			}
		})
	}
}

// writeLog returns a log to which the client added text after what was there before.
func writeLog(t *testing.T, before, text string) clientLog {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "v.log")
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := openLog(dir, "v")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(before+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return log
}

func TestLargeLogsAreSetAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "v.log")
	if err := os.WriteFile(path, make([]byte, logLimit+1), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := openLog(dir, "v")
	if err != nil || log.from != 0 {
		t.Errorf("got %+v, %v", log, err)
	}
	if info, err := os.Stat(path + ".1"); err != nil || info.Size() != logLimit+1 {
		t.Errorf("got %v, %v", info, err)
	}
}

func FuzzLog(f *testing.F) {
	f.Add(noVolume)
	f.Add("[t] E [x] \x1b[31m\xff" + strings.Repeat("ä", 300))
	f.Fuzz(func(t *testing.T, text string) {
		for _, m := range messagesOf(text) {
			if len(m) > maxShown || !utf8.ValidString(m) || strings.ContainsAny(m, "\x1b\r") {
				t.Errorf("shown: %q", m)
			}
		}
	})
}

func TestMountNames(t *testing.T) {
	for _, c := range []struct {
		m    Mount
		want string
	}{
		{Mount{Type: "fuse.glusterfs", Source: "n1:/vol"}, "vol"},
		{Mount{Type: "fuse.glusterfs", Source: "fd00::1:/vol"}, "vol"},
		{Mount{Type: "fuse.glusterfs", Source: "n1:/vol/sub"}, "vol"},
		{Mount{Type: "fuse.glusterfs", Source: "glusterfs:(null)"}, ""},
		{Mount{Type: "nfs", Source: "n1:/vol"}, ""},
	} {
		if got := c.m.Volume(); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.m, got, c.want)
		}
	}
}
