package dashboard

import (
	"errors"
	"regexp"
	"strings"

	"bricklayer.csi/internal/doctor/edit"
)

// Trouble is a query that misses pods.
type Trouble struct {
	// Panel is the title of the panel, or the name of the variable.
	Panel string
	// Query is the whole query, Mended what it should be; Mended is empty where only a
	// person can tell.
	Query, Mended string
	// Pattern is the one that misses.
	Pattern string
	Miss
}

// Report is what was found in one dashboard.
type Report struct {
	Title    string
	Troubles []Trouble
	// Unread are queries that could not be judged, and why.
	Unread []error
	// Mended is the whole text, changed in the patterns only; nil where nothing is to
	// be changed.
	Mended []byte
}

// ErrNone says that a JSON text is no dashboard.
var ErrNone = errors.New("it is no dashboard: it has neither panels nor rows")

// Check judges every query of a dashboard of Grafana's.
func Check(text []byte) (Report, error) {
	top, err := edit.Parse(text)
	if err != nil {
		return Report{}, err
	}
	root := top
	if inner := top.Find("dashboard"); inner != nil {
		root = inner // as Grafana's server answers
	}
	if root.Find("panels") == nil && root.Find("rows") == nil {
		return Report{}, ErrNone
	}
	c := checker{text: text}
	if t := root.Find("title"); t != nil {
		c.report.Title = t.Text
	}
	c.walk(root, c.report.Title, "")
	if len(c.changes) > 0 {
		c.report.Mended = edit.Apply(text, c.changes)
	}
	return c.report, nil
}

type checker struct {
	text    []byte
	report  Report
	changes []edit.Change
}

// walk visits all objects; panel is the nearest title, key the one that leads here.
func (c *checker) walk(v *edit.Value, panel, key string) {
	if v.Kind == '{' {
		for _, name := range []string{"name", "title"} {
			if t := v.Find(name); t != nil && t.Kind == '"' && t.Text != "" {
				panel = t.Text
			}
		}
		c.tag(v, panel)
	}
	if v.Kind == '"' {
		c.query(v, panel, key)
	}
	for i, item := range v.Items {
		if v.Kind == '{' {
			key = v.Keys[i]
		}
		c.walk(item, panel, key)
	}
}

// tag judges a condition of Grafana's builder of InfluxQL.
func (c *checker) tag(v *edit.Value, panel string) {
	key, operator, value := v.Find("key"), v.Find("operator"), v.Find("value")
	if key == nil || operator == nil || value == nil || !podLabel.MatchString(key.Text) || !strings.HasSuffix(operator.Text, "~") {
		return
	}
	if p, ok := slashed(value.Text); ok {
		c.judge(value, panel, []place{p})
	}
}

// slashed reads /PATTERN/.
func slashed(text string) (place, bool) {
	if len(text) < 3 || text[0] != '/' || text[len(text)-1] != '/' {
		return place{}, false
	}
	return place{start: 1, end: len(text) - 1, pattern: verbatim(text[1 : len(text)-1])}, true
}

var influx = regexp.MustCompile(`(?i)^\s*(?:select|show)\s`)

func (c *checker) query(v *edit.Value, panel, key string) {
	switch key {
	case "expr", "query", "definition", "rawQuery":
	case "regex":
		if p, ok := slashed(v.Text); ok {
			c.judge(v, panel, []place{p})
		}
		return
	default:
		return
	}
	if influx.MatchString(v.Text) {
		c.judge(v, panel, influxPlaces(v.Text))
		return
	}
	// What has no digits in a pattern is of no interest, whatever its language.
	if !class.MatchString(v.Text) {
		return
	}
	places, err := promPlaces(v.Text)
	if err != nil {
		c.report.Unread = append(c.report.Unread, errors.New("panel "+panel+": "+v.Text+": "+err.Error()))
		return
	}
	c.judge(v, panel, places)
}

// judge tries the patterns of one query, which is a string of the dashboard.
func (c *checker) judge(v *edit.Value, panel string, places []place) {
	raw, ok := decode(string(c.text[v.Start+1 : v.End-1]))
	if !ok || raw.text != v.Text {
		return // a pair of surrogates, which no pattern on names has
	}
	var changes []edit.Change
	var troubles []Trouble
	for _, p := range places {
		miss := Judge(p.pattern.text, p.anchored)
		if miss == nil {
			continue
		}
		troubles = append(troubles, Trouble{Panel: panel, Query: v.Text, Pattern: p.pattern.text, Miss: *miss})
		if miss.New == "" {
			continue
		}
		from, to := p.pattern.raw(miss.Start, miss.End)
		changes = append(changes, edit.Change{Start: p.start + from, End: p.start + to, New: miss.New})
	}
	mended := string(edit.Apply([]byte(v.Text), changes))
	for i := range troubles {
		if troubles[i].New != "" {
			troubles[i].Mended = mended
		}
	}
	c.report.Troubles = append(c.report.Troubles, troubles...)
	for _, ch := range changes {
		from, to := raw.raw(ch.Start, ch.End)
		c.changes = append(c.changes, edit.Change{Start: v.Start + 1 + from, End: v.Start + 1 + to, New: ch.New})
	}
}
