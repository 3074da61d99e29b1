package main

import (
	"cmp"
	"io"
	"log/slog"

	"github.com/spf13/pflag"

	"bricklayer.csi/internal/volume"
)

// logOptions say what is logged and how.
type logOptions struct{ level, format string }

// AddFlags adds the flags. A level that is set already is the default.
func (o *logOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.level, "log-level", cmp.Or(o.level, "info"), "the least level that is logged: debug, info, warn or error")
	fs.StringVar(&o.format, "log-format", "text", "how it is logged: text or json")
}

// Validate checks the flags.
func (o *logOptions) Validate() error {
	if _, ok := logLevels[o.level]; !ok {
		return volume.NewFieldError("--log-level", o.level, "debug, info, warn or error")
	}
	if o.format != "text" && o.format != "json" {
		return volume.NewFieldError("--log-format", o.format, "text or json")
	}
	return nil
}

var logLevels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// logger returns a logger to w. The options have been validated.
func (o *logOptions) logger(w io.Writer) *slog.Logger {
	how := &slog.HandlerOptions{Level: logLevels[o.level]}
	if o.format == "json" {
		return slog.New(slog.NewJSONHandler(w, how))
	}
	return slog.New(slog.NewTextHandler(w, how))
}
