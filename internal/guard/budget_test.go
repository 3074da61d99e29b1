package guard

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/brick"
)

const mib = 1 << 20

func node(availableMiB int64, pressure float64, bricks int) agent.Description {
	return agent.Description{
		MemoryTotal: 2048 * mib, MemoryAvailable: availableMiB * mib, MemoryPressure: pressure,
		BrickProcesses: 3, Roots: []brick.RootState{{Name: "root1", Bricks: bricks / 2}, {Name: "root2", Bricks: bricks - bricks/2}},
	}
}

func TestShortage(t *testing.T) {
	large := node(6000, 0, 0)
	large.MemoryTotal = 128 << 30
	tests := []struct {
		name   string
		budget Budget
		node   agent.Description
		coming int
		says   []string // nothing where it takes a brick
	}{
		{"enough", Budget{}, node(1000, 0, 10), 0, nil},
		{"just enough", Budget{}, node(256+24, 0, 10), 0, nil},
		{"one brick too many", Budget{}, node(256+23, 0, 10), 0, []string{"279 MiB are available", "a brick takes 24 MiB", "256 MiB stay free", "spec.guard.memoryReserve"}},
		{"others on their way", Budget{}, node(256+3*24, 0, 10), 3, []string{"328 MiB are available with 3 more on their way there"}},
		{"others on their way fit", Budget{}, node(256+4*24, 0, 10), 3, nil},
		{"a twentieth of much", Budget{}, large, 0, []string{"6553 MiB stay free"}},
		{"less of much", Budget{Reserve: 512 * mib}, large, 0, nil},
		{"bricks of another size", Budget{PerBrick: 100 * mib, Reserve: mib}, node(100, 0, 0), 0, []string{"a brick takes 100 MiB"}},
		{"pressure", Budget{}, node(1500, 41, 0), 0, []string{"waited for it 41 % of the last 10 s", "40 % are allowed", "spec.guard.maxPressure"}},
		{"pressure allowed", Budget{MaxPressure: 50}, node(1500, 41, 0), 0, nil},
		{"pressure unknown", Budget{}, node(1500, -1, 0), 0, nil},
		{"memory unknown", Budget{}, agent.Description{MemoryPressure: -1}, 9, nil},
		{"bricks", Budget{MaxBricks: 10}, node(1500, 0, 10), 0, []string{"it has as many bricks as it may: 10, and 10 are allowed", "spec.guard.maxBricksPerNode"}},
		{"bricks on their way", Budget{MaxBricks: 10}, node(1500, 0, 8), 2, []string{"it has as many bricks as it may: 8 with 2 more on their way there"}},
		{"fewer bricks", Budget{MaxBricks: 10}, node(1500, 0, 8), 1, nil},
		{"processes of others", Budget{MaxBricks: 3}, node(1500, 0, 0), 0, []string{"as it may: 3"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := test.budget.Shortage(test.node, test.coming).String()
			if (got == "") != (len(test.says) == 0) {
				t.Errorf("got %q", got)
			}
			for _, say := range test.says {
				if !strings.Contains(got, say) {
					t.Errorf("%q does not say %q", got, say)
				}
			}
		})
	}
}

// As many bricks have room as a node then takes one after the other.
func TestRoomIsWhatANodeTakes(t *testing.T) {
	for _, test := range []struct {
		budget Budget
		node   agent.Description
		want   int
		known  bool
	}{
		{Budget{}, node(1000, 0, 0), 31, true},
		{Budget{}, node(200, 0, 0), 0, true},
		{Budget{}, node(1000, 60, 0), 0, true},
		{Budget{MaxBricks: 12}, node(1000, 0, 10), 2, true},
		{Budget{MaxBricks: 12}, node(256+24, 0, 10), 1, true},
		{Budget{}, agent.Description{MemoryPressure: -1}, 0, false},
		{Budget{MaxBricks: 12}, agent.Description{MemoryPressure: -1}, 12, true},
	} {
		room, known := test.budget.Room(test.node)
		if room != test.want || known != test.known {
			t.Errorf("%+v: room for %d (%v), want %d (%v)", test.budget, room, known, test.want, test.known)
			continue
		}
		for n := range room {
			if why := test.budget.Shortage(test.node, n).String(); why != "" {
				t.Errorf("%+v: with %d coming: %s", test.budget, n, why)
			}
		}
		if known && test.budget.Shortage(test.node, room) == (Shortage{}) {
			t.Errorf("%+v: it takes more than %d", test.budget, room)
		}
	}
}

// Creations at once do not count on the same memory, and one that has ended counts
// for those who asked before the node could show it.
func TestCreationsAtOnceShareTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Settings{})
		errShort := errors.New("short")
		d := node(256+3*24, 0, 0)
		place := func(asked time.Time) (func(), error) {
			return g.Place(asked, func(short Shortages) ([]string, error) {
				if short("n1", d) != "" {
					return nil, errShort
				}
				return []string{"n1", "n2"}, nil
			})
		}
		var done []func()
		for range 3 {
			end, err := place(time.Now())
			if err != nil {
				t.Fatal(err)
			}
			done = append(done, end)
		}
		if _, err := place(time.Now()); !errors.Is(err, errShort) {
			t.Errorf("the fourth got %v, want none", err)
		}
		if g.Shortage("n2", d, time.Now()) == "" || g.Shortage("n3", d, time.Now()) != "" {
			t.Error("n2 is not short, or n3 is")
		}
		before := time.Now()
		<-time.After(time.Second)
		done[0]()
		<-time.After(time.Minute)
		if _, err := place(before); !errors.Is(err, errShort) {
			t.Errorf("with the state of a node from before a creation ended: %v", err)
		}
		end, err := place(time.Now())
		if err != nil {
			t.Fatalf("after one ended: %v", err)
		}
		end()
		<-time.After(time.Hour)
		if _, err = place(time.Now()); err != nil {
			t.Errorf("after another ended: %v", err)
		}
		if n := len(g.coming.arrivals); n != 3 {
			t.Errorf("%d creations are remembered, want the 3 that count", n)
		}
	})
}
