package brick

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"bricklayer.csi/internal/volume"
)

// Limits and defaults of Options.
const (
	maxRootName             = 40
	rootNameAllowed         = "1 to 40 of a-z, 0-9 and -, beginning and ending with a letter or digit"
	reservePercent          = 1
	maxReserve              = volume.GiB
	defaultBrickMode uint32 = 0o755
)

// RootConfig names a brick root in the node's configuration.
type RootConfig struct {
	Name string
	// Path is absolute: the mount point of the root's file system.
	Path string
}

// Options say which brick roots a host has and how they are kept.
type Options struct {
	// Pool is the pool that the roots belong to.
	Pool  string
	Roots []RootConfig
	// Policy holds until SetPolicy says otherwise.
	Policy
	// InUse reports whether a Gluster volume still uses the brick directory at
	// an absolute path. Remove asks it first. It may be nil.
	InUse func(ctx context.Context, path string) (bool, error)
	// Logger may be nil.
	Logger *slog.Logger

	// openQuotas puts another quota table in place of the file system's (tests).
	openQuotas func(o *openRoot) quotas
	// after is called when a step of an operation is done; an error stops the
	// operation there, as kill -9 would (tests).
	after func(step string) error
	// projectsFile is /etc/projects (tests).
	projectsFile string
	// anyDirectory has Init take what is no mount point (tests).
	anyDirectory bool
}

// Validate says what is wrong with the options, naming the field.
func (o Options) Validate() error {
	errs := []error{volume.CheckPoolName(o.Pool)}
	seen := map[string]string{}
	for i, r := range o.Roots {
		field := fmt.Sprintf("roots[%d]", i)
		errs = append(errs, checkRootName(field+".name", r.Name), checkRootPath(field+".path", r.Path))
		for _, key := range []string{"name " + r.Name, "path " + r.Path} {
			if other, taken := seen[key]; taken {
				errs = append(errs, volume.NewFieldError(field, key, "one that "+other+" does not have"))
			}
			seen[key] = field
		}
	}
	return errors.Join(append(errs, o.Policy.Validate())...)
}

func checkRootName(field, name string) error {
	if len(name) > maxRootName || volume.CheckPoolName(name) != nil {
		return volume.NewFieldError(field, name, rootNameAllowed)
	}
	return nil
}

func checkRootPath(field, path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" || strings.ContainsAny(path, "\x00\n") {
		return volume.NewFieldError(field, path, "a clean absolute path other than /")
	}
	return nil
}

// Host is the brick roots of one host. It is safe for concurrent use, and sure
// of being the only one that changes a root: it holds a lock on each, which also
// keeps the file system from being unmounted before Close. A root that cannot
// be used now (not mounted, say) is tried again at each call.
type Host struct {
	options Options
	roots   []*root
	byName  map[string]*root
	log     *slog.Logger
	// told is the policy that SetPolicy was given last.
	told atomic.Pointer[Policy]
	// initQuotas is openQuotas where tests gave one: Init refuses other file systems than XFS.
	initQuotas func(o *openRoot) quotas
}

// New returns the host. Nothing is opened yet: the first call of each root, or
// Run, does that.
func New(o Options) (*Host, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.Policy = o.Policy.over(Policy{OvercommitPercent: DefaultOvercommitPercent, TrashEntriesPerSecond: DefaultTrashEntriesPerSec})
	o.projectsFile = cmp.Or(o.projectsFile, "/etc/projects")
	initQuotas := o.openQuotas
	if o.openQuotas == nil {
		o.openQuotas = func(r *openRoot) quotas { return newXFSQuotas(r.self, r.mount) }
	}
	if o.after == nil {
		o.after = func(string) error { return nil }
	}
	h := &Host{options: o, byName: map[string]*root{}, log: o.Logger, initQuotas: initQuotas}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	for _, c := range o.Roots {
		r := newRoot(h, c)
		h.roots = append(h.roots, r)
		h.byName[c.Name] = r
	}
	return h, nil
}

// Init makes one of the roots a brick root, as the function Init does: an empty file
// system, XFS with project quotas, mounted at the root's path. One that is a brick
// root already is left as it is; anything else is Precondition and says what was found.
func (h *Host) Init(ctx context.Context, name string) error {
	r, err := h.root(opInit, Ref{Root: name})
	if err != nil {
		return err
	}
	if _, err := r.use(opInit); err == nil {
		return nil
	}
	r.mu.Lock() // so that nobody opens it meanwhile
	defer r.mu.Unlock()
	m, err := Init(ctx, InitOptions{Pool: h.options.Pool, Root: r.config, AnyDirectory: h.options.anyDirectory, openQuotas: h.initQuotas})
	if err == nil {
		h.log.InfoContext(ctx, "a file system was made a brick root", "root", name, "path", r.config.Path, "id", m.ID)
	}
	return err
}

// Close lets go of the roots; Run must have returned.
func (h *Host) Close() error {
	var errs []error
	for _, r := range h.roots {
		errs = append(errs, r.close())
	}
	return errors.Join(errs...)
}

// Run opens the roots, clears what a crash left on them, and empties their
// trash until ctx ends.
func (h *Host) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, r := range h.roots {
		all.Go(func() { r.keepEmptying(ctx) })
	}
	all.Wait()
}

// EmptyTrash empties the trash of all roots once, at the bounded rate.
func (h *Host) EmptyTrash(ctx context.Context) error {
	var errs []error
	for _, r := range h.roots {
		errs = append(errs, r.emptyTrash(ctx))
	}
	return errors.Join(errs...)
}

func (h *Host) root(op string, ref Ref) (*root, error) {
	if r, ok := h.byName[ref.Root]; ok {
		return r, nil
	}
	names := make([]string, 0, len(h.roots))
	for _, r := range h.roots {
		names = append(names, r.config.Name)
	}
	slices.Sort(names)
	on := ""
	if ref.Volume != "" {
		on = "volume " + ref.Volume
	}
	return nil, &volume.Error{
		Kind: volume.NotFound, Op: op, On: on,
		Err:  volume.NewFieldError("root", ref.Root, "one of "+strings.Join(names, ", ")),
		Next: "name a brick root of the node's configuration",
	}
}
