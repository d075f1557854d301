//! What an installation holds, asked of its databases without changing them.

use super::{Database, DuckError, Session, literal};
use crate::hitkeep::{self, Layout, Site, Tenant};
use crate::name::TenantId;

pub(super) const ALIAS: &str = "hitkeep_plan_source";

/// What a look at a database finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// How many tables it has.
    pub tables: u64,
    /// How many rows they have together, by the engine's own estimate.
    pub rows: u64,
}

/// Counts the tables and rows of a database.
///
/// # Errors
/// When the database cannot be opened, or is not one.
pub fn contents(session: &Session, database: &Database) -> Result<Contents, DuckError> {
    reading(session, database, |session| {
        let sql = format!(
            "SELECT count(*)::UBIGINT, coalesce(sum(estimated_size), 0)::UBIGINT FROM duckdb_tables() \
             WHERE database_name = {} AND NOT internal",
            literal(ALIAS)
        );
        let counted =
            session.rows("counting tables", &sql, |row| Ok(Contents { tables: row.get(0)?, rows: row.get(1)? }))?;
        counted.into_iter().next().ok_or_else(|| DuckError::Differs("an aggregate without a row".to_owned()))
    })
}

/// Reads which tenants the installation of the shared database has, and where its default one lies.
///
/// # Errors
/// When the database cannot be opened, or holds no list of tenants: then it is not HitKeep's shared database.
pub fn tenants(session: &Session, shared: &Database) -> Result<(Vec<Tenant>, Layout), DuckError> {
    reading(session, shared, |session| {
        session.run("reading the tenants", &format!("USE {ALIAS}"))?;
        let read = read_tenants(session);
        session.run("reading the tenants", "USE memory")?;
        read
    })
}

/// Reads which sites the installation of the shared database has.
///
/// # Errors
/// When the database cannot be opened, or holds no list of sites as HitKeep's does.
pub fn sites(session: &Session, shared: &Database) -> Result<Vec<Site>, DuckError> {
    reading(session, shared, |session| {
        session.run("reading the sites", &format!("USE {ALIAS}"))?;
        let listed = session.rows("reading the sites", hitkeep::SITES_QUERY, |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        });
        session.run("reading the sites", "USE memory")?;
        let site = |(id, domain, tenant, days): (String, Option<String>, Option<String>, Option<i64>)| {
            let odd = |error| DuckError::Differs(format!("site `{id}`: {error}"));
            let tenant = tenant.map(|tenant| tenant.parse()).transpose().map_err(odd)?;
            let retention_days = days.and_then(|days| u32::try_from(days).ok()).filter(|days| *days > 0);
            Ok(Site { id: id.parse().map_err(odd)?, domain: domain.unwrap_or_default(), tenant, retention_days })
        };
        listed?.into_iter().map(site).collect()
    })
}

/// Reads the tenants of the database that is attached and in use.
pub(super) fn read_tenants(session: &Session) -> Result<(Vec<Tenant>, Layout), DuckError> {
    let archived = ids_in(session, "tenant_archives", hitkeep::ARCHIVED_QUERY)?.unwrap_or_default();
    let with_sites = ids_in(session, "site_tenants", hitkeep::WITH_SITES_QUERY)?;
    let is_split =
        has_table(session, "data_migrations")? && session.value("reading the layout", hitkeep::SPLIT_QUERY)?;
    let listed: Vec<(String, String, bool)> = session
        .rows("reading the tenants", hitkeep::TENANTS_QUERY, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let tenant = |(id, name, is_default): (String, String, bool)| {
        let is_archived = archived.contains(&id);
        let has_sites = with_sites.as_ref().is_none_or(|with_sites| with_sites.contains(&id));
        let id: TenantId = id.parse().map_err(|error| DuckError::Differs(format!("tenant `{id}`: {error}")))?;
        Ok(Tenant { id, name, is_default, is_archived, has_sites })
    };
    let layout = if is_split { Layout::Split } else { Layout::Joined };
    Ok((listed.into_iter().map(tenant).collect::<Result<_, DuckError>>()?, layout))
}

/// Returns the ids that a query finds, or nothing where the table it asks is not there: older versions lack some.
fn ids_in(session: &Session, table: &str, query: &str) -> Result<Option<Vec<String>>, DuckError> {
    if !has_table(session, table)? {
        return Ok(None);
    }
    session.rows(&format!("reading `{table}`"), query, |row| row.get(0)).map(Some)
}

fn has_table(session: &Session, name: &str) -> Result<bool, DuckError> {
    let sql = format!(
        "SELECT count(*) > 0 FROM duckdb_tables() WHERE database_name = {} AND table_name = {}",
        literal(ALIAS),
        literal(name)
    );
    session.value("looking for a table", &sql)
}

/// Attaches a database for the length of `work`.
fn reading<T>(
    session: &Session,
    database: &Database,
    work: impl FnOnce(&Session) -> Result<T, DuckError>,
) -> Result<T, DuckError> {
    session.attach_database(database, ALIAS)?;
    let done = work(session);
    session.run("letting go of the database", &format!("DETACH {ALIAS}"))?;
    done
}
