package agenttest_test

import (
	"errors"

	"bricklayer.csi/internal/gluster"
)

func hasReason(err error, want gluster.Reason) bool {
	var e *gluster.Error
	return errors.As(err, &e) && e.Reason == want
}
