package wire

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"bricklayer.csi/internal/volume"
)

func TestEveryKindHasACode(t *testing.T) {
	seen := map[string]bool{}
	for _, kind := range volume.Kinds() {
		code := status.Code(Status(kind, errors.New("x"), wrapperspb.String("detail")))
		if _, known := codeOf[kind]; !known || seen[code.String()] {
			t.Errorf("%v is %v", kind, code)
		}
		seen[code.String()] = true
	}
	if len(codeOf) != len(volume.Kinds()) {
		t.Errorf("the table has %d entries for %d kinds", len(codeOf), len(volume.Kinds()))
	}
}

func TestTextsTravel(t *testing.T) {
	s := status.Convert(Status(volume.Busy, errors.New(strings.Repeat("ä", 4096)+"\xff"), wrapperspb.String("detail")))
	if len(s.Message()) > maxText+3 || !utf8.ValidString(s.Message()) || len(s.Details()) != 1 {
		t.Errorf("%d bytes, %d details: %q", len(s.Message()), len(s.Details()), s.Message())
	}
	cause := errors.New("cause")
	if err := Carried("words", cause); err.Error() != "words" || !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
}
