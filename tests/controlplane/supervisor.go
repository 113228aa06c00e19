// The supervisor: starts the worker, relays the caller's input to it, and cleans up when the worker has ended,
// however it ended. It does nothing that could fail half-way, so that it is there when the worker fails.
package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"savepoint/tests/controlplane/internal/run"
)

const (
	// workerName is the program that lies beside this one.
	workerName = "controlplane-worker"
	dirPrefix  = "savepoint-controlplane-"

	// patience is how long a worker that was told to stop may take before it is killed.
	patience = 20 * time.Second
)

func supervise(options run.Options) int {
	// A caller that is gone must not take us with it: there is still something to clean up.
	signal.Ignore(syscall.SIGPIPE)
	sweep(options.Parent)
	// What the worker leaves behind becomes ours, not init's.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		run.Fail(fmt.Errorf("become the one who inherits orphans: %w", err))
	}
	dir, lock, err := makeDir(options.Parent)
	if err != nil {
		run.Fail(err)
	}
	status := runWorker(dir, lock)
	buryOrphans()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintf(os.Stderr, "controlplane: %v\n", err)
	}
	return status
}

// runWorker returns when the worker has ended. Closing the worker's input is how it is told to stop; that end of
// the pipe is held by this process only, so the worker is told as well when this process is killed.
func runWorker(dir string, lock *os.File) int {
	// Asked for first: a signal between here and the start must not end us.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)

	self, err := os.Executable()
	if err != nil {
		run.Fail(err)
	}
	worker := exec.Command(filepath.Join(filepath.Dir(self), workerName), os.Args[1:]...)
	worker.Env = append(os.Environ(),
		run.DirVariable+"="+dir,
		run.SupervisorVariable+"="+self,
		// Whatever the worker or what it starts puts into a temporary or cache folder goes with ours.
		"TMPDIR="+dir,
		"XDG_CACHE_HOME="+dir,
	)
	worker.Stdout, worker.Stderr = os.Stdout, os.Stderr
	worker.ExtraFiles = []*os.File{lock}
	// Out of reach of what is sent to our whole group, such as the terminal's Ctrl-C or a caller's kill.
	worker.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	input, err := worker.StdinPipe()
	if err != nil {
		run.Fail(err)
	}
	if err := worker.Start(); err != nil {
		_ = os.RemoveAll(dir)
		run.Fail(fmt.Errorf("start the worker: %w", err))
	}

	var once sync.Once
	tellToStop := func() {
		once.Do(func() {
			_ = input.Close()
			time.AfterFunc(patience, func() { _ = worker.Process.Kill() })
		})
	}
	go func() {
		_, _ = io.Copy(input, os.Stdin)
		tellToStop()
	}()
	go func() {
		<-signals
		tellToStop()
	}()
	go func() {
		waitForAnotherParent()
		tellToStop()
	}()

	if err := worker.Wait(); err != nil {
		if exit := worker.ProcessState; exit != nil && exit.Exited() {
			return exit.ExitCode() // it has said why
		}
		fmt.Fprintf(os.Stderr, "controlplane: the worker ended (%v); what it started is stopped\n", err)
		return 1
	}
	return 0
}

// waitForAnotherParent returns when the process that started us is gone. The pipe usually says so first,
// but not if that process had handed its end of it on.
func waitForAnotherParent() {
	parent := os.Getppid()
	for os.Getppid() == parent {
		time.Sleep(250 * time.Millisecond)
	}
}

// buryOrphans kills and reaps what the worker left, and what that left, until nothing is.
func buryOrphans() {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		run.KillChildren()
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if err == syscall.ECHILD {
				return
			}
			if pid <= 0 && err != syscall.EINTR {
				break
			}
		}
	}
}

// makeDir makes the run's folder and locks it. The worker and what it starts inherit the lock, so the folder is
// unlocked only when nothing of the run lives.
func makeDir(parent string) (string, *os.File, error) {
	dir, err := os.MkdirTemp(parent, dirPrefix)
	if err != nil {
		return "", nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		_ = os.RemoveAll(dir)
		return "", nil, err
	}
	return dir, lock, nil
}

func lockDir(dir string) (*os.File, error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return file, nil
}

// sweep removes the folders of runs whose supervisor and worker were killed at the same moment: then nobody was
// left to do it. A folder just made may not be locked yet, so only those that have rested a while count.
func sweep(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, dirPrefix+"*"))
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < 5*time.Second {
			continue
		}
		if lock, err := lockDir(dir); err == nil {
			_ = os.RemoveAll(dir)
			lock.Close()
		}
	}
}
