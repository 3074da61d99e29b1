package lab

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

// TestName is the lab that tests share where the -lab flag names no other.
const TestName = "test"

var labFlag = flag.String("lab", TestName, "lab that the tests run in; brought up if it is not, and left up")

// current is set once, before the tests run.
var current *Lab

// Main is the body of TestMain in packages whose tests run on real nodes:
//
//	func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }
//
// It brings the tests' lab up, then runs the test program anew inside the lab's
// network, where tests dial the nodes and mount volumes like any program. The lab
// is left up: the next package uses it too.
func Main(m interface{ Run() int }) int {
	flag.Parse()
	if err := CheckName(*labFlag); err != nil {
		return failed(err)
	}
	ino := netnsInode(paths{*labFlag}.netns())
	if ino != 0 && ino == netnsOf(os.Getpid()) {
		l, err := Open(*labFlag)
		if err != nil {
			return failed(err)
		}
		current = l
		return m.Run()
	}
	return failed(enter(*labFlag))
}

// Current is the lab that the tests run in.
// It is nil outside of [Main].
func Current() *Lab { return current }

func failed(err error) int {
	fmt.Fprintln(os.Stderr, "lab tests:", err)
	return 1
}

// emptied resets a lab in which an earlier test left a volume: that test has
// failed and said so, and those of other packages shall not fail with it.
func (l *Lab) emptied(ctx context.Context) error {
	out, err := l.Exec(ctx, l.nodes[0].Name, "sh", "-c", "gluster volume list 2>/dev/null || true")
	if err != nil {
		return err
	}
	left := strings.TrimSpace(string(out))
	if left == "" {
		return nil
	}
	l.say("an earlier test left these volumes, so the lab is reset first: %s", strings.Join(strings.Fields(left), ", "))
	return l.Reset(ctx)
}

// enter replaces this process by the same one in the lab's network. It comes back
// only if that fails.
func enter(name string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	config, err := ConfigOf(name)
	if err == nil {
		fmt.Fprintf(os.Stderr, "lab tests run in lab %q; take it down with: go run ./cmd/lab down --name %s\n", name, name)
		var l *Lab
		if l, err = Up(ctx, config, os.Stderr); err == nil {
			err = l.emptied(ctx)
		}
	}
	stop()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	argv := newLab(config, newProgress(nil)).hostArgv(append([]string{self}, os.Args[1:]...)...)
	nsenter, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	return syscall.Exec(nsenter, argv, os.Environ()) //nolint:forbidigo // the same program, with all that it was given
}
