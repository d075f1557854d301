//! Knowledge goes up the list of layers only: a module names its own parts and modules above it, nothing else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// The modules of the crate, from words to the command line. Modules in one row do not know each other.
const LAYERS: &[&[&str]] = &[
    &["name", "measure"],
    &["hitkeep"],
    &["diagnose"],
    &["plan"],
    &["settings"],
    &["record"],
    &["event"],
    &["work"],
    &["stop", "secret"],
    &["store", "duck", "demo"],
    &["survey"],
    &["run"],
    &["report"],
    &["cli"],
];

/// Modules without files, network, clocks or threads: crates and parts of `std` that they may not name.
const PURE: &[&str] = &["name", "measure", "hitkeep", "diagnose", "plan", "settings", "record", "work", "event"];
const IMPURE: &[&str] = &["tokio", "duckdb", "rustix", "tempfile", "async_trait", "futures_util"];
const IMPURE_STD: &[&str] = &["fs", "net", "process", "thread", "env"];

/// Every path that a file names, as lists of segments: from `use` trees, expressions, types and macros' arguments.
#[derive(Default)]
struct Paths(BTreeSet<Vec<String>>);

impl Paths {
    fn add_tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add_tree(&path.tree, &with(&path.ident)),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(tree, before)),
            syn::UseTree::Name(name) => drop(self.0.insert(with(&name.ident))),
            syn::UseTree::Rename(name) => drop(self.0.insert(with(&name.ident))),
            syn::UseTree::Glob(_) => drop(self.0.insert(before.to_vec())),
        }
    }

    /// Finds `crate :: name` among the tokens of a macro, which the parser leaves alone.
    fn add_tokens(&mut self, tokens: proc_macro2::TokenStream) {
        let mut words: Vec<String> = Vec::new();
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Group(group) => self.add_tokens(group.stream()),
                other => words.push(other.to_string()),
            }
        }
        let named = words.windows(4).filter(|four| four[0] == "crate" && four[1] == ":");
        self.0.extend(named.map(|four| vec!["crate".to_owned(), four[3].clone()]));
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.add_tokens(item.tokens.clone());
        syn::visit::visit_macro(self, item);
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let here = files.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "rs"));
    here.chain(folders.iter().flat_map(|folder| sources(folder))).collect()
}

/// Returns the top-level module that a file belongs to.
fn module_of(file: &Path, root: &Path) -> String {
    let first =
        file.strip_prefix(root).unwrap().components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Returns what is wrong with a file that belongs to `module`.
fn violations(module: &str, source: &str) -> Vec<String> {
    let mut paths = Paths::default();
    paths.visit_file(&syn::parse_file(source).unwrap());
    let own = layer_of(module);
    let judge = |path: &Vec<String>| {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        match words[..] {
            ["crate", other, ..] if other != module => match (own, layer_of(other)) {
                (Some(own), Some(above)) if above < own => None,
                _ => Some(format!("`{module}` names `{other}`, which is not above it")),
            },
            [first, ..] if PURE.contains(&module) && IMPURE.contains(&first) => {
                Some(format!("`{module}` is pure and names `{first}`"))
            }
            ["std", part, ..] if PURE.contains(&module) && IMPURE_STD.contains(&part) => {
                Some(format!("`{module}` is pure and names `std::{part}`"))
            }
            _ => None,
        }
    };
    paths.0.iter().filter_map(judge).collect()
}

#[test]
fn knowledge_goes_up_the_layers_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for file in sources(&root) {
        let module = module_of(&file, &root);
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let source = std::fs::read_to_string(&file).unwrap();
        wrong.extend(violations(&module, &source).into_iter().map(|what| format!("{}: {what}", file.display())));
        seen.insert(module);
    }
    assert_eq!(wrong, Vec::<String>::new());
    let listed: BTreeSet<String> =
        LAYERS.iter().flat_map(|layer| layer.iter().map(|name| (*name).to_owned())).collect();
    assert_eq!(seen, listed, "every module of the crate has its layer");
}

#[test]
fn a_module_that_looks_down_is_found() {
    let found = |module: &str, source: &str| violations(module, source).len();
    assert_eq!(found("work", "use crate::{name::Name, run::Outside};"), 1);
    assert_eq!(found("work", "fn f() { crate::cli::main() }"), 1);
    assert_eq!(found("work", "fn f() { panic!(\"{}\", crate::cli::main()) }"), 1);
    assert_eq!(found("store", "use crate::duck::Session;"), 1, "neighbours do not know each other");
    assert_eq!(found("plan", "use std::{env, fmt};"), 1);
    assert_eq!(found("event", "async fn f() { tokio::task::yield_now().await }"), 1);
    assert_eq!(found("run", "use crate::name::Name; use super::x; use std::fs;"), 0);
}
