package csi

import (
	"fmt"
	"log/slog"
	"strings"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// stripped is a request as it may be logged: without secrets. The work is done
// only where the log's level asks for it.
type stripped struct{ message any }

// LogValue serves log/slog.
func (s stripped) LogValue() slog.Value {
	m, ok := s.message.(proto.Message)
	if !ok {
		return slog.StringValue(fmt.Sprintf("%T", s.message))
	}
	text, err := protojson.Marshal(strip(m))
	if err != nil {
		return slog.StringValue("a message that cannot be shown")
	}
	return slog.StringValue(string(text))
}

const hidden = "[redacted]"

// strip returns a copy of the message without
//   - fields that the spec marks as secret,
//   - mount flags, of which the spec says that they may be sensitive,
//   - values of maps whose key smells of a secret: a class may hold restuserkey,
//     and kubelet passes service account tokens in the volume context.
func strip(m proto.Message) proto.Message {
	c := proto.Clone(m)
	stripMessage(c.ProtoReflect())
	return c
}

func stripMessage(m protoreflect.Message) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case isSecret(field):
			stripAll(m, field)
		case field.IsMap():
			stripMap(field, value.Map())
		case field.IsList() && field.Message() != nil:
			for i := range value.List().Len() {
				stripMessage(value.List().Get(i).Message())
			}
		case field.Message() != nil && !field.IsList():
			stripMessage(value.Message())
		}
		return true
	})
}

func isSecret(field protoreflect.FieldDescriptor) bool {
	marked, _ := proto.GetExtension(field.Options(), csipb.E_CsiSecret).(bool)
	return marked || field.Name() == "mount_flags"
}

// stripAll hides every value of a field, and keeps the keys of a map.
func stripAll(m protoreflect.Message, field protoreflect.FieldDescriptor) {
	placeholder := protoreflect.ValueOfString(hidden)
	switch {
	case field.IsMap() && field.MapValue().Kind() == protoreflect.StringKind:
		values := m.Mutable(field).Map()
		values.Range(func(key protoreflect.MapKey, _ protoreflect.Value) bool {
			values.Set(key, placeholder)
			return true
		})
	case field.IsList() && field.Kind() == protoreflect.StringKind:
		values := m.Mutable(field).List()
		for i := range values.Len() {
			values.Set(i, placeholder)
		}
	case field.Kind() == protoreflect.StringKind && !field.IsMap() && !field.IsList():
		m.Set(field, placeholder)
	default:
		m.Clear(field)
	}
}

func stripMap(field protoreflect.FieldDescriptor, values protoreflect.Map) {
	values.Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
		switch {
		case field.MapValue().Message() != nil:
			stripMessage(value.Message())
		case field.MapValue().Kind() == protoreflect.StringKind && smellsSecret(key.String()):
			values.Set(key, protoreflect.ValueOfString(hidden))
		}
		return true
	})
}

func smellsSecret(key string) bool {
	key = strings.ToLower(key)
	for _, word := range []string{"key", "token", "secret", "password", "credential"} {
		if strings.Contains(key, word) {
			return true
		}
	}
	return false
}
