//! What the program is packaged with is what it takes itself, and is where the package looks for it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;

use toml::Value;

use crate::fixture::{Site, minimal};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_plan_beside_hitkeep_in_a_container_is_one() {
    let plan = fs::read_to_string(root().join(".packaging/plan.toml")).unwrap();
    let site = Site::with(minimal());
    site.write_plan(&plan);
    let checked = site.run(&["check", "plan.toml"]);
    assert_eq!((checked.code, checked.stderr.as_str()), (0, ""), "{plan}");
}

#[test]
fn the_package_for_debian_finds_what_it_holds() {
    let manifest: Value = toml::from_str(&fs::read_to_string(root().join("Cargo.toml")).unwrap()).unwrap();
    let package = &manifest["package"]["metadata"]["deb"];
    let script = fs::read_to_string(root().join(".packaging/deb")).unwrap();
    for asset in package["assets"].as_array().unwrap() {
        let asset = asset[0].as_str().unwrap();
        let is_there = match (asset.strip_prefix("target/release/packaging/"), asset.strip_suffix("*.toml")) {
            (Some(made), _) => script.contains(&format!("$made/{}", made.trim_end_matches("/*.1.gz"))),
            (None, Some(folder)) => root().join(folder).is_dir(),
            (None, None) => asset == "target/release/hitkeep-plan" || root().join(asset).is_file(),
        };
        assert!(is_there, "{asset}");
    }
    assert!(root().join(package["maintainer-scripts"].as_str().unwrap()).join("service").is_file());
}
