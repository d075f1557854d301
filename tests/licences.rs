//! What comes into the program: only licences that go with MIT, only from the one public registry.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Command;

use serde_json::Value;

/// Licences that ask for no more than their text to be kept.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Tells whether a licence expression can be met: of `OR` one side, of `AND` both. The old form `MIT/Apache-2.0` is `OR`.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    let meets = |licence: &str| ALLOWED.contains(&licence.split_whitespace().collect::<Vec<_>>().join(" ").as_str());
    expression.split(" AND ").all(|side| side.split(" OR ").any(meets))
}

#[test]
fn every_dependency_may_be_used_and_comes_from_the_registry() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    // Only what this machine builds has been fetched.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let asked = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--manifest-path", manifest])
        .args(["--filter-platform", &platform])
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let metadata: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "the list is whole");
    let wrong = packages.iter().filter_map(|package| {
        let (name, licence) = (package["name"].as_str().unwrap(), package["license"].as_str().unwrap_or("none"));
        let is_own = name == env!("CARGO_PKG_NAME");
        let from_registry = package["source"].as_str().is_some_and(|source| source.starts_with("registry+"));
        (!is_allowed(licence) || !(is_own || from_registry))
            .then(|| format!("{name}: {licence}, {}", package["source"]))
    });
    assert_eq!(wrong.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn expressions_are_understood() {
    for good in
        ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(MIT OR Apache-2.0) AND Unicode-3.0", "MIT AND BSD-3-Clause"]
    {
        assert!(is_allowed(good), "{good}");
    }
    for bad in ["GPL-3.0", "none", "MIT AND GPL-3.0", "Apache-2.0 WITH something"] {
        assert!(!is_allowed(bad), "{bad}");
    }
}
