package csi

import (
	"fmt"
	"math"
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"bricklayer.csi/internal/volume"
)

const multiWriter = csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER

// refused is a request that must end with one of the codes, and whose message
// must name the field.
type refused struct {
	name   string
	change func(*csipb.CreateVolumeRequest)
	code   codes.Code
	says   string
}

func capacity(required, limit int64) func(*csipb.CreateVolumeRequest) {
	return func(r *csipb.CreateVolumeRequest) {
		r.CapacityRange = &csipb.CapacityRange{RequiredBytes: required, LimitBytes: limit}
	}
}

func parameter(key, value string) func(*csipb.CreateVolumeRequest) {
	return func(r *csipb.CreateVolumeRequest) { r.Parameters = map[string]string{key: value} }
}

func called(name string) func(*csipb.CreateVolumeRequest) {
	return func(r *csipb.CreateVolumeRequest) { r.Name = name }
}

func withCapability(c *csipb.VolumeCapability) func(*csipb.CreateVolumeRequest) {
	return func(r *csipb.CreateVolumeRequest) { r.VolumeCapabilities = append(r.VolumeCapabilities, c) }
}

var badCreates = []refused{
	{"no name", called(""), codes.InvalidArgument, "name"},
	{"slash", called("a/b"), codes.InvalidArgument, "name"},
	{"dots", called(".."), codes.InvalidArgument, "name"},
	{"NUL", called("a\x00b"), codes.InvalidArgument, "name"},
	{"newline", called("a\nb"), codes.InvalidArgument, "name"},
	{"hyphen first", called("-rf"), codes.InvalidArgument, "name"},
	{"long name", called(strings.Repeat("a", 129)), codes.InvalidArgument, "name"},
	{"very long name", called(strings.Repeat("a", 4096)), codes.InvalidArgument, "name"},
	{"size zero", capacity(0, 0), codes.InvalidArgument, "capacity_range.required_bytes"},
	{"negative size", capacity(-1, 0), codes.InvalidArgument, "capacity_range.required_bytes"},
	{"negative limit", capacity(1, -1), codes.InvalidArgument, "capacity_range.limit_bytes"},
	{"most negative", capacity(math.MinInt64, 0), codes.InvalidArgument, "capacity_range.required_bytes"},
	{"limit below size", capacity(1<<30, 1<<20), codes.InvalidArgument, "capacity_range.limit_bytes"},
	{"above the pool", capacity(1<<50, 0), codes.OutOfRange, ""},
	{"largest size", capacity(math.MaxInt64, 0), codes.OutOfRange, "capacity_range.required_bytes"},
	{"nearly largest size", capacity(math.MaxInt64-1, math.MaxInt64), codes.OutOfRange, "capacity_range"},
	{"no MiB in range", capacity(1, 2), codes.OutOfRange, ""},
	{"no capabilities", func(r *csipb.CreateVolumeRequest) { r.VolumeCapabilities = nil }, codes.InvalidArgument, "volume_capabilities"},
	{"empty capability", withCapability(&csipb.VolumeCapability{}), codes.InvalidArgument, "volume_capabilities[1].access_type"},
	{"block", withCapability(&csipb.VolumeCapability{
		AccessType: &csipb.VolumeCapability_Block{Block: &csipb.VolumeCapability_BlockVolume{}},
		AccessMode: &csipb.VolumeCapability_AccessMode{Mode: multiWriter},
	}), codes.InvalidArgument, "block"},
	{"no mode", withCapability(capability(csipb.VolumeCapability_AccessMode_UNKNOWN)), codes.InvalidArgument, "access_mode"},
	{"mode of the future", withCapability(capability(99)), codes.InvalidArgument, "access_mode"},
	{"mount flag", withCapability(capability(multiWriter, "log-file=/etc/passwd")), codes.InvalidArgument, "mount_flags"},
	{"mount flag injection", withCapability(capability(multiWriter, "ro,xlator-option=*.x=y")), codes.InvalidArgument, "mount_flags"},
	{"file system type", withCapability(&csipb.VolumeCapability{
		AccessType: &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{FsType: "ext4"}},
		AccessMode: &csipb.VolumeCapability_AccessMode{Mode: multiWriter},
	}), codes.InvalidArgument, "fs_type"},
	{"mount group", withCapability(&csipb.VolumeCapability{
		AccessType: &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{VolumeMountGroup: "root"}},
		AccessMode: &csipb.VolumeCapability_AccessMode{Mode: multiWriter},
	}), codes.InvalidArgument, "volume_mount_group"},
	{"misspelt key", parameter("volumtype", "none"), codes.InvalidArgument, "did you mean volumetype"},
	{"bad type", parameter("volumetype", "replicate:1"), codes.InvalidArgument, "parameters.volumetype"},
	{"option injection", parameter("volumeoptions", "performance.x on\nauth.allow *"), codes.InvalidArgument, "parameters.volumeoptions"},
	{"option injection by space", parameter("volumeoptions", "performance.x on auth.allow *"), codes.InvalidArgument, "parameters.volumeoptions"},
	{"own mark", parameter("volumeoptions", "user.bricklayer.size 1"), codes.InvalidArgument, "parameters.volumeoptions"},
	{"unknown pool", parameter("pool", "other"), codes.InvalidArgument, "parameters.pool"},
	{"hostile pool", parameter("pool", "../lab"), codes.InvalidArgument, "parameters.pool"},
	{"source", func(r *csipb.CreateVolumeRequest) { r.VolumeContentSource = &csipb.VolumeContentSource{} }, codes.InvalidArgument, "volume_content_source"},
	{"topology", func(r *csipb.CreateVolumeRequest) { r.AccessibilityRequirements = &csipb.TopologyRequirement{} }, codes.InvalidArgument, "accessibility_requirements"},
	{"mutable", func(r *csipb.CreateVolumeRequest) { r.MutableParameters = map[string]string{"a": "b"} }, codes.InvalidArgument, "mutable_parameters"},
}

