package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/mark"
	"bricklayer.csi/internal/volume"
)

const (
	// firstUpkeep is when a start is tried again that found glusterd not ready.
	firstUpkeep = 5 * time.Second
	// warnBefore is how long before the certificate's end the log says so.
	warnBefore = 30 * 24 * time.Hour
	// maxVersionAge is how old the known version of Gluster may be.
	maxVersionAge = 10 * time.Minute
)

// versioner is implemented by a gluster.Cluster that knows its version.
type versioner interface {
	Version(ctx context.Context) (string, error)
}

// Upkeep puts right, at the start and from time to time, the quotas that bricks
// have lost, and keeps the known version of Gluster fresh. It returns when ctx
// ends.
func (l *Local) Upkeep(ctx context.Context) {
	var versionRead, repaired time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		next := time.Duration(l.cfg.RepairInterval)
		l.watchCertificate()
		if l.pingInTime(ctx) == nil {
			if time.Since(versionRead) > maxVersionAge && l.readVersion(ctx) == nil {
				versionRead = time.Now()
			}
			if err := l.repairSafely(ctx); err == nil {
				repaired = time.Now()
			} else if ctx.Err() == nil {
				l.log.WarnContext(ctx, "quotas could not all be checked", "error", err)
			}
		}
		if repaired.IsZero() {
			next = min(next, firstUpkeep)
		}
		timer.Reset(next)
	}
}

// watchCertificate warns while there is time.
func (l *Local) watchCertificate() {
	expires, err := l.certificate()
	switch {
	case err != nil:
		l.log.Warn("the newest certificate is not in use", "error", err)
	case !expires.IsZero() && time.Until(expires) < warnBefore:
		l.log.Warn("the agent's certificate ends soon or has ended; renew it with bricklayer certs", "expires", expires)
	}
}

// repairSafely is RepairQuotas, except that a panic is an error: what nobody
// waits for must not end the agent.
func (l *Local) repairSafely(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			l.log.ErrorContext(ctx, "panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("the agent panicked: %v", p)
		}
	}()
	return l.RepairQuotas(ctx)
}

func (l *Local) readVersion(ctx context.Context) error {
	v, ok := l.cluster.(versioner)
	if !ok {
		return nil
	}
	version, err := v.Version(ctx)
	if err != nil {
		l.log.WarnContext(ctx, "the version of Gluster could not be read", "error", err)
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.glusterVersion = version
	return nil
}

func (l *Local) knownGlusterVersion() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.glusterVersion
}

// RepairQuotas compares the quotas of the bricks here with what the volumes'
// marks in Gluster say, and puts right what is missing.
func (l *Local) RepairQuotas(ctx context.Context) error {
	volumes, err := l.Volumes(ctx)
	if err != nil {
		return err
	}
	want, faults := l.expectations(ctx, volumes)
	if len(want) == 0 {
		return errors.Join(faults...)
	}
	done, err := l.bricks.Repair(ctx, want)
	for _, r := range done {
		l.log.InfoContext(ctx, "a brick's quota was put right", "root", r.Ref.Root, "volume", r.Ref.Volume,
			"quota", r.To.Bytes.String(), "files", r.Files)
	}
	return l.at("repair quotas", "", errors.Join(append(faults, err)...))
}

// expectations returns what each brick of this pool's volumes on this host must
// be. A volume whose marks do not read is a fault and left alone.
func (l *Local) expectations(ctx context.Context, volumes []gluster.Volume) (want []brick.Expectation, faults []error) {
	for _, v := range volumes {
		m, ours, err := mark.Read(v)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if h := m.Handle; !ours || h.Pool != l.cfg.Pool || h.Backend != volume.Plain || h.Name != v.Name || !m.Enforce {
			continue
		}
		for i, b := range v.Bricks {
			root, ok := l.rootOf(b.Path, v.Name)
			if ok && l.addr.isOurs(ctx, b.Host) {
				beside := m.Brick()
				want = append(want, brick.Expectation{
					Ref:   brick.Ref{Root: root, Volume: v.Name},
					Quota: brick.Quota{Bytes: m.Type.BrickQuota(i, m.Size)},
					Mark:  &beside,
				})
			}
		}
	}
	return want, faults
}

// rootOf returns the root below which a brick of that volume lies, if it is
// where ours lie.
func (l *Local) rootOf(path, volumeName string) (string, bool) {
	for _, r := range l.cfg.Roots {
		if path == BrickPath(r.Path, volumeName) {
			return r.Name, true
		}
	}
	return "", false
}
