#!/bin/sh
# Makes the Go code from mount.proto. protoc is Debian's (protobuf-compiler);
# the two plugins are pinned in internal/tools/go.mod.
set -eu
cd "$(dirname "$0")"
command -v protoc >/dev/null || { echo "protoc is missing: apt-get install protobuf-compiler" >&2; exit 1; }
tools=../../tools/go.mod
protoc --proto_path=. \
	--plugin="protoc-gen-go=$(go tool -n -modfile=$tools protoc-gen-go)" \
	--plugin="protoc-gen-go-grpc=$(go tool -n -modfile=$tools protoc-gen-go-grpc)" \
	--go_out=. --go_opt=paths=source_relative \
	--go-grpc_out=. --go-grpc_opt=paths=source_relative \
	mount.proto
