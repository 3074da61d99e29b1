package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseParametersDefaults(t *testing.T) {
	got, err := ParseParameters(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Parameters{
		Layout: LayoutVolume, Profile: General, Type: Type{Durability: Replicate, Replicas: 3}, Quota: true, OnDelete: DeleteData,
		GIDMin: 2000, GIDMax: 2147483647, Heketi: HeketiParameters{AuthEnabled: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.Backend() != Plain {
		t.Error("without a heketi the switch is off")
	}
}

// A class as the in-tree plug-in's documentation has it, every parameter used.
func TestParseParametersInTree(t *testing.T) {
	got, err := ParseParameters(map[string]string{
		"resturl": "http://127.0.0.1:8081/", "clusterid": "630372ccdc720a92c681fb928f27b53f, 60372ccdc720a92c681fb928f27b53f0",
		"restauthenabled": "true", "restuser": "admin", "secretNamespace": "default", "secretName": "heketi-secret",
		"gidMin": "40000", "gidMax": "50000", "volumetype": "replicate:3",
		"volumeoptions": "client.ssl on, server.ssl on", "volumenameprefix": "dept-dev", "snapfactor": "10",
		"customepnameprefix": "dbstorage", "csi.storage.k8s.io/pvc/name": "claim",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Parameters{
		LVM: true, Layout: LayoutVolume, Profile: General, Type: Type{Durability: Replicate, Replicas: 3}, Quota: true, OnDelete: DeleteData,
		Options: []Option{{"client.ssl", "on"}, {"server.ssl", "on"}}, NamePrefix: "dept-dev", GIDMin: 40000, GIDMax: 50000,
		Heketi: HeketiParameters{
			URL: "http://127.0.0.1:8081", User: "admin", AuthEnabled: true, SecretName: "heketi-secret", SecretNamespace: "default",
			ClusterIDs: []string{"60372ccdc720a92c681fb928f27b53f0", "630372ccdc720a92c681fb928f27b53f"}, SnapFactor: 10,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseParametersRefuses(t *testing.T) {
	tests := []struct{ key, value, field, says string }{
		{"poool", "x", "parameters", "did you mean pool?"},
		{"VolumeTypes", "none", "parameters", "did you mean volumetype?"},
		{"nonsense", "x", "parameters", "lvm, pool, layout"},
		{"lvm", "yes", "parameters.lvm", `"true" or "false"`},
		{"pool", "Gold", "parameters.pool", "a-z"},
		{"pool", "../etc", "parameters.pool", "a-z"},
		{"volumetype", "replicate:1", "parameters.volumetype", "replicate:N"},
		{"volumetype", "stripe", "parameters.volumetype", "none"},
		{"layout", "lvm", "parameters.layout", "volume or shared"},
		{"volumenameprefix", "a_b", "parameters.volumenameprefix", "a-z"},
		{"volumenameprefix", "-a", "parameters.volumenameprefix", "letter"},
		{"gidMin", "1999", "parameters.gidMin", "2000"},
		{"gidMax", "2147483648", "parameters.gidMax", "2147483647"},
		{"gidMin", "1e4", "parameters.gidMin", "whole number"},
		{"quota", "off", "parameters.quota", "none"},
		{"onDelete", "keep", "parameters.onDelete", "archive"},
		{"snapfactor", "0.5", "parameters.snapfactor", "1 to 100"},
		{"snapfactor", "NaN", "parameters.snapfactor", "1 to 100"},
		{"resturl", "ftp://h", "parameters.resturl", "http"},
		{"resturl", "http://user:pw@h", "parameters.resturl", "http"},
		{"clusterid", "xyz", "parameters.clusterid", "32"},
		{"secretName", "a/b", "parameters.secretName", "Secret"},
		{"volumeprofile", "fast", "parameters.volumeprofile", "big-files, database, general, small-files"},
		{"volumeprofile", "", "parameters.volumeprofile", "general"},
		{"volumeoptions", "a.b", "parameters.volumeoptions", "one space"},
		{"volumeoptions", "a.b on\nauth.allow *", "parameters.volumeoptions", "list"},
		{"volumeoptions", "a.b on off", "parameters.volumeoptions", "list"},
		{"volumeoptions", "--xml on", "parameters.volumeoptions", "list"},
		{"volumeoptions", "a.b --force", "parameters.volumeoptions", "list"},
		{"volumeoptions", "a.b on,a.b off", "parameters.volumeoptions", "list"},
		{"volumeoptions", "user.bricklayer.size 1", "parameters.volumeoptions", "not user.bricklayer"},
		{"volumeoptions", "a.b $(reboot)", "parameters.volumeoptions", "list"},
		{"volumeoptions", ",", "parameters.volumeoptions", "list"},
		{"restuser", "u", "parameters.restuser", `lvm: "true"`},
	}
	for _, test := range tests {
		t.Run(test.key+"="+test.value, func(t *testing.T) {
			_, err := ParseParameters(map[string]string{test.key: test.value})
			if !Is(err, Invalid) {
				t.Fatalf("got %v, want Invalid", err)
			}
			if !strings.HasPrefix(err.Error(), test.field+": ") || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v\ndoes not name %s or does not say %q", err, test.field, test.says)
			}
		})
	}
}

func TestParseParametersTogether(t *testing.T) {
	for name, given := range map[string]map[string]string{
		"gidMin above gidMax":      {"gidMin": "3000", "gidMax": "2500"},
		"plain key with lvm":       {"lvm": "true", "layout": "volume"},
		"arbiter with lvm":         {"lvm": "true", "volumetype": "replicate:3:arbiter:1"},
		"lvm key without lvm":      {"lvm": "false", "resturl": "http://h"},
		"secret without namespace": {"resturl": "http://h", "secretName": "s"},
		"one key in two spellings": {"pool": "a", "Pool": "a"},
	} {
		if _, err := ParseParameters(given); !Is(err, Invalid) {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
}

func TestSecretsDoNotLeak(t *testing.T) {
	p, err := ParseParameters(map[string]string{"resturl": "http://h", "restuser": "u", "restuserkey": "hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{string(text), fmt.Sprintf("%v %+v %#v %s %q", p, p, p, p.Heketi.Key, p.Heketi.Key), p.Fingerprint()} {
		if strings.Contains(shown, "hunter2") {
			t.Errorf("the key shows in %s", shown)
		}
	}
	if p.Heketi.Key.Reveal() != "hunter2" {
		t.Error("the key is lost")
	}
}

func FuzzParseParameters(f *testing.F) {
	f.Add("pool", "gold", "volumetype", "disperse:4:2")
	f.Add("volumeoptions", "client.ssl on, server.ssl on", "lvm", "true")
	f.Add("snapfactor", "1e400", "RESTURL", "http://[::1]:8080")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		p, err := ParseParameters(map[string]string{k1: v1, k2: v2})
		if err != nil {
			if !Is(err, Invalid) {
				t.Fatalf("%v is not Invalid", err)
			}
			return
		}
		for _, o := range p.Options {
			if strings.ContainsAny(o.Key+o.Value, " \n\t,;$`'\"\x00") || o.Key[0] == '-' || o.Value[0] == '-' {
				t.Fatalf("option %q was let through", o)
			}
		}
		if p.Backend() != Plain && p.Backend() != Heketi || len(p.Fingerprint()) != 16 {
			t.Fatalf("%+v", p)
		}
	})
}

func TestHeketiTakesNoZones(t *testing.T) {
	p, err := ParseParameters(map[string]string{"lvm": "true"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Within([]string{"z1"}); !Is(err, Invalid) || !strings.Contains(err.Error(), "clusterid") {
		t.Errorf("got %v, want invalid, with what to do instead", err)
	}
	if _, err := p.Within(nil); err != nil {
		t.Error(err)
	}
}

func TestParseOverThePoolsDefaults(t *testing.T) {
	plain := map[string]string{"lvm": "false"}
	defaults := map[string]string{"volumetype": "replicate:3:arbiter:1", "QUOTA": "none", "snapfactor": "2", "gidMin": "3000"}
	p, err := ParseOver(defaults, plain)
	if err != nil || p.Type.Arbiters != 1 || p.Quota || p.GIDMin != 3000 || p.Heketi.SnapFactor != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	class, _ := ParseParameters(plain)
	merged, _ := ParseParameters(map[string]string{"lvm": "false", "volumetype": "replicate:3:arbiter:1", "quota": "none", "gidMin": "3000"})
	if p.Fingerprint() != merged.Fingerprint() || p.ClassFingerprint() != class.Fingerprint() || class.ClassFingerprint() != class.Fingerprint() {
		t.Errorf("fingerprint %s of class %s; want %s of %s", p.Fingerprint(), p.ClassFingerprint(), merged.Fingerprint(), class.Fingerprint())
	}
	same, err := ParseOver(map[string]string{"volumetype": "replicate:2"}, map[string]string{"lvm": "false", "volumetype": "none"})
	if err != nil || same.Type.Durability != None || same.Class != "" {
		t.Errorf("what the class says wins: %+v, %v", same, err)
	}
	lvm, err := ParseOver(map[string]string{"snapfactor": "2", "quota": "none", "layout": "shared"}, map[string]string{"resturl": "http://heketi"})
	if err != nil || !lvm.Quota || lvm.Heketi.SnapFactor != 2 || lvm.Layout != LayoutVolume {
		t.Errorf("of lvm \"true\": %+v, %v", lvm, err)
	}
	for field, c := range map[string][2]map[string]string{
		"spec.defaults.volumetype":       {{"volumetype": "raid5"}, plain},
		"spec.defaults.gidMin":           {{"gidMin": "5000"}, {"lvm": "false", "gidMax": "3000"}},
		"parameters.gidMin":              {{"gidMax": "3000"}, {"lvm": "false", "gidMin": "5000"}},
		"spec.defaults.volumetype:lvm":   {{"volumetype": "replicate:3:arbiter:1"}, {"lvm": "true"}},
		"spec.defaults":                  {{"lvm": "true"}, plain},
		"parameters.volumetype":          {{"volumetype": "raid5"}, {"lvm": "false", "volumetype": "raid6"}},
		"spec.defaults:volumenameprefix": {{"volumenameprefix": "x"}, plain},
	} {
		want, _, _ := strings.Cut(field, ":")
		_, err := ParseOver(c[0], c[1])
		if f, ok := errors.AsType[*FieldError](err); !ok || f.Field != want {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

func TestCheckDefaults(t *testing.T) {
	if faults := CheckDefaults(nil); len(faults) > 0 {
		t.Error(faults)
	}
	all := map[string]string{
		"layout": "volume", "volumetype": "disperse:4:2", "volumeprofile": "database", "volumeoptions": "nfs.disable on", "gidMin": "3000", "gidMax": "4000",
		"quota": "enforce", "ondelete": "retain", "snapfactor": "1.5",
	}
	if faults := CheckDefaults(all); len(faults) > 0 || len(all) != len(poolKeys) {
		t.Error(faults)
	}
	for name, bad := range map[string]map[string]string{
		"spec.defaults.volumetype": {"volumetype": "raid5", "gidMin": "3000"},
		"spec.defaults.VolumeType": {"VolumeType": "raid5"},
		"spec.defaults.gidMin":     {"gidMin": "5000", "gidMax": "3000"},
		"spec.defaults.quota":      {"quota": "none", "Quota": "none"},
		"spec.defaults":            {"resturl": "http://heketi"},
	} {
		if faults := CheckDefaults(bad); len(faults) != 1 || faults[0].Field != name {
			t.Errorf("%s: %v", name, faults)
		}
	}
	if faults := CheckDefaults(map[string]string{"pool": "a", "volumetyp": "none", "quota": "all"}); len(faults) != 3 {
		t.Errorf("%v", faults)
	}
}
