package heketi

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	client "github.com/heketi/heketi/client/api/go-client"

	"bricklayer.csi/internal/pause"
	"bricklayer.csi/internal/volume"
)

// Limits of what heketi may answer, in bytes. A database of 10,000 volumes is
// about 30 MiB.
const (
	maxAnswer    = 1 << 20
	maxDump      = 256 << 20
	maxCAFile    = 1 << 20
	maxRedirects = 5
)

// wire is the one HTTP transport to a heketi: pooled, and made anew when the
// file of trusted certificates changes.
type wire struct {
	caFile     string
	serverName string
	timeout    time.Duration

	mu        sync.Mutex
	ca        []byte
	transport *http.Transport
}

// get returns the transport that trusts what the file holds now.
func (w *wire) get() (*http.Transport, error) {
	var ca []byte
	if w.caFile != "" {
		var err error
		if ca, err = readLimited(w.caFile, maxCAFile); err != nil {
			return nil, &volume.Error{
				Kind: volume.Precondition, Op: "read heketi's CA", On: w.caFile, Err: err,
				Next: "put the certificates there that sign heketi's",
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.transport != nil && bytes.Equal(w.ca, ca) {
		return w.transport, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: w.serverName}
	if w.caFile != "" {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(ca) {
			return nil, &volume.Error{
				Kind: volume.Precondition, Op: "read heketi's CA", On: w.caFile,
				Err: errors.New("it holds no certificate in PEM form"),
			}
		}
	}
	if w.transport != nil {
		w.transport.CloseIdleConnections()
	}
	w.ca = ca
	w.transport = &http.Transport{
		DialContext:         (&net.Dialer{Timeout: w.timeout / 3, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     t,
		TLSHandshakeTimeout: w.timeout / 3,
		MaxIdleConnsPerHost: 8,
		MaxConnsPerHost:     32,
		IdleConnTimeout:     90 * time.Second,
		ForceAttemptHTTP2:   false,
	}
	return w.transport, nil
}

func readLimited(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("it is larger than %d bytes", most)
	}
	return text, err
}

// exchange is one call of heketi's client: what was sent under which key, and
// how far it came. It belongs to one goroutine.
type exchange struct {
	login login
	// most bounds an answer, in bytes.
	most int64
	// accepted is called once when heketi has taken a request that it works on
	// by itself; may be nil.
	accepted func()
	// taken is true from then on.
	taken bool
	// status is that of the last answer; 0 where there was none.
	status int
	// later is the pause before heketi is asked again.
	later *backoff
}

// performer is what the client calls for each request.
type performer func(*http.Request) (*http.Response, error)

// Do implements the client's HttpPerformer.
func (p performer) Do(r *http.Request) (*http.Response, error) { return p(r) }

// client returns heketi's own client for one exchange that ends with ctx. Its
// retries and pauses, which are deaf to contexts, are switched off: they happen
// in perform.
func (b *Backend) client(ctx context.Context, x *exchange) (*client.Client, error) {
	transport, err := b.wire.get()
	if err != nil {
		return nil, err
	}
	if x.most == 0 {
		x.most = maxAnswer
	}
	x.later = b.newBackoff()
	c := client.NewClientWithOptions(b.base.String(), x.login.user, x.login.key.Reveal(), client.ClientOptions{})
	c.SetClientFunc(func(_ *tls.Config, sign client.CheckRedirectFunc) (client.HttpPerformer, error) {
		hc := &http.Client{Transport: transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return errors.New("it redirects in a circle")
			}
			if err := b.stay(r); err != nil {
				return err
			}
			return sign(r, via)
		}}
		return performer(func(r *http.Request) (*http.Response, error) { return b.perform(ctx, hc, x, r) }), nil
	})
	return c, nil
}

// stay refuses to follow heketi to another host: the token would go with us.
func (b *Backend) stay(r *http.Request) error {
	if r.URL.Host != b.base.Host || r.URL.Scheme != b.base.Scheme {
		return fmt.Errorf("it sends us on to another address (%s)", r.URL.Host)
	}
	return nil
}

// perform sends one request. A request that heketi is too busy for is sent
// again after a pause, and the queue is asked about after one, for as long as
// ctx allows: heketi changes nothing for either.
func (b *Backend) perform(ctx context.Context, hc *http.Client, x *exchange, r *http.Request) (*http.Response, error) {
	if err := b.stay(r); err != nil {
		return nil, err
	}
	if x.taken { // the client asks how far it is, with no pause of its own
		if err := x.later.wait(ctx); err != nil {
			return nil, err
		}
	}
	for {
		answer, err := b.once(ctx, hc, x, r)
		if err != nil {
			return nil, err
		}
		if x.status != http.StatusTooManyRequests || r.Body != nil && r.GetBody == nil {
			return answer, nil
		}
		if err := x.later.wait(ctx); err != nil {
			return answer, nil //nolint:nilerr // the caller learns why nothing was done, not that its time is over
		}
	}
}

// once sends one request and reads the whole answer, so that the connection is
// free again and the client cannot wait for a body that never ends.
func (b *Backend) once(ctx context.Context, hc *http.Client, x *exchange, r *http.Request) (*http.Response, error) {
	x.status = 0
	ctx, cancel := context.WithTimeoutCause(ctx, b.Timing.Request, slowError(b.Timing.Request))
	defer cancel()
	send := r.Clone(ctx)
	if r.GetBody != nil {
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		send.Body = body
	}
	answer, err := hc.Do(send) //nolint:gosec // the pool names the address, and stay holds us to it
	if err != nil {
		return nil, becauseOf(ctx, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, x.most+1))
	if err != nil {
		return nil, fmt.Errorf("its answer (status %d) broke off after %d bytes: %w", answer.StatusCode, len(body), becauseOf(ctx, err))
	}
	if int64(len(body)) > x.most {
		return nil, fmt.Errorf("its answer (status %d) is longer than %d bytes", answer.StatusCode, x.most)
	}
	answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	x.status = answer.StatusCode
	if x.status == http.StatusAccepted && !x.taken {
		x.taken = true
		if x.accepted != nil {
			x.accepted()
		}
	}
	return answer, nil
}

// slowError says that heketi was too slow, not that the caller's time is over.
type slowError time.Duration

// Error names the time that heketi had.
func (e slowError) Error() string { return "no answer within " + time.Duration(e).String() }

// becauseOf returns why the context ended, where that is what went wrong.
func becauseOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// backoff is a pause that grows, with jitter, so that many callers do not ask at once.
type backoff struct{ next, last time.Duration }

func (b *Backend) newBackoff() *backoff {
	return &backoff{next: b.Timing.FirstPoll, last: b.Timing.LastPoll}
}

// wait waits for half to all of the present pause and makes the next one longer.
func (p *backoff) wait(ctx context.Context) error {
	d := p.next/2 + rand.N(p.next/2+1) //nolint:gosec // nobody gains from guessing it
	p.next = min(p.next*3/2, p.last)
	return pause.For(ctx, d)
}
