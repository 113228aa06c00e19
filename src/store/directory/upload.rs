//! Objects of any size: written under a passing name, synced, and linked to the name of their content; read as they lie.

use super::{
    DirectoryStore, Download, MANIFEST, ObjectName, StoreError, StoreErrorKind, StoredObject, Upload, partial_name,
    said, size_of, sync_folder,
};
use futures::future::{BoxFuture, FutureExt};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// The passing name is removed with this.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

struct DirectoryUpload {
    store: DirectoryStore,
    uid: String,
    folder: PathBuf,
    partial: Partial,
    file: tokio::fs::File,
    digest: Sha256,
    size: u64,
    failure: Option<StoreError>,
}

pub(super) fn begin(store: &DirectoryStore, uid: &str) -> Result<Box<dyn Upload>, StoreError> {
    ObjectName::new(&store.namespace, uid, MANIFEST)?;
    let folder = store.folder(Some(uid), true)?.unwrap_or_default();
    let partial = Partial(folder.join(partial_name("upload")));
    let _ = fs::remove_file(&partial.0); // of a process of the same id, in an earlier life of this container
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial.0);
    let file = tokio::fs::File::from_std(file.map_err(|error| said("make a file", &error))?);
    let (store, uid) = (store.clone(), uid.to_owned());
    Ok(Box::new(DirectoryUpload { store, uid, folder, partial, file, digest: Sha256::new(), size: 0, failure: None }))
}

pub(super) fn open(store: &DirectoryStore, name: &ObjectName) -> Result<(u64, Download), StoreError> {
    store.own(name)?;
    let missing = || StoreErrorKind::Missing.because(format!("{name} is not in the store"));
    let path = store.folder(Some(&name.folder), false)?.ok_or_else(missing)?.join(&name.file);
    let size = size_of(&path)?.ok_or_else(missing)?;
    let file = fs::File::open(&path).map_err(|error| said("read an object", &error))?;
    Ok((size, Box::pin(tokio::fs::File::from_std(file))))
}

impl DirectoryUpload {
    fn met<T>(&mut self, error: io::Error) -> Poll<io::Result<T>> {
        self.failure = Some(said("write a file", &error));
        Poll::Ready(Err(error))
    }
}

impl AsyncWrite for DirectoryUpload {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(&mut self.file).poll_write(context, bytes)) {
            Ok(count) => {
                self.digest.update(&bytes[..count]);
                self.size += count as u64;
                Poll::Ready(Ok(count))
            }
            Err(error) => self.met(error),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.file).poll_flush(context)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => self.met(error),
        }
    }

    /// The end of the content. What is left to be done is done by `finish`.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

impl Upload for DirectoryUpload {
    fn failure(&self) -> Option<StoreError> {
        self.failure.clone()
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<StoredObject, StoreError>> {
        let Self { store, uid, folder, partial, mut file, digest, size, .. } = *self;
        async move {
            let written = async {
                file.flush().await?;
                file.sync_all().await
            };
            written.await.map_err(|error| said("write a file", &error))?;
            let sha256 = digest.finalize().iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            });
            let name = ObjectName::payload(&store.namespace, &uid, &sha256)?;
            let named = name.clone();
            store.blocking(move |_| link(&folder, &partial.0, &named, (size, &sha256)).map(|()| drop(partial))).await?;
            Ok(StoredObject { name, size })
        }
        .boxed()
    }
}

/// A link is made whole or not at all, and never over an existing name.
fn link(folder: &Path, partial: &Path, name: &ObjectName, content: (u64, &str)) -> Result<(), StoreError> {
    let wanted = folder.join(name.file());
    crate::failpoint::reach("before-store");
    let linked = fs::hard_link(partial, &wanted);
    crate::failpoint::reach("after-store");
    match linked {
        Ok(()) => sync_folder(folder),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && is_same(&wanted, content)? => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let text = format!("{} is in the store already with other content: it is not overwritten", name.file());
            Err(StoreErrorKind::Taken.because(text))
        }
        Err(error) => Err(said("give a written file its name (the file system must know hard links)", &error)),
    }
}

fn is_same(path: &Path, (size, sha256): (u64, &str)) -> Result<bool, StoreError> {
    if size_of(path)? != Some(size) {
        return Ok(false);
    }
    let failed = |error: io::Error| said("read an object", &error);
    let (mut file, mut digest, mut buffer) =
        (fs::File::open(path).map_err(failed)?, Sha256::new(), vec![0; 256 * 1024]);
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => break,
            count => digest.update(&buffer[..count]),
        }
    }
    let found = digest.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    Ok(found == sha256)
}
