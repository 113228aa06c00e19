//! EFFECT. A store that is a folder: `<root>/<folder of the url>/<namespace>/<backup uid>/<file>`.

mod upload;

use super::{Download, MANIFEST, ObjectName, Store, StoreError, StoreErrorKind, StoredObject, Upload};
use futures::future::{BoxFuture, FutureExt};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longest time for one call: a network file system may hang for ever.
const DEADLINE: Duration = Duration::from_secs(20);
/// How a file is called while it is being written.
const PARTIAL: &str = ".partial-";
/// Folder of probes, beside those of the backups. No uid is called so.
const PROBES: &str = "probe";

/// The folder of one namespace.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    root: PathBuf,
    below: PathBuf,
    namespace: String,
}

impl DirectoryStore {
    /// The folder of `namespace` in `below` under `root`. Nothing is touched yet.
    ///
    /// # Errors
    /// [`StoreErrorKind::Outside`] where `below` leads out of the root or the namespace is no plain name.
    pub fn new(root: &Path, below: &Path, namespace: &str) -> Result<Self, StoreError> {
        if !below.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
            return Err(
                StoreErrorKind::Outside.because("the folder of the store leads out of the operator's store root")
            );
        }
        ObjectName::new(namespace, PROBES, PROBES)?;
        Ok(Self { root: root.into(), below: below.into(), namespace: namespace.into() })
    }

    /// Runs file calls where they may block, for as long as a call may take.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let store = self.clone();
        async move {
            match tokio::time::timeout(DEADLINE, tokio::task::spawn_blocking(move || work(store))).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(StoreErrorKind::Unavailable.because("the call to the store broke off")),
                Err(_) => Err(StoreErrorKind::Unavailable
                    .because(format!("the store did not answer within {} s", DEADLINE.as_secs()))),
            }
        }
        .boxed()
    }

    /// Walks from the root to the folder, and refuses every symbolic link on the way: one could lead out of the root or into the
    /// folder of another namespace. `None`: it is not there. With `make`, folders that are missing are made and synced.
    fn folder(&self, backup_uid: Option<&str>, make: bool) -> Result<Option<PathBuf>, StoreError> {
        // The root itself may be a link or a mount: it is the administrator's, and it is never made here, so that a volume
        // that is not mounted does not turn into a folder of the container.
        let mut path = fs::canonicalize(&self.root).map_err(|error| said("open the store root", &error))?;
        let parts = self.below.components().map(|part| part.as_os_str().to_owned());
        let own = [Some(self.namespace.as_str()), backup_uid].into_iter().flatten().map(Into::into);
        for part in parts.chain(own) {
            let parent = path.clone();
            path.push(part);
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => {}
                Ok(_) => {
                    let text = format!("{} in the store is a link or a file, not a folder", shown(&path));
                    return Err(StoreErrorKind::Outside.because(text));
                }
                Err(error) if error.kind() == ErrorKind::NotFound && make => {
                    match DirBuilder::new().mode(0o700).create(&path) {
                        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                            return Err(said("make a folder", &error));
                        }
                        _ => sync_folder(&parent)?,
                    }
                }
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(said("open a folder", &error)),
            }
        }
        Ok(Some(path))
    }

    fn own(&self, name: &ObjectName) -> Result<(), StoreError> {
        if name.namespace == self.namespace {
            return Ok(());
        }
        Err(StoreErrorKind::Outside.because("the object belongs to another namespace"))
    }

    fn put_now(&self, name: &ObjectName, content: &[u8]) -> Result<(), StoreError> {
        self.own(name)?;
        let folder = self.folder(Some(&name.folder), true)?.unwrap_or_default();
        let wanted = folder.join(&name.file);
        if let Some(same) = already_there(&wanted, content)? {
            return same;
        }
        let partial = folder.join(partial_name(&name.file));
        let written = write_new(&partial, content).and_then(|()| match fs::hard_link(&partial, &wanted) {
            // A link is made whole or not at all, and never over an existing name.
            Ok(()) => Ok(None),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => already_there(&wanted, content),
            Err(error) => Err(said("give a written file its name (the file system must know hard links)", &error)),
        });
        let _ = fs::remove_file(&partial);
        match written? {
            Some(same) => same,
            None => sync_folder(&folder),
        }
    }

    fn get_now(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.own(name)?;
        let missing = || StoreErrorKind::Missing.because(format!("{name} is not in the store"));
        let folder = self.folder(Some(&name.folder), false)?.ok_or_else(missing)?;
        read_file(&folder.join(&name.file), limit)?.ok_or_else(missing)
    }

    fn list_now(&self, backup_uid: Option<&str>) -> Result<Vec<StoredObject>, StoreError> {
        let mut found = Vec::new();
        let uids = match backup_uid {
            Some(uid) => vec![uid.to_owned()],
            None => match self.folder(None, false)? {
                Some(own) => names_in(&own)?,
                None => Vec::new(),
            },
        };
        for uid in uids {
            // Whatever else lies in the folder is nobody's backup: it is not counted, and never removed.
            if ObjectName::new(&self.namespace, &uid, MANIFEST).is_err() {
                continue;
            }
            let folder = match self.folder(Some(&uid), false) {
                Ok(Some(folder)) => folder,
                Ok(None) => continue,
                Err(error) if error.kind == StoreErrorKind::Outside && backup_uid.is_none() => continue,
                Err(error) => return Err(error),
            };
            for file in names_in(&folder)? {
                let Ok(name) = ObjectName::new(&self.namespace, &uid, &file) else { continue };
                match fs::symlink_metadata(folder.join(&file)) {
                    Ok(metadata) if metadata.is_file() => found.push(StoredObject { name, size: metadata.len() }),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::NotFound => {} // removed since
                    Err(error) => return Err(said("look at an object", &error)),
                }
            }
        }
        found.sort();
        Ok(found)
    }

    fn delete_now(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.own(name)?;
        let Some(folder) = self.folder(Some(&name.folder), false)? else { return Ok(()) };
        match fs::remove_file(folder.join(&name.file)) {
            Ok(()) => sync_folder(&folder)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(said("remove an object", &error)),
        }
        let _ = fs::remove_dir(&folder); // only where it is empty
        Ok(())
    }

    fn probe_now(&self, who: &str) -> Result<(), StoreError> {
        const CONTENT: &[u8] = b"savepoint tried whether this store can be written\n";
        let name = ObjectName::new(&self.namespace, PROBES, who)?;
        self.put_now(&name, CONTENT)?;
        let read = self.get_now(&name, 1024)?;
        self.delete_now(&name)?;
        if read != CONTENT {
            return Err(StoreErrorKind::Unavailable.because("what was written was not what was read back"));
        }
        Ok(())
    }
}

