// Builds the control plane that the demo and the tests run against: once, into a cache outside the tree.
//
// This module has no dependency and asks for an old Go, so that it starts at once and can say what is missing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	printEnv := flag.Bool("print-env", false, "print the environment variables that lead to the binaries, and nothing else on standard output")
	module := flag.String("module", "..", "folder of the module that pins the control plane")
	flag.Parse()

	// The first signal stops the running build and lets its unfinished file be removed.
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer release()
	if err := run(ctx, *module, *printEnv); err != nil {
		fmt.Fprintf(os.Stderr, "control-plane: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, module string, printEnv bool) error {
	cache, err := cacheFolder()
	if err != nil {
		return err
	}
	wanted, err := wantedBinaries(module, cache)
	if err != nil {
		return err
	}
	assets, err := assetsOfTheUser(os.Getenv("KUBEBUILDER_ASSETS"))
	if err != nil {
		return err
	}
	if assets == "" {
		assets = filepath.Dir(wanted["etcd"].path)
	} else {
		for _, name := range clusterBinaries {
			delete(wanted, name)
		}
	}
	state := "cached"
	if len(missing(wanted)) > 0 {
		if err := buildMissing(ctx, cache, wanted); err != nil {
			return err
		}
		state = "built"
	}

	program, helm := wanted["controlplane"].path, wanted["helm"].path
	if printEnv {
		fmt.Printf("KUBEBUILDER_ASSETS=%s\nSAVEPOINT_CONTROLPLANE=%s\nSAVEPOINT_HELM=%s\n", assets, program, helm)
		return nil
	}
	fmt.Printf("%s: control plane in %s, program in %s, helm in %s\n", state, assets, filepath.Dir(program), filepath.Dir(helm))
	return nil
}

// buildMissing builds what is not in the cache yet, one binary after another: together they would need more memory and be no faster.
func buildMissing(ctx context.Context, cache string, wanted map[string]binary) error {
	if err := checkPrerequisites(wanted); err != nil {
		return err
	}
	lock, err := lockCache(ctx, cache)
	if err != nil {
		return err
	}
	defer lock.Close()

	// Asked again under the lock: whoever held it may have built them.
	todo := missing(wanted)
	if len(todo) > 0 {
		fmt.Fprintln(os.Stderr, estimate(todo))
	}
	for i, binary := range todo {
		label := fmt.Sprintf("[%d/%d] %s", i+1, len(todo), binary.name)
		if err := binary.build(ctx, label, cache, lock); err != nil {
			if ctx.Err() != nil {
				return errors.New("interrupted; what was built so far stays in the cache")
			}
			return err
		}
	}
	return nil
}

// missing lists the binaries that are not in the cache, in the order in which they are built.
func missing(wanted map[string]binary) []binary {
	var list []binary
	for _, name := range buildOrder {
		binary, ok := wanted[name]
		if ok && !isExecutable(binary.path) {
			list = append(list, binary)
		}
	}
	return list
}

func estimate(todo []binary) string {
	names, seconds := make([]string, 0, len(todo)), 0
	for _, binary := range todo {
		names = append(names, binary.name)
		seconds += binary.seconds
	}
	about := "less than a minute"
	if minutes := (seconds + 30) / 60; minutes == 1 {
		about = "about a minute"
	} else if minutes > 1 {
		about = fmt.Sprintf("about %d minutes", minutes)
	}
	return fmt.Sprintf("building %s: %s on two cores, once", strings.Join(names, ", "), about)
}

// assetsOfTheUser checks a folder of binaries that the user brings; "" means that there is none.
func assetsOfTheUser(folder string) (string, error) {
	if folder == "" {
		return "", nil
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		return "", fmt.Errorf("KUBEBUILDER_ASSETS: %w", err)
	}
	var lacking []string
	for _, name := range []string{"etcd", "kube-apiserver", "kubectl"} {
		if !isExecutable(filepath.Join(folder, name)) {
			lacking = append(lacking, name)
		}
	}
	if len(lacking) > 0 {
		return "", fmt.Errorf("KUBEBUILDER_ASSETS is %s, which lacks %s: complete it, or unset it and a control plane is built",
			folder, strings.Join(lacking, ", "))
	}
	if !isExecutable(filepath.Join(folder, "kube-controller-manager")) {
		fmt.Fprintf(os.Stderr, "no kube-controller-manager in %s: what needs one cannot run\n", folder)
	}
	return folder, nil
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
