package csi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"bricklayer.csi/internal/volume"
)

func TestEveryKindHasACode(t *testing.T) {
	for _, k := range volume.Kinds() {
		code, known := codeOf[k]
		if !known {
			t.Errorf("kind %q has no code", k)
		}
		if final(code) != k.Definite() {
			t.Errorf("kind %q is definite: %t, but an orchestrator takes %v for final: %t", k, k.Definite(), code, final(code))
		}
	}
	if len(codeOf) != len(volume.Kinds()) {
		t.Errorf("the table has %d entries for %d kinds", len(codeOf), len(volume.Kinds()))
	}
}

// final reports whether external-provisioner takes an error of that code for
// the end of the matter (isFinalError in its pkg/controller).
func final(code codes.Code) bool {
	switch code {
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.Aborted:
		return false
	default:
		return true
	}
}

func TestToStatus(t *testing.T) {
	inner := status.New(codes.ResourceExhausted, "from an agent").Err()
	for _, c := range []struct {
		name string
		err  error
		want codes.Code
	}{
		{"field", volume.NewFieldError("name", "x", "y"), codes.InvalidArgument},
		{"joined", errors.Join(&volume.Error{Kind: volume.Exhausted}, errors.New("and undo it")), codes.ResourceExhausted},
		{"wrapped", fmt.Errorf("more: %w", &volume.Error{Kind: volume.Busy}), codes.Aborted},
		{"ours around a status", &volume.Error{Kind: volume.Unavailable, Err: inner}, codes.Unavailable},
		{"a status", inner, codes.ResourceExhausted},
		{"time over", fmt.Errorf("more: %w", context.DeadlineExceeded), codes.DeadlineExceeded},
		{"given up", context.Canceled, codes.Canceled},
		{"ours around time over", &volume.Error{Kind: volume.Unavailable, Err: context.DeadlineExceeded}, codes.Unavailable},
		{"token", &tokenError{volume.NewFieldError("starting_token", "x", "y")}, codes.Aborted},
		{"unknown", errors.New("anything"), codes.Unavailable},
	} {
		if got := status.Code(toStatus(c.err)); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
	if toStatus(nil) != nil {
		t.Error("no error became one")
	}
}

func TestLongAndBrokenMessagesTravel(t *testing.T) {
	err := toStatus(errors.New(strings.Repeat("ä\xff", 4000)))
	message := status.Convert(err).Message()
	if len(message) > maxMessage+3 || !utf8.ValidString(message) {
		t.Errorf("got %d bytes, valid %v", len(message), utf8.ValidString(message))
	}
}
