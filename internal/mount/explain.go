package mount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"bricklayer.csi/internal/volume"
)

const (
	logLimit    = 8 << 20  // how large a log may be when another client is started
	logTail     = 64 << 10 // how much of a log is read
	logMessages = 3        // how many of its messages are shown
	maxShown    = 300      // how much of a message is shown
)

// logLine is a warning, error or critical line of a Gluster log: time, level, optional message ID, place, text.
var logLine = regexp.MustCompile(`^\[[^\]]*\] [WEC] (?:\[MSGID: \d+\] )?\[[^\]]*\] (.*)$`)

// signs are what the client's log says of the commonest reasons, each with its
// kind and what to do. Gluster gives no other, typed answer.
var signs = []struct {
	text string
	kind volume.Kind
	next string
}{
	{"failed to get the 'volume file'", volume.NotFound, "see whether the volume exists: gluster volume info"},
	{"failed to fetch volume file", volume.NotFound, "see whether the volume exists: gluster volume info"},
	{"Authentication failed", volume.Denied, "see whether this node's address is in the pool's client networks (auth.allow)"},
	{"DNS resolution failed", volume.Unavailable, "see whether this node resolves the names of the storage nodes"},
	{"ransport endpoint is not connected", volume.Unavailable, "see whether the volume is started and its bricks are online: gluster volume status"},
}

// explain turns a failed mount into an error with what the client wrote.
func explain(src Source, target string, cause error, messages []string, logPath string) error {
	e := &volume.Error{Kind: volume.Internal, Op: "mount volume " + src.Volume, On: target, Err: cause, Next: "read " + logPath}
	if errors.Is(cause, context.DeadlineExceeded) || errors.Is(cause, context.Canceled) {
		e.Kind, e.Err = volume.Unavailable, fmt.Errorf("the mount did not answer in time: %w", cause)
	}
	if len(messages) > 0 {
		e.Err = fmt.Errorf("%w; the client says: %s", e.Err, strings.Join(messages[max(0, len(messages)-logMessages):], "; "))
	}
	all := strings.Join(append(messages, cause.Error()), "\n")
	for _, s := range signs {
		if strings.Contains(all, s.text) {
			e.Kind, e.Next = s.kind, s.next
			break
		}
	}
	return e
}

// clientLog is a log file and how long it was before our client wrote to it.
type clientLog struct {
	path string
	from int64
}

func openLog(dir, name string) (clientLog, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return clientLog{}, err
	}
	log := clientLog{path: filepath.Join(dir, name+".log")}
	info, err := os.Lstat(log.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return log, nil
	case err != nil:
		return clientLog{}, err
	case info.Size() > logLimit:
		return log, os.Rename(log.path, log.path+".1")
	}
	log.from = info.Size()
	return log, nil
}

// tail returns the warnings and errors that the client wrote, each once, oldest first.
func (l clientLog) tail() []string {
	file, err := os.Open(l.path)
	if err != nil {
		return nil
	}
	defer file.Close()
	if _, err := file.Seek(l.from, io.SeekStart); err != nil {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(file, logTail))
	if err != nil {
		return nil
	}
	return messagesOf(string(text))
}

func messagesOf(text string) []string {
	var messages []string
	for line := range strings.Lines(text) {
		found := logLine.FindStringSubmatch(strings.TrimSpace(line))
		if found == nil || strings.Contains(line, "cleanup_and_exit") {
			continue
		}
		if m := shown(found[1]); !slices.Contains(messages, m) {
			messages = append(messages, m)
		}
	}
	return messages
}

// shown makes what a client wrote fit for an error: servers can put any bytes there.
func shown(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "")
	}
	return text
}
