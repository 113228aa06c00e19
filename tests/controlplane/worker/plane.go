// The control plane itself: how each part is started and when it counts as ready.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"savepoint/tests/controlplane/internal/run"
)

type plane struct {
	dir         string
	assets      string
	environment *envtest.Environment
	client      kubernetes.Interface
	admin       string
	kubeconfigs int
}

func start(ctx context.Context, dir string, options run.Options) (*plane, error) {
	log.SetLogger(logr.Discard()) // each part has its own log file
	bin := filepath.Join(dir, "bin")
	if err := layTethers(bin, options.Assets); err != nil {
		return nil, err
	}
	ports, err := reservePorts(3)
	if err != nil {
		return nil, err
	}
	store, err := configureEtcd(dir, bin, ports[0], ports[1])
	if err != nil {
		return nil, err
	}
	server, err := configureAPIServer(dir, bin, ports[2], options)
	if err != nil {
		return nil, err
	}

	environment := &envtest.Environment{
		ControlPlane: envtest.ControlPlane{
			Etcd:        store,
			APIServer:   server,
			KubectlPath: filepath.Join(options.Assets, "kubectl"),
		},
		ControlPlaneStartTimeout: time.Minute,
	}
	config, err := environment.Start()
	if err != nil {
		return nil, fmt.Errorf("start the control plane: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}

	p := &plane{dir: dir, assets: options.Assets, environment: environment, client: client}
	if p.admin, err = p.writeKubeconfig("admin", "", config); err != nil {
		return nil, err
	}
	if options.ControllerManager {
		if err := p.startControllerManager(ctx, bin); err != nil {
			return nil, fmt.Errorf("start %s: %w", run.ControllerManager, err)
		}
	}
	return p, nil
}

// layTethers makes links by the names envtest starts, all leading to the tether, and tells it what it needs to know.
func layTethers(bin, assets string) error {
	if err := os.Mkdir(bin, 0o700); err != nil {
		return err
	}
	for _, name := range []string{run.Etcd, run.APIServer, run.ControllerManager} {
		if err := os.Symlink(os.Getenv(run.SupervisorVariable), filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	return errors.Join(
		os.Setenv(run.AssetsVariable, assets),
		os.Setenv(run.WorkerVariable, strconv.Itoa(os.Getpid())),
	)
}

// reservePorts finds free ports and keeps everybody else off them until the process ends: the sockets stay bound
// but do not listen, and only a program that asks to share the port, as etcd and kube-apiserver are told to, gets in.
func reservePorts(count int) ([]string, error) {
	ports := make([]string, count)
	for i := range ports {
		socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("reserve a port: %w", err)
		}
		if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return nil, fmt.Errorf("reserve a port: %w", err)
		}
		if err := unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return nil, fmt.Errorf("reserve a port: %w", err)
		}
		address, err := unix.Getsockname(socket)
		if err != nil {
			return nil, fmt.Errorf("reserve a port: %w", err)
		}
		ports[i] = strconv.Itoa(address.(*unix.SockaddrInet4).Port)
	}
	return ports, nil
}

func configureEtcd(dir, bin, port, peerPort string) (*envtest.Etcd, error) {
	output, err := openLog(dir, run.Etcd)
	if err != nil {
		return nil, err
	}
	server := &envtest.Etcd{
		Path:    filepath.Join(bin, run.Etcd),
		URL:     loopback("http", port),
		DataDir: filepath.Join(dir, "etcd"),
		Out:     output,
		Err:     output,
	}
	server.Configure().
		Set("listen-peer-urls", loopback("http", peerPort).String()).
		Set("unsafe-no-fsync", "true").
		Set("socket-reuse-port", "true").
		Set("log-level", "warn")
	return server, nil
}

func configureAPIServer(dir, bin, port string, options run.Options) (*envtest.APIServer, error) {
	output, err := openLog(dir, run.APIServer)
	if err != nil {
		return nil, err
	}
	server := &envtest.APIServer{
		Path:    filepath.Join(bin, run.APIServer),
		CertDir: filepath.Join(dir, "apiserver"),
		Out:     output,
		Err:     output,
	}
	if err := os.Mkdir(server.CertDir, 0o700); err != nil {
		return nil, err
	}
	server.SecureServing.ListenAddr = envtest.ListenAddr{Address: "127.0.0.1", Port: port}
	arguments := server.Configure().
		Set("authorization-mode", "RBAC").
		Set("permit-port-sharing", "true").
		// A loopback address is refused as an endpoint of the "kubernetes" Service, which nothing here needs.
		Set("advertise-address", "127.0.0.1").
		Set("endpoint-reconciler-type", "none")
	if options.ControllerManager {
		// envtest turns the ServiceAccount admission off because nobody makes the accounts. Now somebody does.
		arguments.Disable("disable-admission-plugins")
	}
	if options.AuditLog != "" {
		policy := filepath.Join(dir, "audit-policy.yaml")
		if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
			return nil, err
		}
		arguments.Set("audit-policy-file", policy).Set("audit-log-path", options.AuditLog)
	}
	return server, nil
}

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// startControllerManager returns when it works: it has made the first service account.
func (p *plane) startControllerManager(ctx context.Context, bin string) error {
	user, err := p.environment.AddUser(envtest.User{Name: "system:kube-controller-manager"}, nil)
	if err != nil {
		return err
	}
	kubeconfig, err := p.writeKubeconfig(run.ControllerManager, "", user.Config())
	if err != nil {
		return err
	}
	ca := filepath.Join(p.dir, "ca.crt")
	if err := os.WriteFile(ca, user.Config().CAData, 0o600); err != nil {
		return err
	}
	output, err := openLog(p.dir, run.ControllerManager)
	if err != nil {
		return err
	}

	command := exec.Command(filepath.Join(bin, run.ControllerManager),
		"--kubeconfig="+kubeconfig,
		"--controllers=*",
		"--leader-elect=false",
		"--secure-port=0",
		"--cert-dir="+filepath.Join(p.dir, run.ControllerManager),
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+filepath.Join(p.environment.ControlPlane.APIServer.CertDir, "sa-signer.key"),
		"--root-ca-file="+ca,
		"--kube-api-qps=200",
		"--kube-api-burst=400",
	)
	command.Stdout, command.Stderr = output, output
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- command.Wait() }()

	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		select {
		case err := <-exited:
			return false, errors.Join(errors.New("it ended at once"), err)
		default:
		}
		_, err := p.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, nil
	})
}

// openLog is a file and not a buffer, so that a part writes to it without us in between.
func openLog(dir, name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

func loopback(scheme, port string) *url.URL {
	return &url.URL{Scheme: scheme, Host: net.JoinHostPort("127.0.0.1", port)}
}

func (p *plane) server() string {
	return strings.TrimSuffix(p.config().Host, "/")
}

func (p *plane) config() *rest.Config { return p.environment.Config }
