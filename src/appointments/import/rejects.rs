//! The file of the rows that were not imported: one JSON object per line, with the reason and the whole
//! row.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{cell::Cell, error::RejectsError, row::Columns};

/// The file. It gets its name when it is complete, and is only made if a row is rejected.
#[derive(Debug)]
pub(super) struct Rejects {
    path: PathBuf,
    /// Beside `path`, so that it can be renamed to it.
    unfinished: PathBuf,
    file: Option<BufWriter<File>>,
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
        let mut unfinished = name.to_owned();
        unfinished.push(format!(".{}.part", std::process::id()));
        Ok(Self {
            path: path.with_file_name(name),
            unfinished: path.with_file_name(unfinished),
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
            none => none.insert(BufWriter::new(File::create(&self.unfinished)?)),
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
    pub(super) fn finish(mut self) -> io::Result<Option<PathBuf>> {
        let Some(file) = &mut self.file else {
            return Ok(None);
        };
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&self.unfinished, &self.path)?;
        self.file = None;
        Ok(Some(std::mem::take(&mut self.path)))
    }
}

impl Drop for Rejects {
    /// A run that stopped on its way is repeated, so an incomplete list would only mislead.
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.unfinished);
        }
    }
}
