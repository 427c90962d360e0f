//! The file of the rows that were not imported: one JSON object per line, with the reason and the whole
//! row.

use std::{
    fs::Permissions,
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::row::SourceRow;

/// The file. It gets its name when it is complete, and is only made if a row is rejected. That of a run
/// that stopped on its way is removed: the run is repeated, and an incomplete list would only mislead.
#[derive(Debug)]
pub(super) struct Rejects {
    path: PathBuf,
    file: Option<BufWriter<NamedTempFile>>,
}

#[derive(Serialize)]
struct RejectLine<'a> {
    id: &'a Value,
    reason: &'a str,
    row: &'a SourceRow,
}

impl Rejects {
    /// The file will be written to `path`, whose folder must exist.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let not_a_file = || io::Error::other("must be a file, or not be there yet");
        let name = path.file_name().ok_or_else(not_a_file)?;
        // Renaming the finished file would also replace a device.
        if path.metadata().is_ok_and(|there| !there.is_file()) {
            return Err(not_a_file());
        }
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        if !folder.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self {
            path: path.with_file_name(name),
            file: None,
        })
    }

    /// Adds a row.
    pub(super) fn add(&mut self, row: &SourceRow, reason: &str) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let unfinished = tempfile::Builder::new()
                    .prefix(self.path.file_name().unwrap_or_default())
                    .suffix(".part")
                    .permissions(Permissions::from_mode(0o666))
                    .tempfile_in(self.path.parent().unwrap_or(&self.path))?;
                none.insert(BufWriter::new(unfinished))
            }
        };
        let line = RejectLine {
            id: row.get("id"),
            reason,
            row,
        };
        serde_json::to_writer(&mut *file, &line)?;
        file.write_all(b"\n")
    }

    /// Gives the file its name, replacing that of an earlier run; returns its path if a row was rejected.
    pub(super) fn finish(self) -> io::Result<Option<PathBuf>> {
        let Some(file) = self.file else {
            return Ok(None);
        };
        let file = file.into_inner()?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(Some(self.path))
    }
}
