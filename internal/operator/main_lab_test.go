//go:build lab

package operator

import (
	"os"
	"testing"

	"bricklayer.csi/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }
