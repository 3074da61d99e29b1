package heketi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"bricklayer.csi/internal/volume"
)

// What a person should do, where more than one row says it.
const (
	seeLog      = "see heketi's log; the call may be repeated"
	checkKey    = "check the pool's user (heketi's administrator is \"admin\") and key, or those of the StorageClass"
	addRoom     = "delete volumes or snapshots, or add devices to heketi"
	checkOption = "correct volumeoptions in the StorageClass"
	ownWork     = "heketi works on by itself; repeat the call to learn the outcome"
)

// rule says what an answer of heketi's means. The first that fits counts.
type rule struct {
	// status is the HTTP status; 0 fits all.
	status int
	// text is a part of what heketi says, in lower case; empty fits all.
	text string
	kind volume.Kind
	next string
}

// rules is the one table from heketi's answers to kinds. A failed operation is
// answered with status 500 and the text of whatever failed, down to the gluster
// command's; heketi then has undone it, or keeps it pending, which the next
// look at its database tells. So an unknown text is Unavailable, never Internal.
var rules = []rule{
	{http.StatusUnauthorized, "used before issued", volume.Denied, "the clocks of this host and of heketi's differ: put them right"},
	{http.StatusUnauthorized, "expired", volume.Denied, "the clocks of this host and of heketi's differ: put them right"},
	{http.StatusUnauthorized, "administrator access", volume.Denied, "use heketi's user \"admin\""},
	{http.StatusUnauthorized, "", volume.Denied, checkKey},
	{http.StatusForbidden, "", volume.Denied, checkKey},
	{http.StatusTooManyRequests, "", volume.Busy, "heketi runs as many operations as it allows; repeat the call later"},
	{http.StatusServiceUnavailable, "maintenance", volume.Unavailable, "heketi was set read-only: heketi-cli server mode set normal"},
	{0, "another transaction is in progress", volume.Busy, "repeat the call later"},
	{0, "locking failed", volume.Busy, "repeat the call later"},
	{0, "volume name", volume.Busy, "another controller is making it, or heketi has such a volume in another cluster; repeat the call later"},
	{0, "contains other items", volume.Busy, "heketi has an operation pending on it: heketi-cli server operations list"},
	{0, "server handling too many operations", volume.Busy, "repeat the call later"},
	{0, "limit is", volume.Exhausted, "heketi allows no more volumes in a cluster (max_volumes_per_cluster): delete some or add a cluster"},
	{0, "no space left on device", volume.Unavailable, "a file system is full, heketi's or a storage node's root: make room there"},
	{0, "no space", volume.Exhausted, addRoom},
	{0, "out of space", volume.Exhausted, addRoom},
	{0, "maximum number of bricks", volume.Exhausted, addRoom},
	{0, "insufficient free space", volume.Exhausted, addRoom},
	{0, "no online storage devices", volume.Precondition, "set a device of the cluster online: heketi-cli device enable"},
	{0, "no nodes in cluster", volume.Precondition, "add nodes to the cluster"},
	{0, "no clusters configured", volume.Precondition, "load a topology into heketi: heketi-cli topology load"},
	{0, "does not support requested volume type", volume.Precondition, "set the cluster's flag for file volumes: heketi-cli cluster setflags"},
	{0, "disabled all volume types", volume.Precondition, "set the cluster's flag for file volumes: heketi-cli cluster setflags"},
	{0, "snapshot", volume.Precondition, "delete the snapshots of the volume first"},
	{0, "cannot delete", volume.Precondition, "heketi protects this volume"},
	{0, "volume set: failed", volume.Invalid, checkOption},
	{http.StatusNotFound, "id not found", volume.NotFound, ""},
	{0, "unable to open database", volume.Unavailable, "see heketi's log"},
	{http.StatusNotFound, "", volume.Precondition, "is the pool's URL heketi's, without a path of its own, and heketi of version 8 or later?"},
	{http.StatusBadRequest, "cluster id", volume.Invalid, "correct clusterid in the StorageClass, or clusterIDs in the pool"},
	{http.StatusBadRequest, "", volume.Invalid, "correct the StorageClass"},
	{http.StatusConflict, "", volume.Busy, "repeat the call later"},
	{0, "", volume.Unavailable, seeLog},
}

// explain makes one of our errors of what came of an exchange. It may be given nil.
func (b *Backend) explain(x *exchange, op, on string, err error) error {
	if err == nil {
		return nil
	}
	var known interface{ ErrorKind() volume.Kind }
	if errors.As(err, &known) {
		return err
	}
	e := &volume.Error{Kind: volume.Unavailable, Op: op, On: on, Next: seeLog}
	text := x.clean(err.Error())
	var slow slowError
	switch {
	case errors.As(err, &slow):
		e.Err = slow
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		e.Err = fmt.Errorf("its time is over: %w", contextError(err))
		if x.taken {
			e.Kind, e.Next = volume.Busy, ownWork
		}
	case untrusted(err):
		e.Kind, e.Err, e.Next = volume.Denied, errors.New(text), "correct caFile and serverName of the pool, or heketi's certificate"
	case garbled(err):
		e.Err = fmt.Errorf("the answer (status %d) is not one of heketi's: %s", x.status, text)
		e.Next = "is the pool's URL heketi's, and is there a proxy in between?"
	case x.status == 0:
		e.Err, e.Next = errors.New(text), "is heketi up at this address? The call may be repeated"
	default:
		r := ruleFor(x.status, text)
		e.Kind, e.Err, e.Next = r.kind, fmt.Errorf("heketi answered %d: %s", x.status, text), r.next
	}
	return e
}

func ruleFor(status int, text string) rule {
	text = strings.ToLower(text)
	for _, r := range rules {
		if (r.status == 0 || r.status == status) && strings.Contains(text, r.text) {
			return r
		}
	}
	return rule{kind: volume.Unavailable, next: seeLog}
}

// contextError returns which of the two ends of a context an error is about,
// without what the client wrapped around it.
func contextError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return context.Canceled
}

// untrusted reports whether heketi's certificate was refused.
func untrusted(err error) bool {
	var (
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	return errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid)
}

// garbled reports whether an answer was no JSON, or not of the form that was expected.
func garbled(err error) bool {
	var (
		syntax *json.SyntaxError
		form   *json.UnmarshalTypeError
	)
	return errors.As(err, &syntax) || errors.As(err, &form)
}

// maxText is how much of heketi's text an error shows, in bytes. What gluster
// said stands at its end.
const maxText = 400

// clean makes what heketi or the network said fit for a log: one line, without
// control characters, short, and without our key should anyone echo it.
func (x *exchange) clean(text string) string {
	if key := x.login.key.Reveal(); key != "" {
		text = strings.ReplaceAll(text, key, x.login.key.String())
	}
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText/2], "") + " ... " + strings.ToValidUTF8(text[len(text)-maxText/2:], "")
	}
	return text
}
