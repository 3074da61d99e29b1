package volume

import (
	"errors"
	"fmt"
	"testing"
)

func TestKindOf(t *testing.T) {
	inner := &Error{Kind: Busy, Op: "create", On: "volume a", Err: errors.New("taken"), Next: "wait"}
	outer := &Error{Kind: Unavailable, Op: "provision", Err: inner}
	for _, test := range []struct {
		err  error
		want Kind
	}{
		{inner, Busy},
		{outer, Unavailable}, // the outermost decides
		{fmt.Errorf("while testing: %w", inner), Busy},
		{errors.Join(errors.New("x"), inner), Busy},
		{NewFieldError("f", "v", "w"), Invalid},
		{errors.New("plain"), Internal},
	} {
		if got := KindOf(test.err); got != test.want {
			t.Errorf("KindOf(%v) = %v, want %v", test.err, got, test.want)
		}
	}
	if Is(nil, Internal) {
		t.Error("no error is of no kind")
	}
	if got, want := outer.Error(), "provision: create on volume a: taken (wait)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEveryKindHasAName(t *testing.T) {
	seen := map[string]Kind{}
	for _, k := range Kinds() {
		if other, twice := seen[k.String()]; twice || k.String() == "" {
			t.Errorf("kinds %d and %d are both %q", other, k, k)
		}
		seen[k.String()] = k
	}
	if Kind(200).String() != Internal.String() || Kind(200).Definite() {
		t.Error("an unknown kind must read as an internal error of unknown outcome")
	}
}

func TestFieldErrorCannotFloodOrForgeALog(t *testing.T) {
	err := NewFieldError("name", "a\nlevel=ERROR msg=forged "+string(make([]byte, 4096)), "less")
	if n := len(err.Error()); n > 500 {
		t.Errorf("%d bytes", n)
	}
	for _, c := range err.Error() {
		if c < ' ' {
			t.Fatalf("a control character in %q", err)
		}
	}
}
