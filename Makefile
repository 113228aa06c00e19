.DEFAULT_GOAL := help

# Builds what is missing in the cache. With --print-env it prints, for `env`, the variables that lead to the binaries.
CONTROLPLANE_BUILD = cd $(CURDIR)/tests/controlplane/build && go run .
CONTROLPLANE_ENV = $$($(CONTROLPLANE_BUILD) --print-env)

.PHONY: help
help: ## Print this help
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "%-20s %s\n", $$1, $$2}'

.PHONY: control-plane
control-plane: need-go ## Build the Kubernetes control plane of the demo and the tests (once, about 6 minutes)
	@$(CONTROLPLANE_BUILD)

.PHONY: test-control-plane
test-control-plane: control-plane ## Test that the control plane works and leaves nothing behind
	@cd tests/controlplane && env $(CONTROLPLANE_ENV) CGO_ENABLED=0 go test -trimpath -count=1 ./... && cd build && go test ./...

.PHONY: need-go
need-go:
	@command -v go >/dev/null || { \
		echo "go is missing; install it with" >&2; \
		echo "  curl -fsSL https://go.dev/dl/go1.26.0.linux-amd64.tar.gz | sudo tar -C /usr/local -xz && export PATH=/usr/local/go/bin:\$$PATH" >&2; \
		exit 1; }
