//! Declarative backups and rollbacks of deployments on hosted platforms.
