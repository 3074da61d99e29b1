package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"bricklayer.csi/internal/doctor/checks"
)

// TestReferenceOfChecks writes a page for each check of the doctor, and one that
// lists them.
func TestReferenceOfChecks(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "reference")
	var index strings.Builder
	index.WriteString(generated + `
# Checks of the doctor

` + "`bricklayer doctor`" + ` runs these; ` + "`bricklayer doctor explain CHECK`" + ` says what is said here.

| check | what is wrong where it finds something | at worst | looks at | --fix |
|---|---|---|---|---|
`)
	for _, c := range checks.All() {
		where, fix := "one machine", "yes"
		if c.Site != nil {
			where = "cluster and pools"
		}
		if c.Fix == "" {
			fix = "no"
		}
		fmt.Fprintf(&index, "| [%s](doctor-%s.md) | %s | %s | %s | %s |\n", c.ID, c.ID, c.Title, c.Severity, where, fix)
		page := fmt.Sprintf("%s\n# %s\n\n%s. At worst: %s. Looks at: %s.\n\n## What is read\n\n%s\n\n## Why it matters\n\n%s\n\n## How to mend it\n\n%s\n\n## What --fix does\n\n%s\n",
			generated, c.ID, upper(c.Title), c.Severity, where, c.Reads, c.Why, c.Mend, fixOf(c.Fix))
		golden(t, filepath.Join(dir, "doctor-"+c.ID+".md"), page)
	}
	golden(t, filepath.Join(dir, "doctor.md"), index.String())
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func fixOf(fix string) string {
	if fix == "" {
		return "Nothing."
	}
	return "It " + fix
}

// TestChecksAreComplete sees that each check says all that there is to say, and
// that an ID is a name for life.
func TestChecksAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range checks.All() {
		if seen[c.ID] {
			t.Errorf("%s: two checks of that ID", c.ID)
		}
		seen[c.ID] = true
		if strings.Trim(c.ID, "abcdefghijklmnopqrstuvwxyz-") != "" || c.Title == "" || c.Severity == "" || c.Why == "" || c.Mend == "" || c.Reads == "" {
			t.Errorf("%s: the ID has other letters than a-z and -, or title, severity, reads, why or mend is missing", c.ID)
		}
		if (c.Host == nil) == (c.Site == nil) {
			t.Errorf("%s: it must look at a machine or at a site", c.ID)
		}
	}
}
