package csi

import (
	"encoding/base64"
	"sort"
	"strconv"
	"strings"

	"bricklayer.csi/internal/volume"
)

// tokenPrefix opens every token, so that another version's are told apart.
const tokenPrefix = "after1:"

// tokenError is a starting_token that we did not give out.
type tokenError struct{ *volume.FieldError }

// Unwrap keeps the field error's text and kind reachable.
func (e *tokenError) Unwrap() error { return e.FieldError }

// token says where the next page begins: after that volume, whether it is
// still there or not. A position would skip volumes when others are deleted.
func token(after volume.Handle) string {
	return base64.RawURLEncoding.EncodeToString([]byte(tokenPrefix + after.String()))
}

func parseToken(text string) (after string, err error) {
	if text == "" {
		return "", nil
	}
	bad := &tokenError{volume.NewFieldError("starting_token", text, "empty, or the next_token of the page before")}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return "", bad
	}
	id, ok := strings.CutPrefix(string(raw), tokenPrefix)
	if !ok {
		return "", bad
	}
	if _, err := volume.ParseHandle(id); err != nil {
		return "", bad
	}
	return id, nil
}

// rest returns the volumes after a token; they are sorted by handle.
func rest(all []volume.Volume, startingToken string) ([]volume.Volume, error) {
	after, err := parseToken(startingToken)
	if err != nil {
		return nil, err
	}
	from := sort.Search(len(all), func(i int) bool { return all[i].Handle.String() > after })
	return all[from:], nil
}

func checkMaxEntries(n int32) error {
	if n < 0 {
		return volume.NewFieldError("max_entries", strconv.Itoa(int(n)), "0 or more")
	}
	return nil
}
