package heketitest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"bricklayer.csi/internal/pause"
)

// Step is one thing that an operation does. A hook sees it before it is done.
type Step struct {
	// Op is create, delete, expand or clean.
	Op string
	// What is done: "build", "answer", "brick", "gluster create", "finalize" and so on.
	What string
	// Number counts the steps of the operation from 1.
	Number int
}

// ErrKill kills the server, as kill -9 does, at the step whose hook returns it.
var ErrKill = errors.New("heketi was killed")

// OnStep has a hook called before each step. Its error makes the step fail.
func (s *Server) OnStep(hook func(Step) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onStep = hook
}

// Fault is what becomes of a request. The zero value answers it as it should be.
type Fault struct {
	// Delay is how long the answer takes.
	Delay time.Duration
	// Status and Body answer in heketi's stead, where Status is not 0.
	Status int
	Body   string
	// Drop closes the connection and does nothing.
	Drop bool
	// Lose does what was asked and then closes the connection.
	Lose bool
	// Truncate answers with half of the body.
	Truncate bool
}

// OnRequest has a hook decide what becomes of each request.
func (s *Server) OnRequest(hook func(*http.Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onRequest = hook
}

// Kill ends the server as kill -9 does: operations stop where they are, and
// clients' connections break.
func (s *Server) Kill() {
	s.mu.Lock()
	s.kill()
	s.mu.Unlock()
	s.http.CloseClientConnections()
}

// kill is Kill for who holds s.mu.
func (s *Server) kill() {
	s.down = true
	s.life++
	clear(s.tracked)
	clear(s.queue)
}

// Restart starts a killed server again. As heketi does it takes everything that
// is pending for stale.
func (s *Server) Restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kill()
	s.down = false
	for _, o := range s.db.Operations {
		o.Status = "stale"
	}
}

// Backup returns a copy of the database, and Restore puts one back. Nothing on
// the nodes changes with it.
func (s *Server) Backup() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Marshal(s.db)
}

// Restore puts a copy of the database in the place of the present one, and restarts.
func (s *Server) Restore(backup []byte) error {
	db := &database{}
	if err := json.Unmarshal(backup, db); err != nil {
		return err
	}
	s.mu.Lock()
	s.db = db
	s.mu.Unlock()
	s.Restart()
	return nil
}

// serve answers one request, with what faults there are.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	hook, down := s.onRequest, s.down
	refused := s.refuse(r)
	s.mu.Unlock()
	f := Fault{Drop: down}
	if hook != nil && !down {
		f = hook(r)
	}
	if pause.For(r.Context(), f.Delay) != nil {
		return // the client has hung up
	}
	switch {
	case f.Drop:
		hangUp(w, "")
	case f.Status != 0:
		http.Error(w, f.Body, f.Status)
	case refused != "":
		http.Error(w, refused, http.StatusUnauthorized)
	case f.Lose || f.Truncate:
		recorder := httptest.NewRecorder()
		s.routes().ServeHTTP(recorder, r)
		half := ""
		if body := recorder.Body.String(); f.Truncate {
			half = fmt.Sprintf("HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", recorder.Code, len(body), body[:len(body)/2])
		}
		hangUp(w, half)
	default:
		s.routes().ServeHTTP(w, r)
		if s.isDown() { // killed while it answered
			hangUp(w, "")
		}
	}
}

func (s *Server) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

// hangUp writes some raw bytes and closes the connection.
func hangUp(w http.ResponseWriter, raw string) {
	h, ok := w.(http.Hijacker)
	if !ok {
		return
	}
	conn, buffer, err := h.Hijack()
	if err != nil {
		return
	}
	writeRaw(buffer, raw)
	_ = conn.Close()
}

func writeRaw(b *bufio.ReadWriter, raw string) {
	if _, err := b.WriteString(raw); err == nil {
		_ = b.Flush()
	}
}
