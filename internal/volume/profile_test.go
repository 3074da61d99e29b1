package volume

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// beforeProfiles is the fingerprint of no parameters at all, as it has always been.
const beforeProfiles = "951341589280c624"

func params(t *testing.T, pairs ...string) Parameters {
	t.Helper()
	given := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		given[pairs[i]] = pairs[i+1]
	}
	p, err := ParseParameters(given)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What a profile sets is what a class could have said itself.
func TestProfilesAreOptions(t *testing.T) {
	for _, profile := range Profiles() {
		var said []string
		for _, o := range profile.Options() {
			said = append(said, o.Key+" "+o.Value)
		}
		if (len(said) == 0) != (profile == General) {
			t.Errorf("%s sets %q", profile, said)
		}
		if len(said) == 0 {
			continue
		}
		var parsed []Option
		if !parseOptions(&parsed, strings.Join(said, ",")) {
			t.Fatalf("%s: %q is no value of volumeoptions", profile, said)
		}
		if got := params(t, "volumeprofile", string(profile)).GlusterOptions(); !slices.Equal(parsed, got) {
			t.Errorf("%s: a volume gets %v, want %v", profile, got, parsed)
		}
	}
}

// A class's own options go before its profile's, and a profile is not changed by it.
func TestClassOverrulesItsProfile(t *testing.T) {
	first := Database.Options()[0]
	p := params(t, "volumeprofile", "database", "volumeoptions", first.Key+" own, zzz.own on")
	want := append(Database.Options(), Option{"zzz.own", "on"})
	want[0].Value = "own"
	if diff := cmp.Diff(want, p.GlusterOptions()); diff != "" {
		t.Error(diff)
	}
	if Database.Options()[0] != first {
		t.Error("the profile has changed")
	}
}

// A class that says nothing of profiles has the fingerprint that it had before
// there were any: volumes of that time are found again.
func TestFingerprintOfProfiles(t *testing.T) {
	if got := params(t).Fingerprint(); got != beforeProfiles {
		t.Errorf("fingerprint of no parameters: %s, want %s", got, beforeProfiles)
	}
	seen := map[string]Profile{}
	for _, profile := range Profiles() {
		f := params(t, "volumeprofile", string(profile)).Fingerprint()
		if other, twice := seen[f]; twice {
			t.Errorf("%s and %s have one fingerprint", profile, other)
		}
		seen[f] = profile
	}
	if seen[beforeProfiles] != General {
		t.Error("general is not what it is when nothing is said")
	}
}
