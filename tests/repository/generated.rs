//! Generated files are committed as they would be written now.

use crate::files::{files, read};

#[test]
fn definitions_are_those_of_the_types() {
    let wanted = savepoint::api::crd_files().unwrap();
    for file in &wanted {
        assert!(read(&file.path) == file.text, "{} is not what the types say: run `make generate`", file.path);
    }
    for folder in ["crds", "charts/savepoint/templates/crds"] {
        for found in files(folder, "") {
            let known = wanted.iter().any(|file| file.path == found.path);
            assert!(known, "{} belongs to no kind: remove it", found.path);
        }
    }
}
