// What the control plane can do, asked the way the other tests will ask: by a line in and a kubeconfig out.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommands(t *testing.T) {
	log := filepath.Join(t.TempDir(), "audit.log")
	o := launchReady(t, relays, t.TempDir(), "--audit-log", log)
	admin := o.ready.Kubeconfigs["admin"]
	o.must(admin, "", "create", "namespace", "shop")
	o.must(admin, "", "create", "serviceaccount", "clerk", "--namespace=shop")

	t.Run("a user is who it is said to be and may do nothing yet", func(t *testing.T) {
		anna := o.command("user anna team-a,team-b").Kubeconfig
		expectContains(t, o.must(anna, "", "auth", "whoami"), "anna", "team-a team-b")
		output, err := o.kubectl(anna, "", "get", "secrets", "--namespace=shop")
		if err == nil {
			t.Fatal("a user without rights read secrets")
		}
		expectContains(t, output, "Forbidden", `"anna"`)
	})
	t.Run("a kubeconfig keeps its identity when the same name is asked for again", func(t *testing.T) {
		first, second := o.command("user bert one").Kubeconfig, o.command("user bert two").Kubeconfig
		expectContains(t, o.must(first, "", "auth", "whoami"), "[one ")
		expectContains(t, o.must(second, "", "auth", "whoami"), "[two ")
	})
	t.Run("a service account acts by a token", func(t *testing.T) {
		clerk := o.command("serviceaccount shop clerk").Kubeconfig
		expectContains(t, o.must(clerk, "", "auth", "whoami"), "system:serviceaccount:shop:clerk")
		expectContains(t, o.command("serviceaccount shop nobody").Error, `"nobody" not found`)
	})
	t.Run("what is not understood is answered with what is possible", func(t *testing.T) {
		for _, line := range []string{"stop", "user", "serviceaccount shop", ""} {
			expectContains(t, o.command(line).Error, "user NAME [GROUP,GROUP...]", "serviceaccount NAMESPACE NAME")
		}
	})
	t.Run("the audit log names who asked for secrets", func(t *testing.T) {
		content, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		expectContains(t, string(content), `"username":"anna"`, `"resource":"secrets"`)
	})
}

const widgets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  names: {kind: Widget, listKind: WidgetList, plural: widgets, singular: widget}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {size: {type: integer}}
            x-kubernetes-validations:
            - {rule: self.size >= oldSelf.size, message: a widget never shrinks}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: small-widgets}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [example.com], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [widgets]}
  validations:
  - {expression: object.spec.size < 100, message: a widget is small}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: small-widgets}
spec: {policyName: small-widgets, validationActions: [Deny]}
`

func widget(size int) string {
	return fmt.Sprintf("apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: one, namespace: shop}\nspec: {size: %d}\n", size)
}

func TestRules(t *testing.T) {
	o := launchReady(t, relays, t.TempDir())
	admin := o.ready.Kubeconfigs["admin"]
	o.must(admin, "", "create", "namespace", "shop")
	o.must(admin, widgets, "apply", "-f", "-")
	eventually(t, func() error {
		_, err := o.kubectl(admin, widget(2), "apply", "-f", "-")
		return err
	})

	t.Run("a transition rule refuses with its own message", func(t *testing.T) {
		output, err := o.kubectl(admin, widget(1), "apply", "-f", "-")
		if err == nil {
			t.Fatal("a widget shrank")
		}
		expectContains(t, output, "a widget never shrinks")
	})
	t.Run("an admission policy refuses with its own message", func(t *testing.T) {
		eventually(t, func() error {
			output, err := o.kubectl(admin, widget(100), "apply", "--dry-run=server", "-f", "-")
			if err == nil || !strings.Contains(output, "a widget is small") {
				return errors.New("not refused: " + output)
			}
			return nil
		})
	})
	t.Run("a namespace goes with what is in it", func(t *testing.T) {
		if !hasControllerManager() {
			t.Skip("no kube-controller-manager among the binaries")
		}
		o.must(admin, "", "delete", "namespace", "shop", "--timeout=60s")
	})
}

func (o *owned) must(kubeconfig, input string, arguments ...string) string {
	o.t.Helper()
	output, err := o.kubectl(kubeconfig, input, arguments...)
	if err != nil {
		o.t.Fatalf("kubectl %v: %v\n%s", arguments, err, output)
	}
	return output
}

func expectContains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("expected %q in %s", part, text)
		}
	}
}
