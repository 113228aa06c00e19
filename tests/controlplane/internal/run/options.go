// Package run holds what the supervisor and the worker of one run share: options, names, and care for processes.
package run

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The programs of a control plane, by the names they have in KUBEBUILDER_ASSETS.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
)

// The supervisor tells the worker by the environment, and the worker the tether.
const (
	AssetsVariable     = "KUBEBUILDER_ASSETS"
	DirVariable        = "CONTROLPLANE_DIR"        // the run's folder
	SupervisorVariable = "CONTROLPLANE_SUPERVISOR" // path of the program itself
	WorkerVariable     = "CONTROLPLANE_WORKER"     // process id of the worker
)

// Options are what a caller asked for. Paths are absolute.
type Options struct {
	ControllerManager bool
	AuditLog          string
	Parent            string
	Assets            string
}

// MustParse ends the program when the command line or the environment makes no sense.
func MustParse() Options {
	options, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		Fail(err)
	}
	return options
}

func parse(arguments []string) (Options, error) {
	var options Options
	flags := flag.NewFlagSet("controlplane", flag.ContinueOnError)
	flags.BoolVar(&options.ControllerManager, "controller-manager", false, "also run kube-controller-manager: namespaces get deleted, garbage collected, Deployments get Pods")
	flags.StringVar(&options.AuditLog, "audit-log", "", "`file` to which every request is logged at level Metadata")
	flags.StringVar(&options.Parent, "dir", os.TempDir(), "`folder` in which the temporary folder is made")
	if err := flags.Parse(arguments); err != nil {
		return options, err
	}
	if flags.NArg() > 0 {
		return options, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}

	options.Assets = os.Getenv(AssetsVariable)
	if options.Assets == "" {
		return options, fmt.Errorf("%s is not set: `make control-plane` says where the binaries are", AssetsVariable)
	}
	for _, path := range []*string{&options.Assets, &options.AuditLog, &options.Parent} {
		if err := makeAbsolute(path); err != nil {
			return options, err
		}
	}
	return options, options.checkAssets()
}

func (o Options) checkAssets() error {
	needed := []string{Etcd, APIServer}
	if o.ControllerManager {
		needed = append(needed, ControllerManager)
	}
	var lacking []string
	for _, name := range needed {
		if _, err := os.Stat(filepath.Join(o.Assets, name)); err != nil {
			lacking = append(lacking, name)
		}
	}
	if len(lacking) > 0 {
		return fmt.Errorf("%s is %s, which lacks %s", AssetsVariable, o.Assets, strings.Join(lacking, ", "))
	}
	return nil
}

// makeAbsolute leaves "" alone: it stands for "not asked for".
func makeAbsolute(path *string) error {
	if *path == "" {
		return nil
	}
	absolute, err := filepath.Abs(*path)
	*path = absolute
	return err
}

// Failure is the answer to what could not be done.
type Failure struct {
	Error string `json:"error"`
}

// Answer writes one line of JSON. It ignores a reader that is gone: the closed input ends the run anyway.
func Answer(value any) {
	_ = json.NewEncoder(os.Stdout).Encode(value)
}

// Fail ends the program with the error where a caller reads it (standard output) and where a person does.
func Fail(err error) {
	Answer(Failure{Error: err.Error()})
	fmt.Fprintf(os.Stderr, "controlplane: %v\n", err)
	os.Exit(1)
}