func TestBadCreatesMakeNothing(t *testing.T) {
	d := newDriver(t)
	for _, c := range badCreates {
		t.Run(c.name, func(t *testing.T) {
			req := createRequest("pvc-1")
			c.change(req)
			resp, err := d.controller.CreateVolume(testContext(t), req)
			if status.Code(err) != c.code || !strings.Contains(status.Convert(err).Message(), c.says) {
				t.Errorf("got %v, %v; want %v naming %q", resp, err, c.code, c.says)
			}
			d.cluster.CheckEmpty(t)
		})
	}
}

func TestVolumeIDs(t *testing.T) {
	d := newDriver(t)
	for _, id := range []string{"no-such-id", "bl1.plain.lab.../x", "bl1.plain.other.v", "bl1.plain.lab.v", "bl2.plain.lab.v", "bl1.heketi.lab.v", "-v", strings.Repeat("a", 4096), "a\nb"} {
		for name, call := range map[string]func() error{
			"get": func() error {
				_, err := d.controller.ControllerGetVolume(testContext(t), &csipb.ControllerGetVolumeRequest{VolumeId: id})
				return err
			},
			"expand": func() error {
				_, err := d.controller.ControllerExpandVolume(testContext(t), &csipb.ControllerExpandVolumeRequest{VolumeId: id, CapacityRange: &csipb.CapacityRange{RequiredBytes: 1 << 31}})
				return err
			},
			"validate": func() error {
				_, err := d.controller.ValidateVolumeCapabilities(testContext(t), &csipb.ValidateVolumeCapabilitiesRequest{VolumeId: id, VolumeCapabilities: createRequest("x").GetVolumeCapabilities()})
				return err
			},
			"health": func() error {
				_, err := d.controller.ControllerGetVolumeHealth(testContext(t), &csipb.ControllerGetVolumeHealthRequest{VolumeId: id})
				return err
			},
		} {
			want := codes.NotFound
			if id == "bl1.heketi.lab.v" {
				want = codes.FailedPrecondition // it may be there once the pool has a heketi
			}
			if err := call(); status.Code(err) != want {
				t.Errorf("%s of %.40q: got %v; want %v", name, id, err, want)
			}
		}
	}
}

func TestDelete(t *testing.T) {
	d := newDriver(t)
	v := d.mustCreate(t, "pvc-1")
	for id, want := range map[string]codes.Code{
		"": codes.InvalidArgument, "no-such-id": codes.OK, "bl1.plain.lab.none": codes.OK,
		// It may be there, but nobody can look: to say that it is gone would lose it.
		"bl1.plain.other.v": codes.FailedPrecondition, "bl2.plain.lab.pvc-1": codes.NotFound,
		v.GetVolumeId(): codes.OK,
	} {
		if _, err := d.controller.DeleteVolume(testContext(t), &csipb.DeleteVolumeRequest{VolumeId: id}); status.Code(err) != want {
			t.Errorf("%q: got %v; want %v", id, err, want)
		}
	}
	d.cluster.CheckEmpty(t)
}

