package lab

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// checkPatience is how long a healthy node may take to answer on a busy machine.
const checkPatience = 20 * time.Second

// NodeStatus is what can be seen of one node.
type NodeStatus struct {
	Node
	Power     string   `json:"power"`               // on, off or paused
	Glusterd  string   `json:"glusterd"`            // ok, silent, dead or unknown
	Peers     int      `json:"peers"`               // connected ones, itself included
	Agent     string   `json:"agent,omitempty"`     // the program it runs; empty: none
	Unmounted []string `json:"unmounted,omitempty"` // brick roots that are not mounted
	Offline   []string `json:"offline,omitempty"`   // started volumes with a dead brick here
	Problem   string   `json:"problem,omitempty"`   // why nothing more is known
}

// Status looks at all nodes at once and changes nothing.
func (l *Lab) Status(ctx context.Context) ([]NodeStatus, error) {
	list := make([]NodeStatus, len(l.nodes))
	err := each(ctx, l.nodes, func(ctx context.Context, n Node) error {
		s, err := l.nodeStatus(ctx, n)
		for i := range l.nodes {
			if l.nodes[i] == n {
				list[i] = s
			}
		}
		return err
	})
	return list, err
}

func (l *Lab) nodeStatus(ctx context.Context, n Node) (NodeStatus, error) {
	s := NodeStatus{Node: n, Glusterd: "unknown"}
	state, stale, err := l.power(n)
	if err != nil {
		return s, err
	}
	s.Power = string(state)
	if stale {
		s.Problem = "runs with another configuration than the lab's: `lab up` restarts it"
	}
	if state != powerOn {
		return s, nil
	}
	short, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	out, err := l.guest(short, n.Name, "check")
	if err != nil {
		if ctx.Err() != nil {
			return s, context.Cause(ctx)
		}
		s.Problem = err.Error()
		return s, nil
	}
	return s, s.parse(string(out))
}

// parse reads the key=value lines of the guest's check.
func (s *NodeStatus) parse(text string) error {
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			return fmt.Errorf("node %s: check says %q: want key=value", s.Name, line)
		}
		switch key {
		case "glusterd":
			s.Glusterd = value
		case "peers":
			n, err := strconv.Atoi(value)
			if err != nil {
				return fmt.Errorf("node %s: check says peers=%q: want a number", s.Name, value)
			}
			s.Peers = n
		case "agent":
			s.Agent = value
		case "unmounted":
			s.Unmounted = append(s.Unmounted, value)
		case "offline":
			s.Offline = append(s.Offline, value)
		default:
			return fmt.Errorf("node %s: check says %q: unknown key %q", s.Name, line, key)
		}
	}
	return nil
}

// faults is given how many nodes the lab has and which agent they should run.
func (s NodeStatus) faults(nodes int, agent string) []string {
	if s.Power != string(powerOn) {
		return []string{"is " + s.Power}
	}
	if s.Problem != "" {
		return []string{s.Problem}
	}
	var list []string
	if s.Glusterd != "ok" {
		list = append(list, "glusterd is "+s.Glusterd)
	} else if s.Peers != nodes {
		list = append(list, fmt.Sprintf("%d of %d peers connected", s.Peers, nodes))
	}
	if agent != "" && s.Agent == "" {
		list = append(list, "agent is dead")
	} else if s.Agent != agent {
		list = append(list, "agent is of another build")
	}
	for _, r := range s.Unmounted {
		list = append(list, "brick root "+r+" is not mounted")
	}
	for _, v := range s.Offline {
		list = append(list, "a brick of volume "+v+" is dead")
	}
	return list
}

// Faults says in words what keeps a node of this lab from being ready.
func (l *Lab) Faults(s NodeStatus) []string { return s.faults(len(l.nodes), l.agentPath()) }

// Healthy says whether all nodes are ready, and if not, why.
func (l *Lab) Healthy(ctx context.Context) error {
	list, err := l.Status(ctx)
	if err != nil {
		return err
	}
	return l.faults(list)
}

func (l *Lab) faults(list []NodeStatus) error {
	var errs []error
	for _, s := range list {
		if f := l.Faults(s); len(f) > 0 {
			errs = append(errs, fmt.Errorf("node %s: %s", s.Name, strings.Join(f, ", ")))
		}
	}
	return errors.Join(errs...)
}

// faulty are the nodes that have something wrong.
func (l *Lab) faulty(list []NodeStatus) []Node {
	var nodes []Node
	for _, s := range list {
		if len(l.Faults(s)) > 0 {
			nodes = append(nodes, s.Node)
		}
	}
	return nodes
}
