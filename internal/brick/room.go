package brick

import (
	"cmp"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/volume"
)

// ledger is what a file system has and what of it is promised, in bytes.
type ledger struct {
	total, used, free volume.Size
	// committed is the sum of all limits on projects of ours: bricks, trash and archive.
	committed volume.Size
	// available is the largest further limit that may be promised.
	available volume.Size
	// reserve is kept free of promises.
	reserve volume.Size
	// block is the file system's block size.
	block volume.Size
}

// ledger reads the file system's figures. The records are those of all
// projects from FirstProject up.
//
// What lies outside of all limits (metadata, inodes, bricks without a quota,
// an administrator's own files) takes space that cannot be promised any more:
// it is what the file system says is used, less what limited projects hold.
func (o *openRoot) ledger(records []record) (ledger, error) {
	var fs unix.Statfs_t
	if err := ignoringInterrupts(func() error { return unix.Fstatfs(int(o.self.Fd()), &fs) }); err != nil {
		return ledger{}, fmt.Errorf("read the file system's size: %w", err)
	}
	l := ledger{block: volume.Size(cmp.Or(fs.Frsize, fs.Bsize, basicBlock))}
	l.total = volume.Size(fs.Blocks) * l.block
	l.free = volume.Size(fs.Bavail) * l.block
	l.used = volume.Size(fs.Blocks-fs.Bfree) * l.block
	l.reserve = min(l.total/100*reservePercent, maxReserve)

	var within volume.Size
	for _, r := range records {
		if r.bounded() {
			// Sums stay far below the largest Size: there are fewer than 2^20
			// projects and each is below MaxSize on a file system that exists.
			l.committed = min(l.committed+max(r.limit.Bytes, r.used), volume.MaxSize)
			within += r.used
		}
	}
	outside := max(l.used-within, 0)
	// Dividing first keeps a large total from overflowing.
	may := l.total
	if percent := o.host.policy().OvercommitPercent; percent != 100 {
		may = l.total / 100 * volume.Size(percent)
	}
	l.available = max(may-l.reserve-l.committed-outside, 0)
	if l.free <= l.reserve {
		l.available = 0
	}
	return l, nil
}

// promise refuses bytes more than can be promised.
func (o *openRoot) promise(op, volumeName string, l ledger, more volume.Size) error {
	switch {
	case l.free <= l.reserve:
		return o.fail(volume.Exhausted, op, volumeName,
			fmt.Errorf("only %d of %d bytes are free, of which %d are kept in reserve", int64(l.free), int64(l.total), int64(l.reserve)),
			"delete volumes, empty the archive, or add a disk")
	case more > l.available:
		return o.fail(volume.Exhausted, op, volumeName,
			fmt.Errorf("%d bytes more were asked for and %d can be promised: total %d at %d %%, %d committed to quotas, %d in reserve, %d used in all",
				int64(more), int64(l.available), int64(l.total), o.host.policy().OvercommitPercent,
				int64(l.committed), int64(l.reserve), int64(l.used)),
			"ask for less, delete volumes, empty the archive, add a disk, or raise overcommitPercent")
	}
	return nil
}

// roundUp makes a quota whole blocks of the file system, which is what it would enforce.
func (l ledger) roundUp(q Quota) (Quota, error) {
	bytes, ok := q.Bytes.RoundUp(l.block)
	if !ok {
		return Quota{}, checkQuota(Quota{Bytes: volume.MaxSize + 1})
	}
	q.Bytes = bytes
	return q, nil
}

func ignoringInterrupts(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
