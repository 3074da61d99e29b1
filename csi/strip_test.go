package csi

import (
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const hush = "hush-hush"

// TestNoSecretIsLogged sends secrets through every door and looks for them in
// the whole debug log.
func TestNoSecretIsLogged(t *testing.T) {
	d := newDriver(t)
	ctx := metadata.AppendToOutgoingContext(testContext(t), requestIDKey, "my-request-1")
	secrets := map[string]string{"password": hush, "anything": hush}
	create := createRequest("pvc-1")
	create.Secrets = secrets
	create.Parameters = map[string]string{"restuserkey": hush, "RestUserKey": hush}
	create.VolumeCapabilities = append(create.VolumeCapabilities, capability(csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, "password="+hush[:4]))
	_, _ = d.controller.CreateVolume(ctx, create)
	_, _ = d.controller.DeleteVolume(ctx, &csipb.DeleteVolumeRequest{VolumeId: "bl1.plain.lab.x", Secrets: secrets})
	_, _ = d.controller.ControllerExpandVolume(ctx, &csipb.ControllerExpandVolumeRequest{VolumeId: "x", Secrets: secrets})
	_, _ = d.controller.ValidateVolumeCapabilities(ctx, &csipb.ValidateVolumeCapabilitiesRequest{VolumeId: "x", Secrets: secrets, Parameters: create.GetParameters()})
	_, _ = d.node.NodeStageVolume(ctx, &csipb.NodeStageVolumeRequest{
		VolumeId: "x", Secrets: secrets,
		VolumeContext: map[string]string{"csi.storage.k8s.io/serviceAccount.tokens": hush},
	})
	_, _ = d.node.NodePublishVolume(ctx, &csipb.NodePublishVolumeRequest{VolumeId: "x", Secrets: secrets})
	log := d.log.String()
	if strings.Contains(log, hush) {
		t.Errorf("a secret is in the log:\n%s", log)
	}
	for _, want := range []string{"my-request-1", `anything\":\"[redacted]`, "pvc-1", "CreateVolume", "code=InvalidArgument"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
}

// TestEverySecretFieldIsStripped walks all messages of the spec.
func TestEverySecretFieldIsStripped(t *testing.T) {
	marked := 0
	messages := csipb.File_csi_proto.Messages()
	for i := range messages.Len() {
		fields := messages.Get(i).Fields()
		for j := range fields.Len() {
			f := fields.Get(j)
			if f.Name() == "secrets" != isSecret(f) && f.Name() != "mount_flags" {
				t.Errorf("%s: secret %v", f.FullName(), isSecret(f))
			}
			if isSecret(f) && (!f.IsMap() || f.MapValue().Kind() != protoreflect.StringKind) {
				t.Errorf("%s is a secret of a shape that nobody looked at", f.FullName())
			}
			if isSecret(f) {
				marked++
			}
		}
	}
	if marked < 10 {
		t.Errorf("only %d secret fields found", marked)
	}
}

func TestStripLeavesTheRequestAlone(t *testing.T) {
	req := createRequest("pvc-1")
	req.Secrets = map[string]string{"a": hush}
	strip(req)
	if req.GetSecrets()["a"] != hush {
		t.Error("the request itself was changed")
	}
}

func TestRequestIDs(t *testing.T) {
	for id, want := range map[string]bool{"abc-1_X": true, "": false, "a b": false, "a\nb": false, strings.Repeat("a", 65): false} {
		if got := isRequestID(id); got != want {
			t.Errorf("%q: got %v", id, got)
		}
	}
}
