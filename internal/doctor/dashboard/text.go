package dashboard

import (
	"strconv"
	"unicode/utf8"
)

// literal is what a quoted text stands for, and where each byte of that is in the
// quoted one.
type literal struct {
	text string
	// at has an entry for each byte of text and one for the end.
	at []int
}

// decode reads a quoted text without its quotes. JSON, and PromQL between double or
// single quotes, share the escapes that matter; it fails on any other.
func decode(raw string) (literal, bool) {
	var l literal
	var out []byte
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			l.at = append(l.at, i)
			i++
			continue
		}
		r, n, ok := escape(raw[i:])
		if !ok {
			return l, false
		}
		for range utf8.RuneLen(r) {
			l.at = append(l.at, i)
		}
		out = utf8.AppendRune(out, r)
		i += n
	}
	l.text = string(out)
	l.at = append(l.at, len(raw))
	return l, true
}

var plainEscapes = map[byte]rune{
	'"': '"', '\'': '\'', '\\': '\\', '/': '/', 'n': '\n', 't': '\t', 'r': '\r', 'b': '\b', 'f': '\f', 'a': '\a', 'v': '\v',
}

// escape reads one escape and returns how long it is.
func escape(s string) (r rune, length int, ok bool) {
	if len(s) < 2 {
		return 0, 0, false
	}
	if r, ok := plainEscapes[s[1]]; ok {
		return r, 2, true
	}
	digits := map[byte]int{'u': 4, 'U': 8, 'x': 2}[s[1]]
	if digits == 0 || len(s) < 2+digits {
		return 0, 0, false
	}
	n, err := strconv.ParseUint(s[2:2+digits], 16, 32)
	if err != nil || n > utf8.MaxRune || s[1] == 'x' && n >= utf8.RuneSelf || !utf8.ValidRune(rune(n)) {
		return 0, 0, false
	}
	return rune(n), 2 + digits, true
}

// raw returns where in the quoted text a part of the text is.
func (l literal) raw(start, end int) (from, to int) { return l.at[start], l.at[end] }
