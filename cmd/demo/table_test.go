package main

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestWrap(t *testing.T) {
	for _, tc := range []struct {
		text string
		want []string
	}{
		{"", []string{""}},
		{"short", []string{"short"}},
		{"ten chars.", []string{"ten chars."}},
		{"two words here", []string{"two words", "here"}},
		{"a\nb\n", []string{"a", "b"}},
		{"/bricks/root1/volumes", []string{"/bricks", "/root1", "/volumes"}},
		{"rw,noatime,attr2", []string{"rw,", "noatime,", "attr2"}},
		{"abcdefghijklm", []string{"abcdefghij", "klm"}},
	} {
		if d := cmp.Diff(tc.want, wrap(tc.text, 10)); d != "" {
			t.Errorf("%q: want -, got +\n%s", tc.text, d)
		}
	}
}

// Nothing but blanks and line ends is lost, and no line is too long.
func TestWrapKeepsAll(t *testing.T) {
	bare := func(s string) string { return strings.NewReplacer(" ", "", "\n", "").Replace(s) }
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-zé/, \n]{0,60}`).Draw(t, "text")
		width := rapid.IntRange(1, 20).Draw(t, "width")
		lines := wrap(text, width)
		for _, line := range lines {
			if utf8.RuneCountInString(line) > width {
				t.Errorf("%q is longer than %d", line, width)
			}
		}
		if got := bare(strings.Join(lines, "")); got != bare(text) {
			t.Errorf("%q of %q", got, text)
		}
	})
}

func TestTable(t *testing.T) {
	tb := &table{head: []string{"A", "B"}}
	tb.add("create", "1.0 s", "2.0 s")
	tb.add("brick", "one\ntwo", "a|b_c<d")
	tb.add("delete", "3.0 s")
	rule := strings.Repeat("-", labelWidth) + "  " + strings.Repeat("-", cellWidth) + "  " + strings.Repeat("-", cellWidth)
	pad := func(label, a, b string) string {
		return strings.TrimRight(label+strings.Repeat(" ", labelWidth+2-len(label))+a+strings.Repeat(" ", cellWidth+2-len(a))+b, " ")
	}
	want := strings.Join([]string{
		pad("", "A", "B"), rule,
		pad("create", "1.0 s", "2.0 s"), "",
		pad("brick", "one", "a|b_c<d"), pad("", "two", ""), "",
		pad("delete", "3.0 s", ""), rule, "",
	}, "\n")
	if d := cmp.Diff(want, tb.text()); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
	want = "| | A | B |\n|---|---|---|\n| create | 1.0 s | 2.0 s |\n| brick | one<br>two | a\\|b\\_c&lt;d |\n| delete | 3.0 s |  |\n"
	if d := cmp.Diff(want, tb.markdown()); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
}

func TestDocument(t *testing.T) {
	s := &story{
		options: options{rounds: 1, seconds: 3},
		bench:   benchOf(load{0.95, 0.1}, []float64{50}, []float64{40}, []float64{51}),
		table:   table{head: []string{"A", "B", "C"}},
		ready:   table{head: []string{"took"}, rows: []tableRow{{"image", []string{"55.0 s"}}}},
		actors:  []*actor{{side: &byClaim{name: "demo-lvm", class: "lvm"}}},
		proof:   []exhibit{{"node n1", "lvs", "  LV VG\n"}},
	}
	s.table.add("create", "1.0 s", "9.0 s", "1.1 s")
	got := s.document(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	for _, want := range []string{
		"2026-01-02 03:04 UTC", "fio-3.33",
		"metadata: {name: demo-lvm}\nspec:\n  storageClassName: lvm\n  accessModes: [ReadWriteMany]\n  resources: {requests: {storage: 1024Mi}}\n",
		"| image | 55.0 s |",
		"| create | 1.0 s | 9.0 s | 1.1 s |",
		"Bound by CPU, in every job",
		"| randwrite, round 1 | 50.0 IOPS (CPU 95 %, disk 10 %) | 40.0 IOPS",
		"On node n1: `lvs`\n\n```\n  LV VG\n```\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report lacks %q:\n%s", want, got)
		}
	}
}
