package fio

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bricklayer.csi/bench/host"
)

// The oldest fio with all that is asked of it here: filestat came with 3.22,
// filedelete with 3.30.
const (
	oldestMajor = 3
	oldestMinor = 30
)

// patience is how long fio may take beyond the time that it was given: it lays
// files out, and waits for what it wrote.
const patience = 3 * time.Minute

// Options say how a job is run.
type Options struct {
	// Duration is how long a timed job runs.
	Duration time.Duration
	// Seed makes the offsets of random jobs: the same for all targets of a round.
	Seed uint64
}

// Version returns the version of the host's fio, and an error where it is
// missing or too old.
func Version(ctx context.Context, h host.Host) (string, error) {
	out, err := h.Run(ctx, "exec fio --version\n")
	if err != nil {
		return "", explain(err)
	}
	text := strings.TrimSpace(string(out))
	major, minor, err := versionOf(text)
	if err != nil {
		return "", fmt.Errorf("on %s: %w", h, err)
	}
	if major < oldestMajor || major == oldestMajor && minor < oldestMinor {
		return "", fmt.Errorf("on %s: %s is too old: want fio-%d.%d or newer", h, text, oldestMajor, oldestMinor)
	}
	return text, nil
}

// Run runs a job in a directory of the host. Files of the job that are there are
// used again.
func Run(ctx context.Context, h host.Host, dir string, j Job, o Options) (Output, error) {
	args := []string{"--randseed=" + strconv.FormatUint(o.Seed, 10)}
	within := patience
	if j.Timed {
		args = append(args, "--runtime="+strconv.FormatInt(o.Duration.Milliseconds(), 10)+"ms")
		if !j.Fresh { // to go round again would be to write what is written already
			args = append(args, "--time_based")
		}
		within += o.Duration
	}
	out, err := run(ctx, h, dir, j, within, args...)
	if err != nil {
		return Output{}, fmt.Errorf("fio job %s in %s: %w", j.Name, dir, err)
	}
	return out, nil
}

// LayOut writes the files that the job works on, whole.
func LayOut(ctx context.Context, h host.Host, dir string, j Job) error {
	if _, err := run(ctx, h, dir, j.layout(), patience); err != nil {
		return fmt.Errorf("write the files of fio job %s in %s: %w", j.Name, dir, err)
	}
	return nil
}

func run(ctx context.Context, h host.Host, dir string, j Job, within time.Duration, args ...string) (Output, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("it did not end within %s", within))
	defer cancel()
	// Without the disks' utilisation: for it fio looks at its files just before a job,
	// and a job that does the same would then measure what the kernel remembers.
	words := append([]string{
		"exec", "fio", "--output-format=json+", "--thread", "--group_reporting", "--disk_util=0",
		"--directory=" + host.Quote(dir),
	}, args...)
	// fio reads the job from its standard input, and the shell has it there.
	script := strings.Join(words, " ") + " - <<'END_OF_JOB'\n" + j.file() + "END_OF_JOB\n"
	out, err := h.Run(ctx, script)
	if err != nil {
		var failed *JobError
		if _, parseErr := Parse(out, j.Name); errors.As(parseErr, &failed) {
			return Output{}, failed // says more than the exit code
		}
		return Output{}, explain(err)
	}
	return Parse(out, j.Name)
}

// explain says what to do about a fio that could not be run.
func explain(err error) error {
	failed, ok := errors.AsType[*host.Error](err)
	switch {
	case !ok:
		return err
	case failed.Code == 127:
		return fmt.Errorf("fio is missing (apt-get install fio): %w", err)
	case failed.Code == 128+int(syscall.SIGKILL):
		return fmt.Errorf("fio was killed, by somebody or for want of memory: %w", err)
	case failed.Code > 128 && failed.Code < 128+64:
		return fmt.Errorf("fio was ended by the signal %v: %w", syscall.Signal(failed.Code-128), err)
	}
	return err
}