func TestExpand(t *testing.T) {
	d := newDriver(t)
	v := d.mustCreate(t, "pvc-1")
	for _, c := range []struct {
		name  string
		size  *csipb.CapacityRange
		with  *csipb.VolumeCapability
		code  codes.Code
		bytes int64
	}{
		{"no size", nil, nil, codes.InvalidArgument, 0},
		{"size zero", &csipb.CapacityRange{}, nil, codes.InvalidArgument, 0},
		{"limit below", &csipb.CapacityRange{RequiredBytes: 2 << 30, LimitBytes: 1 << 30}, nil, codes.InvalidArgument, 0},
		{"block", &csipb.CapacityRange{RequiredBytes: 2 << 30}, &csipb.VolumeCapability{AccessType: &csipb.VolumeCapability_Block{}}, codes.InvalidArgument, 0},
		{"larger", &csipb.CapacityRange{RequiredBytes: 2<<30 + 1}, capability(multiWriter), codes.OK, 2<<30 + 1<<20},
		{"smaller is no error", &csipb.CapacityRange{RequiredBytes: 1}, nil, codes.OK, 2<<30 + 1<<20},
		{"above the pool", &csipb.CapacityRange{RequiredBytes: 1 << 50}, nil, codes.OutOfRange, 0},
		{"above all sizes", &csipb.CapacityRange{RequiredBytes: 1 << 62}, nil, codes.OutOfRange, 0},
	} {
		resp, err := d.controller.ControllerExpandVolume(testContext(t), &csipb.ControllerExpandVolumeRequest{VolumeId: v.GetVolumeId(), CapacityRange: c.size, VolumeCapability: c.with})
		if status.Code(err) != c.code || resp.GetCapacityBytes() != c.bytes || resp.GetNodeExpansionRequired() {
			t.Errorf("%s: got %v, %v; want %v, %d bytes", c.name, resp, err, c.code, c.bytes)
		}
	}
}

func TestCreateAnswersAllThatANodeNeeds(t *testing.T) {
	d := newDriver(t)
	v := d.mustCreate(t, "pvc-1")
	h, err := volume.ParseHandle(v.GetVolumeId())
	if err != nil {
		t.Fatal(err)
	}
	src, err := fromContext(h, v.GetVolumeContext())
	if err != nil || len(src.Servers) < 2 || src.Volume != "pvc-1" {
		t.Errorf("got %+v, %v", src, err)
	}
	got, err := d.controller.ControllerGetVolume(testContext(t), &csipb.ControllerGetVolumeRequest{VolumeId: v.GetVolumeId()})
	if err != nil || got.GetStatus() == nil {
		t.Fatalf("got %v, %v", got, err)
	}
	if diff := cmp.Diff(v, got.GetVolume(), protocmp.Transform()); diff != "" {
		t.Errorf("get and create differ (-create +get):\n%s", diff)
	}
}

func TestValidate(t *testing.T) {
	d := newDriver(t)
	v := d.mustCreate(t, "pvc-1")
	block := &csipb.VolumeCapability{AccessType: &csipb.VolumeCapability_Block{Block: &csipb.VolumeCapability_BlockVolume{}}}
	otherServers := map[string]string{"volume": "pvc-1", "gid": v.GetVolumeContext()["gid"], "servers": "another", "csi.storage.k8s.io/pod.name": "p"}
	for _, c := range []struct {
		name      string
		caps      []*csipb.VolumeCapability
		context   map[string]string
		params    map[string]string
		confirmed bool
		says      string
	}{
		{"plain", []*csipb.VolumeCapability{capability(multiWriter)}, nil, nil, true, ""},
		{"own context and parameters", []*csipb.VolumeCapability{capability(multiWriter, "ro")}, v.GetVolumeContext(), map[string]string{"LVM": "false"}, true, ""},
		{"other servers", []*csipb.VolumeCapability{capability(multiWriter)}, otherServers, nil, true, ""},
		{"block", []*csipb.VolumeCapability{capability(multiWriter), block}, nil, nil, false, "block"},
		{"context", []*csipb.VolumeCapability{capability(multiWriter)}, map[string]string{"volume": "other", "servers": "a"}, nil, false, "volume_context"},
		{"gid", []*csipb.VolumeCapability{capability(multiWriter)}, map[string]string{"volume": "pvc-1", "servers": "a", "gid": "7"}, nil, false, "volume_context.gid"},
		{"parameters", []*csipb.VolumeCapability{capability(multiWriter)}, nil, map[string]string{"volumetype": "none"}, false, "parameters"},
		{"unknown parameter", []*csipb.VolumeCapability{capability(multiWriter)}, nil, map[string]string{"x": "y"}, false, "parameters"},
	} {
		resp, err := d.controller.ValidateVolumeCapabilities(testContext(t), &csipb.ValidateVolumeCapabilitiesRequest{
			VolumeId: v.GetVolumeId(), VolumeCapabilities: c.caps, VolumeContext: c.context, Parameters: c.params,
		})
		if err != nil || (resp.GetConfirmed() != nil) != c.confirmed || !strings.Contains(resp.GetMessage(), c.says) {
			t.Errorf("%s: got %v, %v", c.name, resp, err)
		}
	}
}

