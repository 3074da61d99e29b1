package main

import (
	"os"
	"strings"
	"testing"

	"bricklayer.csi/agent/agenttest"
)

// What a node lacks, or does not tell, is shown; a node that does not answer makes
// the command fail after it has shown the others.
func TestPoolStatus(t *testing.T) {
	const guarded = "  guard: {maxBricksPerNode: 2, memoryReserve: 1Gi, memoryPerBrick: 16Mi, maxPressure: 20}\n"
	tests := []struct {
		name   string
		change func(c *agenttest.Cluster)
		pool   string
		code   int
		says   []string
	}{
		{name: "as it should be", says: []string{"n1 0 1200MiB 1500MiB 0 % 39"}},
		{name: "little memory", change: func(c *agenttest.Cluster) { c.SetMemory("n2", 1500<<20, 100<<20, 3) }, says: []string{
			"n2 0 100MiB 1500MiB 3 % 0", "pool lab: node n2 takes no further brick: it is short of memory: 100 MiB are available", "n3 0 1200MiB 1500MiB 0 % 39",
		}},
		{name: "memory unknown", change: func(c *agenttest.Cluster) { c.SetMemory("n2", 0, 0, -1) }, says: []string{"n2 0 ? ? ? ?"}},
		{name: "glusterd down", change: func(c *agenttest.Cluster) { c.SetState("n2", agenttest.GlusterdDown) }, says: []string{"n2 0 1200MiB 1500MiB 0 % 0", "glusterd does not answer"}},
		{name: "agent down", change: func(c *agenttest.Cluster) { c.SetState("n2", agenttest.AgentDown) }, code: exitLater, says: []string{"n1 0 1200MiB", "n2 0 ? ? ? ?", "n2 takes no further brick: its agent does not answer"}},
		{name: "as the pool says", pool: guarded, change: func(c *agenttest.Cluster) { c.SetMemory("n2", 1500<<20, 1200<<20, 21) }, says: []string{
			"n1 0 1200MiB 1500MiB 0 % 2", "n2 0 1200MiB 1500MiB 21 % 0", "20 % are allowed",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newCommand(t)
			if err := os.WriteFile(c.env["BRICKLAYER_POOLS"], []byte(testPool+test.pool), 0o600); err != nil {
				t.Fatal(err)
			}
			if test.change != nil {
				test.change(c.cluster)
			}
			out, errs, code := c.run("pool", "status")
			if code != test.code {
				t.Errorf("exit code %d, want %d\n%s", code, test.code, errs)
			}
			shown := ""
			for line := range strings.Lines(out) {
				shown += strings.Join(strings.Fields(line), " ") + "\n"
			}
			for _, say := range test.says {
				if !strings.Contains(shown, say) {
					t.Errorf("%s\ndoes not show %q", out, say)
				}
			}
		})
	}
}
