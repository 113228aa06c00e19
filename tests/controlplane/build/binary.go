// One binary: what it is built from, where it lands, and the build itself.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// clusterBinaries lie side by side in one folder, the way KUBEBUILDER_ASSETS wants them.
var clusterBinaries = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kubectl"}

var buildOrder = append(append([]string{}, clusterBinaries...), "controlplane", "controlplane-worker", "helm")

type binary struct {
	name    string
	module  string // folder of the go.mod that pins it
	pkg     string
	ldflags string
	path    string // where the finished binary lies
	seconds int    // what a first build takes on two cores, for the estimate
}

// wantedBinaries says where everything lies when it is built. Folder names carry a hash of all that goes into a
// build, so a changed pin is a new folder and a folder never changes its content.
func wantedBinaries(module, cache string) (map[string]binary, error) {
	module, err := filepath.Abs(module)
	if err != nil {
		return nil, err
	}
	helm := filepath.Join(module, "helm")
	pins := []string{filepath.Join(module, "go.mod"), filepath.Join(module, "go.sum")}
	version, err := requiredVersion(pins[0], "k8s.io/kubernetes")
	if err != nil {
		return nil, err
	}
	kubernetes := stripped + versionFlags(version)

	clusterHash, err := hash(kubernetes, pins...)
	if err != nil {
		return nil, err
	}
	sources, err := programSources(module)
	if err != nil {
		return nil, err
	}
	programHash, err := hash(stripped, append(sources, pins...)...)
	if err != nil {
		return nil, err
	}
	helmFlags, err := helmVersionFlags(filepath.Join(helm, "go.mod"))
	if err != nil {
		return nil, err
	}
	helmFlags = stripped + helmFlags
	helmHash, err := hash(helmFlags, filepath.Join(helm, "go.mod"), filepath.Join(helm, "go.sum"))
	if err != nil {
		return nil, err
	}

	cluster, program := filepath.Join(cache, clusterHash), filepath.Join(cache, "controlplane-"+programHash)
	list := []binary{
		{name: "etcd", pkg: "go.etcd.io/etcd/server/v3", module: module, ldflags: stripped, path: cluster, seconds: 40},
		{name: "kube-apiserver", pkg: "k8s.io/kubernetes/cmd/kube-apiserver", module: module, ldflags: kubernetes, path: cluster, seconds: 160},
		{name: "kube-controller-manager", pkg: "k8s.io/kubernetes/cmd/kube-controller-manager", module: module, ldflags: kubernetes, path: cluster, seconds: 50},
		{name: "kubectl", pkg: "k8s.io/kubernetes/cmd/kubectl", module: module, ldflags: kubernetes, path: cluster, seconds: 20},
		{name: "controlplane", pkg: ".", module: module, ldflags: stripped, path: program, seconds: 2},
		{name: "controlplane-worker", pkg: "./worker", module: module, ldflags: stripped, path: program, seconds: 15},
		{name: "helm", pkg: "helm.sh/helm/v3/cmd/helm", module: helm, ldflags: helmFlags, path: filepath.Join(cache, "helm-"+helmHash), seconds: 60},
	}
	wanted := make(map[string]binary, len(list))
	for _, binary := range list {
		binary.path = filepath.Join(binary.path, binary.name)
		wanted[binary.name] = binary
	}
	return wanted, nil
}

const stripped = "-s -w"

// versionFlags makes the binaries call themselves by the version they are: without it clients meet "v0.0.0-master".
// The commit is left empty, because a module does not carry it.
func versionFlags(version string) string {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	var flags strings.Builder
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		fmt.Fprintf(&flags, " -X %s.gitVersion=%s -X %s.gitMajor=%s -X %s.gitMinor=%s -X %s.gitCommit= -X %s.gitTreeState=archive",
			pkg, version, pkg, parts[0], pkg, parts[1], pkg, pkg)
	}
	return flags.String()
}

