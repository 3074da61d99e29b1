package v1alpha1

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Limits of operations in heketi.
const (
	DefaultMaxInFlight = 4
	MaxMaxInFlight     = 64
)

// DefaultSecretKey is the key of a Secret under which heketi's key lies, as the
// in-tree plug-in had it.
const DefaultSecretKey = "key"

const (
	maxURLLength       = 512
	maxClusters        = 64
	maxNamespaceLength = 63
)

var (
	clusterPattern   = regexp.MustCompile(`^[0-9a-f]{32}$`)
	urlPattern       = regexp.MustCompile(`^(https?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:` + port + `)?(/[A-Za-z0-9._~/-]*)?$`)
	secretPattern    = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
	secretKeyPattern = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	userPattern      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)
)

func (h *HeketiEndpoint) setDefaults() {
	h.URL = strings.TrimSuffix(h.URL, "/")
	if h.MaxInFlight == 0 {
		h.MaxInFlight = DefaultMaxInFlight
	}
	if k := h.KeySecret; k != nil && k.Key == "" {
		k.Key = DefaultSecretKey
	}
}

// validate reports what is not as it must be. What may hold a password is not shown.
func (h *HeketiEndpoint) validate(at string, bad func(field, value, allowed string)) {
	scheme := h.validateURL(at, bad)
	if h.User != "" && !userPattern.MatchString(h.User) {
		bad(at+".user", h.User, "1 to 64 of letters, digits and . _ @ -, beginning with a letter or digit")
	}
	h.validateKey(at, bad)
	for _, f := range []struct{ name, value string }{{"keyFile", h.KeyFile}, {"caFile", h.CAFile}} {
		if f.value != "" && !isPath(f.value) {
			bad(at+"."+f.name, f.value, pathAllowed)
		}
	}
	if scheme == "http" && (h.CAFile != "" || h.ServerName != "") {
		bad(at+".caFile", h.CAFile+h.ServerName, "caFile and serverName only with an https address")
	}
	if h.ServerName != "" && !isHost(h.ServerName) {
		bad(at+".serverName", h.ServerName, "a host name or IP address, not loopback")
	}
	if n := len(h.ClusterIDs); n > maxClusters {
		bad(at+".clusterIDs", strconv.Itoa(n)+" clusters", fmt.Sprintf("at most %d", maxClusters))
	}
	seen := map[string]bool{}
	for i, id := range h.ClusterIDs {
		if !clusterPattern.MatchString(id) || seen[id] {
			bad(fmt.Sprintf("%s.clusterIDs[%d]", at, i), id, "a heketi cluster ID of 32 hexadecimal digits, once")
		}
		seen[id] = true
	}
	if h.MaxInFlight < 1 || h.MaxInFlight > MaxMaxInFlight {
		bad(at+".maxInFlight", strconv.Itoa(h.MaxInFlight), fmt.Sprintf("1 to %d", MaxMaxInFlight))
	}
}

// validateURL returns the address's scheme, or nothing where it is not as it must be.
func (h *HeketiEndpoint) validateURL(at string, bad func(field, value, allowed string)) (scheme string) {
	if m := urlPattern.FindStringSubmatch(h.URL); m != nil && len(h.URL) <= maxURLLength {
		return m[1]
	}
	shown := h.URL
	if strings.Contains(shown, "@") {
		shown = "(not shown: it may hold a password)"
	}
	bad(at+".url", shown, "an http or https address without user, password and query, such as http://heketi:8080")
	return ""
}

func (h *HeketiEndpoint) validateKey(at string, bad func(field, value, allowed string)) {
	k := h.KeySecret
	switch {
	case k != nil && h.KeyFile != "":
		bad(at+".keySecret", k.Namespace+"/"+k.Name, "keyFile or keySecret, not both")
	case k == nil && (h.User == "") != (h.KeyFile == ""), k != nil && h.User == "":
		bad(at+".keyFile", h.KeyFile, "user and keyFile (or keySecret) together, or none of them")
	}
	if k == nil {
		return
	}
	if len(k.Namespace) > maxNamespaceLength || !labelPattern.MatchString(k.Namespace) {
		bad(at+".keySecret.namespace", k.Namespace, "the name of a namespace")
	}
	if len(k.Name) > maxHostLength || !secretPattern.MatchString(k.Name) {
		bad(at+".keySecret.name", k.Name, "the name of a Secret")
	}
	if k.Key != "" && (len(k.Key) > maxHostLength || !secretKeyPattern.MatchString(k.Key)) {
		bad(at+".keySecret.key", k.Key, "letters, digits and . _ -")
	}
}
