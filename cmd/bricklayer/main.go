// Command bricklayer is everything that Bricklayer runs: the controller, the
// node service, the agent of a storage node, and the administrator's commands.
//
// It owns flags, the environment, wiring and exit codes, and nothing else in
// this repository touches those. It refuses to know how anything is done: each
// verb is a small file that reads its options and makes one call.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"k8s.io/client-go/kubernetes"

	"bricklayer.csi/api/client/versioned"
	"bricklayer.csi/internal/doctor/host"
)

// version is set when the program is linked (see the Makefile).
var version = "unknown"

// environment is what a verb may use of the process it runs in. Tests hand in
// their own.
type environment struct {
	// program is the name by which the process was called, without its directory.
	program  string
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
	// dial reaches the agents of a pool.
	dial func(o *poolsOptions, pool string) (agents, error)
	// kubernetes is the API server to use, in tests; nil for the one that flags name.
	kubernetes kubernetes.Interface
	// storagePools is the same for StoragePool objects.
	storagePools versioned.Interface
	// host is the machine that doctor looks at, in tests; nil for the one that this runs on.
	host *host.Host
}

func main() {
	env := environment{program: filepath.Base(os.Args[0]), in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv, dial: (*poolsOptions).dial}
	os.Exit(run(context.Background(), env, os.Args[1:]))
}

// run carries out one command line and returns the exit code. The first
// SIGTERM or SIGINT ends the context; a second one ends the process at once.
func run(ctx context.Context, env environment, args []string) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	defer context.AfterFunc(ctx, stop)()

	root := newRoot(env)
	if env.program == kubectlPlugin {
		root = newKubectl(env)
	}
	settle(root, env)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	return report(ctx, env.err, cmd, err)
}
