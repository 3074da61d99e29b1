package volume

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Layout says what a claim becomes in Gluster.
type Layout string

// The layouts.
const (
	// LayoutVolume is a Gluster volume of its own for each claim.
	LayoutVolume Layout = "volume"
	// LayoutShared is a subdirectory of one existing Gluster volume for each claim.
	LayoutShared Layout = "shared"
)

// OnDelete says what deleting a volume does with its data.
type OnDelete string

// What a deletion does.
const (
	// DeleteData removes the volume and its data.
	DeleteData OnDelete = "delete"
	// RetainVolume stops the volume and leaves it in Gluster, marked as released.
	RetainVolume OnDelete = "retain"
	// ArchiveData removes the volume from Gluster and keeps its brick directories aside.
	ArchiveData OnDelete = "archive"
)

// Limits on group IDs, as in the in-tree plug-in (pkg/volume/glusterfs).
const (
	MinGID = 2000
	MaxGID = 2147483647
)

// Option is one Gluster volume option.
type Option struct {
	Key, Value string
}

// Parameters are a StorageClass's parameters, parsed and checked.
type Parameters struct {
	// LVM is the switch: true has heketi make bricks on thin logical volumes.
	LVM bool
	// Pool names the pool; empty where the class leaves it to the only one.
	Pool string
	// Layout is LayoutVolume unless said otherwise.
	Layout Layout
	// Type is the volume's Gluster type.
	Type Type
	// Profile is General unless said otherwise.
	Profile Profile
	// Options are the class's own Gluster options, sorted by key; a volume gets
	// those of its profile besides: see GlusterOptions.
	Options []Option
	// NamePrefix opens the Gluster volume's name; may be empty.
	NamePrefix string
	// GIDMin and GIDMax bound the group ID of the volume's root, both included.
	GIDMin, GIDMax int
	// Quota is false only where the class says so in so many words ("none").
	Quota bool
	// OnDelete says what a deletion does with the data.
	OnDelete OnDelete
	// Zones are those to which the class keeps the bricks of new volumes; empty
	// means all. No key sets them: see Within.
	Zones []string
	// Heketi holds the parameters that only lvm "true" knows.
	Heketi HeketiParameters
	// Class is the fingerprint of what the class alone says, where the pool's defaults
	// make it another: see ClassFingerprint.
	Class string
}

// HeketiParameters are those of the in-tree plug-in, with its rules.
type HeketiParameters struct {
	// URL is heketi's address; empty where a pool names it.
	URL string
	// User and Key authenticate to heketi; AuthEnabled false drops both.
	User        string
	Key         Secret
	AuthEnabled bool
	// SecretName and SecretNamespace name a Kubernetes Secret that holds the key.
	SecretName, SecretNamespace string
	// ClusterIDs are the heketi clusters that may serve the volume; empty means any.
	ClusterIDs []string
	// SnapFactor is how much more thin-pool space than size is set aside: 1 to 100.
	SnapFactor float64
}

// Backend returns which backend serves a volume of these parameters.
func (p Parameters) Backend() BackendName {
	if p.LVM {
		return Heketi
	}
	return Plain
}

// Within returns the parameters with the bricks of new volumes kept to zones;
// none means that they may lie anywhere.
func (p Parameters) Within(zones []string) (Parameters, error) {
	if len(zones) > 0 && p.LVM {
		return Parameters{}, NewFieldError("zones", strings.Join(zones, ", "),
			`nothing where lvm is "true": heketi spreads bricks over its own zones by itself; name the heketi clusters in clusterid`)
	}
	p.Zones = zones
	return p, nil
}

