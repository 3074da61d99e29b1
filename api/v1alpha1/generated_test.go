package v1alpha1_test

import (
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	applyconfiguration "bricklayer.csi/api/client/applyconfiguration/api/v1alpha1"
	"bricklayer.csi/api/v1alpha1"
)

// fieldsOf returns the JSON names of a struct's fields, with their types.
func fieldsOf(s reflect.Type) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for f := range s.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "metadata" {
			all[name] = f.Type
		}
	}
	return all
}

// inner returns the struct of ours that a type holds, if it does.
func inner(t reflect.Type) (reflect.Type, bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t, t.Kind() == reflect.Struct && strings.HasPrefix(t.PkgPath(), "bricklayer.csi/")
}

func same(t *testing.T, at string, want, got map[string]reflect.Type) {
	t.Helper()
	if w, g := slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)); !slices.Equal(w, g) {
		t.Errorf("%s: the type has %v, what is generated has %v: run make generate", at, w, g)
	}
}

func sameApply(t *testing.T, at string, ours, generated reflect.Type) {
	t.Helper()
	want, got := fieldsOf(ours), fieldsOf(generated)
	same(t, "apply configuration of "+at, want, got)
	for name, field := range want {
		if got[name] == nil {
			continue // said above
		}
		a, is := inner(field)
		if b, _ := inner(got[name]); is {
			sameApply(t, at+"."+name, a, b)
		}
	}
}

func sameSchema(t *testing.T, at string, ours reflect.Type, schema map[string]any) {
	t.Helper()
	if items, ok := schema["items"].(map[string]any); ok {
		schema = items
	}
	properties, _ := schema["properties"].(map[string]any)
	want, got := fieldsOf(ours), map[string]reflect.Type{}
	for name := range properties {
		if name != "metadata" && (at != "StoragePool" || name != "apiVersion" && name != "kind") {
			got[name] = nil
		}
	}
	same(t, "definition of "+at, want, got)
	for name, field := range want {
		a, is := inner(field)
		below, ok := properties[name].(map[string]any)
		if is && ok {
			sameSchema(t, at+"."+name, a, below)
		}
	}
}

// A field that is added or taken away without generating anew is found without
// the generators.
func TestGeneratedHasEveryField(t *testing.T) {
	text, err := os.ReadFile("../../deploy/helm/bricklayer/files/bricklayer.csi_storagepools.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var definition struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema map[string]any `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &definition); err != nil || len(definition.Spec.Versions) != 1 {
		t.Fatalf("%v: %+v", err, definition)
	}
	ours := reflect.TypeFor[v1alpha1.StoragePool]()
	sameSchema(t, "StoragePool", ours, definition.Spec.Versions[0].Schema.OpenAPIV3Schema)
	sameApply(t, "StoragePoolSpec", reflect.TypeFor[v1alpha1.StoragePoolSpec](), reflect.TypeFor[applyconfiguration.StoragePoolSpecApplyConfiguration]())
	sameApply(t, "StoragePoolStatus", reflect.TypeFor[v1alpha1.StoragePoolStatus](), reflect.TypeFor[applyconfiguration.StoragePoolStatusApplyConfiguration]())
}

// A deep copy shares nothing with its original.
func TestDeepCopySharesNothing(t *testing.T) {
	p := &v1alpha1.StoragePool{}
	fill(reflect.ValueOf(p).Elem(), 1)
	c := p.DeepCopy()
	if !reflect.DeepEqual(p, c) {
		t.Fatal("a copy differs")
	}
	fill(reflect.ValueOf(p).Elem(), 2)
	untouched := &v1alpha1.StoragePool{}
	fill(reflect.ValueOf(untouched).Elem(), 1)
	if !reflect.DeepEqual(c, untouched) {
		t.Error("a copy changed with its original: run make generate")
	}
}

// fill writes something to each field that is ours, in place where there is something.
func fill(v reflect.Value, n int) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		fill(v.Elem(), n)
	case reflect.Slice:
		if v.IsNil() {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		fill(v.Index(0), n)
	case reflect.Map:
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
		v.SetMapIndex(reflect.ValueOf("key"), reflect.ValueOf(string(rune('a'+n))))
	case reflect.Struct:
		if !strings.HasPrefix(v.Type().PkgPath(), "bricklayer.csi/") {
			return
		}
		for _, f := range v.Fields() {
			fill(f, n)
		}
	case reflect.String:
		v.SetString(string(rune('a' + n)))
	case reflect.Bool:
		v.SetBool(n == 1)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(n))
	default:
	}
}
