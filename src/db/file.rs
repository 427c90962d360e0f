//! The file of a SQLite database, seen from outside: where it is, that it has no second name, and
//! whether it is still the one that was opened.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use thiserror::Error;

/// The file cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// The system says why.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The absolute path leads through a folder that is missing.
    #[error("there is no folder {}: correct the path, or make the folder", .0.display())]
    NoFolder(PathBuf),
    /// The folder of a relative path cannot be made.
    #[error("cannot make the folder {}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something other than a file has that name.
    #[error("it is not a file")]
    NotAFile,
    /// The file has other content.
    #[error("the file is not a database")]
    NotADatabase,
    /// The file has hard links.
    #[error(
        "the file has {0} names (hard links), and SQLite keeps recent changes beside each name, in a \
         file that ends with -wal: remove the other names"
    )]
    Linked(u64),
    /// The file itself is mounted, and not its folder.
    #[error(
        "the file itself is mounted, and SQLite keeps recent changes beside it, in a file that ends \
         with -wal: mount the folder"
    )]
    Mounted,
    /// Beside the file are changes that belong to another database.
    #[error(
        "{} has changes of another database, or of one that is missing: put that database back, or move \
         this file away", .0.display()
    )]
    StrayWal(PathBuf),
    /// A file that was opened is not there any more.
    #[error("{} was removed", .0.display())]
    Removed(PathBuf),
    /// Another file has the name of one that was opened.
    #[error("{} was replaced by another file", .0.display())]
    Replaced(PathBuf),
}

/// Makes an empty file, which is an empty database, if there is none. The folders of a relative path are
/// made, those of an absolute one are not: it may be mistyped.
pub(super) fn create_if_missing(path: &Path) -> Result<(), FileError> {
    if path.exists() {
        return Ok(());
    }
    if has_wal(path) {
        return Err(FileError::StrayWal(wal(path)));
    }
    let folder = path.parent().unwrap_or(path);
    if path.is_absolute() {
        let missing = folder.ancestors().take_while(|folder| !folder.exists());
        if let Some(first) = missing.last() {
            return Err(FileError::NoFolder(first.to_owned()));
        }
    } else {
        fs::create_dir_all(folder).map_err(|source| FileError::Folder {
            folder: folder.to_owned(),
            source,
        })?;
    }
    match File::create_new(path) {
        Ok(_) => {
            let path = path.canonicalize()?;
            log::warn!("database: created a new database at {}", path.display());
            Ok(())
        }
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The one path that the database has, whatever links lead to it. Not to be asked for a file that is open in
/// this process: closing the file would release SQLite's locks.
pub(crate) fn locate(path: &Path) -> Result<PathBuf, FileError> {
    let path = path.canonicalize()?;
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile);
    }
    if metadata.nlink() > 1 {
        return Err(FileError::Linked(metadata.nlink()));
    }
    if is_mounted(&path) {
        return Err(FileError::Mounted);
    }
    // Looked for before the header: setting a new database up switches it to WAL first.
    let has_wal = has_wal(&path);
    let mut header = Vec::new();
    File::open(&path)?.take(19).read_to_end(&mut header)?;
    // SQLite would take a file of a few bytes for an empty one, and write over it.
    if !header.is_empty() && !header.starts_with(b"SQLite format 3\0") {
        return Err(FileError::NotADatabase);
    }
    let is_in_wal_mode = header.get(18) == Some(&2);
    if has_wal && !is_in_wal_mode {
        return Err(FileError::StrayWal(wal(&path)));
    }
    Ok(path)
}

/// The file beside the database with its latest changes. SQLite takes whatever has that name for the
/// database's own, also where a new database or a backup took the place of another.
pub(super) fn wal(path: &Path) -> PathBuf {
    with_suffix(path, "-wal")
}

fn has_wal(path: &Path) -> bool {
    wal(path).metadata().is_ok_and(|wal| wal.len() > 0)
}

/// `path` with more at its end.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Whether the file itself, and not a folder above it, is mounted at `path`.
#[cfg(target_os = "linux")]
fn is_mounted(path: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

    statx(CWD, path, AtFlags::empty(), StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Elsewhere nothing tells.
#[cfg(not(target_os = "linux"))]
fn is_mounted(_path: &Path) -> bool {
    false
}

/// Whether both paths lead to the same file.
pub(crate) fn is_same_file(a: &Path, b: &Path) -> bool {
    match (a.metadata(), b.metadata()) {
        (Ok(a), Ok(b)) => FileId::of(&a) == FileId::of(&b),
        _ => false,
    }
}

/// Tells a file from all others, for as long as it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// Notices when files that are open are removed or replaced: SQLite would go on writing to what nobody can
/// open again.
#[derive(Debug)]
pub(super) struct FileWatch {
    files: Vec<(PathBuf, FileId)>,
    is_alarmed: AtomicBool,
}

impl FileWatch {
    /// Watches the files at `paths`, which are open and stay so.
    pub(super) fn new(paths: impl IntoIterator<Item = PathBuf>) -> io::Result<Self> {
        let files = paths.into_iter().map(|path| {
            let id = FileId::of(&path.metadata()?);
            Ok((path, id))
        });
        Ok(Self {
            files: files.collect::<io::Result<_>>()?,
            is_alarmed: AtomicBool::new(false),
        })
    }

    /// Whether each path still leads to the file that was opened there. When that changes it is logged, and
    /// `save` is called if a path has just lost its file.
    pub(super) fn check(&self, save: impl FnOnce()) -> Result<(), FileError> {
        let checked = self.files.iter().try_for_each(|(path, opened)| {
            match path.metadata().map(|found| FileId::of(&found)) {
                Ok(found) if found == *opened => Ok(()),
                Ok(_) => Err(FileError::Replaced(path.clone())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Err(FileError::Removed(path.clone()))
                }
                Err(error) => Err(error.into()),
            }
        });
        let was_alarmed = self.is_alarmed.swap(checked.is_err(), Ordering::Relaxed);
        match &checked {
            Err(error) if !was_alarmed => {
                log::error!(
                    "database: {error}: nothing is written until the file that was opened is back; to \
                     use another one, restart the service"
                );
                save();
            }
            Ok(()) if was_alarmed => log::info!("database: the file that was opened is back"),
            _ => {}
        }
        checked
    }
}
