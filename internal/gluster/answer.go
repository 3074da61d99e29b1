package gluster

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"bricklayer.csi/internal/volume"
)

// Marks of where an answer begins and ends. Neither can be part of a value,
// where < is written &lt;.
var (
	answerStart = []byte("<?xml")
	answerEnd   = []byte("</cliOutput>")
)

// split takes the answers of want commands apart. Whatever is printed beside
// them is returned as stray: with glusterd hung, `volume info` prints "Error :
// Request timed out" and then an answer that says there are no volumes, so an
// answer with stray text beside it must not be believed.
func split(out []byte, want int) (answers [][]byte, stray string, err error) {
	var rest bytes.Buffer
	for {
		i := bytes.Index(out, answerStart)
		if i < 0 {
			rest.Write(out)
			break
		}
		rest.Write(out[:i])
		out = out[i:]
		j := bytes.Index(out, answerEnd)
		if j < 0 {
			return nil, "", errors.New("the answer is cut off")
		}
		answers = append(answers, out[:j+len(answerEnd)])
		out = out[j+len(answerEnd):]
	}
	stray = strings.TrimSpace(rest.String())
	if stray == "" && len(answers) != want {
		return nil, "", fmt.Errorf("%d answers to %d commands", len(answers), want)
	}
	return answers, stray, nil
}

// result is what every answer carries.
type result struct {
	OpRet    *string `xml:"opRet"`
	OpErrno  *string `xml:"opErrno"`
	OpErrstr *string `xml:"opErrstr"`
}

func (r *result) common() *result { return r }

// plainAnswer is one that says no more than whether it worked.
type plainAnswer struct {
	XMLName xml.Name `xml:"cliOutput"`
	result
}

// answer is a type into which an answer is decoded.
type answer interface{ common() *result }

// root returns the opening of the document's element, which must be cliOutput.
// (An XMLName in the embedded result would check that too, but encoding/xml
// cannot set it there.)
func root(d *xml.Decoder) (xml.StartElement, error) {
	for {
		token, err := d.Token()
		if err != nil {
			return xml.StartElement{}, err
		}
		if start, ok := token.(xml.StartElement); ok {
			if start.Name.Local != "cliOutput" {
				return start, fmt.Errorf("the answer is a <%s>, not a <cliOutput>", start.Name.Local)
			}
			return start, nil
		}
	}
}

// decode reads one answer, and returns what it says: an *Error where gluster
// refused, another error where the answer cannot be read. Elements that it does
// not know are left alone: later versions add some.
func decode(command string, data []byte, into answer) error {
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimSpace(data)))
	start, err := root(d)
	if err != nil {
		return unreadable(command, err)
	}
	if err := d.DecodeElement(into, &start); err != nil {
		return unreadable(command, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return unreadable(command, errors.New("something follows the answer"))
	}
	r := into.common()
	if r.OpRet == nil || r.OpErrno == nil || r.OpErrstr == nil {
		return unreadable(command, errors.New("opRet, opErrno or opErrstr is missing"))
	}
	opRet, err := strconv.ParseInt(*r.OpRet, 10, 32)
	if err != nil {
		return unreadable(command, badNumber("opRet", *r.OpRet))
	}
	errno, err := strconv.ParseInt(*r.OpErrno, 10, 32)
	if err != nil {
		return unreadable(command, badNumber("opErrno", *r.OpErrno))
	}
	if opRet != 0 {
		return refused(command, int(errno), *r.OpErrstr)
	}
	return nil
}

func badNumber(field, value string) error {
	return volume.NewFieldError(field, value, "a whole number")
}

// unreadable is the error of an answer that does not make sense. What the
// command did is unknown.
func unreadable(command string, err error) error {
	return &volume.Error{
		Kind: volume.Internal, Op: "read the answer of gluster " + command, Err: err,
		Next: "run the command with --xml on the node: if its answer is sound, this version of Gluster is not supported yet",
	}
}

// reader reads the fields of an answer and keeps the first fault, so that a
// parser can read them all and look once.
type reader struct{ err error }

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// number reads a whole number from 0 to most.
func (r *reader) number(field, text string, most int64) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < 0 || n > most {
		r.fail(volume.NewFieldError(field, text, "a whole number from 0 to "+strconv.FormatInt(most, 10)))
		return 0
	}
	return n
}

// bytes reads a number of bytes or inodes, which some answers leave out: then 0.
func (r *reader) bytes(field, text string) int64 {
	if text = strings.TrimSpace(text); text == "" || text == "N/A" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		r.fail(badNumber(field, text))
		return 0
	}
	return int64(min(n, 1<<63-1))
}

// text reads a field that must not be empty.
func (r *reader) text(field, text string) string {
	if text == "" {
		r.fail(volume.NewFieldError(field, text, "something: it is missing or empty"))
	}
	return text
}

// brick reads HOST:PATH.
func (r *reader) brick(field, text string) Brick {
	b, ok := ParseBrick(text)
	if !ok {
		r.fail(volume.NewFieldError(field, text, "HOST:/PATH"))
	}
	return b
}
