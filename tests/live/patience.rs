//! Stories of a run whose patience with one database comes to its end: what is said, and what is sealed all the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hitkeep_plan::duck::Limits;
use hitkeep_plan::duck::capture::{Patience, look};
use hitkeep_plan::event::Silence;
use hitkeep_plan::measure::{Bytes, Sha256};
use hitkeep_plan::name::RunId;
use hitkeep_plan::plan::Plan;
use hitkeep_plan::record::{Capture, PlanRecord, RunRecord, Status};
use hitkeep_plan::run::{self, About, Outside};
use hitkeep_plan::stop::Stop;
use hitkeep_plan::store::Store;
use hitkeep_plan::store::local::Local;
use hitkeep_plan::survey::{self, Known};
use hitkeep_plan::work::{self, BackupWork};
use jiff::Timestamp;

use super::engine::{Engine, Kind};
use crate::fixture::{PLAN, Site, TENANT, installation, minimal, read_tree};

/// A run over the smallest installation, whose tenant a server has open.
struct World {
    site: Site,
    plan: Plan,
    store: Arc<dyn Store>,
    patience: Patience,
}

impl World {
    fn new(plan: &str, time: Duration) -> Self {
        let site = Site::with(minimal());
        fs::create_dir(site.path("staging")).unwrap();
        let (plan, store) = (site.read_plan(plan), Arc::new(Local::new(site.path("backups"))));
        Self { site, plan, store, patience: Patience { tries: 100, time } }
    }

    fn tenant(&self) -> PathBuf {
        self.site.path(&format!("data/tenants/{TENANT}/hitkeep.db"))
    }

    fn outside(&self) -> Outside {
        let job = &self.plan.backups()[0];
        let plan = PlanRecord { name: self.plan.name().to_owned(), sha256: Sha256::of(b"") };
        Outside {
            stores: BTreeMap::from([(job.to()[0].name().clone(), Arc::clone(&self.store))]),
            leases: BTreeMap::new(),
            limits: Limits { memory: Bytes(128 << 20), most: Bytes(128 << 20), spill: self.site.path("spill") },
            patience: self.patience,
            clock: Timestamp::now,
            tell: Arc::new(Silence),
            stop: Stop::default(),
            about: About { plan, shard: None, host: "here".to_owned(), tool: "test".to_owned() },
        }
    }

    async fn plan_work(&self, outside: &Outside) -> BackupWork {
        let (job, staging, now) = (&self.plan.backups()[0], self.site.path("staging"), Timestamp::now());
        let stores = [Arc::clone(&self.store)];
        let means = outside.means(&staging);
        let facts = survey::backup(job, installation(job), &stores, &Known::default(), &means).await.unwrap();
        work::backup(job, installation(job), &facts, &staging, RunId::fresh(now), now).unwrap()
    }

    /// Plans, has the server begin a checkpoint of the tenant's database that takes this long, and carries the work out.
    async fn back_up_during_a_checkpoint(&self, milliseconds: u64) -> Option<RunRecord> {
        let (_engine, [first, second]) = Engine::start::<2>(Kind::Linked, &self.tenant())?;
        first.must(&format!("INSERT INTO hits SELECT * FROM hits; SET debug_checkpoint_sleep_ms = {milliseconds};"));
        let outside = self.outside();
        let work = self.plan_work(&outside).await;
        second.begin("CHECKPOINT;");
        while !look(&self.tenant()).unwrap().is_checkpointing {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let [record] = run::backup(&work, &outside).await.try_into().unwrap();
        assert!(read_tree(&self.site.path("staging")).is_empty(), "a copy outlived its run");
        Some(record)
    }
}

/// [`PLAN`], with HitKeep running.
fn live() -> String {
    PLAN.replace("data_path", "capture = \"live\"\ndata_path")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_keep_still_is_missed_and_what_was_seen_is_said() {
    let alone = live().replace("prefix =", &format!("databases = [\"{TENANT}\"]\nprefix ="));
    for (plan, status, exit_code, captured) in [(live(), Status::Partial, 3, 1), (alone, Status::Failed, 4, 0)] {
        let world = World::new(&plan, Duration::from_millis(500));
        let Some(record) = world.back_up_during_a_checkpoint(20_000).await else { return };
        assert_eq!((record.status, record.exit_code, record.captured.len()), (status, exit_code, captured));
        let cause = &record.failures[0].cause;
        let path = world.tenant();
        let path = path.strip_prefix(world.site.path("")).unwrap_or(Path::new(""));
        assert!(cause.contains(&format!("{}` did not keep still: 0 tries in ", path.display())), "{cause}");
        assert!(cause.contains("checkpoint-under-way"), "{cause}");
        let is_sealed = world.site.path(&format!("backups/hitkeep/runs/{}.json", record.snapshot)).exists();
        assert_eq!(is_sealed, captured > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_hard_to_copy_is_captured_as_it_was_copied() {
    let world = World::new(&live(), Duration::from_secs(10));
    let Some(record) = world.back_up_during_a_checkpoint(6_000).await else { return };
    assert_eq!((record.status, record.exit_code), (Status::Complete, 0), "{record:?}");
    let of = |id: &str| record.snapshots.iter().find(|snapshot| snapshot.database.to_string() == id).unwrap();
    let (shared, tenant) = (of("shared"), of(TENANT));
    assert_eq!((shared.capture, tenant.capture), (Some(Capture::Live), Some(Capture::Live)));
    assert!(tenant.live.as_ref().unwrap().milliseconds >= 5_000, "{tenant:?}");
    assert!(tenant.captured_at < shared.captured_at, "it was captured before the other was brought up to date");
}