impl Store for DirectoryStore {
    fn put<'a>(&'a self, name: &'a ObjectName, content: &'a [u8]) -> BoxFuture<'a, Result<(), StoreError>> {
        let (name, content) = (name.clone(), content.to_vec());
        self.blocking(move |store| {
            crate::failpoint::reach("before-store");
            let stored = store.put_now(&name, &content);
            crate::failpoint::reach("after-store");
            stored
        })
    }

    fn get<'a>(&'a self, name: &'a ObjectName, limit: u64) -> BoxFuture<'a, Result<Vec<u8>, StoreError>> {
        let name = name.clone();
        self.blocking(move |store| store.get_now(&name, limit))
    }

    fn upload<'a>(&'a self, backup_uid: &'a str) -> BoxFuture<'a, Result<Box<dyn Upload>, StoreError>> {
        let uid = backup_uid.to_owned();
        self.blocking(move |store| upload::begin(&store, &uid))
    }

    fn download<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<(u64, Download), StoreError>> {
        let name = name.clone();
        self.blocking(move |store| upload::open(&store, &name))
    }

    fn list<'a>(&'a self, backup_uid: Option<&'a str>) -> BoxFuture<'a, Result<Vec<StoredObject>, StoreError>> {
        let uid = backup_uid.map(str::to_owned);
        self.blocking(move |store| store.list_now(uid.as_deref()))
    }

    fn delete<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<(), StoreError>> {
        let name = name.clone();
        self.blocking(move |store| store.delete_now(&name))
    }

    fn probe<'a>(&'a self, who: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let who = who.to_owned();
        self.blocking(move |store| store.probe_now(&who))
    }
}

