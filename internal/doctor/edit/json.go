// Package edit owns changes to other people's configuration that leave every byte
// alone that they need not touch: order, indentation and spelling stay as somebody
// wrote them.
//
// It refuses to know what the files are for.
package edit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Value is a value in a JSON text, with where it stands.
type Value struct {
	// Start and End bound the value's bytes in the text.
	Start, End int
	// Keys and Items are what an object holds, in the order of the text; an array
	// has Items only.
	Keys  []string
	Items []*Value
	// Text is the value of a string.
	Text string
	// Kind is '{', '[', '"' or 0 for numbers, booleans and null.
	Kind byte
}

// Parse reads a JSON text. An error says at which line and column.
func Parse(text []byte) (*Value, error) {
	var whole any
	if err := json.Unmarshal(text, &whole); err != nil {
		return nil, at(text, err)
	}
	p := parser{text: text, dec: json.NewDecoder(bytes.NewReader(text))}
	p.dec.UseNumber()
	return p.value()
}

func at(text []byte, err error) error {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return err
	}
	before := text[:max(0, min(int(syntax.Offset)-1, len(text)))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - (bytes.LastIndexByte(before, '\n') + 1) + 1
	return fmt.Errorf("line %d, column %d: %w", line, column, err)
}

type parser struct {
	text []byte
	dec  *json.Decoder
}

// value reads the next value. The text is known to be JSON, so what stands
// between two tokens is white space, a comma or a colon.
func (p *parser) value() (*Value, error) {
	v := &Value{Start: p.next()}
	token, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case string:
		v.Kind, v.Text = '"', t
	case json.Delim:
		v.Kind = byte(t)
		if err := p.items(v); err != nil {
			return nil, err
		}
	}
	v.End = int(p.dec.InputOffset())
	return v, nil
}

func (p *parser) items(v *Value) error {
	for p.dec.More() {
		if v.Kind == '{' {
			key, err := p.dec.Token()
			if err != nil {
				return err
			}
			name, ok := key.(string)
			if !ok {
				return io.ErrUnexpectedEOF
			}
			v.Keys = append(v.Keys, name)
		}
		item, err := p.value()
		if err != nil {
			return err
		}
		v.Items = append(v.Items, item)
	}
	_, err := p.dec.Token() // the closing bracket
	return err
}

// next is where the next token begins.
func (p *parser) next() int {
	i := int(p.dec.InputOffset())
	for i < len(p.text) && strings.IndexByte(" \t\r\n,:", p.text[i]) >= 0 {
		i++
	}
	return i
}

// Find returns the value that the keys lead to, or nil. Of a key that is there
// twice the last one counts, as for those who read the file.
func (v *Value) Find(keys ...string) *Value {
	for _, key := range keys {
		if v == nil || v.Kind != '{' {
			return nil
		}
		i := -1
		for j, k := range v.Keys {
			if k == key {
				i = j
			}
		}
		if i < 0 {
			return nil
		}
		v = v.Items[i]
	}
	return v
}

// Strings calls visit for each string below a value, with the last key that leads to it.
func (v *Value) Strings(visit func(key string, s *Value)) { v.strings("", visit) }

func (v *Value) strings(key string, visit func(string, *Value)) {
	if v.Kind == '"' {
		visit(key, v)
	}
	for i, item := range v.Items {
		if v.Kind == '{' {
			key = v.Keys[i]
		}
		item.strings(key, visit)
	}
}

// Change puts other bytes in the place of those from Start to End.
type Change struct {
	Start, End int
	New        string
}

// Apply makes changes that do not overlap.
func Apply(text []byte, changes []Change) []byte {
	changes = slices.SortedFunc(slices.Values(changes), func(a, b Change) int { return a.Start - b.Start })
	var out []byte
	from := 0
	for _, c := range changes {
		out = append(append(out, text[from:c.Start]...), c.New...)
		from = c.End
	}
	return append(out, text[from:]...)
}

// Quote returns a string as JSON writes it, without escapes that nobody needs.
func Quote(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""` // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Insert returns the change that adds a key to an object, as its last one, laid out
// as the object's others are. The value is JSON of one line, or indented by tabs
// a level, which become the file's own indentation.
func Insert(text []byte, object *Value, key, value string) Change {
	outer := indentation(text, object.Start)
	step := "    "
	inner := outer + step
	onLines := bytes.ContainsRune(text[object.Start:object.End], '\n')
	if n := len(object.Items); n > 0 {
		if own := indentation(text, object.Items[0].Start); onLines && len(own) > len(outer) {
			inner, step = own, own[len(outer):]
		}
		last := object.Items[n-1].End
		if !onLines {
			return Change{last, last, ", " + Quote(key) + ": " + flat(value)}
		}
		return Change{last, last, ",\n" + inner + Quote(key) + ": " + indent(value, inner, step)}
	}
	return Change{object.Start, object.End, "{\n" + inner + Quote(key) + ": " + indent(value, inner, step) + "\n" + outer + "}"}
}

// indentation returns the white space that the line of an offset begins with.
func indentation(text []byte, offset int) string {
	line := text[bytes.LastIndexByte(text[:offset], '\n')+1:]
	return string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))])
}

func indent(value, inner, step string) string {
	var b strings.Builder
	for i, line := range strings.Split(value, "\n") {
		if i > 0 {
			b.WriteString("\n" + inner)
		}
		rest := strings.TrimLeft(line, "\t")
		b.WriteString(strings.Repeat(step, len(line)-len(rest)) + rest)
	}
	return b.String()
}

func flat(value string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(value, "\n") {
		b.WriteString(strings.TrimSpace(line))
		if strings.HasSuffix(line, ",") {
			b.WriteByte(' ')
		}
	}
	return b.String()
}
