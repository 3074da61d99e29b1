package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/internal/top"
)

// A node that does not answer is shown as unknown, beside those that do.
func TestTopOnce(t *testing.T) {
	c := newCommand(t)
	c.must(t, "volume", "create", "data", "--size", "1GiB", "--type", "replicate:2")
	c.cluster.SetState("n3", agenttest.Off)
	out := c.must(t, "top") // the output is no terminal
	for _, want := range []string{"lab   plain  ", "n1    ok       ok", "n3    unknown  ?", "pool lab: Degraded is true"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not show %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("it clears what is no terminal: %q", out)
	}
	var v top.View
	if err := json.Unmarshal([]byte(c.must(t, "top", "--once", "-o", "json")), &v); err != nil {
		t.Fatal(err)
	}
	p := v.Pools[0]
	if len(p.Nodes) != 3 || !p.Nodes[0].Reachable || p.Nodes[2].Reachable || p.Nodes[2].MemoryBytes != nil {
		t.Errorf("the nodes are %+v", p.Nodes)
	}
	if len(p.Stores) != 1 || p.Stores[0].Volumes == nil || *p.Stores[0].Volumes != 1 || p.Stores[0].VolumesChange != nil {
		t.Errorf("the stores are %+v", p.Stores)
	}
}

func TestTopFlags(t *testing.T) {
	for name, test := range map[string]struct {
		o        topOptions
		terminal bool
		want     string
	}{
		"json on a terminal": {topOptions{interval: time.Second, timeout: time.Second, out: outputOptions{"json"}}, true, "--once"},
		"json in a pipe":     {topOptions{interval: time.Second, timeout: time.Second, out: outputOptions{"json"}}, false, ""},
		"no interval":        {topOptions{timeout: time.Second, out: outputOptions{"table"}}, true, "--interval"},
		"no time":            {topOptions{interval: time.Second, out: outputOptions{"table"}}, true, "--timeout"},
	} {
		test.o.pools, test.o.log = poolsOptions{"p", "c"}, logOptions{"error", "text"}
		err := test.o.Validate(test.terminal)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// On a terminal each look takes the place of the one before, until it is interrupted.
func TestTopWatches(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	looks := 0
	var out bytes.Buffer
	o := topOptions{interval: time.Millisecond}
	err := o.watch(ctx, &out, func(context.Context) top.View {
		if looks++; looks == 3 {
			cancel()
		}
		return top.View{Pools: []top.Pool{{Name: "fast"}}}
	})
	if err != nil || strings.Count(out.String(), clearScreen) != 2 {
		t.Errorf("%v; it cleared %d times, want 2: what was seen as it ended is not shown", err, strings.Count(out.String(), clearScreen))
	}
}
