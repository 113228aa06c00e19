//! The store of backups in memory: each call is one operation.

use crate::oracles;
use crate::world::{Broken, Op, Shared, What};
use futures::future::{BoxFuture, FutureExt};
use savepoint::keyed_digest::sha256_hex;
use savepoint::store::{Download, ObjectName, Store, StoreError, StoreErrorKind, StoredObject, Upload};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// The part of the store that belongs to one namespace.
pub struct InMemory {
    pub world: Shared,
    pub namespace: String,
}

fn failed(kind: StoreErrorKind, message: &str) -> StoreError {
    StoreError { kind, message: message.into() }
}

fn broken(_: Broken) -> StoreError {
    failed(StoreErrorKind::Unavailable, "the store did not answer")
}

/// What an operation is called: the folder and the kind of file, without the digest, which is another one in each run.
fn text(verb: &str, name: &ObjectName) -> String {
    let file = if name.file().ends_with(".age") { "payload" } else { name.file() };
    format!("store {verb} {file}")
}

/// A payload that is being written. Nobody sees it before it has its name.
struct Unnamed {
    world: Shared,
    namespace: String,
    folder: String,
    content: Vec<u8>,
}

impl AsyncWrite for Unnamed {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.content.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Upload for Unnamed {
    fn failure(&self) -> Option<StoreError> {
        None
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<StoredObject, StoreError>> {
        async move {
            let Self { world, namespace, folder, content } = *self;
            let name = ObjectName::payload(&namespace, &folder, &sha256_hex(&content))?;
            let size = content.len() as u64;
            InMemory { world, namespace }.put(&name, &content).await?;
            Ok(StoredObject { name, size })
        }
        .boxed()
    }
}

impl Store for InMemory {
    fn put<'a>(&'a self, name: &'a ObjectName, content: &'a [u8]) -> BoxFuture<'a, Result<(), StoreError>> {
        let op = Op { what: What::StoreWrite, text: text("put", name) };
        let (name, content) = (name.to_string(), content.to_vec());
        let put = self.world.cut(op, move |state| {
            oracles::secrets(state, "the store", &content);
            match state.things.files.get(&name) {
                Some(there) if **there != *content => Err(failed(StoreErrorKind::Taken, "there is another object")),
                _ => {
                    state.things.files.insert(name, content.into());
                    Ok(())
                }
            }
        });
        async { put.await.map_err(broken)? }.boxed()
    }

    fn get<'a>(&'a self, name: &'a ObjectName, limit: u64) -> BoxFuture<'a, Result<Vec<u8>, StoreError>> {
        let op = Op { what: What::StoreRead, text: text("get", name) };
        let name = name.to_string();
        let get = self.world.cut(op, move |state| match state.things.files.get(&name) {
            None => Err(failed(StoreErrorKind::Missing, "it is not there")),
            Some(content) if content.len() as u64 > limit => Err(failed(StoreErrorKind::TooLarge, "it is too large")),
            Some(content) => Ok(content.to_vec()),
        });
        async { get.await.map_err(broken)? }.boxed()
    }

    fn upload<'a>(&'a self, backup_uid: &'a str) -> BoxFuture<'a, Result<Box<dyn Upload>, StoreError>> {
        let (world, namespace, folder) = (self.world.clone(), self.namespace.clone(), backup_uid.to_owned());
        let upload: Box<dyn Upload> = Box::new(Unnamed { world, namespace, folder, content: Vec::new() });
        async { Ok(upload) }.boxed()
    }

    /// The whole object in one operation.
    fn download<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<(u64, Download), StoreError>> {
        async {
            let content = self.get(name, u64::MAX).await?;
            let download: Download = Box::pin(std::io::Cursor::new(content.clone()));
            Ok((content.len() as u64, download))
        }
        .boxed()
    }

    fn list<'a>(&'a self, backup_uid: Option<&'a str>) -> BoxFuture<'a, Result<Vec<StoredObject>, StoreError>> {
        let op = Op { what: What::StoreRead, text: "store list".into() };
        let prefix = match backup_uid {
            Some(uid) => format!("{}/{uid}/", self.namespace),
            None => format!("{}/", self.namespace),
        };
        let list = self.world.cut(op, move |state| {
            let inside = state.things.files.iter().filter(|(name, _)| name.starts_with(&prefix));
            let object = |(name, content): (&String, &std::sync::Arc<[u8]>)| {
                let parts: Vec<&str> = name.split('/').collect();
                let [namespace, folder, file] = parts.as_slice() else { return None };
                let name = ObjectName::new(namespace, folder, file).ok()?;
                Some(StoredObject { name, size: content.len() as u64 })
            };
            inside.filter_map(object).collect()
        });
        async { list.await.map_err(broken) }.boxed()
    }

    fn delete<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<(), StoreError>> {
        let op = Op { what: What::StoreWrite, text: text("delete", name) };
        let name = name.to_string();
        let delete = self.world.cut(op, move |state| drop(state.things.files.remove(&name)));
        async { delete.await.map_err(broken) }.boxed()
    }

    fn probe<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }
}
