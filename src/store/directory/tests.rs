use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};
use tempfile::TempDir;

fn store(root: &TempDir) -> DirectoryStore {
    DirectoryStore::new(root.path(), Path::new("sub"), "team-a").unwrap()
}

fn name(file: &str) -> ObjectName {
    ObjectName::new("team-a", "uid-1", file).unwrap()
}

fn kind<T>(result: Result<T, StoreError>) -> StoreErrorKind {
    result.err().expect("an error").kind
}

#[tokio::test]
async fn an_object_is_written_once() {
    let root = TempDir::new().unwrap();
    let store = store(&root);
    store.put(&name("x.age"), b"one").await.unwrap();
    store.put(&name("x.age"), b"one").await.unwrap();
    for other in [&b"two"[..], b"", b"one and more", b"on"] {
        assert_eq!(kind(store.put(&name("x.age"), other).await), StoreErrorKind::Taken);
    }
    assert_eq!(store.get(&name("x.age"), 3).await.unwrap(), b"one");
    assert_eq!(kind(store.get(&name("x.age"), 2).await), StoreErrorKind::TooLarge);
    assert_eq!(fs::read(root.path().join("sub/team-a/uid-1/x.age")).unwrap(), b"one");
    let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("sub/team-a"), mode("sub/team-a/uid-1/x.age")), (0o700, 0o600));
}

#[tokio::test]
async fn nothing_of_a_write_stays_behind() {
    let root = TempDir::new().unwrap();
    let store = store(&root);
    store.put(&name("x.age"), b"one").await.unwrap();
    let _ = store.put(&name("x.age"), b"two").await;
    let listed = store.list(Some("uid-1")).await.unwrap();
    assert_eq!(listed, [StoredObject { name: name("x.age"), size: 3 }]);
}

#[tokio::test]
async fn rests_of_writes_are_listed_and_can_be_removed() {
    let root = TempDir::new().unwrap();
    let store = store(&root);
    store.put(&name("x.age"), b"one").await.unwrap();
    let rest = name(".partial-7-0-x.age");
    fs::write(root.path().join("sub/team-a/uid-1").join(rest.file()), b"cut o").unwrap();
    assert_eq!(store.list(None).await.unwrap().len(), 2);
    store.delete(&rest).await.unwrap();
    store.delete(&rest).await.unwrap();
    store.delete(&name("x.age")).await.unwrap();
    assert_eq!(store.list(None).await.unwrap(), []);
    assert!(!root.path().join("sub/team-a/uid-1").exists(), "the empty folder stayed");
    assert_eq!(kind(store.get(&name("x.age"), 9).await), StoreErrorKind::Missing);
}

#[tokio::test]
async fn a_rest_under_the_very_name_of_the_next_try_does_not_block_it() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("rest");
    fs::write(&path, b"cut o").unwrap();
    write_new(&path, b"whole").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"whole");
}

#[tokio::test]
async fn another_namespace_is_out_of_reach() {
    let root = TempDir::new().unwrap();
    let theirs = DirectoryStore::new(root.path(), Path::new("sub"), "team-b").unwrap();
    let object = ObjectName::new("team-b", "uid-1", "x.age").unwrap();
    theirs.put(&object, b"one").await.unwrap();
    let ours = store(&root);
    assert_eq!(kind(ours.get(&object, 9).await), StoreErrorKind::Outside);
    assert_eq!(kind(ours.put(&object, b"one").await), StoreErrorKind::Outside);
    assert_eq!(kind(ours.delete(&object).await), StoreErrorKind::Outside);
    assert_eq!(ours.list(None).await.unwrap(), []);
    // A url that names the folder of another namespace gives a folder of one's own inside of it, and that is seen by nobody else.
    let inside = DirectoryStore::new(root.path(), Path::new("sub/team-b"), "team-a").unwrap();
    inside.put(&name("y.age"), b"mine").await.unwrap();
    assert_eq!(theirs.list(None).await.unwrap().len(), 1);
    assert_eq!(inside.list(None).await.unwrap().len(), 1);
}

#[test]
fn a_folder_outside_of_the_root_is_refused() {
    let root = Path::new("/var/lib/savepoint");
    for below in ["..", "/etc", "a/../..", "a/.."] {
        assert_eq!(kind(DirectoryStore::new(root, Path::new(below), "ns")), StoreErrorKind::Outside, "{below}");
    }
    for namespace in ["", "..", "a/b"] {
        assert_eq!(kind(DirectoryStore::new(root, Path::new(""), namespace)), StoreErrorKind::Outside, "{namespace}");
    }
}

