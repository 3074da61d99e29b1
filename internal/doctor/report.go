package doctor

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// WriteText shows results for people: what is wrong, then what is unknown, then
// a line that counts. With verbose, what is fine, too.
func WriteText(w io.Writer, checks []Check, results []Result, verbose bool) {
	counts := map[Status]int{}
	for _, r := range results {
		counts[r.Status]++
		for _, f := range r.Findings {
			writeFinding(w, title(checks, r.Check), r, f)
		}
	}
	for _, r := range results {
		for _, u := range r.Unknown {
			fmt.Fprintf(w, "unknown  %s  %s on %s: %s\n", r.Check, printable(u.Object), printable(r.Target), printable(u.Why))
		}
		if verbose && len(r.Findings)+len(r.Unknown) == 0 {
			why := ""
			if r.Skipped != "" {
				why = ": " + printable(r.Skipped)
			}
			fmt.Fprintf(w, "%-8s %s  on %s%s\n", r.Status, r.Check, printable(r.Target), why)
		}
	}
	fmt.Fprintf(w, "%d checks: %d with errors, %d with warnings, %d unknown, %d fine, %d with nothing to look at\n", len(results),
		counts[StatusError], counts[StatusWarning], counts[StatusUnknown], counts[StatusFine], counts[StatusSkipped])
}

func writeFinding(w io.Writer, title string, r Result, f Finding) {
	fmt.Fprintf(w, "%-8s %s  %s: %s\n", f.Severity, r.Check, printable(f.Object), title)
	fmt.Fprintf(w, "  %s\n", printable(f.Problem))
	for _, e := range f.Evidence {
		fmt.Fprintf(w, "    seen: %s\n", printable(e))
	}
	if f.Mend != "" {
		fmt.Fprintf(w, "  mend: %s\n", printable(f.Mend))
	}
	more := "more: bricklayer doctor explain " + r.Check
	if len(f.Fix) > 0 {
		more = "--fix can end it; " + more
	}
	fmt.Fprintf(w, "  %s\n\n", more)
}

func title(checks []Check, id string) string {
	for _, c := range checks {
		if c.ID == id {
			return c.Title
		}
	}
	return id
}

// printable takes out what would move a terminal's cursor: evidence comes from
// logs, file names and other people's servers.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// Explain shows all that is known of a check.
func Explain(w io.Writer, c Check) {
	where := "one machine"
	if c.Site != nil {
		where = "the whole cluster"
	}
	fix := c.Fix
	if fix == "" {
		fix = "changes nothing for this check."
	}
	fmt.Fprintf(w, "%s: %s\n\nSeverity: up to %s. Looks at %s.\n\nWhat is read\n%s\n\nWhy it matters\n%s\n\nHow to mend it\n%s\n\n--fix\n%s\n",
		c.ID, c.Title, c.Severity, where, c.Reads, c.Why, c.Mend, fix)
}

// WriteJUnit shows results in the form that servers of continuous integration
// read: a finding is a failure, what is unknown an error.
func WriteJUnit(w io.Writer, results []Result) error {
	suite := junitSuite{Name: "bricklayer doctor", Tests: len(results)}
	for _, r := range results {
		c := junitCase{Class: r.Target, Name: r.Check, Time: strconv.FormatFloat(r.Seconds, 'f', 2, 64)}
		for _, f := range r.Findings {
			c.Failures = append(c.Failures, junitText{Type: string(f.Severity), Message: f.Object + ": " + f.Problem, Text: strings.Join(f.Evidence, "\n")})
		}
		for _, u := range r.Unknown {
			c.Errors = append(c.Errors, junitText{Type: "unknown", Message: u.Object + ": " + u.Why})
		}
		if len(c.Failures) > 0 {
			suite.Failures++
		} else if len(c.Errors) > 0 {
			suite.Errors++
		}
		if r.Status == StatusSkipped {
			c.Skipped = &junitSkipped{Message: r.Skipped}
			suite.Skipped++
		}
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class    string        `xml:"classname,attr"`
	Name     string        `xml:"name,attr"`
	Time     string        `xml:"time,attr"`
	Failures []junitText   `xml:"failure"`
	Errors   []junitText   `xml:"error"`
	Skipped  *junitSkipped `xml:"skipped"`
}

type junitText struct {
	Type    string `xml:"type,attr"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

type junitSkipped struct {
	Message string `xml:"message,attr"`
}
