//! Whatever is done to an archive after it was sealed is found, also where the digests of its files were forged.

use std::fs;
use std::path::{Path, PathBuf};

use duckdb::Connection;
use hitkeep_plan::measure::Sha256;
use serde_json::Value;

use super::{Row, World, without_seconds};
use crate::fixture::{read_tree, write_tree};
use crate::redact::{self, golden, narrow};

/// An archive that can be tampered with.
struct Archive {
    root: PathBuf,
}

impl Archive {
    /// Returns the files of this table, or of all of them in the layout of HitKeep.
    fn files(&self, of: &str) -> Vec<PathBuf> {
        let is_it = |name: &PathBuf| {
            let name = name.display().to_string();
            name.ends_with(".parquet") && (!name.starts_with("table=") || name.starts_with(&format!("table={of}/")))
        };
        read_tree(&self.root).into_keys().filter(is_it).map(|name| self.root.join(name)).collect()
    }

    fn record(&self) -> PathBuf {
        let names = read_tree(&self.root).into_keys().map(|name| self.root.join(name));
        names.into_iter().find(|name| name.to_string_lossy().contains("/runs/")).unwrap()
    }

    fn edit_record(&self, edit: impl Fn(&mut Value)) {
        let mut record: Value = serde_json::from_slice(&fs::read(self.record()).unwrap()).unwrap();
        edit(&mut record["archive"]);
        fs::write(self.record(), record.to_string()).unwrap();
    }

    /// Writes what a query makes of the first file of hits in its place, and its digest into the record.
    fn forge(&self, query: &str) {
        let file = self.files("hits").remove(0);
        let forged = file.with_extension("forged");
        let all = format!("read_parquet('{}', hive_partitioning = false)", file.display());
        let copy = format!("COPY ({}) TO '{}' (FORMAT parquet)", query.replace("ALL_ROWS", &all), forged.display());
        Connection::open_in_memory().unwrap().execute_batch(&copy).unwrap();
        fs::rename(&forged, &file).unwrap();
        let name = file.strip_prefix(&self.root).unwrap().display().to_string();
        let bytes = fs::read(&file).unwrap();
        self.edit_record(|archive| {
            let files = archive["files"].as_array_mut().unwrap();
            let record = files.iter_mut().find(|record| record["path"] == name.as_str()).unwrap();
            record["sha256"] = Sha256::of(&bytes).to_string().into();
            record["bytes"] = bytes.len().into();
        });
    }
}

/// Returns what a record says of the hits' columns.
fn hits(archive: &mut Value) -> &mut Value {
    archive["schemas"].as_array_mut().unwrap().iter_mut().find(|schema| schema["table"] == "hits").unwrap()
}

