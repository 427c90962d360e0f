//! The page of a clinic's figures: HTML, CSS and ES modules in `web/`, which are part of the program.
//! [`http`] serves them.

pub mod http;

use std::{fs, io::Write, path::Path, sync::OnceLock};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

/// A file of the page.
struct PageFile {
    name: &'static str,
    embedded: &'static [u8],
    packed: OnceLock<Bytes>,
}

macro_rules! page_files {
    ($($name:literal),+ $(,)?) => {
        [$(PageFile {
            name: $name,
            embedded: include_bytes!(concat!("web/", $name)),
            packed: OnceLock::new(),
        }),+]
    };
}

static FILES: [PageFile; 17] = page_files![
    "index.html",
    "page.css",
    "icon.svg",
    "agenda.js",
    "api.js",
    "appointment-form.js",
    "dates.js",
    "dom.js",
    "figures.js",
    "live.js",
    "main.js",
    "month.js",
    "operations.js",
    "place.js",
    "sign-in.js",
    "status.js",
    "words.js",
];

impl PageFile {
    fn find(name: &str) -> Option<&'static Self> {
        FILES.iter().find(|file| file.name == name)
    }

    fn content_type(&self) -> &'static str {
        match self.name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        }
    }

    /// The file, compressed by gzip. A debug build reads it from the disk each time, so that whoever
    /// changes it only loads the page again.
    fn packed(&self) -> Bytes {
        if cfg!(debug_assertions) {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboard/web");
            if let Ok(content) = fs::read(folder.join(self.name)) {
                return pack(&content);
            }
        }
        let packed = self.packed.get_or_init(|| pack(self.embedded));
        packed.clone()
    }
}

fn pack(content: &[u8]) -> Bytes {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    let written = packed.write_all(content).and_then(|()| packed.finish());
    written.expect("memory takes all that is written").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a browser loads before it shows the page, in bytes.
    const MOST: usize = 100_000;

    #[test]
    fn every_file_is_part_of_the_program_and_all_of_them_are_small() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboard/web");
        let mut sum = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name();
            let file = PageFile::find(name.to_str().unwrap());
            sum += file.unwrap_or_else(|| panic!("{name:?}")).embedded.len();
        }
        assert!(sum < MOST, "{sum} bytes");
    }
}
