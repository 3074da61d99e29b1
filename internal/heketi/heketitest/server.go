// Package heketitest owns a fake heketi: its REST interface with the queue of
// asynchronous operations and the check of tokens, its database, the storage
// nodes below it, and every fault that a real one has had.
//
// It follows heketi 10.3 in what a client can see (texts, states, the order in
// which database and nodes change). It refuses to know the backend that is
// tested with it.
package heketitest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"time"

	"github.com/heketi/heketi/pkg/glusterfs/api"

	"bricklayer.csi/internal/volume"
)

// Config is what the fake consists of.
type Config struct {
	// Users are the keys of the users; none means that no token is asked for.
	Users map[string]string
	// Clusters are heketi's clusters.
	Clusters []ClusterConfig
	// OpLimit is how many operations it runs at once; further ones get 429.
	OpLimit int
	// Step is how long each command on a node takes.
	Step time.Duration
}

// ClusterConfig is one cluster.
type ClusterConfig struct {
	// ID is 32 hexadecimal digits.
	ID    string
	Nodes []NodeConfig
}

// NodeConfig is one storage node.
type NodeConfig struct {
	Host string
	// Devices are the sizes of its disks, in bytes.
	Devices []volume.Size
}

// ClusterID is the ID of Default's cluster.
const ClusterID = "c1000000000000000000000000000001"

// Default returns one cluster of that many nodes with one disk of 60 GiB each,
// and the user admin.
func Default(nodes int) Config {
	c := ClusterConfig{ID: ClusterID}
	for i := range nodes {
		c.Nodes = append(c.Nodes, NodeConfig{Host: "10.90.0." + strconv.Itoa(11+i), Devices: []volume.Size{60 * volume.GiB}})
	}
	return Config{
		Users:    map[string]string{"admin": "adminkey", "user": "userkey"},
		Clusters: []ClusterConfig{c}, OpLimit: 8, Step: time.Millisecond,
	}
}

// Server is the fake. Make it with New and end it with Close.
type Server struct {
	config Config
	http   *httptest.Server

	mu sync.Mutex
	db *database
	// storage is what is on the nodes, which no restart of heketi changes.
	storage storage
	ids     int
	// life counts the starts of the server; an operation of an earlier life is dead.
	life int
	down bool
	// tracked are the operations that run, queue what clients can ask about.
	tracked map[string]bool
	queue   map[string]*job
	most    int
	calls   map[string]int

	onStep    func(Step) error
	onRequest func(*http.Request) Fault
}

// job is an asynchronous operation as clients see it.
type job struct {
	done     bool
	err      error
	location string
}

// New starts a fake.
func New(c Config) *Server {
	s := &Server{config: c, tracked: map[string]bool{}, queue: map[string]*job{}, calls: map[string]int{}, storage: newStorage()}
	s.db = s.newDatabase(c)
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// NewTLS starts a fake with a certificate of its own; see Client for who trusts it.
func NewTLS(c Config) *Server {
	s := New(c)
	s.http.Close()
	s.http = httptest.NewTLSServer(http.HandlerFunc(s.serve))
	return s
}

// HTTP returns the server below, for its certificate.
func (s *Server) HTTP() *httptest.Server { return s.http }

// URL returns its address.
func (s *Server) URL() string { return s.http.URL }

// Close ends it.
func (s *Server) Close() {
	s.Kill()
	s.http.Close()
}

// Most returns the highest number of operations that ran at once.
func (s *Server) Most() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

// Calls returns how many requests of that method and route were answered, such
// as "POST /volumes".
func (s *Server) Calls(route string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[route]
}

// newID returns another ID as heketi has them. s.mu is held.
func (s *Server) newID() string {
	s.ids++
	sum := sha256.Sum256([]byte(strconv.Itoa(s.ids)))
	return hex.EncodeToString(sum[:16])
}

// routes are what heketi answers, as far as it concerns volumes.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for route, handler := range map[string]http.HandlerFunc{
		"GET /hello":                       func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "Hello from Heketi") },
		"GET /db/dump":                     func(w http.ResponseWriter, _ *http.Request) { s.writeJSON(w, s.db) },
		"GET /volumes/{id}":                s.volumeInfo,
		"POST /volumes":                    s.volumeCreate,
		"DELETE /volumes/{id}":             s.volumeDelete,
		"POST /volumes/{id}/expand":        s.volumeExpand,
		"GET /queue/{id}":                  s.queueStatus,
		"GET /operations/pending":          s.operations,
		"POST /operations/pending/cleanup": s.cleanup,
	} {
		mux.HandleFunc(route, func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.calls[route]++
			handler(w, r)
		})
	}
	return mux
}

// writeJSON answers with a value. s.mu is held.
func (s *Server) writeJSON(w http.ResponseWriter, v any) {
	text, err := json.MarshalIndent(v, "", "    ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	_, _ = w.Write(text)
}

func (s *Server) volumeInfo(w http.ResponseWriter, r *http.Request) {
	v := s.db.Volumes[r.PathValue("id")]
	if v == nil || v.Pending.Id != "" {
		http.Error(w, "Id not found", http.StatusNotFound)
		return
	}
	info := api.VolumeInfoResponse{VolumeInfo: v.Info}
	info.GlusterVolumeOptions = v.GlusterVolumeOptions
	for _, id := range v.Bricks {
		info.Bricks = append(info.Bricks, s.db.Bricks[id].Info)
	}
	s.writeJSON(w, info)
}

// operations lists what is pending, and says what of it runs.
func (s *Server) operations(w http.ResponseWriter, _ *http.Request) {
	list := api.PendingOperationListResponse{}
	for id, o := range s.db.Operations {
		info := api.PendingOperationInfo{Id: id, Status: o.Status}
		if s.tracked[id] {
			info.SubStatus = "in-flight"
		}
		list.PendingOperations = append(list.PendingOperations, info)
	}
	s.writeJSON(w, list)
}

// queueStatus answers how far an operation is, and forgets it once it was told
// that it is done.
func (s *Server) queueStatus(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	j := s.queue[id]
	switch {
	case j == nil:
		http.Error(w, "Id not found", http.StatusNotFound)
		return
	case !j.done:
		w.Header().Set("X-Pending", "true")
		w.WriteHeader(http.StatusOK)
		return
	case j.err != nil:
		http.Error(w, j.err.Error(), http.StatusInternalServerError)
	case j.location != "":
		http.Redirect(w, r, j.location, http.StatusSeeOther)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
	delete(s.queue, id)
}

// enqueue answers 202 and runs the job in its own time. s.mu is held.
func (s *Server) enqueue(w http.ResponseWriter, r *http.Request, run func(life int) (location string, err error)) {
	id, j, life := s.newID(), &job{}, s.life
	s.queue[id] = j
	go func() {
		location, err := run(life)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.life == life {
			j.done, j.location, j.err = true, location, err
		}
	}()
	http.Redirect(w, r, "/queue/"+id, http.StatusAccepted)
}
