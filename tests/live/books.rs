//! Books that are kept while they are copied, and what must be true of every copy.
//!
//! Everything that can go wrong with a copy breaks one of the laws: money that is made or lost, numbers with a gap, lines
//! without their batch, a batch that was acknowledged and is missing, something that was rolled back and is there, rows
//! that an index does not find.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use super::engine::Connection;

/// More rows than a row group has: DuckDB writes them to the database file before they are committed.
const BULK: u64 = 130_000;

const SCHEMA: &str = "\
    CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance BIGINT); \
    INSERT INTO accounts SELECT range, 1000 FROM range(200); \
    CREATE TABLE batches (id BIGINT PRIMARY KEY, n BIGINT, bulk BIGINT); \
    CREATE TABLE lines (batch BIGINT, k BIGINT, payload VARCHAR); \
    CREATE INDEX lines_batch ON lines (batch); \
    CREATE TABLE bulk (batch BIGINT, k BIGINT, a VARCHAR, b DOUBLE); \
    CREATE TABLE notes (id BIGINT); \
    CREATE TABLE note_lines (id BIGINT, text VARCHAR); \
    CREATE TABLE scratch_tag (tag BIGINT); \
    INSERT INTO scratch_tag VALUES (0); \
    CREATE TABLE scratch AS SELECT 0::BIGINT AS tag, 'pad' || hash(range) AS pad, range AS k FROM range(130000); \
    CREATE TABLE ghosts (id BIGINT); \
    CHECKPOINT;";

/// What has been acknowledged: the highest numbers; what is below them has been too.
#[derive(Default)]
pub(crate) struct Acknowledged {
    batches: AtomicI64,
    notes: AtomicI64,
}

/// The numbers at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    batches: i64,
    notes: i64,
}

impl Acknowledged {
    pub(crate) fn now(&self) -> Moment {
        Moment { batches: self.batches.load(Ordering::SeqCst), notes: self.notes.load(Ordering::SeqCst) }
    }
}

/// Numbers that are as good as random, and the same for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn is_one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

/// Opens new books.
pub(crate) fn open(connection: &Connection) {
    connection.must(SCHEMA);
}

/// Trades until told to stop, or until the engine is gone.
pub(crate) fn trade(connection: &Connection, dice: &mut Dice, done: &Acknowledged, is_over: &AtomicBool) {
    let next = connection.run("?SELECT coalesce(max(id), 0) + 1 FROM batches");
    let Ok(mut id) = next.map(|next| next.parse::<i64>().unwrap()) else { return };
    while !is_over.load(Ordering::SeqCst) {
        if connection.run(&transaction(id, dice)).is_ok() {
            done.batches.fetch_max(id, Ordering::SeqCst);
            id += 1;
        } else if connection.run("?SELECT 1").is_err() {
            return;
        }
        if dice.is_one_in(15) {
            drop(connection.run(change(dice)));
        }
        std::thread::sleep(Duration::from_millis(4));
    }
}

/// Returns one transaction over several tables.
fn transaction(id: i64, dice: &mut Dice) -> String {
    let (n, width) = (1 + dice.below(40), dice.below(80));
    let bulk = if dice.is_one_in(40) { BULK * (1 + dice.below(2)) } else { 0 };
    let (from, to, amount) = (dice.below(200), dice.below(200), dice.below(100));
    let mut parts = vec![
        "BEGIN".to_owned(),
        format!("INSERT INTO lines SELECT {id}, range, repeat('y', {width}) FROM range({n})"),
        format!("INSERT INTO batches VALUES ({id}, {n}, {bulk})"),
        format!("UPDATE accounts SET balance = balance - {amount} WHERE id = {from}"),
        format!("UPDATE accounts SET balance = balance + {amount} WHERE id = {to}"),
    ];
    if bulk > 0 {
        let rows = format!("SELECT {id}, range, 'bulk' || hash(range + {id}), random() FROM range({bulk})");
        parts.push(format!("INSERT INTO bulk {rows}"));
        parts.push(format!("DELETE FROM bulk WHERE batch < {id} - 60"));
        parts.push(format!("UPDATE batches SET bulk = 0 WHERE id < {id} - 60"));
    }
    if dice.is_one_in(12) {
        let other = dice.below(id.unsigned_abs().max(1));
        let count = format!("SELECT count(*) FROM lines WHERE batch = {other}");
        parts.push(format!("DELETE FROM lines WHERE batch = {other} AND k % 2 = 0"));
        parts.push(format!("UPDATE batches SET n = ({count}) WHERE id = {other}"));
    }
    if dice.is_one_in(40) {
        let rows =
            format!("SELECT {id}::BIGINT AS tag, 'pad' || hash(range + {id}) AS pad, range AS k FROM range({BULK})");
        parts.push(format!("CREATE OR REPLACE TABLE scratch AS {rows}"));
        parts.push(format!("UPDATE scratch_tag SET tag = {id}"));
    }
    parts.join("; ") + "; COMMIT;"
}

