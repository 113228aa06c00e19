// Whatever ends a run, nothing of it stays behind.
package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"savepoint/tests/controlplane/internal/run"
)

func TestNothingStaysBehind(t *testing.T) {
	cases := []struct {
		when string
		kind string
		end  func(o *owned)
	}{
		{"the input closes", relays, func(o *owned) { _ = o.input.Close() }},
		{"the owner is killed", relays, func(o *owned) { _ = o.owner.Process.Kill() }},
		{"the owner is killed and somebody else holds the input open", inherits, func(o *owned) { _ = o.owner.Process.Kill() }},
		{"the supervisor is killed", relays, func(o *owned) { o.kill("controlplane") }},
		{"the worker is killed", relays, func(o *owned) { o.kill("controlplane-worker") }},
		{"the supervisor is told to stop", relays, func(o *owned) { _ = syscall.Kill(o.processes()["controlplane"], syscall.SIGTERM) }},
		{"the worker is told to stop", relays, func(o *owned) { _ = syscall.Kill(o.processes()["controlplane-worker"], syscall.SIGTERM) }},
	}
	for _, c := range cases {
		t.Run(c.when, func(t *testing.T) {
			o := launchReady(t, c.kind, t.TempDir())
			expectAllRunning(t, o)
			c.end(o)
			o.expectNoProcesses()
			o.expectEmptyParent()
		})
	}
}

// expectAllRunning keeps the tests honest: what they do not find at the end they must have seen before.
func expectAllRunning(t *testing.T, o *owned) {
	t.Helper()
	expected := []string{"controlplane", "controlplane-worker", run.Etcd, run.APIServer}
	if hasControllerManager() {
		expected = append(expected, run.ControllerManager)
	}
	running := o.processes()
	for _, name := range expected {
		if running[name] == 0 {
			t.Fatalf("no %s among %v", name, running)
		}
	}
	if _, err := os.Stat(o.ready.Dir); err != nil {
		t.Fatal(err)
	}
}

func TestNothingStaysBehindOfAStart(t *testing.T) {
	for _, part := range []string{"controlplane-worker", run.Etcd, run.APIServer} {
		t.Run("the owner is killed when there is "+part, func(t *testing.T) {
			o := launch(t, relays, t.TempDir())
			eventually(t, func() error {
				if o.processes()[part] == 0 {
					return os.ErrNotExist
				}
				return nil
			})
			_ = o.owner.Process.Kill()
			o.expectNoProcesses()
			o.expectEmptyParent()
		})
	}
}

// With both gone nobody is left to remove the folder, so the next run does.
func TestNextRunSweepsWhatNobodyCould(t *testing.T) {
	parent := t.TempDir()
	first := launchReady(t, relays, parent)
	expectAllRunning(t, first)
	first.kill("controlplane", "controlplane-worker")
	first.expectNoProcesses()
	eventually(t, func() error { // a process gives up its files a little after it has gone from the list
		lock, err := lockDir(first.ready.Dir)
		if err == nil {
			err = lock.Close()
		}
		return err
	})

	rested := time.Now().Add(-time.Minute)
	if err := os.Chtimes(first.ready.Dir, rested, rested); err != nil {
		t.Fatal(err)
	}
	second := launchReady(t, relays, parent)
	if left, _ := filepath.Glob(filepath.Join(parent, "*")); len(left) != 1 || left[0] != second.ready.Dir {
		t.Fatalf("expected only %s, found %v", second.ready.Dir, left)
	}

	// A run that lives is left alone, however long it has rested.
	if err := os.Chtimes(second.ready.Dir, rested, rested); err != nil {
		t.Fatal(err)
	}
	third := launchReady(t, relays, parent)
	if _, err := os.Stat(second.ready.Kubeconfigs["admin"]); err != nil {
		t.Fatal(err)
	}
	_ = second.input.Close()
	_ = third.input.Close()
	third.expectNoProcesses()
	third.expectEmptyParent()
}
