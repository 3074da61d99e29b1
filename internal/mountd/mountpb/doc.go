// Package mountpb owns the wire form of the mount service: mount.proto and the
// Go code that protoc makes of it. It knows nothing else; package mountd turns
// these messages into the types of package mount and back.
package mountpb

//go:generate sh generate.sh
