package telemetry_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"bricklayer.csi/internal/telemetry"
)

// Each call is counted under its code, and a method that nobody called counts zero.
func TestCalls(t *testing.T) {
	tele := telemetry.New("v1")
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	tele.Calls.Expect(server)
	info := &grpc.UnaryServerInfo{FullMethod: grpc_health_v1.Health_Check_FullMethodName}
	for _, err := range []error{nil, nil, status.Error(codes.Unavailable, "no"), errors.New("no status")} {
		_, got := tele.Calls.Intercept(t.Context(), nil, info, func(context.Context, any) (any, error) { return nil, err })
		if !errors.Is(got, err) {
			t.Errorf("the error of the call, %v, became %v", err, got)
		}
	}
	const want = `
# HELP grpc_server_handled_total How many calls were answered, by the gRPC code that they were answered with.
# TYPE grpc_server_handled_total counter
grpc_server_handled_total{grpc_code="OK",grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 2
grpc_server_handled_total{grpc_code="OK",grpc_method="List",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 0
grpc_server_handled_total{grpc_code="Unavailable",grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 1
grpc_server_handled_total{grpc_code="Unknown",grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 1
`
	if err := testutil.GatherAndCompare(tele.Registry, strings.NewReader(want), "grpc_server_handled_total"); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(tele.Registry, "grpc_server_handling_seconds"); n != 2 {
		t.Errorf("the durations of %d methods, want 2", n)
	}
}

// Nobody who counts nothing is asked to.
func TestNoCalls(t *testing.T) {
	var none *telemetry.Calls
	none.Expect(grpc.NewServer())
	resp, err := none.Intercept(t.Context(), nil, &grpc.UnaryServerInfo{}, func(context.Context, any) (any, error) { return 1, nil })
	if resp != 1 || err != nil {
		t.Errorf("got %v, %v", resp, err)
	}
}

func TestServe(t *testing.T) {
	address := free(t)
	tele, not := telemetry.New("v1"), make(chan error, 1)
	ready := func(ctx context.Context) error {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("the look at whether it is ready has no end")
		}
		return <-not
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tele.Serve(ctx, address, ready, slog.New(slog.DiscardHandler)) }()

	if code, page := get(t, "http://"+address+"/metrics"); code != http.StatusOK || !strings.Contains(page, `version="v1"} 1`) {
		t.Errorf("metrics: %d\n%s", code, page)
	}
	if code, _ := get(t, "http://"+address+"/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d", code)
	}
	not <- errors.New("no disk")
	if code, said := get(t, "http://"+address+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(said, "no disk") {
		t.Errorf("not ready: %d, %q", code, said)
	}
	not <- nil
	if code, _ := get(t, "http://"+address+"/readyz"); code != http.StatusOK {
		t.Errorf("ready: %d", code)
	}
	if err := tele.Serve(t.Context(), address, ready, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("on an address that is taken: %v", err)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("at the end: %v", err)
	}
	if err := tele.Serve(t.Context(), "", ready, nil); err != nil {
		t.Errorf("without an address: %v", err)
	}
}

func free(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// get returns a page once the server answers.
func get(t *testing.T, url string) (code int, page string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return resp.StatusCode, string(text)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not answer: %v", url, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