/// Returns a change that leaves every law as it is.
///
/// Nothing is renamed that another connection writes to: DuckDB 1.4 then logs rows for the new name before the name, and
/// no version can replay that, neither from a copy nor after the server was killed. What is renamed has its old name
/// again in the same transaction: else a copy may rightly be of the moment in between.
fn change(dice: &mut Dice) -> &'static str {
    const CHANGES: &[&str] = &[
        "BEGIN; INSERT INTO ghosts SELECT range FROM range(130000); ROLLBACK;",
        "BEGIN; INSERT INTO ghosts VALUES (1); UPDATE accounts SET balance = 0; ROLLBACK;",
        "DROP INDEX IF EXISTS lines_batch;",
        "CREATE INDEX IF NOT EXISTS lines_batch ON lines (batch);",
        "ALTER TABLE scratch ADD COLUMN extra BIGINT DEFAULT 7;",
        "ALTER TABLE scratch DROP COLUMN IF EXISTS extra;",
        "BEGIN; ALTER TABLE scratch RENAME TO scratch_2; ALTER TABLE scratch_2 RENAME TO scratch; COMMIT;",
        "CREATE OR REPLACE VIEW rich AS SELECT * FROM accounts WHERE balance > 1000;",
        "CREATE TABLE gone AS SELECT range AS id FROM range(130000); DROP TABLE gone;",
        "VACUUM;",
        "ANALYZE;",
    ];
    CHANGES[usize::try_from(dice.below(CHANGES.len() as u64)).unwrap()]
}

/// Takes notes until told to stop, or until the engine is gone.
pub(crate) fn note(connection: &Connection, done: &Acknowledged, is_over: &AtomicBool) {
    let next = connection.run("?SELECT coalesce(max(id), 0) + 1 FROM notes");
    let Ok(mut id) = next.map(|next| next.parse::<i64>().unwrap()) else { return };
    while !is_over.load(Ordering::SeqCst) {
        let sql = format!(
            "BEGIN; INSERT INTO note_lines SELECT {id}, repeat('z', 20) FROM range(37); \
             INSERT INTO notes VALUES ({id}); COMMIT;"
        );
        match connection.run(&sql) {
            Ok(_) => {
                done.notes.fetch_max(id, Ordering::SeqCst);
                id += 1;
            }
            Err(_) if connection.run("?SELECT 1").is_err() => return,
            Err(_) => {}
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Checkpoints now and then, and reads old states for a while: then commits go on while a checkpoint is under way.
pub(crate) fn disturb(connection: &Connection, dice: &mut Dice, pause: Duration, is_over: &AtomicBool) {
    while !is_over.load(Ordering::SeqCst) {
        let sql = match dice.below(6) {
            0 | 1 => "CHECKPOINT;",
            2 => "FORCE CHECKPOINT;",
            3 => "BEGIN; SELECT count(*) FROM lines;",
            _ => "SELECT sum(balance) FROM accounts;",
        };
        drop(connection.run(sql));
        std::thread::sleep(pause.mul_f64(f64::from(u8::try_from(dice.below(100)).unwrap()) / 50.0));
        if sql.starts_with("BEGIN") && connection.run("COMMIT;").is_err() && connection.run("?SELECT 1").is_err() {
            return;
        }
    }
}

/// Returns the statements that fail where a law is broken: those of everything that was acknowledged by `moment`.
pub(crate) fn laws(moment: Moment) -> Vec<String> {
    let Moment { batches, notes } = moment;
    let law = |name: &str, holds: &str| format!("SELECT CASE WHEN ({holds}) THEN 1 ELSE error('{name}') END;");
    let mut laws = vec![
        law("batches have a gap", "SELECT count(*) = coalesce(max(id), 0) FROM batches"),
        law("an acknowledged batch is missing", &format!("SELECT coalesce(max(id), 0) >= {batches} FROM batches")),
        law("notes have a gap", "SELECT count(*) = coalesce(max(id), 0) FROM notes"),
        law("an acknowledged note is missing", &format!("SELECT coalesce(max(id), 0) >= {notes} FROM notes")),
        law("a note is not whole", "SELECT (SELECT count(*) FROM note_lines) = 37 * (SELECT count(*) FROM notes)"),
        law("money was made or lost", "SELECT sum(balance) = 200000 AND count(*) = 200 FROM accounts"),
        law(
            "lines do not match their batches",
            "SELECT count(*) = 0 FROM (SELECT id, n FROM batches WHERE n > 0) b \
             FULL JOIN (SELECT batch, count(*) AS c FROM lines GROUP BY batch) l ON b.id = l.batch \
             WHERE n IS DISTINCT FROM c",
        ),
        law(
            "bulk rows do not match their batches",
            "SELECT count(*) = 0 FROM (SELECT id, bulk FROM batches WHERE bulk > 0) b \
             FULL JOIN (SELECT batch, count(*) AS c, count(b) AS d FROM bulk GROUP BY batch) l ON b.id = l.batch \
             WHERE bulk IS DISTINCT FROM c OR c <> d",
        ),
        law("a bulk row is not what it was", "SELECT count(*) = 0 FROM bulk WHERE a <> 'bulk' || hash(k + batch)"),
        law(
            "scratch is of two states",
            "SELECT count(*) = 130000 AND min(tag) = max(tag) AND min(tag) = (SELECT tag FROM scratch_tag) FROM scratch",
        ),
        law("a scratch row is not what it was", "SELECT count(*) = 0 FROM scratch WHERE pad <> 'pad' || hash(k + tag)"),
        law("what was rolled back is there", "SELECT count(*) = 0 FROM ghosts"),
        law("an account is not found by its key", "SELECT count(*) = 1 FROM accounts WHERE id = 77"),
    ];
    laws.extend((0..5).map(|fifth| {
        let batch = 1 + batches * fifth / 5;
        let counts = format!(
            "SELECT (SELECT count(*) FROM lines WHERE batch = {batch}) = (SELECT count(*) FROM lines WHERE batch + 0 = {batch})"
        );
        law("an index does not find its rows", &counts)
    }));
    laws.push("INSERT INTO accounts VALUES (1000, 0); DELETE FROM accounts WHERE id = 1000; CHECKPOINT;".to_owned());
    laws
}

/// The statement that must fail, because its key is there.
pub(crate) const REFUSED: &str = "INSERT INTO accounts VALUES (77, 0);";
