//! What holds only where the database is a `SQLite` file and the cache in the service's memory.
//!
//! | file | what lives there |
//! |---|---|
//! | `start` | where the file is, who else may have it, and what is no place or file for it |
//! | `disk` | a full disk |
//! | `demo` | made-up clinics to look at |
//! | `import` | an import whose files are in the database's place, or the database in theirs |

mod demo;
mod disk;
mod import;
mod start;

use std::path::{Path, PathBuf};

use harness::SQLITE_FILE;

fn database(folder: &Path) -> PathBuf {
    folder.join(SQLITE_FILE)
}
