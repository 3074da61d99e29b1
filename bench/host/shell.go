package host

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
)

// Keep returns the host with one shell for all scripts, which begins with the first
// and has them one after the other: to start a command on another host may take
// longer than what it does. This host starts them quickly enough, and is returned as
// it is. After Close the next script begins another shell.
func (h Host) Keep() Host {
	if len(h.Prefix) > 0 && h.kept == nil {
		h.kept = &shell{}
	}
	return h
}

// Close ends the shell that Keep keeps, where there is one.
func (h Host) Close() {
	if h.kept != nil {
		h.kept.mu.Lock()
		defer h.kept.mu.Unlock()
		h.kept.end()
	}
}

// shell is one that reads scripts for as long as it lives.
type shell struct {
	mu  sync.Mutex
	cmd *exec.Cmd // nil where none runs
	in  io.WriteCloser
	// out and errs are what it writes; each script ends with a line in both of them.
	out, errs *bufio.Reader
	mark      string
}

func (s *shell) begin(h Host) error {
	cmd := command(context.Background(), h.Prefix) // it outlives the script that it began with
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	errs, errsErr := cmd.StderrPipe()
	if err := errors.Join(inErr, outErr, errsErr); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.in, s.out, s.errs = cmd, in, bufio.NewReader(out), bufio.NewReader(errs)
	s.mark = "end-of-script-" + rand.Text()
	return nil
}

// end kills the shell, and what it runs on this host.
func (s *shell) end() {
	if s.cmd == nil {
		return
	}
	_ = s.in.Close()
	_ = s.cmd.Cancel() // it has ended already where this fails
	_ = s.cmd.Wait()   // it was killed
	s.cmd = nil
}

// run has the shell read a script, in a shell below it so that no exec and no exit
// ends this one, and with nothing to read, which would be the next script.
func (s *shell) run(ctx context.Context, h Host, script string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		if err := s.begin(h); err != nil {
			return nil, &Error{Host: h, Code: -1, Err: err}
		}
	}
	cmd, killed := s.cmd, make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		_ = cmd.Cancel() // which ends what is read below
	})
	var out, errs []byte
	var code string
	var outErr, errsErr, inErr error
	var all sync.WaitGroup
	all.Go(func() {
		_, inErr = fmt.Fprintf(s.in, "(\n:\n%s\n) </dev/null\nset -- $?\necho; echo %s $1; { echo; echo %s; } >&2\n", script, s.mark, s.mark)
	})
	all.Go(func() { out, code, outErr = until(s.out, s.mark) })
	all.Go(func() { errs, _, errsErr = until(s.errs, s.mark) })
	all.Wait()
	if !stop() {
		<-killed
		s.end()
		return out, fmt.Errorf("on %s: %w", h, context.Cause(ctx))
	}
	if err := errors.Join(outErr, errsErr, inErr); err != nil {
		s.end()
		return out, &Error{Host: h, Code: -1, Stderr: tail(string(errs)), Err: fmt.Errorf("its shell ended: %w", err)}
	}
	n, err := strconv.Atoi(code)
	switch {
	case err != nil:
		s.end()
		return out, &Error{Host: h, Code: -1, Err: fmt.Errorf("its shell says the exit code is %.80q", code)}
	case n != 0:
		return out, &Error{Host: h, Code: n, Stderr: tail(string(errs)), Err: fmt.Errorf("exit status %d", n)}
	}
	return out, nil
}

// until reads to the line that begins with mark, and returns what came before it and
// what the line says behind it. The line feed before it is not the script's.
func until(r *bufio.Reader, mark string) (before []byte, rest string, err error) {
	for {
		line, err := r.ReadBytes('\n')
		if after, ok := strings.CutPrefix(string(line), mark); ok && err == nil {
			return bytes.TrimSuffix(before, []byte("\n")), strings.TrimSpace(after), nil
		}
		before = append(before, line...)
		if errors.Is(err, io.EOF) {
			return before, "", io.ErrUnexpectedEOF
		}
		if err != nil {
			return before, "", err
		}
	}
}
