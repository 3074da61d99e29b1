package heketi

import (
	"strings"
	"testing"

	"bricklayer.csi/internal/heketi/heketitest"
	"bricklayer.csi/internal/volume"
)

// A class as it was written for kubernetes.io/glusterfs, and what is wrong with
// its variants: the in-tree plug-in refused each of these too (noted where it
// did not), most of them with "invalid value" or what Go's parser said.
func TestInTreeClassesRefused(t *testing.T) {
	tests := []struct {
		name, key, value string
		// says are parts of the message: the parameter, and what is allowed.
		says []string
	}{
		{"misspelt key", "restuserid", "admin", []string{"parameters", "restuserid", "All keys: "}},
		{"slip in a key", "volumetyp", "none", []string{"parameters", "did you mean volumetype?"}},
		{"address without scheme", "resturl", "heketi:8080", []string{"parameters.resturl", `"heketi:8080"`, "http://heketi:8080"}}, // in-tree: at the first request
		{"address of no pool", "resturl", "http://elsewhere:8080", []string{"elsewhere:8080", "a heketi that a StoragePool names"}},
		{"no address", "resturl", "", []string{"parameters.resturl", "http or https address"}},
		{"authentication maybe", "restauthenabled", "maybe", []string{"parameters.restauthenabled", `"maybe"`, `"true" or "false"`}},
		{"Secret without namespace", "secretNamespace", "-", []string{"parameters.secretName", "heketi-secret", "secretName and secretNamespace together"}},
		{"Secret of no name", "secretName", "Heketi_Secret", []string{"parameters.secretName", "the name of a Secret"}},
		{"namespace of no name", "secretNamespace", "kube.system", []string{"parameters.secretNamespace", "a namespace"}},
		{"no cluster", "clusterid", "", []string{"parameters.clusterid", "32 hexadecimal digits"}},
		{"empty cluster in a list", "clusterid", heketitest.ClusterID + ",", []string{"parameters.clusterid", "32 hexadecimal digits"}},
		{"gidMin of words", "gidMin", "many", []string{"parameters.gidMin", `"many"`, "2000 to 2147483647"}},
		{"gidMin too low", "gidMin", "100", []string{"parameters.gidMin", `"100"`, "2000 to 2147483647"}},
		{"gidMax too high", "gidMax", "2147483648", []string{"parameters.gidMax", `"2147483648"`, "2000 to 2147483647"}},
		{"gidMin above gidMax", "gidMin", "50001", []string{"parameters.gidMin", "at most gidMax (50000)"}},
		{"no such type", "volumetype", "stripe:3", []string{"parameters.volumetype", `"stripe:3"`, "replicate", "disperse", "none"}},
		{"replicas of words", "volumetype", "replicate:three", []string{"parameters.volumetype", `"replicate:three"`, "replicate:N"}},
		{"no replicas", "volumetype", "replicate:0", []string{"parameters.volumetype", `"replicate:0"`, "replicate:N"}},
		{"disperse of one number", "volumetype", "disperse:4", []string{"parameters.volumetype", `"disperse:4"`, "disperse:D:R"}},
		{"disperse without redundancy", "volumetype", "disperse:4:0", []string{"parameters.volumetype", `"disperse:4:0"`, "disperse:D:R"}},
		{"disperse that heketi has not", "volumetype", "disperse:3:1", []string{"parameters.volumetype", "disperse:3:1", "disperse:8:4"}}, // in-tree: heketi's error
		{"option without value", "volumeoptions", "client.ssl", []string{"parameters.volumeoptions", `"client.ssl"`, "a key, one space and a value"}},
		{"no options", "volumeoptions", "", []string{"parameters.volumeoptions", "comma-separated list"}},
		{"option that opens a command", "volumeoptions", "client.ssl $(reboot)", []string{"parameters.volumeoptions", "comma-separated list"}}, // in-tree: a shell ran it
		{"no prefix", "volumenameprefix", "", []string{"parameters.volumenameprefix", "1 to 20 of a-z"}},
		{"prefix with underscore", "volumenameprefix", "dept_dev", []string{"parameters.volumenameprefix", `"dept_dev"`, "a-z, 0-9 and -"}},
		{"snapfactor of words", "snapfactor", "ten", []string{"parameters.snapfactor", `"ten"`, "1 to 100"}},
		{"snapfactor too low", "snapfactor", "0.1", []string{"parameters.snapfactor", `"0.1"`, "1 to 100"}},
		{"snapfactor too high", "snapfactor", "101", []string{"parameters.snapfactor", `"101"`, "1 to 100"}},
		{"Endpoints of no name", "customepnameprefix", "db_storage", []string{"parameters.customepnameprefix", `"db_storage"`, "a-z, 0-9 and -"}},
		{"Endpoints of a long name", "customepnameprefix", strings.Repeat("d", 64), []string{"parameters.customepnameprefix", "at most 63"}},
	}
	s := newServer(t, heketitest.Default(3))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			class := inTreeClass(s.URL())
			class[test.key] = test.value
			if test.name == "Secret without namespace" {
				delete(class, test.key)
			}
			service := newService(t, s)
			spec, err := service.Spec("pvc-1", volume.SizeRange{Required: volume.GiB}, class)
			if err == nil {
				_, err = service.Create(testContext(t), spec)
			}
			if !volume.Is(err, volume.Invalid) {
				t.Fatalf("got %v (%v), want Invalid", err, volume.KindOf(err))
			}
			for _, part := range test.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v\nlacks %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("shows the key: %v", err)
			}
		})
	}
	checkEmpty(t, s)
}

// inTreeClass uses every parameter of the in-tree plug-in.
func inTreeClass(url string) map[string]string {
	return map[string]string{
		"resturl": url, "restuser": "admin", "restuserkey": "s3cret", "restauthenabled": "true",
		"secretName": "heketi-secret", "secretNamespace": "default", "clusterid": heketitest.ClusterID,
		"gidMin": "40000", "gidMax": "50000", "volumetype": "replicate:3", "volumeoptions": "client.ssl off",
		"volumenameprefix": "dept-dev", "snapfactor": "10", "customepnameprefix": "dbstorage",
	}
}
