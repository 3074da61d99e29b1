// Package e2e runs the suite by which Kubernetes itself judges storage drivers,
// External Storage of its end-to-end tests, on the lab: the chart is installed, a
// definition of the driver (NAME.yaml) is handed to the suite for each kind of
// class, and the suite's own programs do the rest.
//
// It owns the definitions and the list of what is left out, with the reasons. It
// refuses to know what a spec does: that is Kubernetes' own, unchanged.
package e2e
