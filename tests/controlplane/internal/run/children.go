// The processes this one is responsible for, found by asking the kernel rather than by remembering.

package run

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// KillChildren kills every child that is still running and returns how many there were.
// There is nothing worth a graceful stop: all they own is deleted with the folder.
func KillChildren() int {
	running := Children(os.Getpid())
	for _, pid := range running {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return len(running)
}

// Children lists the running (not merely unreaped) processes whose parent is the given one.
func Children(parent int) []int {
	var found []int
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // it ended meanwhile
		}
		// "pid (name) state parent ...": the name may contain anything, so the last parenthesis counts.
		fields := bytes.Fields(content[bytes.LastIndexByte(content, ')')+1:])
		if len(fields) < 2 || string(fields[0]) == "Z" || string(fields[1]) != strconv.Itoa(parent) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			found = append(found, pid)
		}
	}
	return found
}
