package agenttest_test

import (
	"testing"

	"bricklayer.csi/agent/agenttest"
)

func TestFake(t *testing.T) {
	agenttest.TestNode(t, func(t *testing.T) []agenttest.Member {
		c := agenttest.New(agenttest.Default(3))
		t.Cleanup(func() { c.CheckEmpty(t) })
		return c.Members()
	})
}
