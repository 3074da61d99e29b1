package main

import (
	"testing"

	"bricklayer.csi/internal/volume"
)

func TestEveryKindOfErrorHasAnExitCode(t *testing.T) {
	for _, k := range volume.Kinds() {
		if code, ok := exitCodes[k]; !ok || code == exitOK {
			t.Errorf("%v has exit code %d", k, code)
		}
	}
	if len(exitCodes) != len(volume.Kinds()) {
		t.Errorf("%d exit codes for %d kinds", len(exitCodes), len(volume.Kinds()))
	}
}
