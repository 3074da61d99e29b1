package csi

import (
	"testing"

	"github.com/google/uuid"
	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"

	"bricklayer.csi/internal/volume"
)

// sanitySkips are the words with which csi-sanity may skip a spec: each is of a capability that we do not advertise, and why not.
var sanitySkips = map[string]string{
	"ControllerPublishVolume not supported":             "a FUSE client needs no attaching",
	"ControllerUnpublishVolume not supported":           "a FUSE client needs no attaching",
	"Controller Publish, UnpublishVolume not supported": "a FUSE client needs no attaching",
	"Snapshot not supported":                            "no snapshots in this version",
	"CreateSnapshot not supported":                      "no snapshots in this version",
	"DeleteSnapshot not supported":                      "no snapshots in this version",
	"GetSnapshot not supported":                         "no snapshots in this version",
	"ListSnapshots not supported":                       "no snapshots in this version",
	"GroupControllerService not supported":              "no snapshots, hence none of groups",
	"Volume Cloning not supported":                      "no clones in this version",
	"Modify volume not supported":                       "no volume attributes classes in this version",
	"Modify Volume not supported":                       "no volume attributes classes in this version",
	"ControllerModifyVolume not supported":              "no volume attributes classes in this version",
}

// runSanity runs the whole of csi-sanity, once per test binary (ginkgo allows
// one suite), on volumes of those parameters, and fails where a spec was skipped
// for any other reason. It returns the directory below which volumes were mounted.
func runSanity(t *testing.T, endpoint string, size int64, backend volume.BackendName, parameters map[string]string) (dir string) {
	t.Helper()
	config := sanity.NewTestConfig()
	dir = t.TempDir()
	config.TargetPath, config.StagingPath = dir+"/mount", dir+"/staging"
	config.Address = endpoint
	config.TestVolumeSize, config.TestVolumeExpandSize = size, 2*size
	config.TestVolumeParameters = parameters
	config.IDGen = handles{backend: backend}
	ginkgo.ReportAfterSuite("skips", func(r ginkgo.Report) {
		for _, spec := range r.SpecReports {
			left := len(r.SuiteConfig.FocusStrings) > 0 && spec.Failure.Message == "" // it is not in the focus
			if spec.State != types.SpecStateSkipped || left {
				continue
			}
			because, reasoned := sanitySkips[spec.Failure.Message]
			if !reasoned {
				t.Errorf("%s: skipped without a reason of ours: %q", spec.FullText(), spec.Failure.Message)
			}
			t.Logf("skipped: %s: %s", spec.FullText(), because)
		}
	})
	context := sanity.GinkgoTest(&config)
	gomega.RegisterFailHandler(ginkgo.Fail)
	ginkgo.RunSpecs(t, "csi-sanity")
	context.Finalize()
	return dir
}

// handles generates IDs that look like ours but name nothing.
type handles struct {
	sanity.DefaultIDGenerator
	backend volume.BackendName
}

func (h handles) GenerateUniqueValidVolumeID() string {
	return volume.Handle{Backend: h.backend, Pool: "lab", Name: "none-" + uuid.NewString()[:8]}.String()
}
