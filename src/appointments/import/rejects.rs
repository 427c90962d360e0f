//! The file of the rows that were not imported: one JSON object per line, with the reason and the whole
//! row.

use std::{
    fs::Permissions,
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::{cell::Cell, error::RejectsError, row::Columns};

/// The file. It gets its name when it is complete, and is only made if a row is rejected. That of a run
/// that stopped on its way is removed: the run is repeated, and an incomplete list would only mislead.
#[derive(Debug)]
pub(super) struct Rejects {
    path: PathBuf,
    file: Option<BufWriter<NamedTempFile>>,
}

#[derive(Serialize)]
struct RejectLine<'a> {
    id: Value,
    reason: &'a str,
    row: Row<'a>,
}

/// A row with its columns in their order.
struct Row<'a>(&'a Columns, &'a [Cell]);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.names().iter().zip(self.1.iter().map(Cell::to_json)))
    }
}

impl Rejects {
    /// The file will be written to `path`, whose folder must exist.
    pub(super) fn new(path: &Path) -> Result<Self, RejectsError> {
        let name = path.file_name().ok_or(RejectsError::NotAFile)?;
        // Renaming the finished file would also replace a device.
        if path.metadata().is_ok_and(|there| !there.is_file()) {
            return Err(RejectsError::NotAFile);
        }
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        if !folder.metadata()?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory).into());
        }
        Ok(Self {
            path: path.with_file_name(name),
            file: None,
        })
    }

    /// Adds a row.
    pub(super) fn add(
        &mut self,
        columns: &Columns,
        cells: &[Cell],
        reason: &str,
    ) -> io::Result<()> {
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
            id: columns.cell(cells, "id").to_json(),
            reason,
            row: Row(columns, cells),
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
