# One image for everything that runs in a cluster: the controller, the node
# service and its mounts. Nothing in it but the program, Gluster's client, and the
# libraries that it loads: no shell, no package manager.
#
#   docker buildx build --platform linux/amd64,linux/arm64 -t bricklayer .
#   deploy/image/build      the same with buildah, and no registry at all
#
# The agent is not meant to run from it: it belongs beside the storage node's own
# glusterd and its gluster command (deploy/systemd).
ARG GO_IMAGE=docker.io/library/golang:1.26.8-bookworm
ARG DEBIAN_IMAGE=docker.io/library/debian:12.12-slim

# The program, built where the builder runs, for where the image will.
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
ARG TARGETOS=linux
ARG TARGETARCH=amd64
ARG VERSION=unknown
ARG GOPROXY=https://proxy.golang.org,direct
ARG GOFLAGS=-buildvcs=false
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /out/bricklayer ./cmd/bricklayer

# Gluster's client and what it needs, in a tree of their own.
FROM ${DEBIAN_IMAGE} AS client
COPY deploy/image/client-tree /usr/local/sbin/
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends glusterfs-client \
 && client-tree /tree

FROM scratch
COPY --from=client /tree/ /
COPY --from=build /out/bricklayer /usr/local/bin/bricklayer
ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin
# Mounting needs root, and the node's manifests say so; all else runs as nobody.
USER 65534:65534
ENTRYPOINT ["/usr/local/bin/bricklayer"]
