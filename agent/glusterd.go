package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// pingGlusterd asks glusterd over its own socket which programs it serves, the
// least question that its event loop answers: well below a millisecond, where
// the gluster command takes a third of a second. The socket accepts
// connections long before glusterd is ready; the answer comes only when it is.
func pingGlusterd(ctx context.Context, socket string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		stop()
		_ = conn.Close()
	}()
	if err := exchange(conn); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("glusterd took the connection but did not answer: %w", context.Cause(ctx))
		}
		return err
	}
	return nil
}

// The ONC RPC call (RFC 5531) of program "GF-DUMP" (rpc/rpc-lib/src/rpcsvc.c,
// protocol-common.h of Gluster), and the bounds of its answer.
const (
	dumpProgram   = 123451501
	dumpVersion   = 1
	dumpProcedure = 1
	dumpID        = 0x0ddba11
	lastFragment  = 1 << 31
	minReply      = 24
	maxReply      = 64 << 10
)

func exchange(conn io.ReadWriter) error {
	words := []uint32{
		dumpID, 0 /* call */, 2 /* RPC version */, dumpProgram, dumpVersion, dumpProcedure,
		0, 0 /* no credentials */, 0, 0, /* no verifier */
		0, 0, /* gfs_id, a 64-bit number that nobody looks at */
	}
	call := binary.BigEndian.AppendUint32(nil, uint32(lastFragment|4*len(words)))
	for _, w := range words {
		call = binary.BigEndian.AppendUint32(call, w)
	}
	if _, err := conn.Write(call); err != nil {
		return err
	}
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	length := binary.BigEndian.Uint32(head[:]) &^ lastFragment
	if length < minReply || length > maxReply {
		return fmt.Errorf("glusterd's answer is %d bytes long", length)
	}
	reply := make([]byte, length)
	if _, err := io.ReadFull(conn, reply); err != nil {
		return err
	}
	word := func(i int) uint32 { return binary.BigEndian.Uint32(reply[4*i:]) }
	// xid, reply, accepted, verifier (flavour, length), success.
	if word(0) != dumpID || word(1) != 1 || word(2) != 0 || word(4) != 0 || word(5) != 0 {
		return errors.New("glusterd refused to say which programs it serves")
	}
	return nil
}
