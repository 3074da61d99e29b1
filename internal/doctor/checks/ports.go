package checks

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/host"
)

var glusterPorts = doctor.Check{
	ID: "gluster-ports", Title: "a Gluster client is kept from a storage node's ports", Severity: doctor.Error,
	Reads: `On a machine with Gluster mounts: whether the servers that the mounts name answer on port 24007, and each
client's own connections (/proc/PID/net/tcp) for those that wait for a first answer.`,
	Why: `A client asks port 24007 for the volume, and then talks to a port of each brick, from 49152 on. Where a firewall
lets only the first through, mounting works and nothing else does, or a replica is written on some of its bricks only.`,
	Mend: `Open 24007, 24008 and 49152 to 60999 (TCP) on the storage nodes for all workers; base-port and max-port of
glusterd.vol narrow the range. See that no NetworkPolicy and no cloud firewall stands between.`,
	Host: checkPorts,
}

const (
	glusterdPort = "24007"
	// portPatience is what a server has to take a connection. A check has five seconds.
	portPatience = 2 * time.Second
	// unanswered is how many repetitions of its first packet make a connection one
	// that nobody answers: the kernel repeats it after one and three seconds.
	unanswered = 2
)

func checkPorts(ctx context.Context, h *host.Host, r *doctor.Recorder) {
	clients, err := h.Running("glusterfs")
	if err != nil {
		r.Unknown("processes", err)
		return
	}
	servers := map[string]bool{}
	for _, c := range clients {
		point := c.Args[len(c.Args)-1]
		server, named := c.Flag("volfile-server")
		if !named || !strings.HasPrefix(point, "/") {
			continue // glustershd and its like
		}
		servers[server] = true
		waiting, err := unansweredBy(h, c)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH):
			continue // it ended
		case err != nil:
			r.Unknown("connections of the client at "+point, err)
		case len(waiting) > 0:
			r.Found(doctor.Finding{
				Severity: doctor.Error, Object: "mount " + point, Problem: "its client gets no answer from storage nodes", Evidence: waiting,
			})
		}
	}
	if len(servers) == 0 {
		r.Skip("no Gluster volume is mounted here")
		return
	}
	names := slices.Sorted(maps.Keys(servers))
	errs := doctor.Each(ctx, names, func(ctx context.Context, name string) error {
		ctx, cancel := context.WithTimeout(ctx, portPatience)
		defer cancel()
		return h.Dial(ctx, net.JoinHostPort(name, glusterdPort))
	}, func(_ string, err error) error { return err })
	for i, err := range errs {
		if err != nil {
			r.Found(doctor.Finding{
				Severity: doctor.Error, Object: "server " + names[i], Problem: "its glusterd cannot be reached from here, and what names it cannot be mounted anew",
				Evidence: []string{err.Error()},
			})
		}
	}
}

// unansweredBy returns the connections of a process that wait for a first answer, in words.
func unansweredBy(h *host.Host, p host.Process) ([]string, error) {
	mine := map[string]bool{}
	fds, err := h.List(p.Dir() + "/fd")
	if err != nil {
		return nil, err
	}
	for _, fd := range fds {
		to, err := h.Readlink(p.Dir() + "/fd/" + fd)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was closed
		}
		if err != nil {
			return nil, err
		}
		if inode, ok := strings.CutPrefix(to, "socket:["); ok {
			mine[strings.TrimSuffix(inode, "]")] = true
		}
	}
	var all []string
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := h.ReadString(p.Dir() + "/net/" + table)
		if errors.Is(err, fs.ErrNotExist) && table == "tcp6" {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			c, ok, err := parseConnection(line)
			if err != nil {
				return nil, fmt.Errorf("%s/net/%s: %w", p.Dir(), table, err)
			}
			if ok && c.synSent && c.repeats >= unanswered && mine[c.inode] {
				all = append(all, fmt.Sprintf("%s does not answer: asked %d times", c.remote, c.repeats+1))
			}
		}
	}
	slices.Sort(all)
	return all, nil
}

// connection is what is of use here of a line of /proc/net/tcp.
type connection struct {
	remote  netip.AddrPort
	synSent bool
	repeats int64
	inode   string
}

// parseConnection reads a line of /proc/net/tcp or tcp6 (proc_net_tcp.rst of the
// kernel's documentation); ok is false for the heading.
func parseConnection(line string) (c connection, ok bool, err error) {
	f := strings.Fields(line)
	if len(f) == 0 || f[0] == "sl" {
		return c, false, nil
	}
	if len(f) < 10 {
		return c, false, fmt.Errorf("%d fields in %q, want 10 or more", len(f), line)
	}
	if c.remote, err = parseKernelAddress(f[2]); err != nil {
		return c, false, err
	}
	if c.repeats, err = strconv.ParseInt(f[6], 16, 64); err != nil {
		return c, false, fmt.Errorf("repetitions %q: %w", f[6], err)
	}
	c.synSent, c.inode = f[3] == "02", f[9]
	return c, true, nil
}

// parseKernelAddress reads an address as the kernel writes it: words of 32 bits,
// each with its bytes turned round, then the port.
func parseKernelAddress(s string) (netip.AddrPort, error) {
	address, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(address)
	if err != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, fmt.Errorf("address %q: want 8 or 32 hexadecimal digits before the colon", s)
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word)
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: port: %w", s, err)
	}
	ip, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), nil
}
