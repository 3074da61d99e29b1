#!/bin/sh
# Writes all that is made from the types in v1alpha1: deep copies, the client with
# its fake, listers, informers, apply configurations and the resource's definition.
# It is run in v1alpha1 by go generate; the tools' versions are in internal/tools/kube.
set -eu
cd "$(dirname "$0")/.."

tool() {
	go tool -modfile=internal/tools/kube/go.mod "$@"
}
header=api/boilerplate.txt
types=bricklayer.csi/api/v1alpha1
out=bricklayer.csi/api/client

# All is made beside what is there, and put in its place at the end: what a type no
# longer has must not stay, and what cannot be made must not be missing.
new=$(mktemp -d)
schema=$(mktemp -d api/schemaXXXXXX)
trap 'rm -rf "$new" "$schema"' EXIT
tool deepcopy-gen --go-header-file "$header" --output-file zz_generated.deepcopy.go ./api/v1alpha1
# The fake client applies what it is told by a schema of the types: it is made of
# code that nobody needs afterwards.
tool openapi-gen --go-header-file "$header" --output-dir "$schema" --output-pkg main \
	--output-file main_openapi.go --output-model-name-file zz_generated.model_name.go --report-filename "$schema/violations" \
	"$types" k8s.io/apimachinery/pkg/apis/meta/v1 k8s.io/apimachinery/pkg/api/resource k8s.io/apimachinery/pkg/runtime
cp internal/tools/kube/schema.go.txt "$schema/main.go"
go run "./$schema" >"$schema/swagger.json"

tool applyconfiguration-gen --go-header-file "$header" --openapi-schema "$schema/swagger.json" \
	--output-dir "$new/applyconfiguration" --output-pkg "$out/applyconfiguration" "$types"
tool client-gen --go-header-file "$header" --clientset-name versioned --input-base "" --input "$types" \
	--apply-configuration-package "$out/applyconfiguration" --output-dir "$new" --output-pkg "$out"
tool lister-gen --go-header-file "$header" --output-dir "$new/listers" --output-pkg "$out/listers" "$types"
tool informer-gen --go-header-file "$header" --versioned-clientset-package "$out/versioned" --listers-package "$out/listers" \
	--single-directory --output-dir "$new/informers" --output-pkg "$out/informers" "$types"
tool controller-gen crd paths=./api/v1alpha1 output:crd:dir=deploy/helm/bricklayer/files
rm -rf api/client
cp -R "$new" api/client
chmod 755 api/client
