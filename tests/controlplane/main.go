// Starts a fresh control plane, says where it is, takes commands, and stops it all when its standard input closes.
//
// Three parts play together:
//
//   - the supervisor is what a caller starts; it outlives the worker and cleans up after it (supervisor.go);
//   - the worker, a program of its own, starts the control plane and answers commands (worker/);
//   - the tether is this program under another name; the worker starts it in place of etcd and the others (tether.go).
package main

import (
	"os"
	"path/filepath"

	"savepoint/tests/controlplane/internal/run"
)

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case run.Etcd, run.APIServer, run.ControllerManager:
		run.Fail(becomeTethered(name))
	default:
		os.Exit(supervise(run.MustParse()))
	}
}