#[tokio::test]
async fn symbolic_links_are_not_followed() {
    let (root, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(elsewhere.path().join("secret"), b"secret").unwrap();
    let store = store(&root);
    store.put(&name("x.age"), b"one").await.unwrap();
    symlink(elsewhere.path().join("secret"), root.path().join("sub/team-a/uid-1/y.age")).unwrap();
    assert_eq!(kind(store.get(&name("y.age"), 99).await), StoreErrorKind::Outside);
    assert_eq!(kind(store.put(&name("y.age"), b"secret").await), StoreErrorKind::Outside);
    symlink(elsewhere.path(), root.path().join("sub/team-a/uid-2")).unwrap();
    let through = ObjectName::new("team-a", "uid-2", "secret").unwrap();
    assert_eq!(kind(store.get(&through, 99).await), StoreErrorKind::Outside);
    assert_eq!(kind(store.delete(&through).await), StoreErrorKind::Outside);
    assert_eq!(store.list(None).await.unwrap().len(), 1);
    for link in ["sub", "sub/team-a"] {
        let root = TempDir::new().unwrap();
        fs::create_dir_all(root.path().join(link).parent().unwrap()).unwrap();
        symlink(elsewhere.path(), root.path().join(link)).unwrap();
        let store = DirectoryStore::new(root.path(), Path::new("sub"), "team-a").unwrap();
        assert_eq!(kind(store.put(&name("x"), b"one").await), StoreErrorKind::Outside, "{link}");
        assert_eq!(kind(store.list(None).await), StoreErrorKind::Outside, "{link}");
    }
    assert!(elsewhere.path().join("secret").exists());
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1, "something was written through a link");
}

#[tokio::test]
async fn a_root_that_is_not_there_is_not_made() {
    let root = TempDir::new().unwrap();
    let gone = root.path().join("not-mounted");
    let store = DirectoryStore::new(&gone, Path::new(""), "team-a").unwrap();
    let error = store.probe("uid").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    assert!(error.message.contains("does not exist"), "{error}");
    assert!(!gone.exists());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_says_so() {
    let root = TempDir::new().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let obeyed = fs::create_dir(root.path().join("tried")).is_err(); // the superuser is not held by modes
    let result = store(&root).put(&name("x"), b"one").await;
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    match obeyed {
        true => assert_eq!(kind(result), StoreErrorKind::ReadOnly),
        false => assert_eq!(result, Ok(())),
    }
}

#[test]
fn errors_of_the_file_system_are_told_apart() {
    let kind = |kind: ErrorKind| said("write", &io::Error::from(kind)).kind;
    assert_eq!(kind(ErrorKind::ReadOnlyFilesystem), StoreErrorKind::ReadOnly);
    assert_eq!(kind(ErrorKind::PermissionDenied), StoreErrorKind::ReadOnly);
    assert_eq!(kind(ErrorKind::StorageFull), StoreErrorKind::Full);
    assert_eq!(kind(ErrorKind::TimedOut), StoreErrorKind::Unavailable);
}

#[test]
fn a_full_disk_says_so() {
    // The kernel's own full device: every write to it fails as on a full disk.
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = write_whole(full, b"one").unwrap_err();
    assert_eq!(error.message, "the store could not write a file: there is no space left");
}

#[tokio::test]
async fn a_probe_leaves_nothing() {
    let root = TempDir::new().unwrap();
    let store = store(&root);
    store.probe("uid-of-store").await.unwrap();
    assert_eq!(store.list(None).await.unwrap(), []);
    assert!(fs::read_dir(root.path().join("sub/team-a")).unwrap().next().is_none());
}

async fn uploaded(store: &DirectoryStore, content: &[u8]) -> Result<StoredObject, StoreError> {
    use tokio::io::AsyncWriteExt;
    let mut upload = store.upload("uid-1").await.unwrap();
    upload.write_all(content).await.unwrap();
    upload.finish().await
}

#[tokio::test]
async fn a_stream_gets_the_name_of_its_content_and_is_read_back() {
    use tokio::io::AsyncReadExt;
    let root = TempDir::new().unwrap();
    let store = store(&root);
    let content = vec![7; 3_000_000];
    let stored = uploaded(&store, &content).await.unwrap();
    assert_eq!(stored.name.file(), format!("{}.age", crate::keyed_digest::sha256_hex(&content)));
    assert_eq!(uploaded(&store, &content).await.unwrap(), stored, "the same content is fine");
    assert_eq!(store.list(None).await.unwrap(), std::slice::from_ref(&stored), "something of the writing stayed");
    let (size, mut stream) = store.download(&stored.name).await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    assert!(size == 3_000_000 && read == content);
    // What lies under that name stays, and is not taken for it.
    fs::write(root.path().join("sub/team-a/uid-1").join(stored.name.file()), b"other").unwrap();
    assert_eq!(kind(uploaded(&store, &content).await), StoreErrorKind::Taken);
    assert_eq!(kind(store.download(&name("y.age")).await.map(drop)), StoreErrorKind::Missing);
}

#[tokio::test]
async fn a_stream_that_is_not_finished_leaves_nothing() {
    use tokio::io::AsyncWriteExt;
    let root = TempDir::new().unwrap();
    let store = store(&root);
    let mut upload = store.upload("uid-1").await.unwrap();
    upload.write_all(b"cut o").await.unwrap();
    assert!(store.list(None).await.unwrap()[0].name.file().starts_with(PARTIAL));
    drop(upload);
    assert_eq!(store.list(None).await.unwrap(), []);
}
