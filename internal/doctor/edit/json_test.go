package edit_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bricklayer.csi/internal/doctor/edit"
)

// object makes JSON objects as people and programs lay them out.
func object(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		space := rapid.SampledFrom([]string{"", " ", "\n", "\n\t", "\n  ", " \r\n    "})
		value := func() string {
			kinds := []string{"1", "-2.5e3", "true", "null", `"a\"b\u00e9"`, `"é, {"`, "[]", "[1, [2]]", "{}"}
			if depth > 0 && rapid.Bool().Draw(t, "deeper") {
				return object(depth-1).Draw(t, "value")
			}
			return rapid.SampledFrom(kinds).Draw(t, "value")
		}
		var members []string
		for range rapid.IntRange(0, 4).Draw(t, "members") {
			key := edit.Quote(rapid.StringMatching(`[a-z]{1,3}`).Draw(t, "key"))
			members = append(members, space.Draw(t, "s")+key+space.Draw(t, "s")+":"+space.Draw(t, "s")+value()+space.Draw(t, "s"))
		}
		return "{" + strings.Join(members, ",") + space.Draw(t, "s") + "}"
	})
}

// What is added is there, and everything else is as it was, byte for byte.
func TestInsertChangesNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{"", "\n", "  "}).Draw(t, "before") + object(2).Draw(t, "object") + rapid.SampledFrom([]string{"", "\n"}).Draw(t, "after")
		v, err := edit.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		change := edit.Insert([]byte(text), v, "NEW", "{\n\t\"x\": [],\n\t\"y\": \"z\"\n}")
		after := edit.Apply([]byte(text), []edit.Change{change})
		var was, is map[string]any
		if err := json.Unmarshal([]byte(text), &was); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(after, &is); err != nil {
			t.Fatalf("%v\n%s", err, after)
		}
		if !reflect.DeepEqual(is["NEW"], map[string]any{"x": []any{}, "y": "z"}) {
			t.Fatalf("what was added is not there:\n%s", after)
		}
		if delete(is, "NEW"); !reflect.DeepEqual(was, is) {
			t.Fatalf("something else changed:\n%s\n%s", text, after)
		}
		if len(v.Items) > 0 && string(after[:change.Start])+string(after[change.Start+len(change.New):]) != text {
			t.Fatalf("other bytes changed:\n%q\n%q", text, after)
		}
	})
}

// Every value stands where it is said to stand.
func TestPositions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := object(3).Draw(t, "object")
		v, err := edit.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		var visit func(v *edit.Value)
		visit = func(v *edit.Value) {
			part := text[v.Start:v.End]
			if !json.Valid([]byte(part)) || strings.TrimSpace(part) != part {
				t.Fatalf("%q is not a value of %q", part, text)
			}
			for _, i := range v.Items {
				visit(i)
			}
		}
		visit(v)
	})
}

func TestParseSaysWhere(t *testing.T) {
	for text, want := range map[string]string{
		"{\n  \"a\": 1,\n}":      "line 3, column 1",
		"{\"a\": 1 // x\n}":      "line 1, column 9",
		"{\n\"a\": 1\n\"b\": 2}": "line 3, column 1",
		"":                       "unexpected end",
	} {
		if _, err := edit.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
