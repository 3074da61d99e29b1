// Package volume owns the nouns of Bricklayer and the port that every backend
// implements: what a volume is called (Handle), what was asked for (Spec,
// Parameters, Size, Type), what is there (Volume, Capacity, Health), what can
// go wrong (Error, Kind), and what a Backend promises.
//
// It refuses to know how a volume is made, which orchestrator asks, and what
// runs on a storage node: it imports the standard library only.
package volume
