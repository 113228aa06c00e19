module savepoint/tests/controlplane/build

go 1.19
