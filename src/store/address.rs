//! From the url of a BackupStore to a store that can be used.

use super::{DirectoryStore, Store, StoreError};
use std::path::{Component, Path, PathBuf};
use url::Url;

/// Why an address cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// A later release brings this kind of store.
    #[error("not supported yet: spec.url: {0}://")]
    NotYetSupported(String),
    /// The address is not one that this operator uses.
    #[error("{0}")]
    NotAllowed(String),
}

impl From<StoreError> for Unopened {
    fn from(error: StoreError) -> Self {
        Self::NotAllowed(error.message)
    }
}

/// Opens the part of a store that belongs to `namespace`. Without a url: the operator's default store. Nothing is read or written yet.
///
/// # Errors
/// [`Unopened`] with what to change.
pub fn open(root: &Path, url: Option<&str>, namespace: &str) -> Result<Box<dyn Store>, Unopened> {
    let below = match url {
        None => PathBuf::new(),
        Some(url) => below_root(root, url)?,
    };
    Ok(Box::new(DirectoryStore::new(root, &below, namespace)?))
}

/// The folder that a `file://` url names, from the operator's root.
fn below_root(root: &Path, text: &str) -> Result<PathBuf, Unopened> {
    let not_allowed = |why: &str| {
        Unopened::NotAllowed(format!("spec.url {why}: it must be file://{}, or a folder below it", root.display()))
    };
    let url = Url::parse(text).map_err(|_| not_allowed("cannot be read"))?;
    if url.scheme() != "file" {
        return Err(Unopened::NotYetSupported(url.scheme().to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() || url.host().is_some() {
        return Err(not_allowed("has more than a path"));
    }
    let path = url.to_file_path().map_err(|()| not_allowed("has no path of this machine"))?;
    let below = path.strip_prefix(root).map_err(|_| not_allowed("lies outside of the operator's store root"))?;
    let plain = below.components().all(|part| match part {
        Component::Normal(name) => name.to_str().is_some_and(|name| !name.contains('%')),
        _ => false,
    });
    if !plain || text.contains('%') {
        return Err(not_allowed("has a path that is not plain"));
    }
    Ok(below.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_root_and_what_lies_below() {
        let root = Path::new("/var/lib/savepoint");
        for (url, folder) in [
            ("file:///var/lib/savepoint", ""),
            ("file:///var/lib/savepoint/", ""),
            ("file:///var/lib/savepoint/eu/one", "eu/one"),
        ] {
            assert_eq!(below_root(root, url), Ok(PathBuf::from(folder)), "{url}");
        }
        for url in [
            "file:///etc",
            "file:///var/lib",
            "file:///var/lib/savepoint-other",
            "file:///var/lib/savepoint/../other",
            "file:///var/lib/savepoint/%2e%2e/other",
            "file:///var/lib/savepoint/a%2fb",
            "file:///var/lib/savepoint?x",
            "file:///var/lib/savepoint#x",
            "file://host/var/lib/savepoint",
            "/var/lib/savepoint",
        ] {
            let refused = below_root(root, url).expect_err(url);
            assert!(matches!(refused, Unopened::NotAllowed(_)), "{url}: {refused}");
        }
        let refused = below_root(root, "s3://bucket/x").unwrap_err();
        assert_eq!(refused.to_string(), "not supported yet: spec.url: s3://");
    }
}
