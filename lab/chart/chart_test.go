package chart

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a caller gives goes beside the lab's own values, and over them.
func TestMerge(t *testing.T) {
	values := map[string]any{
		"image":   map[string]any{"repository": "localhost/bricklayer", "tag": "a"},
		"secrets": []any{"heketi"},
	}
	merge(values, map[string]any{
		"image":          map[string]any{"tag": "b"},
		"secrets":        []any{"other"},
		"storageClasses": map[string]any{"plain": Class(map[string]string{"lvm": "false"}, "volumeBindingMode", "Immediate")},
	})
	want := map[string]any{
		"image":   map[string]any{"repository": "localhost/bricklayer", "tag": "b"},
		"secrets": []any{"other"},
		"storageClasses": map[string]any{
			"plain": map[string]any{"parameters": map[string]string{"lvm": "false"}, "volumeBindingMode": "Immediate"},
		},
	}
	if d := cmp.Diff(want, values); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
}