/// Unique among the writers of this process and those before it; a rest of a crash is removed with the backup's other rests.
fn partial_name(file: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let short: String = file.chars().take(80).collect();
    format!("{PARTIAL}{}-{}-{short}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn write_new(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let open = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = match open() {
        // A process of the same id died here, in an earlier life of this container.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => fs::remove_file(path).and_then(|()| open()),
        other => other,
    };
    let file = file.map_err(|error| said("make a file", &error))?;
    write_whole(file, content)
}

fn write_whole(mut file: File, content: &[u8]) -> Result<(), StoreError> {
    file.write_all(content).and_then(|()| file.sync_all()).map_err(|error| said("write a file", &error))
}

fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| said("sync a folder", &error))
}

/// `None`: the name is free. `Some(Ok)`: the same content is there. `Some(Err)`: other content is there.
fn already_there(path: &Path, content: &[u8]) -> Result<Option<Result<(), StoreError>>, StoreError> {
    let taken = || {
        let text = format!("{} is in the store already with other content: it is not overwritten", shown(path));
        StoreErrorKind::Taken.because(text)
    };
    match read_file(path, content.len() as u64) {
        Ok(None) => Ok(None),
        Ok(Some(found)) if found == content => Ok(Some(Ok(()))),
        Ok(Some(_)) => Ok(Some(Err(taken()))),
        Err(error) if error.kind == StoreErrorKind::TooLarge => Ok(Some(Err(taken()))),
        Err(error) => Err(error),
    }
}

/// Size of a plain file. `None`: there is no such file.
fn size_of(path: &Path) -> Result<Option<u64>, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(Some(found.len())),
        Ok(_) => Err(StoreErrorKind::Outside.because(format!("{} in the store is not a plain file", shown(path)))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(said("look at an object", &error)),
    }
}

/// `None`: there is no such file.
fn read_file(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
    if size_of(path)?.is_none() {
        return Ok(None);
    }
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut content));
    match read {
        Ok(_) if content.len() as u64 > limit => {
            Err(StoreErrorKind::TooLarge.because(format!("{} in the store is larger than it can be", shown(path))))
        }
        Ok(_) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(said("read an object", &error)),
    }
}

/// Names that are text; others are nobody's.
fn names_in(folder: &Path) -> Result<Vec<String>, StoreError> {
    let failed = |error: io::Error| said("list a folder", &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(names)
}

/// Last part of a path: names of folders of the machine are nobody's business.
fn shown(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What an error of the file system means.
fn said(doing: &str, error: &io::Error) -> StoreError {
    let (kind, why) = match error.kind() {
        ErrorKind::ReadOnlyFilesystem => (StoreErrorKind::ReadOnly, "the file system is read-only".to_owned()),
        ErrorKind::PermissionDenied => (StoreErrorKind::ReadOnly, "the operator may not write there".to_owned()),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            (StoreErrorKind::Full, "there is no space left".to_owned())
        }
        ErrorKind::NotFound => (StoreErrorKind::Unavailable, "it does not exist".to_owned()),
        other => (StoreErrorKind::Unavailable, other.to_string()),
    };
    kind.because(format!("the store could not {doing}: {why}"))
}

#[cfg(test)]
mod tests;
