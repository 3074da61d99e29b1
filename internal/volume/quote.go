package volume

import (
	"strconv"
	"unicode"
	"unicode/utf8"
)

// maxQuoted is how many bytes of a refused value are shown.
const maxQuoted = 64

func quoteShort(s string) string {
	if len(s) > maxQuoted {
		return strconv.Quote(s[:maxQuoted]) + "... (" + strconv.Itoa(len(s)) + " bytes)"
	}
	return strconv.Quote(s)
}

// printable reports whether s is UTF-8 without control or other invisible characters.
func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
