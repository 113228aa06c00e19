// Starts a fresh control plane, says where it is, takes commands, and stops it all when its standard input closes.
//
// One binary plays three parts, told apart by the name it is called by:
//
//   - the supervisor is what a caller starts; it outlives the worker and cleans up after it (supervisor.go);
//   - the worker starts the control plane and answers commands (worker.go);
//   - the tether is what the worker starts in place of etcd and kube-apiserver (tether.go).
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const workerName = "controlplane-worker"

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case etcd, apiServer, controllerManager:
		fail(runTethered(name))
	case workerName:
		os.Exit(work(mustParse()))
	default:
		os.Exit(supervise(mustParse()))
	}
}

type options struct {
	controllerManager bool
	auditLog          string
	parent            string
	assets            string
}

func mustParse() options {
	parsed, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		fail(err)
	}
	return parsed
}

func parse(arguments []string) (options, error) {
	var parsed options
	flags := flag.NewFlagSet("controlplane", flag.ContinueOnError)
	flags.BoolVar(&parsed.controllerManager, "controller-manager", false, "also run kube-controller-manager: namespaces get deleted, garbage collected, Deployments get Pods")
	flags.StringVar(&parsed.auditLog, "audit-log", "", "`file` to which every request is logged at level Metadata")
	flags.StringVar(&parsed.parent, "dir", os.TempDir(), "`folder` in which the temporary folder is made")
	if err := flags.Parse(arguments); err != nil {
		return parsed, err
	}
	if flags.NArg() > 0 {
		return parsed, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}

	parsed.assets = os.Getenv("KUBEBUILDER_ASSETS")
	if parsed.assets == "" {
		return parsed, errors.New("KUBEBUILDER_ASSETS is not set: `make control-plane` says where the binaries are")
	}
	for _, path := range []*string{&parsed.assets, &parsed.auditLog, &parsed.parent} {
		if err := makeAbsolute(path); err != nil {
			return parsed, err
		}
	}

	needed := []string{etcd, apiServer}
	if parsed.controllerManager {
		needed = append(needed, controllerManager)
	}
	var lacking []string
	for _, name := range needed {
		if _, err := os.Stat(filepath.Join(parsed.assets, name)); err != nil {
			lacking = append(lacking, name)
		}
	}
	if len(lacking) > 0 {
		return parsed, fmt.Errorf("KUBEBUILDER_ASSETS is %s, which lacks %s", parsed.assets, strings.Join(lacking, ", "))
	}
	return parsed, nil
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

// fail ends the program with the error where a caller reads it (standard output) and where a person does.
func fail(err error) {
	answer(failure{Error: err.Error()})
	fmt.Fprintf(os.Stderr, "controlplane: %v\n", err)
	os.Exit(1)
}
