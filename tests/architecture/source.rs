//! The code as the compiler parses it: which files there are, which of them each one imports, which
//! outside crates it names, and which types it defines.
//!
//! A file imports another when it names something that is defined there, in a `use` or in a path:
//! through a re-export, what counts is where the name is defined. Declaring a module is no import,
//! and neither is re-exporting from below without using the name. Test modules do not count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, File, Ident, Item, ItemMod, ItemUse, Macro, UseTree, Visibility,
    ext::IdentExt,
    visit::{self, Visit},
};

/// One file.
pub(crate) struct Source {
    /// Relative to the folder, without its ending: `stats/http`, and `stats/mod`.
    pub(crate) name: String,
    /// All of it.
    pub(crate) text: String,
    /// What it is called in paths after `crate::`.
    module: Vec<String>,
}

/// All files of a folder.
pub(crate) struct Sources(Vec<Source>);

/// The name that a `use` brings into scope, and the path that it stands for.
struct Import {
    name: String,
    path: Vec<String>,
    is_public: bool,
}

/// Files by their path after `crate::`.
type ByModule<'a> = BTreeMap<&'a [String], (&'a str, &'a Parsed)>;

/// What one file says, outside of its tests.
struct Parsed {
    module: Vec<String>,
    /// The modules that it declares in files of their own.
    children: BTreeSet<String>,
    test_children: BTreeSet<String>,
    uses: Vec<Import>,
    /// All paths other than those of `use`, also within macros.
    paths: BTreeSet<Vec<String>>,
    types: Vec<String>,
}

impl Sources {
    /// Reads a folder of the package.
    pub(crate) fn read(folder: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut paths = Vec::new();
        files(&root, &mut paths);
        assert!(!paths.is_empty());
        let source = |path: PathBuf| {
            let name = path.strip_prefix(&root).unwrap().with_extension("");
            let name = name.to_str().unwrap().to_owned();
            let mut module: Vec<String> = name.split('/').map(ToOwned::to_owned).collect();
            if module.last().is_some_and(|last| last == "mod") || name == "lib" {
                module.pop();
            }
            let text = fs::read_to_string(path).unwrap();
            Source { name, text, module }
        };
        Self(paths.into_iter().map(source).collect())
    }

    /// Every file, also those of tests.
    pub(crate) fn all(&self) -> &[Source] {
        &self.0
    }

    /// What each file imports. Files of tests are left out.
    pub(crate) fn imports(&self) -> BTreeMap<String, BTreeSet<String>> {
        let parsed = self.parsed();
        let by_module: ByModule<'_> = parsed
            .iter()
            .map(|(name, file)| (&file.module[..], (*name, file)))
            .collect();
        parsed
            .iter()
            .map(|(name, file)| {
                let imported = file
                    .imported_paths()
                    .filter_map(|path| file.absolute(&path))
                    .map(|path| defined_in(&path, &by_module, 0))
                    .filter(|import| import != name);
                ((*name).to_owned(), imported.collect())
            })
            .collect()
    }

    /// The first words of the paths in each file, among which are the outside crates it names.
    pub(crate) fn outside_crates(&self) -> BTreeMap<String, BTreeSet<String>> {
        let parsed = self.parsed();
        let first = |path: &Vec<String>| path[0].clone();
        parsed
            .iter()
            .map(|(name, file)| {
                let used = file.uses.iter().map(|import| first(&import.path));
                let names = file.paths.iter().map(first).chain(used).collect();
                ((*name).to_owned(), names)
            })
            .collect()
    }

    /// The structs, enums, traits and aliases, with the files that define one of that name.
    pub(crate) fn types(&self) -> BTreeMap<String, Vec<String>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (file, parsed) in self.parsed() {
            for name in parsed.types {
                found.entry(name).or_default().push(file.to_owned());
            }
        }
        found
    }

    /// The files that are not only for tests.
    fn parsed(&self) -> BTreeMap<&str, Parsed> {
        let mut parsed: BTreeMap<&str, Parsed> = self
            .0
            .iter()
            .map(|source| (&source.name[..], source.parse()))
            .collect();
        let tests: Vec<Vec<String>> = parsed
            .values()
            .flat_map(|file| {
                let below = |name: &String| [&file.module[..], std::slice::from_ref(name)].concat();
                file.test_children.iter().map(below)
            })
            .collect();
        parsed.retain(|_, file| !tests.iter().any(|test| file.module.starts_with(test)));
        parsed
    }
}

