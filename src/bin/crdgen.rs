//! Writes the CRDs: `crdgen ROOT` fills `ROOT/crds` and, as templates that Helm upgrades, `ROOT/charts/savepoint/templates/crds`.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::args().nth(1).ok_or("usage: crdgen ROOT")?);
    for file in savepoint::api::crd_files()? {
        let path = root.join(&file.path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, &file.text)?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
