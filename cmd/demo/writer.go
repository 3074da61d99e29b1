package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// writer appends a numbered line and syncs it, again and again, until /tmp/stop is
// there. What fails goes to /tmp/failed, which is not on the volume.
const writer = `i=0
while [ ! -e /tmp/stop ]; do
  i=$((i+1))
  { echo $i >> /data/lines && sync /data/lines; } || echo "line $i failed" >> /tmp/failed
done
touch /tmp/stopped`

const (
	// aFew is how many lines show that a writer writes, and writes how long they may take.
	aFew   = 20
	writes = time.Minute
)

// replaceNode has a pod write, has the node service's pod on its worker replaced
// meanwhile, and sees that no line failed or is missing.
func (s *story) replaceNode(ctx context.Context, a *actor) (string, error) {
	w := s.worker()
	if _, err := a.on(ctx, w, "rm -f /tmp/stop /tmp/stopped /tmp/failed; setsid sh -c '"+writer+"' </dev/null >/dev/null 2>&1 &"); err != nil {
		return "", err
	}
	before, err := s.moreLines(ctx, a, 0)
	if err != nil {
		return "", fmt.Errorf("before the node pod is replaced: %w", err)
	}
	begun := time.Now()
	if err := s.chart.ReplaceNode(ctx, w); err != nil {
		return "", err
	}
	took := time.Since(begun)
	after, err := s.moreLines(ctx, a, 0)
	if err != nil {
		return "", err
	}
	if _, err := s.moreLines(ctx, a, after); err != nil {
		return "", fmt.Errorf("after the node pod was replaced: %w", err)
	}
	// The count of lines, the last line, and what failed.
	said, err := a.on(ctx, w, `touch /tmp/stop; until [ -e /tmp/stopped ]; do sleep 0.1; done
wc -l < lines; tail -n 1 lines; if [ -e /tmp/failed ]; then cat /tmp/failed; fi; rm lines`)
	if err != nil {
		return "", err
	}
	if err := unbroken(said); err != nil {
		return "", err
	}
	return fmt.Sprintf("in %s; %d lines were synced meanwhile, none failed", seconds(took), after-before), nil
}

// unbroken reads how many lines there are, the number in the last one, and nothing more.
func unbroken(said string) error {
	f := strings.Split(strings.TrimSpace(said), "\n")
	switch {
	case len(f) < 2:
		return fmt.Errorf("the writer's file: %q: want the count of its lines and the last one", said)
	case len(f) > 2:
		return fmt.Errorf("the writer saw errors: %s", strings.Join(f[2:], "; "))
	case strings.TrimSpace(f[0]) != strings.TrimSpace(f[1]):
		return fmt.Errorf("the writer's file has %s lines, and its last is number %s", f[0], f[1])
	}
	return nil
}

// moreLines waits until the writer has written some more than it had, and answers
// how many there are.
func (s *story) moreLines(ctx context.Context, a *actor, had int) (int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, writes, errors.New("the writer did not go on in "+writes.String()))
	defer cancel()
	n := 0
	err := until(ctx, func(ctx context.Context) error {
		said, err := a.on(ctx, s.worker(), "wc -l < lines || echo 0")
		if err != nil {
			return err
		}
		if n, err = strconv.Atoi(said); err != nil {
			return err
		}
		if n < had+aFew {
			return fmt.Errorf("the writer has %d lines, and had %d", n, had)
		}
		return nil
	})
	return n, err
}
