// What a build needs of the machine. Each thing that is missing is named with the command that installs it.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

func checkPrerequisites(wanted map[string]binary) error {
	module := wanted["controlplane"].module
	if runtime.GOOS != "linux" {
		return fmt.Errorf("the control plane runs on Linux only, this is %s", runtime.GOOS)
	}
	needed, err := goDirective(filepath.Join(module, "go.mod"))
	if err != nil {
		return err
	}
	if err := checkGo(module, needed); err != nil {
		return fmt.Errorf("%w; install Go with\n  curl -fsSL https://go.dev/dl/go%s.linux-%s.tar.gz | sudo tar -C /usr/local -xz && export PATH=/usr/local/go/bin:$PATH",
			err, needed, runtime.GOARCH)
	}
	// A module proxy needs no git; Go fetching from the repositories themselves does.
	proxy, err := goEnv(module, "GOPROXY")
	if err != nil {
		return err
	}
	if _, missing := exec.LookPath("git"); missing != nil && strings.HasPrefix(proxy, "direct") {
		return errors.New("git is missing, and GOPROXY=direct needs it; install it with\n  sudo apt-get install git")
	}
	return nil
}

// checkGo asks for the version in the module's folder: there a newer Go than the installed one may take over by itself.
func checkGo(module, needed string) error {
	if _, err := exec.LookPath("go"); err != nil {
		return errors.New("go is missing")
	}
	found, err := goEnv(module, "GOVERSION")
	if err != nil {
		return err
	}
	if olderThan(strings.TrimPrefix(found, "go"), needed) {
		return fmt.Errorf("the control plane needs Go %s or newer, this is %s", needed, found)
	}
	return nil
}

func goEnv(module, name string) (string, error) {
	command := exec.Command("go", "env", name)
	command.Dir = module
	command.Env = goEnvironment()
	output, err := command.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return "", errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	return strings.TrimSpace(string(output)), err
}

func goDirective(goMod string) (string, error) {
	content, err := os.ReadFile(goMod)
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(string(content), "\n") {
		if version := strings.TrimPrefix(line, "go "); version != line {
			return strings.TrimSpace(version), nil
		}
	}
	return "", fmt.Errorf("%s has no go line", goMod)
}

// olderThan compares dotted numbers; what follows them ("rc1", "-custom") does not count.
func olderThan(version, other string) bool {
	a, b := numbers(version), numbers(other)
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

func numbers(version string) (parsed [3]int) {
	for i, part := range strings.SplitN(version, ".", 3) {
		digits := strings.IndexFunc(part+" ", func(r rune) bool { return r < '0' || r > '9' })
		parsed[i], _ = strconv.Atoi(part[:digits])
	}
	return parsed
}