// helmVersionFlags sets what Helm's own build sets: without it, Helm takes an unknown cluster for Kubernetes 1.20.
func helmVersionFlags(goMod string) (string, error) {
	version, err := requiredVersion(goMod, "helm.sh/helm/v3")
	if err != nil {
		return "", err
	}
	client, err := requiredVersion(goMod, "k8s.io/client-go") // v0.37.0 is the client of Kubernetes 1.37
	if err != nil {
		return "", err
	}
	minor := strings.Split(client, ".")[1]
	flags := " -X helm.sh/helm/v3/internal/version.version=" + version
	for _, pkg := range []string{"helm.sh/helm/v3/pkg/chartutil", "helm.sh/helm/v3/pkg/lint/rules"} {
		flags += fmt.Sprintf(" -X %s.k8sVersionMajor=1 -X %s.k8sVersionMinor=%s", pkg, pkg, minor)
	}
	return flags, nil
}

// requiredVersion reads one module's version from a go.mod, so that it is written down only there.
func requiredVersion(goMod, module string) (string, error) {
	content, err := os.ReadFile(goMod)
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(string(content), "\n") {
		fields := strings.Fields(strings.TrimPrefix(line, "require "))
		if len(fields) >= 2 && fields[0] == module && strings.Count(fields[1], ".") == 2 {
			return fields[1], nil
		}
	}
	return "", fmt.Errorf("%s does not require %s", goMod, module)
}

// programSources lists the source files of the start/stop program, which are its module's own.
func programSources(module string) ([]string, error) {
	var sources []string
	for _, folder := range []string{".", "worker", "internal/run"} {
		files, err := filepath.Glob(filepath.Join(module, folder, "*.go"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				sources = append(sources, file)
			}
		}
	}
	return sources, nil
}

func hash(flags string, files ...string) (string, error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %s\n", strings.Join(buildArguments, " "), flags)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n", filepath.Base(file), len(content))
		sum.Write(content)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))[:16], nil
}

var buildArguments = []string{"build", "-trimpath", "-buildvcs=false"}

// goEnvironment shuts out what a user's settings could change about the result.
func goEnvironment() []string {
	return append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
}

// build compiles into a folder aside and renames at the end: what has the final name is complete.
// The compiler inherits the lock, so that it is held even when this program is killed and the compiler is not.
func (b binary) build(ctx context.Context, label, cache string, lock *os.File) error {
	unfinished := filepath.Join(cache, "unfinished")
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err := os.MkdirAll(unfinished, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(unfinished)
	partial := filepath.Join(unfinished, b.name)

	var output bytes.Buffer
	command := exec.Command("go", append(buildArguments, "-ldflags", b.ldflags, "-o", partial, b.pkg)...)
	command.Dir = b.module
	command.Env = append(goEnvironment(), "GOTMPDIR="+unfinished) // an interrupted compiler does not always tidy up
	command.Stdout, command.Stderr = &output, &output
	command.ExtraFiles = []*os.File{lock}

	start := time.Now()
	stop := showProgress(os.Stderr, label, start)
	err := runInterruptibly(ctx, command)
	stop()
	if err != nil {
		return fmt.Errorf("go build %s: %w\n%s", b.pkg, err, output.String())
	}
	if err := os.MkdirAll(filepath.Dir(b.path), 0o755); err != nil {
		return err
	}
	if err := os.Rename(partial, b.path); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s built in %d s\n", label, int(time.Since(start).Seconds()))
	return nil
}

// runInterruptibly passes an interrupt on to the compiler and all it runs: they are a group of their own.
func runInterruptibly(ctx context.Context, command *exec.Cmd) error {
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-ctx.Done():
			_ = syscall.Kill(-command.Process.Pid, syscall.SIGINT)
		case <-ended:
		}
	}()
	return command.Wait()
}

// showProgress tells the elapsed time: on one line that it rewrites on a terminal, else by a line now and then.
func showProgress(to *os.File, label string, start time.Time) (stop func()) {
	every, format, clear := 20*time.Second, "%s ... %d s\n", ""
	if info, err := to.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		every, format, clear = time.Second, "\r%s ... %d s", "\r\033[K"
	}
	done, finished := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(finished)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		fmt.Fprintf(to, format, label, 0)
		for {
			select {
			case <-ticker.C:
				fmt.Fprintf(to, format, label, int(time.Since(start).Seconds()))
			case <-done:
				_, _ = io.WriteString(to, clear)
				return
			}
		}
	}()
	return func() { close(done); <-finished }
}