func TestListGoesOnWhereItWas(t *testing.T) {
	d := newDriver(t)
	for i := range 5 {
		d.mustCreate(t, fmt.Sprintf("pvc-%d", i))
	}
	list := func(n int32, token string) ([]string, string) {
		t.Helper()
		resp, err := d.controller.ListVolumes(testContext(t), &csipb.ListVolumesRequest{MaxEntries: n, StartingToken: token})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range resp.GetEntries() {
			names = append(names, e.GetVolume().GetVolumeContext()["volume"])
		}
		return names, resp.GetNextToken()
	}
	first, next := list(2, "")
	// The volume that the token names goes, and another comes before it.
	if _, err := d.controller.DeleteVolume(testContext(t), &csipb.DeleteVolumeRequest{VolumeId: "bl1.plain.lab.pvc-1"}); err != nil {
		t.Fatal(err)
	}
	d.mustCreate(t, "pvc-00")
	second, next := list(2, next)
	third, end := list(2, next)
	if diff := cmp.Diff([][]string{{"pvc-0", "pvc-1"}, {"pvc-2", "pvc-3"}, {"pvc-4"}}, [][]string{first, second, third}); diff != "" || end != "" {
		t.Errorf("pages (-want +got), end %q:\n%s", end, diff)
	}
	for token, want := range map[string]codes.Code{"invalid-token": codes.Aborted, "3": codes.Aborted, token(volume.Handle{}): codes.Aborted} {
		if _, err := d.controller.ListVolumes(testContext(t), &csipb.ListVolumesRequest{StartingToken: token}); status.Code(err) != want {
			t.Errorf("token %q: got %v", token, err)
		}
	}
	if _, err := d.controller.ListVolumes(testContext(t), &csipb.ListVolumesRequest{MaxEntries: -1}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("negative max_entries: got %v", err)
	}
}

func TestCapacity(t *testing.T) {
	d := newDriver(t)
	block := &csipb.VolumeCapability{AccessType: &csipb.VolumeCapability_Block{Block: &csipb.VolumeCapability_BlockVolume{}}}
	for _, c := range []struct {
		name string
		req  *csipb.GetCapacityRequest
		code codes.Code
		room bool
	}{
		{"nothing asked", &csipb.GetCapacityRequest{}, codes.OK, true},
		{"parameters", &csipb.GetCapacityRequest{Parameters: map[string]string{"volumetype": "none"}}, codes.OK, true},
		{"bad parameters", &csipb.GetCapacityRequest{Parameters: map[string]string{"volumetype": "all"}}, codes.InvalidArgument, false},
		{"block", &csipb.GetCapacityRequest{VolumeCapabilities: []*csipb.VolumeCapability{block}}, codes.OK, false},
		{"topology", &csipb.GetCapacityRequest{AccessibleTopology: &csipb.Topology{Segments: map[string]string{"a": "b"}}}, codes.InvalidArgument, false},
	} {
		resp, err := d.controller.GetCapacity(testContext(t), c.req)
		if status.Code(err) != c.code || (resp.GetAvailableCapacity() > 0) != c.room || (resp.GetMaximumVolumeSize().GetValue() > 0) != c.room {
			t.Errorf("%s: got %v, %v", c.name, resp, err)
		}
	}
}
