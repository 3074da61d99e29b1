package bench

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// spend has time pass in the bubble of a test.
func spend(seconds int) { <-time.After(time.Duration(seconds) * time.Second) }

// Calls of one step on several nodes count once, for as long as one of them runs,
// and what lies between calls is the rest.
func TestStepsAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took, err := watched(t.Context(), func(ctx context.Context) error {
			spend(5) // its turn
			first, second := During(ctx, StepBricks), During(ctx, StepBricks)
			spend(2)
			first()
			spend(1)
			second()
			spend(4) // nothing runs
			create := During(ctx, StepCreate)
			spend(2)
			status := During(ctx, StepStatus) // while the other runs: only one counts
			spend(1)
			create()
			spend(3)
			status()
			return errors.New("whatever came of it")
		})
		if err == nil {
			t.Error("the error is lost")
		}
		want := Took{Whole: 18 * time.Second, Steps: map[Step]time.Duration{
			StepTurn: 5 * time.Second, StepBricks: 3 * time.Second, StepRest: 4 * time.Second, StepCreate: 3 * time.Second, StepStatus: 3 * time.Second,
		}}
		if diff := cmp.Diff(want, took); diff != "" {
			t.Errorf("steps (-want +got):\n%s", diff)
		}
		var all time.Duration
		for _, d := range took.Steps {
			all += d
		}
		if all != took.Whole {
			t.Errorf("the steps are %v and the whole %v", all, took.Whole)
		}
	})
}

func TestNobodyTellsOfSteps(t *testing.T) {
	took, err := watched(t.Context(), func(context.Context) error { return nil })
	if err != nil || took.Steps != nil {
		t.Errorf("%+v, %v: want no steps, rather than all of it a turn", took, err)
	}
	During(t.Context(), StepLook)() // nobody measures: nothing to do
	if mean := meanSteps([]Took{{Steps: map[Step]time.Duration{StepLook: 1}}, {}}); mean != nil {
		t.Errorf("%v: want none where one volume does not tell", mean)
	}
	mean := meanSteps([]Took{{Steps: map[Step]time.Duration{StepLook: 4 * time.Second}}, {Steps: map[Step]time.Duration{StepLook: 2 * time.Second, StepSet: time.Second}}})
	if diff := cmp.Diff(map[Step]float64{StepLook: 3, StepSet: 0.5}, mean); diff != "" {
		t.Errorf("mean (-want +got):\n%s", diff)
	}
}
