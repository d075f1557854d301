//! An archive of about half of a demo's hits against DuckDB's plain `COPY` of the same rows.
//!
//! `cargo bench --profile release --bench archive -- [HITS] [DIR]` makes an installation of HITS page views (4 million) in DIR
//! (a temporary folder), or uses the one that is there, and prints wall time, CPU time and peak memory of each side, and
//! the ratios. The program's side includes everything that it does: measuring rows, writing them, reading every file back,
//! storing, reading back once more. Both sides are processes of their own, run in the same order each time, `ROUNDS` times;
//! the best of each counts, because everything else on the machine only ever adds.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

mod measure;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use duckdb::Connection;

use measure::{Table, Words, path, peer, run};

const ROUNDS: usize = 3;

/// What is older is archived: half of the year that a demo has.
const DAYS: u32 = 182;

const PLAN: &str = r#"version = 1

[source.demo]
data_path = "data"

[destination.disk]
url = "archives"

[archive.hitkeep]
source     = "demo"
to         = ["disk"]
prefix     = "hitkeep"
older_than = "DAYSd"
layout     = "hitkeep"

[archive.hive]
source     = "demo"
to         = ["disk"]
prefix     = "hive"
older_than = "DAYSd"
layout     = "hive"

[local]
state   = "state"
staging = "staging"
"#;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["peer-copy", data, into] => peer_copy(Path::new(data), Path::new(into)),
        _ => compare(&arguments),
    }
}

fn compare(arguments: &[String]) {
    let hits = arguments.first().map_or(4_000_000, |hits| hits.parse().unwrap());
    let scratch = tempfile::tempdir().unwrap();
    let home = arguments.get(1).map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    if !home.join("data").exists() {
        run(&program(&["init", "--demo", path(&home), "--hits", &hits.to_string()]), &BTreeMap::new());
    }
    let (plan, copied) = (home.join("archive.toml"), home.join("copied"));
    std::fs::write(&plan, PLAN.replace("DAYS", &DAYS.to_string())).unwrap();
    let mut table = Table::default();
    for _ in 0..ROUNDS {
        for folder in [&copied, &home.join("archives")] {
            drop(std::fs::remove_dir_all(folder));
        }
        std::fs::create_dir(&copied).unwrap();
        table.add("COPY", &peer(&["peer-copy", path(&home.join("data")), path(&copied)]), &BTreeMap::new());
        for layout in ["hitkeep", "hive"] {
            let name = format!("hitkeep-plan run, {layout}");
            table.add(&name, &program(&["run", path(&plan), layout, "--quiet"]), &BTreeMap::new());
        }
    }
    table.print();
    table.ratio("archive", "hitkeep-plan run, hitkeep", "COPY");
    table.ratio("archive", "hitkeep-plan run, hive", "COPY");
}

fn program(words: &[&str]) -> Words {
    [env!("CARGO_BIN_EXE_hitkeep-plan")].iter().chain(words).map(|word| (*word).to_owned()).collect()
}

/// Copies every site's old rows into a file of its own, with one query, as HitKeep does.
fn peer_copy(data: &Path, into: &Path) {
    let engine = Connection::open_in_memory().unwrap();
    engine.execute_batch(&format!("ATTACH '{}' AS shared (READ_ONLY)", path(&data.join("hitkeep.db")))).unwrap();
    let sites = "SELECT sites.id::VARCHAR, tenants.id::VARCHAR, coalesce(is_default, false) FROM shared.sites \
                 JOIN shared.site_tenants ON site_tenants.site_id = sites.id JOIN shared.tenants ON tenants.id = tenant_id \
                 WHERE tenants.id NOT IN (SELECT tenant_id FROM shared.tenant_archives)";
    let mut statement = engine.prepare(sites).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let sites: Vec<(String, String, bool)> = rows.map(Result::unwrap).collect();
    for (site, tenant, is_default) in sites {
        let own = data.join("tenants").join(&tenant).join("hitkeep.db");
        let is_shared = is_default && !own.exists();
        if !is_shared {
            engine.execute_batch(&format!("ATTACH IF NOT EXISTS '{}' AS tenant (READ_ONLY)", path(&own))).unwrap();
        }
        copy_site(&engine, if is_shared { "shared" } else { "tenant" }, &site, &into.join(format!("{site}.parquet")));
        if !is_shared {
            engine.execute_batch("DETACH tenant").unwrap();
        }
    }
}

fn copy_site(engine: &Connection, database: &str, site: &str, into: &Path) {
    let times = format!(
        "SELECT table_name, min_by(column_name, list_position(['timestamp', 'date', 'bucket'], column_name)) \
         FROM duckdb_columns() SEMI JOIN (SELECT table_name FROM duckdb_columns() WHERE database_name = '{database}' AND \
         column_name = 'site_id') USING (table_name) WHERE database_name = '{database}' AND \
         column_name IN ('timestamp', 'date', 'bucket') AND table_name NOT IN ('rollup_dirty_buckets', \
         'site_activity_hourly_counts') GROUP BY table_name ORDER BY table_name"
    );
    let mut statement = engine.prepare(&times).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let tables: Vec<(String, String)> = rows.map(Result::unwrap).collect();
    let select = |(table, time): &(String, String)| {
        format!(
            "SELECT '{table}' AS _source, * FROM {database}.{table} WHERE site_id = '{site}' AND \
             \"{time}\"::TIMESTAMP < now()::TIMESTAMP - INTERVAL {DAYS} DAY"
        )
    };
    let rows = tables.iter().map(select).collect::<Vec<_>>().join(" UNION ALL BY NAME ");
    let copy = format!("COPY ({rows}) TO '{}' (FORMAT parquet, COMPRESSION snappy)", path(into));
    engine.execute_batch(&copy).unwrap();
}
