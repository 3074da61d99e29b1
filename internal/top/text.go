package top

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// unknown stands for what is not known.
const unknown = "?"

// Text writes a view as tables. What came from elsewhere cannot move a terminal's
// cursor.
func (v View) Text(w io.Writer) error {
	var b bytes.Buffer // in one piece to the terminal, which would flicker
	fmt.Fprintf(&b, "%s\n\n", v.At.Format(time.RFC3339))
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line(table, "POOL", "KIND", "RAW", "COMMITTED", "FREE", "VOLUMES", "CHANGE")
	for _, p := range v.Pools {
		for _, s := range p.Stores {
			line(table, p.Name, s.Kind, size(s.RawBytes), size(s.CommittedBytes), size(s.FreeBytes), number(s.Volumes), signed(s.VolumesChange))
		}
	}
	fmt.Fprintln(table)
	line(table, "POOL", "NODE", "AGENT", "GLUSTERD", "MEMORY FREE", "PRESSURE", "LOAD", "BRICKS", "PROCESSES", "WRITTEN/S", "ROOTS FILLED")
	for _, p := range v.Pools {
		for _, n := range p.Nodes {
			line(table, append([]string{p.Name}, n.cells()...)...)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, p := range v.Pools {
		for _, trouble := range p.Troubles {
			fmt.Fprintf(&b, "\npool %s: %s", printable(p.Name), printable(trouble))
		}
		for _, n := range p.Nodes {
			for _, r := range n.Roots {
				if r.Problem != "" {
					fmt.Fprintf(&b, "\npool %s: root %s/%s: %s", printable(p.Name), printable(n.Name), printable(r.Name), printable(r.Problem))
				}
			}
		}
	}
	fmt.Fprintln(&b)
	_, err := w.Write(b.Bytes())
	return err
}

func (n Node) cells() []string {
	if !n.Reachable {
		return []string{n.Name, "unknown", unknown, unknown, unknown, unknown, unknown, unknown, unknown, unknown}
	}
	glusterd := "down"
	if n.Glusterd {
		glusterd = "ok"
	}
	memory, pressure, load := unknown, unknown, unknown
	if n.MemoryBytes != nil {
		memory = size(n.AvailableBytes) + " of " + size(n.MemoryBytes)
	}
	if n.PressurePercent != nil {
		pressure = strconv.FormatFloat(*n.PressurePercent, 'f', 1, 64) + "%"
	}
	if n.Load != nil {
		load = strconv.FormatFloat(*n.Load, 'f', 2, 64)
	}
	bricks, filled := 0, []string{}
	for _, r := range n.Roots {
		bricks += r.Bricks
		share := unknown
		if r.SizeBytes != nil && *r.SizeBytes > 0 {
			share = strconv.FormatFloat(100*float64(*r.UsedBytes)/float64(*r.SizeBytes), 'f', 0, 64) + "%"
		}
		filled = append(filled, r.Name+" "+share)
	}
	written := unknown
	if n.WrittenPerSecond != nil {
		written = size(n.WrittenPerSecond)
	}
	return []string{n.Name, "ok", glusterd, memory, pressure, load, strconv.Itoa(bricks), strconv.Itoa(n.BrickProcesses), written, strings.Join(filled, ", ")}
}

// line writes one line of a table.
func line(w io.Writer, cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}

// printable takes out what would move a terminal's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// size is a size for people, such as 1.5GiB.
func size(bytes *int64) string {
	if bytes == nil {
		return unknown
	}
	n, unit := float64(*bytes), 0
	units := [...]string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	for (n >= 1024 || n <= -1024) && unit < len(units)-1 {
		n, unit = n/1024, unit+1
	}
	if unit == 0 || n >= 100 || n <= -100 {
		return strconv.FormatFloat(n, 'f', 0, 64) + units[unit]
	}
	return strings.TrimSuffix(strconv.FormatFloat(n, 'f', 1, 64), ".0") + units[unit]
}

func number(n *int64) string {
	if n == nil {
		return unknown
	}
	return strconv.FormatInt(*n, 10)
}

func signed(n *int64) string {
	if n == nil {
		return unknown
	}
	return fmt.Sprintf("%+d", *n)
}
