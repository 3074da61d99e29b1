// Package agentpb owns the wire form of the agent's verbs: agent.proto and the
// Go code that protoc makes of it. It knows nothing else; package agent turns
// these messages into the types of this project and back.
package agentpb

//go:generate sh generate.sh
