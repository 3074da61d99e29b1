package csi

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"bricklayer.csi/internal/trace"
	"bricklayer.csi/internal/volume"
)

// interceptors is the stack around every call, outermost first. What a call
// returns rises through it: a panic becomes an error, an error gets its code,
// the code is logged under the request's ID.
func interceptors(log *slog.Logger) grpc.ServerOption {
	return grpc.ChainUnaryInterceptor(
		withRequestID,
		logCalls(log),
		withCodes,
		withoutPanics(log),
	)
}

// requestIDKey carries a request's ID between processes; agents log it too.
const requestIDKey = "x-request-id"

type requestIDContextKey struct{}

// RequestID returns the ID of the request that ctx belongs to, or "".
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDContextKey{}).(string)
	return id
}

// withRequestID takes the caller's request ID, or makes one, and passes it on
// to whatever the handler calls.
func withRequestID(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	id := rand.Text()[:16]
	if given := metadata.ValueFromIncomingContext(ctx, requestIDKey); len(given) == 1 && isRequestID(given[0]) {
		id = given[0]
	}
	ctx = context.WithValue(ctx, requestIDContextKey{}, id)
	trace.Request(ctx, id)
	return next(metadata.AppendToOutgoingContext(ctx, requestIDKey, id), req)
}

func isRequestID(s string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	return s != "" && len(s) <= 64 && strings.Trim(s, allowed) == ""
}

// logCalls logs how each call ended and, at debug level, what it asked,
// without its secrets.
func logCalls(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		log := log.With("method", methodName(info.FullMethod), "request_id", RequestID(ctx))
		log.DebugContext(ctx, "call begins", "request", stripped{req})
		began := time.Now()
		resp, err := next(ctx, req)
		attrs := []slog.Attr{slog.String("code", status.Code(err).String()), slog.Duration("took", time.Since(began))}
		attrs = append(attrs, subject(req)...)
		if err != nil {
			attrs = append(attrs, slog.String("error", status.Convert(err).Message()))
		}
		log.LogAttrs(ctx, levelOf(info.FullMethod, status.Code(err)), "call ended", attrs...)
		return resp, err
	}
}

// subject names the volume that a request is about.
func subject(req any) []slog.Attr {
	var attrs []slog.Attr
	if r, ok := req.(interface{ GetVolumeId() string }); ok {
		attrs = append(attrs, slog.String("volume_id", r.GetVolumeId()))
	}
	if r, ok := req.(interface{ GetName() string }); ok {
		attrs = append(attrs, slog.String("name", r.GetName()))
	}
	return attrs
}

// levelOf keeps what orchestrators ask all the time out of the log while it goes well.
func levelOf(method string, code codes.Code) slog.Level {
	switch code {
	case codes.OK:
		for _, often := range []string{"/Probe", "Capabilities", "/GetPluginInfo", "Health", "/NodeGetVolumeStats", "/NodeGetInfo", "/GetCapacity", "/ListVolumes"} {
			if strings.Contains(method, often) {
				return slog.LevelDebug
			}
		}
		return slog.LevelInfo
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return slog.LevelError
	default:
		return slog.LevelWarn
	}
}

func methodName(full string) string { return full[strings.LastIndexByte(full, '/')+1:] }

// withCodes gives every error its gRPC code.
func withCodes(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	resp, err := next(ctx, req)
	if err != nil {
		return nil, toStatus(err)
	}
	return resp, nil
}

// withoutPanics makes a panic an internal error of this one call.
func withoutPanics(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
		defer func() {
			if p := recover(); p != nil {
				log.ErrorContext(ctx, "panic", "method", methodName(info.FullMethod), "request_id", RequestID(ctx),
					"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				resp, err = nil, &volume.Error{
					Kind: volume.Internal, Op: methodName(info.FullMethod),
					Err: fmt.Errorf("a fault in this program"), Next: "report it with the log of request " + RequestID(ctx),
				}
			}
		}()
		return next(ctx, req)
	}
}
