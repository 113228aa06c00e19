// How the tests start the program: by an owner of their own, a process that can be killed.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"savepoint/tests/controlplane/internal/run"
)

const (
	// ownerVariable makes the test binary play the owner; its value says how the owner treats the program's input.
	ownerVariable     = "CONTROLPLANE_TEST_OWNER"
	argumentsVariable = "CONTROLPLANE_TEST_ARGUMENTS"

	relays   = "relays"   // the owner alone holds the pipe
	inherits = "inherits" // the test holds the pipe, past the owner's death

	limit = 30 * time.Second
)

func TestMain(m *testing.M) {
	if kind := os.Getenv(ownerVariable); kind != "" {
		os.Exit(own(kind))
	}
	os.Exit(m.Run())
}

func own(kind string) int {
	program := exec.Command(os.Getenv("SAVEPOINT_CONTROLPLANE"), strings.Split(os.Getenv(argumentsVariable), "\n")...)
	program.Stdout, program.Stderr = os.Stdout, os.Stderr
	if kind == inherits {
		program.Stdin = os.Stdin
	} else {
		input, err := program.StdinPipe()
		if err != nil {
			panic(err)
		}
		go func() {
			_, _ = io.Copy(input, os.Stdin)
			_ = input.Close()
		}()
	}
	if err := program.Run(); err != nil {
		return 1
	}
	return 0
}

// owned is one run of the program and its owner.
type owned struct {
	t       *testing.T
	parent  string // the folder in which the run's folder is made; every process of the run names it
	owner   *exec.Cmd
	input   io.WriteCloser
	answers *bufio.Scanner
	stderr  *bytes.Buffer
	ready   readyLine
}

type readyLine struct {
	Ready       bool              `json:"ready"`
	Server      string            `json:"server"`
	Dir         string            `json:"dir"`
	Kubeconfigs map[string]string `json:"kubeconfigs"`
	Assets      string            `json:"assets"`
}

// needBuilt skips where there is nothing to start.
func needBuilt(t *testing.T) {
	t.Helper()
	for _, variable := range []string{run.AssetsVariable, "SAVEPOINT_CONTROLPLANE"} {
		if os.Getenv(variable) == "" {
			t.Skipf("%s is not set, so there is no control plane to start: use `make test-control-plane`", variable)
		}
	}
}

func hasControllerManager() bool {
	_, err := os.Stat(filepath.Join(os.Getenv(run.AssetsVariable), run.ControllerManager))
	return err == nil
}

// launch starts owner and program and does not wait for it to be ready.
func launch(t *testing.T, kind, parent string, arguments ...string) *owned {
	t.Helper()
	needBuilt(t)
	o := &owned{t: t, parent: parent, stderr: &bytes.Buffer{}}
	o.owner = exec.Command(os.Args[0])
	o.owner.Env = append(os.Environ(),
		ownerVariable+"="+kind,
		argumentsVariable+"="+strings.Join(append([]string{"--dir", parent}, arguments...), "\n"),
	)
	o.owner.Stderr = o.stderr
	var err error
	if o.input, err = o.owner.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	output, err := o.owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	o.answers = bufio.NewScanner(output)
	if err := o.owner.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = o.owner.Process.Kill()
		_ = o.input.Close()
		_ = o.owner.Wait()
	})
	return o
}

func launchReady(t *testing.T, kind, parent string, arguments ...string) *owned {
	t.Helper()
	if hasControllerManager() {
		arguments = append(arguments, "--controller-manager")
	}
	o := launch(t, kind, parent, arguments...)
	o.read(&o.ready)
	if !o.ready.Ready {
		t.Fatalf("not ready: %s", o.stderr)
	}
	return o
}

func (o *owned) read(into any) {
	o.t.Helper()
	if !o.answers.Scan() {
		o.t.Fatalf("no answer: %v %s", o.answers.Err(), o.stderr)
	}
	if err := json.Unmarshal(o.answers.Bytes(), into); err != nil {
		o.t.Fatalf("%v: %s", err, o.answers.Text())
	}
}

type answerLine struct {
	Kubeconfig string `json:"kubeconfig"`
	Error      string `json:"error"`
}

func (o *owned) command(line string) (answer answerLine) {
	o.t.Helper()
	if _, err := io.WriteString(o.input, line+"\n"); err != nil {
		o.t.Fatal(err)
	}
	o.read(&answer)
	return answer
}

// kubectl returns what it printed, errors included.
func (o *owned) kubectl(kubeconfig, input string, arguments ...string) (string, error) {
	command := exec.Command(filepath.Join(o.ready.Assets, "kubectl"), append([]string{"--kubeconfig", kubeconfig, "--cache-dir", filepath.Join(o.ready.Dir, "kubectl")}, arguments...)...)
	command.Stdin = strings.NewReader(input)
	output, err := command.CombinedOutput()
	return string(output), err
}

// processes lists those of the run, which all name its parent folder.
func (o *owned) processes() map[string]int {
	found := map[string]int{}
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(content, []byte(o.parent)) {
			continue
		}
		program, _, _ := bytes.Cut(content, []byte{0})
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		found[filepath.Base(string(program))] = pid
	}
	return found
}

func (o *owned) kill(names ...string) {
	o.t.Helper()
	processes := o.processes()
	for _, name := range names {
		pid, ok := processes[name]
		if !ok {
			o.t.Fatalf("no %s among %v", name, processes)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			o.t.Fatal(err)
		}
	}
}

func (o *owned) expectNoProcesses() {
	o.t.Helper()
	eventually(o.t, func() error {
		if left := o.processes(); len(left) > 0 {
			return errors.New("still running: " + strings.Join(keys(left), ", "))
		}
		return nil
	})
}

func (o *owned) expectEmptyParent() {
	o.t.Helper()
	eventually(o.t, func() error {
		entries, err := os.ReadDir(o.parent)
		if err == nil && len(entries) > 0 {
			err = errors.New("still there: " + entries[0].Name())
		}
		return err
	})
}

// eventually waits for a state, not for a time.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func keys(processes map[string]int) (names []string) {
	for name := range processes {
		names = append(names, name)
	}
	return names
}
