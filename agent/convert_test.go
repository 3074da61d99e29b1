package agent

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"bricklayer.csi/agent/agentpb"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// fill sets every field of a value to something that is not its zero value, so
// that a field which a conversion forgets is seen. n makes values differ.
func fill(t testing.TB, v reflect.Value, n *int64) {
	*n++
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(*n)
	case reflect.Uint32:
		v.SetUint(uint64(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n))
	case reflect.String:
		v.SetString(string(rune('a'+*n%26)) + "x")
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(t, v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key, n)
		fill(t, value, n)
		v.SetMapIndex(key, value)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1700000000, *n).UTC()))
			return
		}
		for _, f := range v.Fields() {
			fill(t, f, n)
		}
	default:
		t.Fatalf("a field of kind %v", v.Kind())
	}
}

// roundTrip sends a value through the wire form and back.
func roundTrip[T any, PB proto.Message](t *testing.T, to func(T) PB, from func(PB) T) {
	t.Helper()
	var want T
	n := int64(0)
	fill(t, reflect.ValueOf(&want).Elem(), &n)
	for _, value := range []T{want, *new(T)} {
		pb := to(value)
		data, err := proto.Marshal(pb)
		if err != nil {
			t.Fatal(err)
		}
		back := pb.ProtoReflect().New().Interface()
		if err := proto.Unmarshal(data, back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(value, from(back.(PB))); diff != "" {
			t.Errorf("%T (-want +got):\n%s", value, diff)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	roundTrip(t, descriptionToPB, descriptionFromPB)
	roundTrip(t, brickToPB, brickFromPB)
	roundTrip(t, makeToPB, makeFromPB)
	roundTrip(t, rootToPB, rootFromPB)
	roundTrip(t, createToPB, createFromPB)
	roundTrip(t, optionToPB, optionFromPB)
	roundTrip(t, volumeToPB, volumeFromPB)
	roundTrip(t, statusToPB, statusFromPB)
	roundTrip(t, healToPB, healFromPB)
	roundTrip(t, peerToPB, peerFromPB)
	for _, mode := range []brick.RemoveMode{brick.ToTrash, brick.ToArchive} {
		r := brick.RemoveRequest{Ref: brick.Ref{Root: "r", Volume: "v"}, Mode: mode}
		if got := removeFromPB(removeToPB(r)); got != r {
			t.Errorf("got %+v, want %+v", got, r)
		}
	}
	if got := removeFromPB(&agentpb.RemoveBrickRequest{Mode: 99}); got.Mode != "" {
		t.Errorf("an unknown mode became %q", got.Mode)
	}
}

func TestKindsAreComplete(t *testing.T) {
	for _, kind := range volume.Kinds() {
		f := toFailure(&volume.Error{Kind: kind})
		if got := kindFromPB(f.GetKind()); got != kind {
			t.Errorf("%v became %v", kind, got)
		}
	}
	if len(kinds) != len(volume.Kinds()) || len(kinds) != len(agentpb.Kind_name) {
		t.Errorf("%d rows for %d kinds, %d on the wire", len(kinds), len(volume.Kinds()), len(agentpb.Kind_name))
	}
	if got := kindFromPB(4711); got != volume.Internal {
		t.Errorf("a kind of a newer agent became %v", got)
	}
}

// TestCheckerNeverPanics feeds it what a hostile client could send.
func TestCheckerNeverPanics(t *testing.T) {
	c := Checker{Pool: "lab", Node: "n1", Roots: []string{"root1"}}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "all", "root1", "x", "bl1.plain.lab.x", "replicate:3", "/a/volumes/x/brick"}))
		r := brick.MakeRequest{
			Ref: brick.Ref{Root: text.Draw(t, "root"), Volume: text.Draw(t, "volume")},
			Mark: brick.Mark{
				Handle: text.Draw(t, "handle"), Type: text.Draw(t, "type"), Fingerprint: text.Draw(t, "fingerprint"),
				Size: volume.Size(rapid.Int64().Draw(t, "size")), GID: rapid.Int().Draw(t, "gid"),
			},
			Quota: brick.Quota{Bytes: volume.Size(rapid.Int64().Draw(t, "bytes")), Inodes: rapid.Int64().Draw(t, "inodes")},
			Mode:  rapid.Uint32().Draw(t, "mode"),
		}
		_ = c.Make(r)
		create := gluster.CreateRequest{
			Name: text.Draw(t, "name"), Replica: rapid.Int().Draw(t, "replica"), Arbiter: rapid.Int().Draw(t, "arbiter"),
			Disperse: rapid.Int().Draw(t, "disperse"), Redundancy: rapid.Int().Draw(t, "redundancy"),
			Bricks: []gluster.Brick{{Host: text.Draw(t, "host"), Path: text.Draw(t, "path")}},
		}
		if err := c.Create(create); err == nil && volume.CheckName(create.Name) != nil {
			t.Errorf("%+v was let through", create)
		}
		_ = c.Options(text.Draw(t, "of"), []gluster.Option{{Key: text.Draw(t, "key"), Value: text.Draw(t, "value")}})
	})
}
