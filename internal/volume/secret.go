package volume

import "log/slog"

// Secret is a text that never reaches a log, an error or an encoder: whatever
// prints it prints a placeholder. Reveal gives the text itself.
type Secret string

const redacted = "[redacted]"

// Reveal returns the secret text, for the one place that must send it.
func (s Secret) Reveal() string { return string(s) }

// String returns a placeholder, or nothing where there is no secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString serves %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue serves log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText serves encoding/json and its like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
