//! The live copy under load, with engines of every kind that HitKeep has used and will use.
//!
//! `HITKEEP_PLAN_CAPTURES` says how many captures are made of each engine's database; without it, as many as take half a
//! minute. Every copy is opened by the linked engine and must keep the laws of the books; every tenth is opened by the
//! engine that wrote it first. In the same loop a plain copy is made, and must be caught: else this test shows nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hitkeep_plan::duck::capture::{Rejection, capture};
use jiff::Timestamp;

use super::books::{self, Acknowledged, Dice, Moment};
use super::engine::{Connection, Engine, Kind};
use super::{PATIENCE, Place, copy_plainly, forget, log_of};

/// How many captures are made of one engine's database where nothing else is said.
const CAPTURES: u32 = 24;

/// How many are made, of a few or of many, before the engine is stopped one way or another.
const LIFE: (u32, u32) = (12, 60);

/// How many plain copies are made at most; one after each capture until one is caught, then fewer.
const PLAIN: u32 = 24;

/// How a database is kept while it is captured.
#[derive(Clone, Copy, Debug)]
struct Weather {
    /// How large the log may become before it is checkpointed.
    log: &'static str,
    /// How long somebody waits, on average, before the next checkpoint.
    pause: Duration,
    /// How long each checkpoint takes longer, in milliseconds, where the engine can be told to.
    slowness: u32,
}

const WEATHERS: &[Weather] = &[
    Weather { log: "1MB", pause: Duration::from_millis(50), slowness: 0 },
    Weather { log: "16MB", pause: Duration::from_millis(1500), slowness: 0 },
    Weather { log: "1MB", pause: Duration::from_millis(400), slowness: 200 },
    Weather { log: "64MB", pause: Duration::from_secs(5), slowness: 0 },
];

/// What came of it.
#[derive(Debug, Default)]
struct Outcome {
    begun: Option<Instant>,
    captures: u32,
    tries: u32,
    /// How many tries one capture took at most, and how long.
    most: u32,
    rejected: BTreeMap<Rejection, u32>,
    longest: Duration,
    wrong: Vec<String>,
    plain: u32,
    plain_wrong: u32,
    kills: u32,
    /// How many copies were opened by the engine that wrote them, too.
    own: u32,
}

#[test]
fn copies_of_what_duckdb_1_4_writes_are_right() {
    weather_all(Kind::Wheel("1.4.4"));
}

#[test]
fn copies_of_what_hitkeeps_duckdb_writes_are_right() {
    weather_all(Kind::Wheel("1.5.4"));
}

#[test]
fn copies_of_what_the_newest_duckdb_writes_are_right() {
    weather_all(Kind::Wheel("2.0.0"));
}

#[test]
fn copies_of_what_the_linked_duckdb_writes_are_right() {
    weather_all(Kind::Linked);
}

/// Captures the database of an engine in all weathers, and tells what came of it.
fn weather_all(kind: Kind) {
    let wanted = std::env::var("HITKEEP_PLAN_CAPTURES").map_or(CAPTURES, |count| count.parse().unwrap());
    let mut outcome = Outcome { begun: Some(Instant::now()), ..Outcome::default() };
    for round in 0.. {
        if outcome.captures >= wanted {
            break;
        }
        let weather = WEATHERS[round % WEATHERS.len()];
        if !live_through(kind, weather, &mut Dice(round as u64 + 1), &mut outcome, wanted) {
            return;
        }
    }
    tell(kind, &outcome);
    assert_eq!(outcome.wrong, Vec::<String>::new(), "{}", kind.name());
    assert!(outcome.plain_wrong > 0, "a test that takes a plain copy for a right one shows nothing: {outcome:?}");
}

