package v1alpha1

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// Limits of operations in heketi.
const (
	DefaultMaxInFlight = 4
	MaxMaxInFlight     = 64
)

var (
	clusterPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)
	userPattern    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)
)

func (h *HeketiEndpoint) setDefaults() {
	h.URL = strings.TrimSuffix(h.URL, "/")
	if h.MaxInFlight == 0 {
		h.MaxInFlight = DefaultMaxInFlight
	}
}

// validate reports what is not as it must be. What may hold a password is not shown.
func (h *HeketiEndpoint) validate(at string, bad func(field, value, allowed string)) {
	u, err := url.Parse(h.URL)
	plain := err == nil && u.User == nil && !strings.Contains(h.URL, "@")
	if !plain || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" ||
		u.Port() != "" && !isPort(u.Port()) {
		shown := "(not shown: it may hold a password)"
		if plain || !strings.Contains(h.URL, "@") {
			shown = h.URL
		}
		bad(at+".url", shown, "an http or https address without user, password and query, such as http://heketi:8080")
	}
	if h.User != "" && !userPattern.MatchString(h.User) {
		bad(at+".user", h.User, "1 to 64 of letters, digits and . _ @ -, beginning with a letter or digit")
	}
	if (h.User == "") != (h.KeyFile == "") {
		bad(at+".keyFile", h.KeyFile, "user and keyFile together, or neither")
	}
	for _, f := range []struct{ name, value string }{{"keyFile", h.KeyFile}, {"caFile", h.CAFile}} {
		if f.value != "" && (!path.IsAbs(f.value) || path.Clean(f.value) != f.value) {
			bad(at+"."+f.name, f.value, "an absolute path")
		}
	}
	if plain && u.Scheme == "http" && (h.CAFile != "" || h.ServerName != "") {
		bad(at+".caFile", h.CAFile+h.ServerName, "caFile and serverName only with an https address")
	}
	if h.ServerName != "" && !isHost(h.ServerName) {
		bad(at+".serverName", h.ServerName, "a host name or IP address, not loopback")
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
