package gluster

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"sync"
	"time"
)

// Bounds of sessions.
const (
	// maxLine is the longest line that gluster reads (CMDBUFSIZ, less its end).
	maxLine = 1022
	// maxIdle sessions are kept for the next command, each for idleTime and for
	// maxUses commands; others end. One takes about 10 MiB.
	maxIdle  = 2
	idleTime = 30 * time.Second
	maxUses  = 200
)

// A session is a gluster process that reads its commands, a line each. Most of
// what a gluster command costs is the start of its process; making a volume
// takes five. A session that refused, broke or was cut short is not used again.
type session struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	// answers has what was printed up to the end of an answer; done is closed when
	// the process has ended, and err says how.
	answers chan []byte
	done    chan struct{}
	err     error
	stdout  answerBuffer
	stderr  limitedBuffer
	uses    int
	expiry  *time.Timer
}

// answerBuffer cuts what a session prints after each answer.
type answerBuffer struct {
	s    *session
	rest bytes.Buffer
}

// Write implements io.Writer.
func (b *answerBuffer) Write(p []byte) (int, error) {
	if b.rest.Len()+len(p) > maxOutput {
		b.s.end()
		return 0, errTooMuch
	}
	from := max(0, b.rest.Len()-len(answerEnd)) // the mark may come in two parts
	b.rest.Write(p)
	for {
		i := bytes.Index(b.rest.Bytes()[from:], answerEnd)
		if i < 0 {
			return len(p), nil
		}
		select {
		case b.s.answers <- bytes.Clone(b.rest.Next(from + i + len(answerEnd))):
		default:
			b.s.end()
			return 0, errors.New("the command printed answers that nobody asked for")
		}
		from = 0
	}
}

// start begins a session. It outlives the context of the call it is begun for.
func (r *execRunner) start(flags []string) (*session, error) {
	s := &session{answers: make(chan []byte, 1), done: make(chan struct{})}
	s.stdout.s = s
	s.stderr.full = func(error) { s.end() }
	s.cmd = exec.Command(r.command, flags...) //nolint:noctx // it outlives the call; end ends it
	dress(s.cmd)
	s.cmd.Stdout, s.cmd.Stderr = &s.stdout, &s.stderr
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	s.stdin = stdin
	if err := s.cmd.Start(); err != nil {
		_, err = r.ended(err)
		return nil, err
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	return s, nil
}

// end ends the session's processes, unless it has ended: its ID may be another's.
func (s *session) end() {
	select {
	case <-s.done:
	default:
		_ = killGroup(s.cmd)
	}
}

// retire lets the session end by itself, which it does when its input does.
func (s *session) retire() {
	_ = s.stdin.Close()
	time.AfterFunc(killWait, s.end)
}

func (s *session) over() bool {
	select {
	case <-s.done:
		return true
	default:
		return len(s.answers) > 0
	}
}

// sessions keeps those that are idle.
type sessions struct {
	mu   sync.Mutex
	idle []*session
}

// take returns an idle session, or nil.
func (p *sessions) take() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		s := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		s.expiry.Stop()
		if !s.over() {
			return s
		}
		s.retire()
	}
	return nil
}

// put keeps a session for the next command, or lets it end.
func (p *sessions) put(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.uses >= maxUses || len(p.idle) >= maxIdle {
		s.retire()
		return
	}
	s.expiry = time.AfterFunc(idleTime, func() { p.expire(s) })
	p.idle = append(p.idle, s)
}

func (p *sessions) expire(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.idle {
		if p.idle[i] == s {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			s.retire()
			return
		}
	}
}

// close lets all idle sessions end.
func (p *sessions) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.idle {
		s.expiry.Stop()
		s.retire()
	}
	p.idle = nil
}

// inSession runs one line.
func (r *execRunner) inSession(ctx context.Context, flags []string, line string) (Output, error) {
	s := r.sessions.take()
	for reused := s != nil; ; reused = false {
		if s == nil {
			var err error
			if s, err = r.start(flags); err != nil {
				return Output{}, err
			}
		}
		s.uses++
		if _, err := io.WriteString(s.stdin, line+"\n"); err == nil {
			break
		} else if !reused {
			s.end()
			return Output{}, err
		}
		// The idle session had just ended: nothing was asked yet.
		s.end()
		s = nil
	}
	select {
	case answer := <-s.answers:
		if bytes.Contains(answer, answerWell) {
			r.sessions.put(s)
		} else {
			s.retire()
		}
		return Output{Stdout: answer}, nil
	case <-ctx.Done():
		s.end()
		return Output{}, context.Cause(ctx)
	case <-s.done:
		return r.broken(s)
	}
}

// broken is what came of a session that ended before it answered: gluster does
// so where it does not understand a command, and where glusterd goes away.
func (r *execRunner) broken(s *session) (Output, error) {
	out := Output{Stderr: bytes.ReplaceAll(s.stderr.kept.Bytes(), welcome, nil)}
	select {
	case answer := <-s.answers: // it answered, then ended
		out.Stdout = answer
	default:
	}
	out.Stdout = append(out.Stdout, s.stdout.rest.Bytes()...)
	var err error
	out.ExitCode, err = r.ended(s.err)
	return out, err
}

var (
	// answerWell is in the answer of a command that was not refused.
	answerWell = []byte("<opRet>0</opRet>")
	// welcome is what a session says to standard error when it starts.
	welcome = []byte("Welcome to gluster prompt, type 'help' to see the available commands.\n")
)
