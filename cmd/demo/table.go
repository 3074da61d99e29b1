package main

import (
	"strings"
	"unicode/utf8"
)

// table is a sheet of rows with a cell for each volume. A cell may hold several lines.
type table struct {
	head []string
	rows []tableRow
}

type tableRow struct {
	label string
	cells []string
}

func (t *table) add(label string, cells ...string) {
	t.rows = append(t.rows, tableRow{label, cells})
}

// Widths of the columns of a table that is shown on a terminal.
const (
	labelWidth = 24
	cellWidth  = 36
	gap        = "  "
)

// text shows the table on a terminal, long cells wrapped.
func (t *table) text() string {
	var b strings.Builder
	t.line(&b, tableRow{"", t.head})
	rule := strings.Repeat("-", labelWidth) + strings.Repeat(gap+strings.Repeat("-", cellWidth), len(t.head))
	b.WriteString(rule + "\n")
	for i, r := range t.rows {
		if i > 0 && r.tall() {
			b.WriteString("\n")
		}
		t.line(&b, r)
		if r.tall() && i < len(t.rows)-1 && !t.rows[i+1].tall() {
			b.WriteString("\n")
		}
	}
	b.WriteString(rule + "\n")
	return b.String()
}

func (r tableRow) tall() bool {
	if len(wrap(r.label, labelWidth)) > 1 {
		return true
	}
	for _, c := range r.cells {
		if len(wrap(c, cellWidth)) > 1 {
			return true
		}
	}
	return false
}

func (t *table) line(b *strings.Builder, r tableRow) {
	columns := [][]string{wrap(r.label, labelWidth)}
	height := len(columns[0])
	for i := range t.head {
		cell := ""
		if i < len(r.cells) {
			cell = r.cells[i]
		}
		lines := wrap(cell, cellWidth)
		columns, height = append(columns, lines), max(height, len(lines))
	}
	for at := range height {
		var line strings.Builder
		for i, lines := range columns {
			width := cellWidth
			if i == 0 {
				width = labelWidth
			} else {
				line.WriteString(gap)
			}
			text := ""
			if at < len(lines) {
				text = lines[at]
			}
			line.WriteString(text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text))))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// wrap cuts text into lines of at most width: at its own line ends, at spaces, in
// a word that is longer behind a comma or before a slash, and else anywhere.
func wrap(text string, width int) []string {
	var lines []string
	for paragraph := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		rest := []rune(paragraph)
		for len(rest) > width {
			at, skip := cut(rest, width)
			lines = append(lines, strings.TrimRight(string(rest[:at]), " "))
			rest = rest[at+skip:]
		}
		lines = append(lines, string(rest))
	}
	return lines
}

// cut says behind how many runes to break, and how many blanks to drop there.
func cut(rest []rune, width int) (at, skip int) {
	for i := width; i > 0; i-- {
		if rest[i] == ' ' {
			return i, 1
		}
	}
	for i := width; i > 1; i-- {
		if rest[i-1] == ',' || rest[i] == '/' {
			return i, 0
		}
	}
	return width, 0
}

// markdown shows the table in a Markdown document.
func (t *table) markdown() string {
	var b strings.Builder
	b.WriteString("| |")
	for _, h := range t.head {
		b.WriteString(" " + escape(h) + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(t.head)) + "\n")
	for _, r := range t.rows {
		b.WriteString("| " + escape(r.label) + " |")
		for i := range t.head {
			cell := ""
			if i < len(r.cells) {
				cell = r.cells[i]
			}
			b.WriteString(" " + escape(cell) + " |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func escape(cell string) string {
	return strings.NewReplacer("|", `\|`, "_", `\_`, "*", `\*`, "<", "&lt;", "\n", "<br>").Replace(strings.TrimSpace(cell))
}
