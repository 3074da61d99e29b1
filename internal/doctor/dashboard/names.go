// Package dashboard owns the judgement of dashboards' queries: which patterns on
// the names of pods were written when a part of those names was digits only, which
// names of today they miss, and how they read when mended.
//
// It refuses to know where dashboards come from and whether anyone changes them.
package dashboard

import (
	"regexp"
	"strings"
)

// Kubernetes made a part of a pod's name from a number: in digits up to 1.7, and
// since in the alphabet that spells no words. The names below are what the
// controllers make.
const (
	oldHash = "1803251710"
	newHash = "6d4cf56db6"
)

// form is how a controller names a pod, in old releases and in new ones.
type form struct{ kind, old, new string }

// formsOf returns names of pods of each controller with a base name.
func formsOf(base string) []form {
	suffix := "-x7k2p"
	all := []form{
		{"ReplicationController", base + suffix, base + suffix},
		{"DaemonSet", base + suffix, base + suffix},
		{"StatefulSet", base + "-0", base + "-0"},
		{"Job", base + suffix, base + suffix},
		{"CronJob", base + "-1506841200" + suffix, base + "-28433520" + suffix},
	}
	// The hash is of eight to ten places, and may begin or end with a digit or a letter.
	for _, n := range []int{10, 9, 8} {
		for _, hash := range []string{newHash[:n], "d" + newHash[2:n] + "45", newHash[:n-1] + "4"} {
			all = append(all, form{"Deployment", base + "-" + oldHash[:n] + suffix, base + "-" + hash[:n] + suffix})
		}
	}
	return all
}

// class is a set of digits in a pattern, with how often it comes.
var class = regexp.MustCompile(`(\[0-9\]|\\d|\[\[:digit:\]\]|\[\\d\])(\+\??|\*\??|\{\d+(?:,\d*)?\}\??|)`)

// anyOther is what a set of digits becomes: what Kubernetes uses is in it, and what
// it used.
const anyOther = "[a-z0-9]"

// Miss is what is wrong with a pattern.
type Miss struct {
	// Kind is the controller and Name a pod of its that the pattern misses; Old is
	// one of the same in the form of old releases, which it matches.
	Kind, Name, Old string
	// Start and End bound the digits in the pattern, New is what to put there. New is
	// empty where no such change makes the pattern match both.
	Start, End int
	New        string
}

// Judge tries a pattern against names of pods. Patterns of PromQL are anchored,
// those of InfluxQL are not. It returns nil where the pattern does not tell
// the old names from the new.
func Judge(pattern string, anchored bool) *Miss {
	re := compile(pattern, anchored)
	if re == nil {
		return nil
	}
	for _, at := range class.FindAllStringSubmatchIndex(pattern, -1) {
		base, ok := baseOf(pattern[:at[0]])
		if !ok {
			continue
		}
		miss := missed(re, base)
		if miss == nil {
			continue
		}
		changed := compile(pattern[:at[2]]+anyOther+pattern[at[3]:], anchored)
		if changed != nil && missed(changed, base) == nil && changed.MatchString(miss.Name) && changed.MatchString(miss.Old) {
			miss.Start, miss.End, miss.New = at[2], at[3], anyOther
		}
		return miss
	}
	return nil
}

// missed returns a pod that a pattern matches under its old name and not under
// its new one.
func missed(re *regexp.Regexp, base string) *Miss {
	for _, f := range formsOf(base) {
		if re.MatchString(f.old) && !re.MatchString(f.new) {
			return &Miss{Kind: f.kind, Name: f.new, Old: f.old}
		}
	}
	return nil
}

// variable is one of Grafana's, which stands for text that only it knows.
var variable = regexp.MustCompile(`\$\{\w+(?::\w+)?\}|\$[A-Za-z_]\w*|\[\[\w+\]\]`)

// sample stands for a name where the pattern allows any.
const sample = "web"

func compile(pattern string, anchored bool) *regexp.Regexp {
	pattern = variables(pattern)
	if anchored {
		pattern = "^(?:" + pattern + ")$"
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil
	}
	return re
}

// variables puts the sample in the place of Grafana's variables.
func variables(text string) string {
	return variable.ReplaceAllLiteralString(text, sample)
}

var (
	// wild is any text, with or without a group around it.
	wild = regexp.MustCompile(`\.[*+]\??|\[\^?[^\]]+\][*+]\??|\\[wS][*+]\??`)
	// choice is a group of words; the first will do.
	choice = regexp.MustCompile(`\((?:\?:|\?P<\w+>)?([\w.-]*)(?:\|[\w.|-]*)?\)\??`)
)

// baseOf makes the name of a controller from what a pattern has before the digits:
// text, variables, wildcards and simple groups. It fails where the digits are not
// a part of their own, after a hyphen.
func baseOf(before string) (string, bool) {
	text := variables(before)
	text = strings.TrimPrefix(text, "^")
	text = wild.ReplaceAllString(text, sample)
	text = strings.NewReplacer(`\-`, "-", `\.`, ".", `[-]`, "-").Replace(text)
	for choice.MatchString(text) {
		text = choice.ReplaceAllString(text, "$1")
	}
	// A group that is still open holds the digits, too.
	text = strings.NewReplacer("(?:", "", "(", "", ")", "").Replace(text)
	// Of choices outside of groups the last one has the digits.
	text = text[strings.LastIndex(text, "|")+1:]
	base, ok := strings.CutSuffix(strings.TrimPrefix(text, "^"), "-")
	if !ok || base == "" || strings.ContainsAny(base, `\[]{}*+?^$`) {
		return "", false
	}
	return base, true
}
