package csi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"bricklayer.csi/internal/volume"
)

func TestEveryProblemHasAStatus(t *testing.T) {
	for _, k := range volume.ProblemKinds() {
		if _, known := healthOf[k]; !known {
			t.Errorf("%s has no status", k)
		}
	}
	if len(healthOf) != len(volume.ProblemKinds()) {
		t.Errorf("the table has %d entries for %d kinds", len(healthOf), len(volume.ProblemKinds()))
	}
}

func TestHealthIsConverted(t *testing.T) {
	h := volume.Handle{Backend: volume.Plain, Pool: "lab", Name: "v"}
	got := toHealth(volume.Health{Handle: h, Problems: []volume.Problem{
		{Kind: volume.BrickDown, Detail: "n1"},
		{Kind: volume.SplitBrain, Detail: "2 files"},
		{Kind: volume.BrickDown, Detail: "n2"},
		{Kind: volume.QuorumLost, Detail: "1 of 3"},
		{Kind: "NewProblem", Detail: "of another version"},
	}})
	want := &csipb.VolumeHealth{VolumeId: h.String(), HealthStatuses: []*csipb.VolumeHealth_VolumeHealthEntry{
		{Status: csipb.VolumeHealthErrorType_DEGRADED, Reason: "BrickDown", Message: "n1; n2"},
		{Status: csipb.VolumeHealthErrorType_DATA_LOSS, Reason: "SplitBrain", Message: "2 files"},
		{Status: csipb.VolumeHealthErrorType_INACCESSIBLE, Reason: "QuorumLost", Message: "1 of 3"},
		{Status: csipb.VolumeHealthErrorType_DEGRADED, Reason: "NewProblem", Message: "of another version"},
	}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// patients are nine volumes, of which every third is ill and the last cannot be looked at.
type patients struct{ Volumes }

func (patients) List(context.Context) ([]volume.Volume, error) {
	var all []volume.Volume
	for i := range 9 {
		all = append(all, volume.Volume{Handle: volume.Handle{Backend: volume.Plain, Pool: "lab", Name: fmt.Sprintf("v%d", i)}})
	}
	return all, nil
}

func (patients) Health(_ context.Context, h volume.Handle) (volume.Health, error) {
	switch h.Name {
	case "v0", "v3", "v6":
		return volume.Health{Handle: h, Problems: []volume.Problem{{Kind: volume.HealPending}}}, nil
	case "v7":
		return volume.Health{}, &volume.Error{Kind: volume.NotFound, Err: errors.New("deleted meanwhile")}
	case "v8":
		return volume.Health{}, &volume.Error{Kind: volume.Unavailable, Err: errors.New("no agent answers")}
	}
	return volume.Health{Handle: h}, nil
}

func TestTheIllAreListedPageByPage(t *testing.T) {
	c := NewController(patients{}, slog.New(slog.DiscardHandler))
	for _, most := range []int32{0, 1, 2, 3, 4} {
		var got []string
		token := ""
		for pages := 0; ; pages++ {
			resp, err := c.ControllerListVolumeHealth(t.Context(), &csipb.ControllerListVolumeHealthRequest{MaxEntries: most, StartingToken: token})
			if err != nil {
				t.Fatal(err)
			}
			if most > 0 && len(resp.GetEntries()) > int(most) || pages > 9 {
				t.Fatalf("max_entries %d: page %d has %d entries", most, pages, len(resp.GetEntries()))
			}
			for _, e := range resp.GetEntries() {
				got = append(got, e.GetVolumeId()+" "+e.GetHealthStatuses()[0].GetReason())
			}
			if token = resp.GetNextToken(); token == "" {
				break
			}
		}
		want := []string{"bl1.plain.lab.v0 HealPending", "bl1.plain.lab.v3 HealPending", "bl1.plain.lab.v6 HealPending", "bl1.plain.lab.v8 Unknown"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("max_entries %d (-want +got):\n%s", most, diff)
		}
	}
}