// Fingerprint returns a short hash of everything that makes two volumes of one
// name and size differ. Secrets, what only concerns a deletion, and the zones,
// which only say where new bricks go, are no part of it.
func (p Parameters) Fingerprint() string {
	h := sha256.New()
	fmt.Fprintf(h, "lvm=%t layout=%s type=%s prefix=%s gid=%d-%d quota=%t options=%q",
		p.LVM, p.Layout, p.Type, p.NamePrefix, p.GIDMin, p.GIDMax, p.Quota, p.Options)
	fmt.Fprintf(h, " clusters=%q snapfactor=%g", p.Heketi.ClusterIDs, p.Heketi.SnapFactor)
	if p.Profile != General { // as before there were profiles
		fmt.Fprintf(h, " profile=%s", p.Profile)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// ClassFingerprint is the fingerprint of what the class alone says, without the
// defaults of its pool. It stays the same when those change.
func (p Parameters) ClassFingerprint() string { return cmp.Or(p.Class, p.Fingerprint()) }

// scope says to which classes a key applies.
type scope uint8

const (
	everywhere scope = iota
	plainOnly
	lvmOnly
)

// key is one StorageClass parameter: its spelling, where it applies, what it
// allows, and how its value is read. A parser returns false for a bad value.
type key struct {
	name    string
	scope   scope
	allowed string
	parse   func(p *Parameters, value string) bool
}

// keys is the one list of StorageClass parameters.
var keys = []key{
	{"lvm", everywhere, `"true" or "false"`, func(p *Parameters, v string) bool { return parseBool(&p.LVM, v) }},
	{"pool", everywhere, "the name of a pool: 1 to 40 of a-z, 0-9 and -", func(p *Parameters, v string) bool {
		p.Pool = v
		return CheckPoolName(v) == nil
	}},
	{"layout", plainOnly, "volume or shared", func(p *Parameters, v string) bool {
		p.Layout = Layout(v)
		return p.Layout == LayoutVolume || p.Layout == LayoutShared
	}},
	{"volumetype", everywhere, typesAllowed, func(p *Parameters, v string) bool {
		t, err := ParseType(v)
		p.Type = t
		return err == nil
	}},
	{"volumeprofile", everywhere, profilesAllowed(), func(p *Parameters, v string) bool {
		p.Profile = Profile(v)
		_, known := profiles[p.Profile]
		return known
	}},
	{
		"volumeoptions", everywhere, "a comma-separated list of Gluster options, each a key, one space and a value; not user.bricklayer.*",
		func(p *Parameters, v string) bool { return parseOptions(&p.Options, v) },
	},
	{"volumenameprefix", everywhere, "1 to 20 of a-z, 0-9 and -, beginning with a letter or digit", func(p *Parameters, v string) bool {
		p.NamePrefix = v
		return isName(v, 20, "-") && v[0] != '-'
	}},
	{"gidMin", everywhere, "a whole number from 2000 to 2147483647", func(p *Parameters, v string) bool { return parseGID(&p.GIDMin, v) }},
	{"gidMax", everywhere, "a whole number from 2000 to 2147483647, at least gidMin", func(p *Parameters, v string) bool { return parseGID(&p.GIDMax, v) }},
	{"quota", plainOnly, "enforce (the default) or none", func(p *Parameters, v string) bool {
		p.Quota = v == "enforce"
		return v == "enforce" || v == "none"
	}},
	{"onDelete", plainOnly, "delete, retain or archive", func(p *Parameters, v string) bool {
		p.OnDelete = OnDelete(v)
		return p.OnDelete == DeleteData || p.OnDelete == RetainVolume || p.OnDelete == ArchiveData
	}},
	{"resturl", lvmOnly, "heketi's http or https address, such as http://heketi:8080", func(p *Parameters, v string) bool {
		p.Heketi.URL = strings.TrimSuffix(v, "/")
		u, err := url.Parse(v)
		return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
	}},
	{"restuser", lvmOnly, "a user name", func(p *Parameters, v string) bool {
		p.Heketi.User = v
		return printable(v)
	}},
	{"restuserkey", lvmOnly, "a key", func(p *Parameters, v string) bool {
		p.Heketi.Key = Secret(v)
		return true
	}},
	{"restauthenabled", lvmOnly, `"true" or "false"`, func(p *Parameters, v string) bool { return parseBool(&p.Heketi.AuthEnabled, v) }},
	{"secretName", lvmOnly, "the name of a Secret", func(p *Parameters, v string) bool {
		p.Heketi.SecretName = v
		return isName(v, 253, "-.")
	}},
	{"secretNamespace", lvmOnly, "a namespace", func(p *Parameters, v string) bool {
		p.Heketi.SecretNamespace = v
		return isName(v, 63, "-")
	}},
	{"clusterid", lvmOnly, "a comma-separated list of heketi cluster IDs (32 hexadecimal digits each)", func(p *Parameters, v string) bool {
		return parseClusterIDs(&p.Heketi.ClusterIDs, v)
	}},
	{"snapfactor", lvmOnly, "a number from 1 to 100", func(p *Parameters, v string) bool {
		f, err := strconv.ParseFloat(v, 64)
		p.Heketi.SnapFactor = f
		return err == nil && f >= 1 && f <= 100
	}},
	// CSI needs no Endpoints, so this one is read and dropped.
	{"customepnameprefix", lvmOnly, "at most 63 of a-z, 0-9 and -", func(_ *Parameters, v string) bool { return v == "" || isName(v, 63, "-") }},
}

// metadataPrefix opens the keys that external-provisioner adds to a request
// (--extra-create-metadata): they say who asked and change nothing.
const metadataPrefix = "csi.storage.k8s.io/"

// ParseParameters reads a StorageClass's parameters. Keys are case-insensitive.
// The first bad one, in the order of its spelling, is named in a *FieldError.
func ParseParameters(given map[string]string) (Parameters, error) { return ParseOver(nil, given) }

// read takes in what a class says, and returns which keys it has: their canonical
// names, with how the user spelt them.
func (p *Parameters) read(given map[string]string) (seen map[string]string, err error) {
	seen = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if strings.HasPrefix(name, metadataPrefix) {
			continue
		}
		k, err := findKey(name)
		if err != nil {
			return nil, err
		}
		if other, twice := seen[k.name]; twice {
			return nil, NewFieldError("parameters."+name, given[name], "one of "+other+" and "+name+", which are the same key")
		}
		seen[k.name] = name
		if !k.parse(p, strings.TrimSpace(given[name])) {
			return nil, k.refuse(given[name])
		}
	}
	if _, said := seen["lvm"]; !said {
		_, p.LVM = seen["resturl"]
	}
	for _, k := range keys {
		if _, given := seen[k.name]; given && (k.scope == plainOnly && p.LVM || k.scope == lvmOnly && !p.LVM) {
			return nil, NewFieldError("parameters."+k.name, "lvm "+strconv.FormatBool(p.LVM),
				k.name+` only with lvm: "`+strconv.FormatBool(!p.LVM)+`"`)
		}
	}
	return seen, nil
}

// checkTogether checks what no single key can tell.
func (p *Parameters) checkTogether() error {
	switch {
	case p.GIDMin > p.GIDMax:
		return NewFieldError("parameters.gidMin", strconv.Itoa(p.GIDMin), fmt.Sprintf("at most gidMax (%d)", p.GIDMax))
	case p.LVM && p.Type.Arbiters > 0:
		return NewFieldError("parameters.volumetype", p.Type.String(), `an arbiter only with lvm: "false"`)
	case (p.Heketi.SecretName == "") != (p.Heketi.SecretNamespace == ""):
		return NewFieldError("parameters.secretName", p.Heketi.SecretName+"/"+p.Heketi.SecretNamespace,
			"secretName and secretNamespace together, or neither")
	}
	if !p.Heketi.AuthEnabled {
		p.Heketi.User, p.Heketi.Key, p.Heketi.SecretName, p.Heketi.SecretNamespace = "", "", "", ""
	}
	return nil
}

// refuse never shows a secret: the value of restuserkey is any text, so that
// key is never refused, but the rule must not depend on it.
func (k key) refuse(value string) error {
	if k.name == "restuserkey" {
		value = redacted
	}
	return NewFieldError("parameters."+k.name, value, k.allowed)
}

func findKey(name string) (key, error) {
	best, bestDistance := "", 3 // further than two slips is no slip
	for _, k := range keys {
		if strings.EqualFold(k.name, name) {
			return k, nil
		}
		if d := editDistance(strings.ToLower(k.name), strings.ToLower(name), bestDistance); d < bestDistance {
			best, bestDistance = k.name, d
		}
	}
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	allowed := strings.Join(names, ", ")
	if best != "" {
		allowed = "did you mean " + best + "? All keys: " + allowed
	}
	return key{}, NewFieldError("parameters", name, allowed)
}

func parseBool(to *bool, v string) bool {
	switch strings.ToLower(v) {
	case "true":
		*to = true
	case "false":
		*to = false
	default:
		return false
	}
	return true
}

func parseGID(to *int, v string) bool {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < MinGID || n > MaxGID {
		return false
	}
	*to = int(n)
	return true
}

func parseClusterIDs(to *[]string, v string) bool {
	for id := range strings.SplitSeq(v, ",") {
		id = strings.TrimSpace(id)
		if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
			return false
		}
		*to = append(*to, id)
	}
	slices.Sort(*to)
	*to = slices.Compact(*to)
	return true
}

