//! An archive at two places, a directory and a bucket, that come to differ.

use std::fs;

use super::*;
use crate::redact::narrow;
use crate::s3::table;
use crate::servers::s3s;

/// Rows of two sites that are all past.
fn rows() -> Vec<Row> {
    let row = |table, site, days: i64| Row { table, site, age: days * 24 * 60, payload: 1, zone: 0 };
    vec![row(0, 0, 70), row(0, 0, 100), row(1, 0, 100), row(0, 2, 70), row(3, 2, 100)]
}

#[test]
fn two_places_that_have_lost_different_files_make_up_for_each_other() {
    let server = s3s::server();
    for (layout, deletes) in [("hitkeep", false), ("hive", true)] {
        let world = World::new(&rows(), false, layout, deletes);
        let bucket = server.new_bucket();
        let text = PLAN.replace("LAYOUT", layout).replace("DELETE", &deletes.to_string());
        let text = text.replace("prefix = \"cold\"", "prefix = \"cold\"\nupload = { concurrency = 2 }");
        let (before, archive) = text.split_once("[archive.cold]").unwrap();
        let archive = archive.replacen("[\"disk\"]", "[\"disk\", \"bucket\"]", 1);
        let destination = table(&server, &bucket, &world.site.path(""));
        world.site.write_plan(&format!("{before}{destination}\n[archive.cold]{archive}"));
        let told = |words: &[&str]| {
            let outcome = redact::outcome(&world.site, &world.site.run(words));
            format!("$ hitkeep-plan {}\n{}\n", words.join(" "), without_seconds(&narrow(&outcome)))
        };
        let mut story = told(&["run", "plan.toml", "cold"]) + &told(&["verify", "plan.toml", "--job", "cold"]);

        // One loses a file of the first site, the other one of the last.
        let root = world.site.path("backups/cold");
        let of_site = |site: usize| {
            let id = site_id(site);
            move |name: &str| name.ends_with(".parquet") && name.contains(&id) && !name.contains("daily")
        };
        let on_disk = read_tree(&root).into_keys().map(|name| name.display().to_string()).find(|name| of_site(0)(name));
        fs::remove_file(root.join(on_disk.unwrap())).unwrap();
        block_on(async {
            let client = server.client();
            let listed = client.list_objects_v2().bucket(&bucket).send().await.unwrap();
            let keys = listed.contents().iter().filter_map(|object| object.key().map(str::to_owned));
            let key = keys.into_iter().find(|key| of_site(2)(key)).unwrap();
            client.delete_object().bucket(&bucket).key(key).send().await.unwrap();
        });
        story += &told(&["verify", "plan.toml", "--job", "cold"]);
        story += &told(&["coverage", "plan.toml"]);
        std::thread::sleep(std::time::Duration::from_millis(1100));
        story += &told(&["run", "plan.toml", "cold"]);
        story += &told(&["coverage", "plan.toml"]);
        for from in ["disk", "bucket"] {
            let back = ["restore", "plan.toml", "--archive", "--to", "data", "--from", from];
            story += &told(&back);
        }
        assert_eq!(world.live(), heap(&rows()), "from both places together everything is back");
        let story = story.replace(&server.endpoint, "[SERVER]").replace(&bucket, "[BUCKET]");
        golden(&format!("archive-two-places-{layout}.txt"), &story);
    }
}
