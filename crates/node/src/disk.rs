//! Files that must outlive a crash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What everyone may read.
pub(crate) const OPEN: u32 = 0o644;

/// What only its owner may read.
pub(crate) const SECRET: u32 = 0o600;

/// Writes a whole file, synced. Who reads it sees all of it or what was there before, after a crash too.
///
/// Two writers of one file must not be here at once.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = Path::new(&unfinished);
    // One that was left by a crash may have been made with another mode.
    remove(unfinished)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(unfinished, path)?;
    // The rename lasts once its folder is synced. A bare name stands in the folder we run in.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        // A crash left one that others may read.
        fs::write(folder.path().join("key.new"), "half").unwrap();
        for text in ["first", "2nd"] {
            write(&path, text.as_bytes(), SECRET).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SECRET);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
