package plain

import (
	"context"
	"testing"

	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/internal/lifecycle"
	"bricklayer.csi/internal/volume"
)

// Whatever happens at whichever step of a create, the repeated call makes the
// one volume, with nothing beside it.
func TestCreateInterruptedAnywhere(t *testing.T) {
	spec := testSpec(t, "pvc-1", volume.GiB)
	interrupt(t,
		func(*testing.T, *agenttest.Cluster) {},
		func(ctx context.Context, s *lifecycle.Service) error {
			_, err := s.Create(ctx, spec)
			return err
		},
		func(t *testing.T, c *agenttest.Cluster, _ error) {
			v, err := newService(t, c).Create(testContext(t), spec)
			if err != nil {
				t.Fatalf("the repeated call: %v\n%s", err, c.Leftovers())
			}
			wantOne(t, c, spec, v.Size)
		})
}

// A create that is given up after an interruption leaves nothing once it is deleted.
func TestCreateInterruptedThenDeleted(t *testing.T) {
	spec := testSpec(t, "pvc-1", volume.GiB)
	interrupt(t,
		func(*testing.T, *agenttest.Cluster) {},
		func(ctx context.Context, s *lifecycle.Service) error {
			_, err := s.Create(ctx, spec)
			return err
		},
		func(t *testing.T, c *agenttest.Cluster, before error) {
			if before != nil && volume.KindOf(before).Definite() {
				c.CheckEmpty(t) // a failure for certain has undone itself
			}
			if err := newService(t, c).Delete(testContext(t), spec.Handle()); err != nil {
				t.Fatalf("delete: %v\n%s", err, c.Leftovers())
			}
			c.CheckEmpty(t)
		})
}

// A create of another size after an interruption makes the new size, and only it.
func TestCreateInterruptedThenAnotherSize(t *testing.T) {
	first, second := testSpec(t, "pvc-1", volume.GiB), testSpec(t, "pvc-1", 2*volume.GiB)
	interrupt(t,
		func(*testing.T, *agenttest.Cluster) {},
		func(ctx context.Context, s *lifecycle.Service) error {
			_, err := s.Create(ctx, first)
			return err
		},
		func(t *testing.T, c *agenttest.Cluster, _ error) {
			s := newService(t, c)
			v, err := s.Create(testContext(t), second)
			if volume.Is(err, volume.Exists) {
				// The first had come so far that the name is taken, as for a finished one.
				if err := s.Delete(testContext(t), second.Handle()); err != nil {
					t.Fatal(err)
				}
				c.CheckEmpty(t)
				return
			}
			if err != nil {
				t.Fatalf("the call for another size: %v\n%s", err, c.Leftovers())
			}
			wantOne(t, c, second, v.Size)
		})
}

func TestExpandInterruptedAnywhere(t *testing.T) {
	spec := testSpec(t, "pvc-1", volume.GiB)
	larger := volume.SizeRange{Required: 3 * volume.GiB}
	interrupt(t,
		func(t *testing.T, c *agenttest.Cluster) { mustCreate(t, newBackend(t, c), spec) },
		func(ctx context.Context, s *lifecycle.Service) error {
			_, err := s.Expand(ctx, spec.Handle(), larger)
			return err
		},
		func(t *testing.T, c *agenttest.Cluster, before error) {
			s := newService(t, c)
			if before != nil && volume.KindOf(before).Definite() {
				if h, err := s.Health(testContext(t), spec.Handle()); err != nil || len(h.Problems) > 0 {
					t.Errorf("after a refused expand: %+v, %v", h.Problems, err)
				}
			}
			v, err := s.Expand(testContext(t), spec.Handle(), larger)
			if err != nil || v.Size != larger.Required {
				t.Fatalf("the repeated call: %+v, %v", v, err)
			}
			wantOne(t, c, spec, larger.Required)
		})
}

func TestDeleteInterruptedAnywhere(t *testing.T) {
	spec := testSpec(t, "pvc-1", volume.GiB)
	interrupt(t,
		func(t *testing.T, c *agenttest.Cluster) { mustCreate(t, newBackend(t, c), spec) },
		func(ctx context.Context, s *lifecycle.Service) error { return s.Delete(ctx, spec.Handle()) },
		func(t *testing.T, c *agenttest.Cluster, _ error) {
			if err := newService(t, c).Delete(testContext(t), spec.Handle()); err != nil {
				t.Fatalf("the repeated call: %v\n%s", err, c.Leftovers())
			}
			c.CheckEmpty(t)
		})
}

// A delete that was interrupted and a new claim of the same name do not meet:
// the new volume holds nothing of the old one.
func TestDeleteInterruptedThenCreated(t *testing.T) {
	spec := testSpec(t, "pvc-1", volume.GiB)
	interrupt(t,
		func(t *testing.T, c *agenttest.Cluster) { mustCreate(t, newBackend(t, c), spec) },
		func(ctx context.Context, s *lifecycle.Service) error { return s.Delete(ctx, spec.Handle()) },
		func(t *testing.T, c *agenttest.Cluster, _ error) {
			s := newService(t, c)
			v, err := s.Create(testContext(t), spec)
			if volume.Is(err, volume.Exists) {
				// Stopped and no further: the name is free once the delete is repeated.
				if err := s.Delete(testContext(t), spec.Handle()); err != nil {
					t.Fatal(err)
				}
				c.CheckEmpty(t)
				return
			}
			if err != nil {
				t.Fatalf("create: %v\n%s", err, c.Leftovers())
			}
			wantOne(t, c, spec, v.Size)
		})
}

// A deletion that shall keep the data keeps them also if it was cut short after
// Gluster forgot the volume; a create that comes between does not destroy them.
func TestArchiveInterruptedAnywhere(t *testing.T) {
	spec := testSpec(t, "pvc-1", volume.GiB, "onDelete", "archive")
	for _, between := range []bool{false, true} {
		interrupt(t,
			func(t *testing.T, c *agenttest.Cluster) { mustCreate(t, newBackend(t, c), spec) },
			func(ctx context.Context, s *lifecycle.Service) error { return s.Delete(ctx, spec.Handle()) },
			func(t *testing.T, c *agenttest.Cluster, _ error) {
				s := newService(t, c)
				if between {
					if _, err := s.Create(testContext(t), spec); err != nil && !volume.Is(err, volume.Exists) {
						t.Fatalf("create: %v", err)
					}
				}
				if err := s.Delete(testContext(t), spec.Handle()); err != nil {
					t.Fatalf("the repeated call: %v\n%s", err, c.Leftovers())
				}
				left := c.Leftovers()
				if len(left.Archive) < 3 || len(left.Trash) != 0 || len(left.Bricks) != 0 || len(left.Volumes) != 0 {
					t.Errorf("left:\n%s", left)
				}
			})
	}
}
