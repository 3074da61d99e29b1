package checks

import (
	"context"

	"bricklayer.csi/internal/doctor"
)

var heketiState = doctor.Check{
	ID: "heketi", Title: "a pool's heketi cannot be relied on", Severity: doctor.Error,
	Reads: `The heketi that a pool names: whether it answers and lets us in, its nodes and devices, operations that it began
and did not end, and whether its database and Gluster agree on the volumes.`,
	Why: `Without its heketi a pool makes, grows and deletes no LVM volume. Operations that never ended hold space on its
devices; volumes that only one of heketi and Gluster knows are space that nobody gives back, or data that nobody would miss.`,
	Mend: `See what the finding says, and bricklayer pool check and bricklayer orphans for the whole of it. Operations that
never ended: heketi-cli server operations info, then heketi-cli server operations cleanup.`,
	Site: checkHeketis,
}

func checkHeketis(ctx context.Context, s *doctor.Site, r *doctor.Recorder) {
	if len(s.Heketis) == 0 {
		r.Skip("no pool with a heketi was named")
		return
	}
	doctor.Each(ctx, s.Heketis, func(ctx context.Context, h doctor.Heketi) error {
		found, err := h.Inspect(ctx)
		for _, f := range found {
			r.Found(f)
		}
		return heketiUnknown(r, h, err)
	}, func(h doctor.Heketi, err error) error { return heketiUnknown(r, h, err) })
}

func heketiUnknown(r *doctor.Recorder, h doctor.Heketi, err error) error {
	if err != nil {
		r.Unknown("heketi of pool "+h.Pool, err)
	}
	return err
}