fn files(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The file in which the item with that path is defined, through all re-exports.
fn defined_in(path: &[String], by_module: &ByModule<'_>, depth: usize) -> String {
    assert!(depth < 20, "{path:?} leads back to itself");
    let longest = (0..=path.len())
        .rev()
        .find(|&length| by_module.contains_key(&path[..length]))
        .unwrap();
    let (name, file) = by_module[&path[..longest]];
    let Some(item) = path.get(longest) else {
        return name.to_owned();
    };
    let import = file.uses.iter().find(|import| import.name == *item);
    match import.and_then(|import| file.absolute(&import.path)) {
        Some(elsewhere) if elsewhere[..] != path[..=longest] => {
            let rest = &path[longest + 1..];
            defined_in(&[&elsewhere[..], rest].concat(), by_module, depth + 1)
        }
        _ => name.to_owned(),
    }
}

impl Parsed {
    /// All that it names, but for what it only hands on.
    fn imported_paths(&self) -> impl Iterator<Item = Vec<String>> {
        let uses = self.uses.iter().filter(|import| {
            let mut path = import.path.iter().skip_while(|part| *part == "self");
            let is_from_below = path
                .next()
                .is_some_and(|first| self.children.contains(first));
            let is_named = || self.paths.iter().any(|path| path[0] == import.name);
            !(import.is_public && is_from_below) || is_named()
        });
        uses.map(|import| import.path.clone())
            .chain(self.paths.iter().cloned())
    }

    /// The path from the crate's root; `None` if it leads out of the crate, or to something local.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let first = path.first()?;
        let mut base = self.module.clone();
        let rest = match &first[..] {
            "crate" => {
                base.clear();
                &path[1..]
            }
            "self" => &path[1..],
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                base.truncate(base.len().checked_sub(ups).unwrap());
                &path[ups..]
            }
            name if self.children.contains(name) => path,
            name => {
                let import = self.uses.iter().find(|import| import.name == name)?;
                if import.path == path {
                    return None;
                }
                base = self.absolute(&import.path)?;
                &path[1..]
            }
        };
        base.extend_from_slice(rest);
        Some(base)
    }
}

impl Source {
    fn parse(&self) -> Parsed {
        let file: File = syn::parse_file(&self.text)
            .unwrap_or_else(|error| panic!("{} cannot be parsed: {error}", self.name));
        let mut parsed = Parsed {
            module: self.module.clone(),
            children: BTreeSet::new(),
            test_children: BTreeSet::new(),
            uses: Vec::new(),
            paths: BTreeSet::new(),
            types: Vec::new(),
        };
        parsed.visit_file(&file);
        parsed
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<Ident>()
                .is_ok_and(|condition| condition == "test")
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

impl Visit<'_> for Parsed {
    fn visit_item(&mut self, item: &Item) {
        if is_for_tests(attributes(item)) {
            if let Item::Mod(module) = item {
                self.test_children.insert(module.ident.to_string());
            }
            return;
        }
        match item {
            Item::Enum(item) => self.types.push(item.ident.to_string()),
            Item::Struct(item) => self.types.push(item.ident.to_string()),
            Item::Trait(item) => self.types.push(item.ident.to_string()),
            Item::Type(item) => self.types.push(item.ident.to_string()),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, module: &ItemMod) {
        assert!(
            module.content.is_none(),
            "a module other than a file's tests has a file of its own"
        );
        self.children.insert(module.ident.to_string());
    }

    fn visit_item_use(&mut self, item: &ItemUse) {
        let is_public = !matches!(item.vis, Visibility::Inherited);
        self.read_tree(&item.tree, &[], is_public);
    }

    /// Where something can be seen is no import.
    fn visit_visibility(&mut self, _visibility: &Visibility) {}

    fn visit_path(&mut self, path: &syn::Path) {
        let names = path.segments.iter();
        self.paths.insert(
            names
                .map(|segment| segment.ident.unraw().to_string())
                .collect(),
        );
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &Macro) {
        visit::visit_macro(self, invocation);
        self.read_tokens(invocation.tokens.clone());
    }
}

impl Parsed {
    fn read_tree(&mut self, tree: &UseTree, before: &[String], is_public: bool) {
        let with = |name: &Ident| [before, &[name.unraw().to_string()]].concat();
        let (name, path) = match tree {
            UseTree::Path(path) => {
                return self.read_tree(&path.tree, &with(&path.ident), is_public);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.read_tree(tree, before, is_public);
                }
                return;
            }
            UseTree::Name(name) if name.ident == "self" => {
                (before.last().unwrap().clone(), before.to_vec())
            }
            UseTree::Name(name) => (name.ident.unraw().to_string(), with(&name.ident)),
            UseTree::Rename(rename) => (rename.rename.unraw().to_string(), with(&rename.ident)),
            UseTree::Glob(_) => ("*".to_owned(), before.to_vec()),
        };
        self.uses.push(Import {
            name,
            path,
            is_public,
        });
    }

    /// Finds the paths among the tokens of a macro, which only the macro itself could parse.
    fn read_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.end_path(&mut path);
                    }
                    path.push(name.unraw().to_string());
                    colons = 0;
                }
                TokenTree::Group(group) => {
                    self.end_path(&mut path);
                    self.read_tokens(group.stream());
                    colons = 0;
                }
                _ => {
                    self.end_path(&mut path);
                    colons = 0;
                }
            }
        }
        self.end_path(&mut path);
    }

    fn end_path(&mut self, path: &mut Vec<String>) {
        if !path.is_empty() {
            self.paths.insert(std::mem::take(path));
        }
    }
}
