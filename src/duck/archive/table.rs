//! The tables that hold rows of a site by time, and how their rows are chosen, measured and read back from files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{ALIAS, Cut};
use crate::duck::{DuckError, Session, identifier, literal, quoted};
use crate::hitkeep::{self, Column, RowSpan, TimeColumn, TimeForm};
use crate::measure::Content;
use crate::name::{Month, SiteId};
use crate::record::{ArchiveLayout, ColumnRecord, LeftOut, PartId, SchemaRecord};
use crate::work::Period;

/// How many sites are looked for in one pass over a table.
const SITES: usize = 32;

/// A table that holds rows of a site by time.
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    pub(super) time: TimeColumn,
}

/// Finds the tables that hold rows of a site by time, in the order of HitKeep's archives, and those that are left out.
pub(super) fn tables(session: &Session) -> Result<(Vec<Table>, BTreeSet<LeftOut>), DuckError> {
    let sql = format!(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() SEMI JOIN (SELECT table_oid FROM \
         duckdb_tables() WHERE database_name = {alias} AND schema_name = 'main') USING (table_oid) \
         WHERE database_name = {alias} ORDER BY table_name, column_index",
        alias = literal(ALIAS)
    );
    let listed: Vec<(String, String, String)> =
        session.rows("listing columns", &sql, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut columns: BTreeMap<String, Vec<Column>> = BTreeMap::new();
    for (table, name, data_type) in listed {
        columns.entry(table).or_default().push(Column { name, data_type });
    }
    let (mut tables, mut left_out) = (Vec::new(), BTreeSet::new());
    for (name, columns) in columns {
        match hitkeep::rows_by_time(&name, &columns) {
            Ok(Some(time)) => tables.push(Table { name, columns, time }),
            Ok(None) => {}
            Err(reason) => drop(left_out.insert(LeftOut { table: name, reason })),
        }
    }
    tables.sort_by_key(|table| hitkeep::archive_rank(&table.name));
    Ok((tables, left_out))
}

pub(super) fn measure_all(
    session: &Session,
    tables: &[Table],
    cuts: &[Cut],
) -> Result<BTreeMap<PartId, Content>, DuckError> {
    let mut parts = BTreeMap::new();
    for table in tables {
        for some in cuts.chunks(SITES) {
            let past: Vec<String> = some.iter().map(|cut| format!("({})", table.past(cut))).collect();
            let (list, name) = (table.list(), identifier(&table.name));
            let rows = format!("SELECT {list} FROM {name} WHERE {}", past.join(" OR "));
            parts.extend(measure_sites(session, table, &rows)?);
        }
    }
    Ok(parts)
}

/// Measures rows of one site, which a query gives with the table's columns, month by month.
pub(super) fn measure(
    session: &Session,
    table: &Table,
    site: SiteId,
    rows: &str,
) -> Result<BTreeMap<PartId, Content>, DuckError> {
    measure_grouped(session, table, &format!("'{site}'"), rows)
}

/// Measures rows of any sites, which a query gives with the table's columns, for each site month by month. Rows without a
/// site or a time are no one's.
pub(super) fn measure_sites(
    session: &Session,
    table: &Table,
    rows: &str,
) -> Result<BTreeMap<PartId, Content>, DuckError> {
    let time = identifier(&table.time.name);
    let rows = format!("SELECT * FROM ({rows}) WHERE site_id IS NOT NULL AND {time} IS NOT NULL");
    measure_grouped(session, table, "site_id", &rows)
}

/// Measures rows for each month and value of `site`.
fn measure_grouped(
    session: &Session,
    table: &Table,
    site: &str,
    rows: &str,
) -> Result<BTreeMap<PartId, Content>, DuckError> {
    let doing = format!("reading `{}`", table.name);
    let time = identifier(&table.time.name);
    // Hashes of 64 bits add up to less than 128.
    let sql = format!(
        "SELECT site::VARCHAR, strftime(month, '%Y-%m'), count(*)::UBIGINT, sum(hash)::VARCHAR, bit_xor(hash)::UBIGINT \
         FROM (SELECT {site} AS site, date_trunc('month', {time}::TIMESTAMP) AS month, hash({}) AS hash FROM ({rows})) \
         GROUP BY site, month",
        table.list()
    );
    let read: Vec<(String, String, u64, String, u64)> =
        session.rows(&doing, &sql, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?;
    let part = |(site, month, rows, sum, xor): (String, String, u64, String, u64)| {
        let odd = |what: &str| DuckError::Differs(format!("{doing}: `{what}` cannot be read"));
        let site = site.parse().map_err(|_| odd(&site))?;
        let month = month.parse().map_err(|_| odd(&month))?;
        let sum = sum.parse().map_err(|_| odd(&sum))?;
        Ok((PartId { site, table: table.name.clone(), month }, Content { rows, sum, xor }))
    };
    read.into_iter().map(part).collect()
}

impl Table {
    /// Returns the table as it was when rows of it were archived.
    pub(super) fn recorded(schema: &SchemaRecord) -> Result<Self, DuckError> {
        let column = |column: &ColumnRecord| Column { name: column.name.clone(), data_type: column.data_type.clone() };
        let columns: Vec<Column> = schema.columns.iter().map(column).collect();
        let unknown = || DuckError::Differs(format!("nothing says when a row of `{}` happened", schema.table));
        let time = hitkeep::rows_by_time(&schema.table, &columns).ok().flatten().ok_or_else(unknown)?;
        Ok(Self { name: schema.table.clone(), columns, time })
    }

    /// Returns its columns as a record has them.
    pub(super) fn record(&self) -> Vec<ColumnRecord> {
        let column = |column: &Column| ColumnRecord {
            name: column.name.clone(),
            data_type: column.data_type.clone(),
            stored: None,
        };
        self.columns.iter().map(column).collect()
    }

    /// Lists its columns, as SQL.
    pub(super) fn list(&self) -> String {
        self.columns.iter().map(|column| identifier(&column.name)).collect::<Vec<_>>().join(", ")
    }

    /// Lists its columns as they come out of a file: with the types that they have in the table.
    pub(super) fn list_from_file(&self) -> String {
        let is_date = |column: &&Column| column.data_type == "DATE";
        let cast = |column: &Column| {
            let name = identifier(&column.name);
            // A date that shares its column with instants has become one, and the engine knows no way straight back.
            let value = if is_date(&column) { format!("{name}::TIMESTAMP") } else { name.clone() };
            format!("({value})::{} AS {name}", column.data_type)
        };
        self.columns.iter().map(cast).collect::<Vec<_>>().join(", ")
    }

    /// Returns a row of its columns that holds nothing, as SQL.
    fn empty_row(&self) -> String {
        let empty = |column: &Column| format!("NULL::{} AS {}", column.data_type, identifier(&column.name));
        self.columns.iter().map(empty).collect::<Vec<_>>().join(", ")
    }

    /// Returns the condition of a site's rows that are past.
    pub(super) fn past(&self, cut: &Cut) -> String {
        format!(
            "site_id = '{}' AND {}",
            cut.site,
            self.between(DateTime::new(1, 1, 1, 0, 0, 0, 0).ok(), self.bound(cut.cutoff))
        )
    }

    /// Returns the condition of rows whose time is in a period.
    pub(super) fn during(&self, period: Period) -> String {
        let time = format!("{}::TIMESTAMP", identifier(&self.time.name));
        let moment = |moment: Timestamp| TimeZone::UTC.to_datetime(moment).strftime("%Y-%m-%d %H:%M:%S%.f").to_string();
        let from = period.from.map(|from| format!("{time} >= TIMESTAMP '{}'", moment(from)));
        let to = period.to.map(|to| format!("{time} < TIMESTAMP '{}'", moment(to)));
        let bounds: Vec<String> = from.into_iter().chain(to).collect();
        if bounds.is_empty() { "true".to_owned() } else { format!("({})", bounds.join(" AND ")) }
    }

    /// Returns the condition of times from `from` on and before `to`, in UTC.
    pub(super) fn between(&self, from: Option<DateTime>, to: DateTime) -> String {
        let time = identifier(&self.time.name);
        let text = |moment: DateTime| match self.time.form {
            TimeForm::Instant => format!("TIMESTAMPTZ '{}+00'", moment.strftime("%Y-%m-%d %H:%M:%S")),
            TimeForm::Clock => format!("TIMESTAMP '{}'", moment.strftime("%Y-%m-%d %H:%M:%S")),
            TimeForm::Date => format!("DATE '{}'", moment.strftime("%Y-%m-%d")),
        };
        let from = from.map(|from| format!("{time} >= {} AND ", text(from))).unwrap_or_default();
        format!("({from}{time} < {})", text(to))
    }

    /// Returns the moment before which a row has its time if all that it stands for is before `cutoff`.
    fn bound(&self, cutoff: Timestamp) -> DateTime {
        let moment = TimeZone::UTC.to_datetime(cutoff);
        let day = moment.date();
        let hour = DateTime::from_parts(
            day,
            moment.time().with().minute(0).second(0).subsec_nanosecond(0).build().unwrap_or(moment.time()),
        );
        match self.time.span {
            RowSpan::Event => moment,
            RowSpan::Hour => hour,
            RowSpan::Day => day.to_datetime(jiff::civil::Time::midnight()),
            RowSpan::Month => day.first_of_month().to_datetime(jiff::civil::Time::midnight()),
        }
    }

    /// Returns the condition of times in any of these months.
    pub(super) fn within(&self, months: &BTreeSet<Month>) -> String {
        let mut runs: Vec<(Month, Month)> = Vec::new();
        for month in months {
            match runs.last_mut() {
                Some((_, end)) if *end == *month => *end = month.next(),
                _ => runs.push((*month, month.next())),
            }
        }
        let begin = |month: Month| month.first_day().to_datetime(jiff::civil::Time::midnight());
        let runs: Vec<String> = runs.into_iter().map(|(from, to)| self.between(Some(begin(from)), begin(to))).collect();
        if runs.is_empty() { "false".to_owned() } else { format!("({})", runs.join(" OR ")) }
    }
}

/// Returns the query of a table's rows in an archived file, with the table's columns.
pub(super) fn rows_of_file(table: &Table, layout: ArchiveLayout, path: &Path) -> Result<String, DuckError> {
    let file = format!("read_parquet({}, hive_partitioning = false)", quoted(path)?);
    let of_table = match layout {
        ArchiveLayout::Hitkeep => format!(" WHERE _source = {}", literal(&table.name)),
        ArchiveLayout::Hive => String::new(),
    };
    // A column that the table has got since is empty in older files.
    let with_all = format!("SELECT {} WHERE false UNION ALL BY NAME SELECT * FROM {file}", table.empty_row());
    Ok(format!("SELECT {} FROM ({with_all}){of_table}", table.list_from_file()))
}
