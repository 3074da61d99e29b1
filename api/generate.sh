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

# What a type no longer has must not stay.
rm -rf api/client
tool deepcopy-gen --go-header-file "$header" --output-file zz_generated.deepcopy.go ./api/v1alpha1
tool applyconfiguration-gen --go-header-file "$header" --output-dir api/client/applyconfiguration --output-pkg "$out/applyconfiguration" "$types"
tool client-gen --go-header-file "$header" --clientset-name versioned --input-base "" --input "$types" \
	--apply-configuration-package "$out/applyconfiguration" --output-dir api/client --output-pkg "$out"
tool lister-gen --go-header-file "$header" --output-dir api/client/listers --output-pkg "$out/listers" "$types"
tool informer-gen --go-header-file "$header" --versioned-clientset-package "$out/versioned" --listers-package "$out/listers" \
	--single-directory --output-dir api/client/informers --output-pkg "$out/informers" "$types"
tool controller-gen crd paths=./api/v1alpha1 output:crd:dir=deploy/helm/bricklayer/files
