// Package heketi is the backend for lvm "true": heketi makes the volumes, each
// brick an XFS file system on a thin logical volume of its own.
//
// It owns the conversation with heketi: what is asked, how long and how often,
// what an answer means, and how an operation that outlived its caller is found
// again. It keeps no state: what is there is read from heketi's database, which
// holds our marks too. It refuses to know how heketi makes a brick, and which
// front end calls.
//
// heketi works on when its caller is gone, answers late or never after a
// restart, and forgets what it was asked. So nothing here trusts the answer to
// a request that changes something: the database is read, the one next step
// is asked for, and the database is read again (converge). One read of the
// whole database (GET /db/dump) is what heketi's own client needs a request a
// volume for, and it alone names volumes that are being made or deleted.
package heketi

import (
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/volume"
)

// Config is what the backend must know of a pool's heketi. It does not change:
// a pool that changes gets another Backend. What the files and Secrets hold
// that it names may change at any time.
type Config struct {
	// Pool is the pool's name.
	Pool string
	// URL is heketi's address, http or https, without user and query.
	URL string
	// User is who we are to heketi; its administrator is "admin". Empty where
	// heketi asks for no authentication.
	User string
	// Key gives the key of User; nil where heketi asks for none.
	Key KeySource
	// Secrets gives the Secrets that classes name; nil where there are none.
	Secrets Secrets
	// CAFile holds the certificates that heketi's must be signed by; empty for
	// those of the system. It is read again when it changes.
	CAFile string
	// ServerName is the name in heketi's certificate; the URL's host where empty.
	ServerName string
	// ClusterIDs are the heketi clusters of the pool; empty means all of them.
	ClusterIDs []string
	// MaxInFlight is how many operations may run in heketi at once, those of
	// others included. heketi refuses more than 8 by default.
	MaxInFlight int
	// Guard says how operations are admitted; how many run at once is MaxInFlight's to say.
	Guard guard.Settings
	// ClientNetworks may mount the volumes; empty leaves them open.
	ClientNetworks []string
	// Gluster is the cluster below heketi; nil where no agent can be asked.
	Gluster Cluster
	// Timing overrules how long is waited; zero values mean the defaults.
	Timing Timing
}

// Timing says how long is waited for what.
type Timing struct {
	// Request bounds one exchange with heketi.
	Request time.Duration
	// FirstPoll and LastPoll bound the pauses between two looks at an operation.
	FirstPoll, LastPoll time.Duration
	// Cache is how old an answer to a question may be that changes nothing.
	Cache time.Duration
}

// The defaults.
const (
	DefaultMaxInFlight = 4
	defaultRequest     = 30 * time.Second
	defaultFirstPoll   = 200 * time.Millisecond
	defaultLastPoll    = 2 * time.Second
	defaultCache       = 2 * time.Second
)

// Backend implements volume.Backend. Make it with New.
type Backend struct {
	Config

	// allow is the value of auth.allow; empty leaves the volumes open.
	allow string
	base  *url.URL
	wire  *wire
	views *views
	guard *guard.Guard
	gate  *gate
	log   *slog.Logger
}

var _ volume.Backend = (*Backend)(nil)

// New returns the backend of one pool. The configuration has been validated;
// an address that is none is refused all the same.
func New(c Config, log *slog.Logger) (*Backend, error) {
	base, err := url.Parse(strings.TrimSuffix(c.URL, "/"))
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.User != nil || base.RawQuery != "" {
		return nil, volume.NewFieldError("spec.heketi.url", redactUserInfo(c.URL), "an http or https address without user and query, such as http://heketi:8080")
	}
	if c.MaxInFlight <= 0 {
		c.MaxInFlight = DefaultMaxInFlight
	}
	c.Guard.Operations = c.MaxInFlight
	for _, d := range []struct {
		value   *time.Duration
		instead time.Duration
	}{
		{&c.Timing.Request, defaultRequest},
		{&c.Timing.FirstPoll, defaultFirstPoll},
		{&c.Timing.LastPoll, defaultLastPoll},
		{&c.Timing.Cache, defaultCache},
	} {
		if *d.value <= 0 {
			*d.value = d.instead
		}
	}
	allow, err := gluster.AllowList(c.ClientNetworks)
	if err != nil {
		return nil, err
	}
	b := &Backend{
		Config: c,
		allow:  allow,
		base:   base,
		wire:   &wire{caFile: c.CAFile, serverName: c.ServerName, timeout: c.Timing.Request},
		guard:  guard.New(c.Guard),
		gate:   newGate(),
		log:    log.With("pool", c.Pool, "heketi", base.String()),
	}
	b.views = &views{fetch: b.fetchView, timeout: 2 * c.Timing.Request}
	return b, nil
}

// Admission returns what admits operations to heketi.
func (b *Backend) Admission() *guard.Guard { return b.guard }

// redactUserInfo cuts what may be a password out of an address that is refused.
func redactUserInfo(text string) string {
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		return "...@" + text[at+1:]
	}
	return text
}

// clusters returns the heketi clusters in which a volume of the class may lie;
// empty means all of them.
func (b *Backend) clusters(p volume.HeketiParameters) ([]string, error) {
	if len(p.ClusterIDs) == 0 {
		return b.ClusterIDs, nil
	}
	for _, id := range p.ClusterIDs {
		if len(b.ClusterIDs) > 0 && !slices.Contains(b.ClusterIDs, id) {
			return nil, volume.NewFieldError("parameters.clusterid", id, "clusters of pool "+b.Pool+": "+strings.Join(b.ClusterIDs, ", "))
		}
	}
	return p.ClusterIDs, nil
}

// on names the volume, and the heketi that was asked, in errors.
func (b *Backend) on(h volume.Handle) string { return "volume " + h.String() + " at " + b.base.Host }
