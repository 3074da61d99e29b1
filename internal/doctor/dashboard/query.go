package dashboard

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
)

// place is a pattern in a query: where it is, as it is written there, and as it is read.
type place struct {
	start, end int
	pattern    literal
	anchored   bool
}

// podLabel are the labels that have held the names of pods, over the years.
var podLabel = regexp.MustCompile(`(?i)^(?:.*_)?pod(?:_?name)?$`)

// promQL parses, with what old dashboards and new ones use.
var promQL = parser.NewParser(parser.Options{})

// promPlaces finds the patterns on names of pods in a query of PromQL.
func promPlaces(query string) ([]place, error) {
	readable, offset, ok := unwrap(query)
	if !ok {
		return nil, nil
	}
	text := withoutVariables(readable, "a")
	expr, err := promQL.ParseExpr(text)
	if err != nil {
		// A variable may stand for a number, too.
		text = withoutVariables(readable, "1")
		if again, nerr := promQL.ParseExpr(text); nerr == nil {
			expr, err = again, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("it does not parse: %w", err)
	}
	var found []place
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			found = append(found, selectorPlaces(readable, offset, n)...)
		case *parser.Call:
			found = append(found, replacePlaces(readable, offset, n)...)
		}
		return nil
	})
	return found, nil
}

func selectorPlaces(text string, offset int, s *parser.VectorSelector) []place {
	var found []place
	r := s.PositionRange()
	for _, m := range s.LabelMatchers {
		if !podLabel.MatchString(m.Name) || !strings.HasSuffix(m.Type.String(), "~") {
			continue
		}
		found = append(found, literalsOf(text, int(r.Start), int(r.End), offset, m.Value)...)
	}
	return found
}

// replacePlaces finds the pattern of label_replace(v, dst, replacement, src, regex).
func replacePlaces(text string, offset int, c *parser.Call) []place {
	if c.Func == nil || c.Func.Name != "label_replace" || len(c.Args) != 5 {
		return nil
	}
	source, ok := c.Args[3].(*parser.StringLiteral)
	pattern, ok2 := c.Args[4].(*parser.StringLiteral)
	if !ok || !ok2 || !podLabel.MatchString(source.Val) {
		return nil
	}
	r := pattern.PositionRange()
	return literalsOf(text, int(r.Start), int(r.End), offset, pattern.Val)
}

// literalsOf finds the quoted texts of that value in a part of a query.
func literalsOf(text string, from, to, offset int, value string) []place {
	var found []place
	for i := from; i < to && i < len(text); i++ {
		quote := text[i]
		if strings.IndexByte("\"'`", quote) < 0 {
			continue
		}
		end := i + 1
		for end < len(text) && text[end] != quote {
			if text[end] == '\\' && quote != '`' {
				end++
			}
			end++
		}
		if end >= len(text) {
			return found
		}
		raw := text[i+1 : end]
		l, ok := decode(raw)
		if quote == '`' {
			l, ok = verbatim(raw), true
		}
		if ok && l.text == value {
			found = append(found, place{start: offset + i + 1, end: offset + end, pattern: l, anchored: true})
		}
		i = end
	}
	return found
}

func verbatim(raw string) literal {
	l := literal{text: raw, at: make([]int, len(raw)+1)}
	for i := range l.at {
		l.at[i] = i
	}
	return l
}

// unwrap returns the PromQL in a query of a variable of Grafana's, with where it begins.
func unwrap(query string) (inner string, offset int, ok bool) {
	for _, f := range []string{"label_values(", "query_result("} {
		if !strings.HasPrefix(strings.TrimSpace(query), f) {
			continue
		}
		from := strings.Index(query, f) + len(f)
		to := strings.LastIndexByte(query, ')')
		if f == "label_values(" {
			to = strings.LastIndexByte(query, ',')
		}
		if to <= from {
			return "", 0, false // label_values(label)
		}
		return query[from:to], from, true
	}
	if strings.HasPrefix(strings.TrimSpace(query), "label_names(") || strings.HasPrefix(strings.TrimSpace(query), "metrics(") {
		return "", 0, false
	}
	return query, 0, true
}

// withoutVariables puts something that parses in the place of Grafana's variables
// outside of quotes, of the same length, so that positions stay.
func withoutVariables(query, word string) string {
	out := []byte(query)
	var quote byte
	brackets := 0
	spans := variable.FindAllStringIndex(query, -1)
	for i := 0; i < len(query); i++ {
		c := query[i]
		switch {
		case quote != 0:
			if c == '\\' && quote != '`' {
				i++
			} else if c == quote {
				quote = 0
			}
			continue
		case strings.IndexByte("\"'`", c) >= 0:
			quote = c
			continue
		}
		if at := spanAt(spans, i); at != nil {
			fill := word + strings.Repeat("a", at[1]-at[0]-1)
			if word == "1" {
				fill = word + strings.Repeat("0", at[1]-at[0]-1)
			}
			if brackets > 0 || strings.HasSuffix(strings.TrimSpace(query[:i]), "offset") {
				fill = "5m" + strings.Repeat(" ", at[1]-at[0]-2)
			}
			copy(out[at[0]:], fill)
			i = at[1] - 1
			continue
		}
		switch c {
		case '[':
			brackets++
		case ']':
			brackets--
		}
	}
	return string(out)
}

func spanAt(spans [][]int, i int) []int {
	for _, s := range spans {
		if s[0] == i && s[1]-s[0] >= 2 {
			return s
		}
	}
	return nil
}

// influxMatch is a condition with a pattern in InfluxQL.
var influxMatch = regexp.MustCompile(`(?:"([^"]+)"|\b([A-Za-z_][\w.]*))\s*[=!]~\s*/((?:\\/|[^/])+)/`)

// influxPlaces finds the patterns on names of pods in a query of InfluxQL.
func influxPlaces(query string) []place {
	var found []place
	for _, m := range influxMatch.FindAllStringSubmatchIndex(query, -1) {
		name := ""
		for _, g := range []int{2, 4} {
			if m[g] >= 0 {
				name = query[m[g]:m[g+1]]
			}
		}
		if podLabel.MatchString(name) {
			found = append(found, place{start: m[6], end: m[7], pattern: verbatim(query[m[6]:m[7]])})
		}
	}
	return found
}
