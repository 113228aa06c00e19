// What is said on standard input and output: one line in, one line of JSON out. README.md describes it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"savepoint/tests/controlplane/internal/run"
)

type readiness struct {
	Ready       bool              `json:"ready"`
	Server      string            `json:"server"`
	Dir         string            `json:"dir"`
	Kubeconfigs map[string]string `json:"kubeconfigs"`
	Assets      string            `json:"assets"`
}

type identity struct {
	Kubeconfig string `json:"kubeconfig"`
}

func (p *plane) ready() readiness {
	return readiness{
		Ready:       true,
		Server:      p.server(),
		Dir:         p.dir,
		Kubeconfigs: map[string]string{"admin": p.admin},
		Assets:      p.assets,
	}
}

var errUsage = errors.New("possible commands: user NAME [GROUP,GROUP...] | serviceaccount NAMESPACE NAME")

// tokenLifetime outlasts any run of tests or demo.
const tokenLifetime = 24 * time.Hour

func (p *plane) command(ctx context.Context, line string) any {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	kubeconfig, err := p.identity(ctx, strings.Fields(line))
	if err != nil {
		return run.Failure{Error: err.Error()}
	}
	return identity{Kubeconfig: kubeconfig}
}

func (p *plane) identity(ctx context.Context, words []string) (string, error) {
	switch {
	case len(words) == 2 && words[0] == "user":
		return p.user(words[1], nil)
	case len(words) == 3 && words[0] == "user":
		return p.user(words[1], strings.Split(words[2], ","))
	case len(words) == 3 && words[0] == "serviceaccount":
		return p.serviceAccount(ctx, words[1], words[2])
	case len(words) == 0:
		return "", errUsage
	default:
		return "", fmt.Errorf("%q is not understood; %w", strings.Join(words, " "), errUsage)
	}
}

func (p *plane) user(name string, groups []string) (string, error) {
	user, err := p.environment.AddUser(envtest.User{Name: name, Groups: groups}, nil)
	if err != nil {
		return "", err
	}
	return p.writeKubeconfig("user-"+name, "", user.Config())
}

func (p *plane) serviceAccount(ctx context.Context, namespace, name string) (string, error) {
	seconds := int64(tokenLifetime.Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	answer, err := p.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("token of service account %s/%s: %w", namespace, name, err)
	}
	config := rest.AnonymousClientConfig(p.config())
	config.BearerToken = answer.Status.Token
	return p.writeKubeconfig("serviceaccount-"+namespace+"-"+name, namespace, config)
}

// writeKubeconfig writes a new file each time: one that was handed out keeps standing for the same identity.
func (p *plane) writeKubeconfig(name, namespace string, config *rest.Config) (string, error) {
	const only = "controlplane"
	content, err := clientcmd.Write(clientcmdapi.Config{
		CurrentContext: only,
		Contexts:       map[string]*clientcmdapi.Context{only: {Cluster: only, AuthInfo: only, Namespace: namespace}},
		Clusters:       map[string]*clientcmdapi.Cluster{only: {Server: p.server(), CertificateAuthorityData: config.CAData}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{only: {
			ClientCertificateData: config.CertData,
			ClientKeyData:         config.KeyData,
			Token:                 config.BearerToken,
		}},
	})
	if err != nil {
		return "", err
	}
	folder := filepath.Join(p.dir, "kubeconfigs")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	file := strings.NewReplacer("/", "_", ":", "_").Replace(name) + ".kubeconfig"
	if _, err := os.Stat(filepath.Join(folder, file)); err == nil {
		p.kubeconfigs++
		file = fmt.Sprintf("%d-%s", p.kubeconfigs, file)
	}
	path := filepath.Join(folder, file)
	return path, os.WriteFile(path, content, 0o600)
}
