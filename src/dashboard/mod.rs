//! The page of a clinic's figures: HTML, CSS and ES modules in `web/`, which are part of the program.
//! [`http`] serves them.

pub mod http;

use std::{borrow::Cow, collections::HashMap, io::Write, sync::LazyLock};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use rust_embed::RustEmbed;

/// The files of the page. A debug build reads them from the disk, so that whoever changes one only loads
/// the page again.
#[derive(RustEmbed)]
#[folder = "src/dashboard/web"]
struct PageFiles;

/// The files by their names, compressed by gzip.
static PACKED: LazyLock<HashMap<Cow<'static, str>, Bytes>> = LazyLock::new(|| {
    PageFiles::iter()
        .filter_map(|name| pack(&name).map(|packed| (name, packed)))
        .collect()
});

/// The file of that name, compressed by gzip; `None` if there is none.
fn packed(name: &str) -> Option<Bytes> {
    if cfg!(debug_assertions) {
        // Given any name, rust-embed would follow a path to a symbolic link elsewhere.
        return PageFiles::iter()
            .find(|file| file == name)
            .and_then(|file| pack(&file));
    }
    PACKED.get(name).cloned()
}

fn pack(name: &str) -> Option<Bytes> {
    let content = PageFiles::get(name)?.data;
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    let written = packed.write_all(&content).and_then(|()| packed.finish());
    Some(written.expect("memory takes all that is written").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a browser loads before it shows the page, in bytes.
    const MOST: usize = 100_000;

    #[test]
    fn the_folder_has_only_files_of_the_page_and_all_of_them_are_small() {
        for name in PageFiles::iter() {
            let is_of_the_page = [".html", ".css", ".js", ".svg"]
                .iter()
                .any(|end| name.ends_with(end));
            assert!(
                is_of_the_page && !name.starts_with('.') && !name.contains('/'),
                "{name}"
            );
        }
        let sizes = PageFiles::iter().map(|name| PageFiles::get(&name).unwrap().data.len());
        let sum: usize = sizes.sum();
        assert!((1..MOST).contains(&sum), "{sum} bytes");
    }
}