// MarkPrefix opens the Gluster options that are ours alone.
const MarkPrefix = "user.bricklayer."

const (
	optionKeyBytes   = "abcdefghijklmnopqrstuvwxyz0123456789.-_"
	optionValueBytes = optionKeyBytes + "ABCDEFGHIJKLMNOPQRSTUVWXYZ:/*%+@"
)

// parseOptions reads "key value, key value" as the in-tree plug-in did. What
// could be read as a flag or as a second option is refused, and so is one key twice.
func parseOptions(to *[]Option, v string) bool {
	options := []Option{}
	for item := range strings.SplitSeq(v, ",") {
		k, value, ok := strings.Cut(strings.Trim(item, " "), " ")
		value = strings.Trim(value, " ")
		if !ok || k == "" || value == "" || k[0] == '-' || value[0] == '-' || !strings.Contains(k, ".") ||
			!only(k, optionKeyBytes) || !only(value, optionValueBytes) ||
			strings.HasPrefix(k, MarkPrefix) {
			return false
		}
		options = append(options, Option{Key: k, Value: value})
	}
	slices.SortFunc(options, byKey)
	for i := 1; i < len(options); i++ {
		if options[i].Key == options[i-1].Key {
			return false
		}
	}
	*to = options
	return true
}

func byKey(a, b Option) int { return cmp.Compare(a.Key, b.Key) }

func only(s, set string) bool {
	for i := range len(s) {
		if strings.IndexByte(set, s[i]) < 0 {
			return false
		}
	}
	return true
}

// editDistance returns the Levenshtein distance of two ASCII texts; strings
// whose lengths differ by limit or more are not compared.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// ParameterKey describes one StorageClass parameter for reference pages.
type ParameterKey struct {
	// Name is the key's spelling, Allowed what its value may be, in words.
	Name, Allowed string
	// LVM and Plain say to which classes it applies.
	LVM, Plain bool
}

// ParameterKeys returns all StorageClass parameters in a fixed order.
func ParameterKeys() []ParameterKey {
	out := make([]ParameterKey, len(keys))
	for i, k := range keys {
		out[i] = ParameterKey{Name: k.name, Allowed: k.allowed, LVM: k.scope != plainOnly, Plain: k.scope != lvmOnly}
	}
	return out
}
