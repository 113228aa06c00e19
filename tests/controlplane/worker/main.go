// The worker: starts the control plane, answers commands, and stops everything when its input closes.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"savepoint/tests/controlplane/internal/run"
)

// patience is how long stopping may take; the supervisor has as much and does the rest.
const patience = 20 * time.Second

func main() { os.Exit(work(run.MustParse())) }

func work(options run.Options) int {
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	dir := os.Getenv(run.DirVariable)
	lines := readLines(stop)

	started := make(chan startResult, 1)
	go func() {
		plane, err := start(ctx, dir, options)
		started <- startResult{plane, err}
	}()

	var result startResult
	select {
	case result = <-started:
		started <- result // cleanUp looks at it as well
	case <-ctx.Done():
	}
	defer cleanUp(dir, started)
	if ctx.Err() != nil {
		return 0
	}
	if result.err != nil {
		run.Answer(run.Failure{Error: result.err.Error()})
		fmt.Fprintf(os.Stderr, "controlplane: %v\n%s", result.err, logTails(dir))
		return 1
	}

	run.Answer(result.plane.ready())
	for {
		select {
		case line := <-lines:
			run.Answer(result.plane.command(ctx, line))
		case <-ctx.Done():
			return 0
		}
	}
}

type startResult struct {
	plane *plane
	err   error
}

// readLines hands on the caller's lines and calls stop when there will be no more.
func readLines(stop func()) <-chan string {
	lines := make(chan string)
	go func() {
		defer stop()
		scanner := bufio.NewScanner(os.Stdin)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
	}()
	return lines
}

// cleanUp leaves neither a process nor the folder. A start may still be under way, and envtest tries again when
// what it starts dies, so killing goes on until the start has given up.
func cleanUp(dir string, started <-chan startResult) {
	ended := false
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		running := run.KillChildren()
		if ended && running == 0 {
			break
		}
		select {
		case <-started:
			ended = true
		default:
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintf(os.Stderr, "controlplane: %v\n", err)
	}
}

// logTails shows the end of each log: the folder they are in is about to go.
func logTails(dir string) string {
	var text strings.Builder
	files, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil || len(content) == 0 {
			continue
		}
		lines := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
		if len(lines) > 15 {
			lines = lines[len(lines)-15:]
		}
		fmt.Fprintf(&text, "--- %s\n%s\n", filepath.Base(file), strings.Join(lines, "\n"))
	}
	return text.String()
}
