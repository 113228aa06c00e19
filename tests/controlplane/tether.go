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
)

const (
	etcd              = "etcd"
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"

	// workerVariable tells the tether whose death it waits for.
	workerVariable = "CONTROLPLANE_WORKER"
)

func runTethered(name string) error {
	worker, err := strconv.Atoi(os.Getenv(workerVariable))
	if err != nil {
		return fmt.Errorf("%s: %w", workerVariable, err)
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
	real := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), name)
	return fmt.Errorf("run %s: %w", real, syscall.Exec(real, append([]string{name}, os.Args[1:]...), os.Environ()))
}

// layTethers makes links by the names envtest starts, all leading to this very program.
func layTethers(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{etcd, apiServer, controllerManager} {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