fn change(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// All rows but one of the hits: an engine writes rows in any order, so that the first of them is a different one each time.
const WITHOUT_ONE: &str = "SELECT * FROM ALL_ROWS WHERE path IS DISTINCT FROM 'it''s /1'";

/// What is done to an archive, and how.
type Tampering = (&'static str, fn(&Archive));

const TAMPERINGS: &[Tampering] = &[
    ("a byte of a file is flipped", |it| change(&it.files("hits")[0], |bytes| bytes[40] ^= 1)),
    ("a file is truncated", |it| change(&it.files("hits")[0], |bytes| bytes.truncate(bytes.len() / 2))),
    ("a file is emptied", |it| change(&it.files("hits")[0], Vec::clear)),
    ("a file is deleted", |it| fs::remove_file(&it.files("hits")[0]).unwrap()),
    ("two files are swapped", |it| {
        let [one, other] = it.files("hits").try_into().unwrap();
        let (first, second) = (fs::read(&one).unwrap(), fs::read(&other).unwrap());
        fs::write(one, second).unwrap();
        fs::write(other, first).unwrap();
    }),
    ("the record's rows are edited", |it| {
        it.edit_record(|archive| archive["files"][0]["parts"][0]["rows"] = 7.into());
    }),
    ("the record's digest of rows is edited", |it| {
        it.edit_record(|archive| archive["files"][0]["parts"][0]["content"] = "1-1".into());
    }),
    ("the record's columns are edited", |it| {
        it.edit_record(|archive| hits(archive)["columns"][4]["name"] = "property".into());
    }),
    ("the record's types are edited", |it| {
        it.edit_record(|archive| hits(archive)["columns"][3]["type"] = "INTEGER".into());
    }),
    ("a row is taken away, and the digest forged", |it| it.forge(WITHOUT_ONE)),
    ("a row is changed, and the digest forged", |it| {
        it.forge("SELECT * REPLACE (replace(path, '1', '2') AS path) FROM ALL_ROWS");
    }),
    ("a row is doubled, and the digest forged", |it| {
        it.forge("SELECT * FROM ALL_ROWS UNION ALL BY NAME (SELECT * FROM ALL_ROWS WHERE path = 'it''s /1')");
    }),
    ("a column is taken away, and the digest forged", |it| it.forge("SELECT * EXCLUDE (path) FROM ALL_ROWS")),
    ("a column is added, and the digest forged", |it| it.forge("SELECT *, 1 AS more FROM ALL_ROWS")),
    ("a column has another type, and the digest forged", |it| {
        it.forge("SELECT * REPLACE (site_id::VARCHAR AS site_id) FROM ALL_ROWS");
    }),
    ("a file is no Parquet, and the digest forged", |it| {
        it.forge("SELECT * FROM ALL_ROWS");
        let file = it.files("hits").remove(0);
        fs::write(&file, "nothing").unwrap();
        let name = file.strip_prefix(&it.root).unwrap().display().to_string();
        it.edit_record(|archive| {
            let files = archive["files"].as_array_mut().unwrap();
            let record = files.iter_mut().find(|record| record["path"] == name.as_str()).unwrap();
            record["sha256"] = Sha256::of(b"nothing").to_string().into();
            record["bytes"] = 7.into();
        });
    }),
];

/// Rows of two tables and two sites, all of one month.
fn rows() -> Vec<Row> {
    let row = |table, site, payload| Row { table, site, age: 100 * 24 * 60, payload, zone: 0 };
    vec![row(0, 0, 1), row(0, 0, 2), row(0, 2, 1), row(1, 0, 1), row(1, 2, 2)]
}

#[test]
fn whatever_is_done_to_an_archive_is_found() {
    for layout in ["hitkeep", "hive"] {
        let world = World::new(&rows(), false, layout, false);
        world.site.succeed(&["run", "plan.toml", "cold"]);
        let sealed = read_tree(&world.site.path("backups"));
        let mut story = told(&world, "nothing is done", &|_| {}, 0);
        for (name, tamper) in TAMPERINGS {
            fs::remove_dir_all(world.site.path("backups")).unwrap();
            write_tree(&world.site.path("backups"), &sealed);
            story += &told(&world, name, tamper, 6);
        }
        golden(&format!("archive-tamperings-{layout}.txt"), &story);
    }
}

/// Tampers with an archive, and tells what `verify` says to it.
fn told(world: &World, name: &str, tamper: &dyn Fn(&Archive), code: i32) -> String {
    tamper(&Archive { root: world.site.path("backups/cold") });
    let verified = world.site.run(&["verify", "plan.toml", "--job", "cold"]);
    assert_eq!(verified.code, code, "{name}: {verified:?}");
    assert_eq!(read_tree(&world.site.path("staging")).len(), 0, "{name}: nothing stays behind");
    let story = format!("# {name}\n{}{}\n", verified.stdout, verified.stderr);
    narrow(&without_seconds(&redact::text(&world.site, &story)))
}

#[test]
fn types_that_were_not_recorded_are_not_compared() {
    let world = World::new(&rows(), false, "hive", false);
    world.site.succeed(&["run", "plan.toml", "cold"]);
    let archive = Archive { root: world.site.path("backups/cold") };
    archive.forge("SELECT * REPLACE (site_id::VARCHAR AS site_id) FROM ALL_ROWS");
    assert_eq!(world.site.run(&["verify", "backups/cold"]).code, 6);
    archive.edit_record(|record| {
        let schemas = record["schemas"].as_array_mut().unwrap().iter_mut();
        let columns = schemas.flat_map(|schema| schema["columns"].as_array_mut().unwrap());
        columns.for_each(|column| drop(column.as_object_mut().unwrap().remove("stored")));
    });
    world.site.succeed(&["verify", "backups/cold"]);
}

#[test]
fn an_archive_of_before_columns_were_recorded_is_counted() {
    let world = World::new(&rows(), false, "hive", false);
    world.site.succeed(&["run", "plan.toml", "cold"]);
    let archive = Archive { root: world.site.path("backups/cold") };
    archive.edit_record(|record| drop(record.as_object_mut().unwrap().remove("schemas")));
    world.site.succeed(&["verify", "backups/cold"]);
    archive.forge(WITHOUT_ONE);
    let verified = world.site.run(&["verify", "backups/cold"]);
    assert_eq!(verified.code, 6, "{verified:?}");
    assert!(verified.stdout.contains("holds 1 rows, and its record says 2"), "{verified:?}");
}
