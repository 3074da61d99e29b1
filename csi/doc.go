// Package csi owns the three CSI services (spec 1.13) and the socket that they
// are served on: it reads requests, checks every field, makes one call of
// internal/lifecycle or internal/mount, and converts the answer. One file,
// errors.go, makes every gRPC code.
//
// It refuses to know how a volume is made, where its bricks lie, what a
// backend is, and how a mount works.
package csi
