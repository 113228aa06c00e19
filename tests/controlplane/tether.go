// The tether: becomes etcd or kube-apiserver, after asking the kernel to kill it when the worker dies.
// envtest starts programs by path and leaves no way to ask for that from outside.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"savepoint/tests/controlplane/internal/run"
)

// becomeTethered returns only when it fails.
func becomeTethered(name string) error {
	worker, err := strconv.Atoi(os.Getenv(run.WorkerVariable))
	if err != nil {
		return fmt.Errorf("%s: %w", run.WorkerVariable, err)
	}
	// The request belongs to the thread that makes it and stays with the thread that calls exec.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("tether to the worker: %w", err)
	}
	// It may have died before we asked.
	if os.Getppid() != worker {
		return errors.New("the worker is gone")
	}
	real := filepath.Join(os.Getenv(run.AssetsVariable), name)
	return fmt.Errorf("run %s: %w", real, syscall.Exec(real, append([]string{name}, os.Args[1:]...), os.Environ()))
}
