//! The report of an import: how many rows it read and took, and where the others are.

use std::{fmt, path::PathBuf};

/// How many rows were read, and what became of them: the other counts add up to `read`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Whether nothing was written: `imported` counts what would have been.
    pub dry_run: bool,
    /// Rows of the source.
    pub read: u64,
    /// Rows that are now in the database and were not.
    pub imported: u64,
    /// Rows that were in the database already, with the same content.
    pub already_here: u64,
    /// Rows whose id is in the database with other content, which was left.
    pub differing: u64,
    /// Rows that cannot be taken.
    pub rejected: u64,
    /// Where the differing and the rejected rows are, with the reasons, if there are any.
    pub rejects: Option<PathBuf>,
}

impl Report {
    /// Whether all that was read is in the database, or would be without `dry_run`.
    pub fn is_complete(&self) -> bool {
        self.differing == 0 && self.rejected == 0
    }
}

impl fmt::Display for Report {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dry_run {
            f.write_str("dry run, nothing is written: ")?;
        }
        if self.imported == 0 {
            f.write_str("nothing to import: ")?;
            if self.read == 0 {
                return f.write_str("the source has no appointments");
            }
            if self.is_complete() {
                return write!(f, "all {} appointments are already here", self.read);
            }
        }
        write!(
            f,
            "read {}, {} {}, already here {}, differing {}, rejected {}",
            self.read,
            if self.dry_run {
                "would import"
            } else {
                "imported"
            },
            self.imported,
            self.already_here,
            self.differing,
            self.rejected
        )?;
        match &self.rejects {
            Some(path) => write!(
                f,
                "; the differing and the rejected are in {} with the reasons",
                path.display()
            ),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_found_all_of_it_here_says_so() {
        let report = Report {
            read: 5,
            already_here: 5,
            ..Report::default()
        };
        assert_eq!(
            report.to_string(),
            "nothing to import: all 5 appointments are already here"
        );
        assert!(report.is_complete());
        assert_eq!(
            Report::default().to_string(),
            "nothing to import: the source has no appointments"
        );
    }

    #[test]
    fn every_count_is_told_and_where_the_rest_is() {
        let mut report = Report {
            dry_run: true,
            read: 9,
            imported: 4,
            already_here: 2,
            differing: 1,
            rejected: 2,
            rejects: Some("a.db.rejects.jsonl".into()),
        };
        assert!(!report.is_complete());
        assert_eq!(
            report.to_string(),
            "dry run, nothing is written: read 9, would import 4, already here 2, differing 1, \
             rejected 2; the differing and the rejected are in a.db.rejects.jsonl with the reasons"
        );
        report = Report {
            dry_run: false,
            read: 5,
            imported: 0,
            ..report
        };
        assert!(
            report
                .to_string()
                .starts_with("nothing to import: read 5, imported 0, ")
        );
    }
}