fn tell(kind: Kind, outcome: &Outcome) {
    let took = outcome.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
    let line = format!(
        "{}: {} captures in {} tries and {:.0} s, one in {} tries and {:.1} s at most; rejected: {:?}; wrong: {}; {} kills; opened by its own engine: {}; plain copies: {}, wrong: {}\n",
        kind.name(),
        outcome.captures,
        outcome.tries,
        took.as_secs_f64(),
        outcome.most,
        outcome.longest.as_secs_f64(),
        outcome.rejected,
        outcome.wrong.len(),
        outcome.kills,
        outcome.own,
        outcome.plain,
        outcome.plain_wrong,
    );
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Opens new books and captures them while they are kept, through the lives and deaths of a few engines.
fn live_through(kind: Kind, weather: Weather, dice: &mut Dice, outcome: &mut Outcome, wanted: u32) -> bool {
    let place = Place::new();
    let done = Acknowledged::default();
    for life in 0..3 {
        let Some((engine, [first, second, third])) = Engine::start::<3>(kind, &place.live()) else { return false };
        first.must(&format!("PRAGMA wal_autocheckpoint='{}'; SET threads = 2; SET memory_limit = '1GB';", weather.log));
        drop(first.run(&format!("SET debug_checkpoint_sleep_ms = {};", weather.slowness)));
        if life == 0 {
            books::open(&first);
        }
        let is_over = AtomicBool::new(false);
        let seeds = [dice.below(u64::MAX), dice.below(u64::MAX)];
        let (acknowledged, over) = (&done, &is_over);
        std::thread::scope(|scope| {
            scope.spawn(move || books::trade(&first, &mut Dice(seeds[0]), acknowledged, over));
            scope.spawn(move || books::note(&second, acknowledged, over));
            scope.spawn(move || books::disturb(&third, &mut Dice(seeds[1]), weather.pause, over));
            let captures = if wanted > CAPTURES { LIFE.1 } else { LIFE.0 };
            capture_some(kind, captures, &place, &done, dice, outcome);
            end(engine, life, &is_over, outcome);
        });
        capture_one(kind, &place, &done, dice, outcome);
        if outcome.captures >= wanted {
            break;
        }
    }
    true
}

/// Ends an engine: by stopping its work, or by killing it in the middle.
fn end(engine: Engine, life: u32, is_over: &AtomicBool, outcome: &mut Outcome) {
    if life.is_multiple_of(2) {
        outcome.kills += 1;
        engine.kill();
        is_over.store(true, Ordering::SeqCst);
    } else {
        is_over.store(true, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(200));
        engine.close();
    }
}

fn capture_some(kind: Kind, captures: u32, place: &Place, done: &Acknowledged, dice: &mut Dice, outcome: &mut Outcome) {
    for number in 0..captures {
        std::thread::sleep(Duration::from_millis(dice.below(60)));
        capture_one(kind, place, done, dice, outcome);
        if (number.is_multiple_of(3) || outcome.plain_wrong == 0) && outcome.plain < PLAIN {
            let moment = done.now();
            copy_plainly(&place.live(), &place.copy());
            outcome.plain += 1;
            outcome.plain_wrong += u32::from(broken(&place.copy(), moment).is_err());
        }
    }
}

/// Captures once, over what the last capture left or from nothing, and judges the copy.
///
/// Half of the captures take as long as they would of a larger database: they are held up wherever they ask whether to
/// stop, first of all between the log and the database.
fn capture_one(kind: Kind, place: &Place, done: &Acknowledged, dice: &mut Dice, outcome: &mut Outcome) {
    if outcome.captures.is_multiple_of(2) {
        forget(&place.copy());
    }
    let held_up = Duration::from_millis(dice.below(2) * dice.below(100));
    let is_stopped = || {
        std::thread::sleep(held_up);
        false
    };
    let moment = std::cell::Cell::new(Moment::default());
    let clock = || {
        moment.set(done.now());
        Timestamp::now()
    };
    let captured = match capture(&place.live(), &place.copy(), &PATIENCE, &clock, &is_stopped) {
        Ok(captured) => captured,
        Err(error) => return outcome.wrong.push(error.to_string()),
    };
    outcome.captures += 1;
    outcome.tries += captured.tries;
    outcome.most = outcome.most.max(captured.tries);
    outcome.longest = outcome.longest.max(captured.elapsed);
    for (rejection, count) in captured.rejected {
        *outcome.rejected.entry(rejection).or_default() += count;
    }
    if outcome.captures.is_multiple_of(10) {
        let theirs = place.path("theirs.db");
        forget(&theirs);
        fs::copy(place.copy(), &theirs).unwrap();
        drop(fs::copy(log_of(&place.copy()), log_of(&theirs)));
        outcome.own += 1;
        let judged = broken_for(kind, &theirs, moment.get());
        outcome.wrong.extend(judged.err().map(|why| format!("for its own engine: {why}")));
    }
    outcome.wrong.extend(broken(&place.copy(), moment.get()).err().map(|why| keep(place, &why)));
    if outcome.captures.is_multiple_of(25) {
        tell(kind, outcome);
    }
}

/// Keeps a copy that is wrong, to be looked at, where somebody has named a folder for it.
fn keep(place: &Place, why: &str) -> String {
    if let Some(folder) = std::env::var_os("HITKEEP_PLAN_WRONG_COPIES") {
        let into = Path::new(&folder).join(Timestamp::now().to_string());
        fs::create_dir_all(&into).unwrap();
        drop(fs::copy(place.copy(), into.join("copy.db")));
        drop(fs::copy(log_of(&place.copy()), into.join("copy.db.wal")));
    }
    why.to_owned()
}

/// Returns the first law that a copy breaks for the linked engine, in a process of its own: a wrong copy may be its end.
fn broken(copy: &Path, moment: Moment) -> Result<(), String> {
    broken_for(Kind::Linked, copy, moment)
}

/// Returns the first law that a copy breaks for an engine.
fn broken_for(kind: Kind, copy: &Path, moment: Moment) -> Result<(), String> {
    let (engine, [connection]): (Engine, [Connection; 1]) = Engine::open(kind, copy).ok_or("no engine")??;
    for law in books::laws(moment) {
        connection.run(&law)?;
    }
    let refused = connection.run(books::REFUSED);
    engine.close();
    refused.err().map(drop).ok_or_else(|| "a key is there twice".to_owned())
}
