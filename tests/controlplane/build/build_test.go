package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAssetsOfTheUser(t *testing.T) {
	folder := t.TempDir()
	lay := func(name string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(folder, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	lay("etcd", 0o755)
	lay("kubectl", 0o644) // there, but no program
	_, err := assetsOfTheUser(folder)
	if err == nil || !strings.Contains(err.Error(), "lacks kube-apiserver, kubectl:") {
		t.Fatalf("expected the missing binaries to be named, got %v", err)
	}

	lay("kube-apiserver", 0o755)
	if err := os.Chmod(filepath.Join(folder, "kubectl"), 0o755); err != nil {
		t.Fatal(err)
	}
	if found, err := assetsOfTheUser(folder); err != nil || found != folder {
		t.Fatalf("expected %s, got %q and %v", folder, found, err)
	}
	if found, err := assetsOfTheUser(""); err != nil || found != "" {
		t.Fatalf("expected none, got %q and %v", found, err)
	}
}

func TestEachPinHasItsOwnFolder(t *testing.T) {
	module := t.TempDir()
	write := func(name, content string) {
		path := filepath.Join(module, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	folders := func() (cluster, program, helm string) {
		wanted, err := wantedBinaries(module, "/cache")
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Dir(wanted["etcd"].path), filepath.Dir(wanted["controlplane"].path), filepath.Dir(wanted["helm"].path)
	}
	write("go.mod", "module m\n\nrequire k8s.io/kubernetes v1.36.3 // indirect\n")
	write("go.sum", "sums")
	write("main.go", "package main")
	write("helm/go.mod", "require (\n\thelm.sh/helm/v3 v3.22.0\n\tk8s.io/client-go v0.37.0\n)\n")
	write("helm/go.sum", "sums")
	cluster, program, helm := folders()

	write("main.go", "package main // changed")
	if c, p, h := folders(); c != cluster || p == program || h != helm {
		t.Errorf("a changed program must move the program only: %s %s %s", c, p, h)
	}
	write("helm/go.sum", "other sums")
	if c, _, h := folders(); c != cluster || h == helm {
		t.Errorf("a changed helm must move helm only: %s %s", c, h)
	}
	write("go.sum", "other sums")
	if c, _, _ := folders(); c == cluster {
		t.Error("a changed pin must move the cluster's binaries")
	}
}

func TestOlderThan(t *testing.T) {
	cases := []struct {
		version, other string
		older          bool
	}{
		{"1.26.0", "1.26.0", false},
		{"1.26.8", "1.26.0", false},
		{"1.25.9", "1.26.0", true},
		{"1.9", "1.26.0", true},
		{"2.0", "1.26.0", false},
		{"1.26.8-custom", "1.26.0", false},
	}
	for _, c := range cases {
		if older := olderThan(c.version, c.other); older != c.older {
			t.Errorf("olderThan(%q, %q) = %v", c.version, c.other, older)
		}
	}
}
