"""What another DuckDB thinks of our files. Called by tests/oracle.rs, with the Python of a virtual environment.

    compare.py snapshot DIR SOURCE   imports a snapshot into a fresh database, and compares that with its source
    compare.py database FILE SOURCE  opens a restored database, and compares it with its source
    compare.py export SOURCE DIR     exports a database the way HitKeep does
    compare.py make FILE SCRIPT      runs a script on a database of storage version v1.0.0
    compare.py archive FILE SOURCE SITE CUTOFF   compares an archived file with what HitKeep 2.8 would write of its source
    compare.py hold FILE             opens a database, says `held`, and keeps it open until its input ends

A comparison prints one JSON object: `import` is what a plain IMPORT DATABASE stopped at, where it did; everything else
is a kind of thing with a list of what is not the same on both sides, each as [side, what].
"""

import json
import os
import sys
import tempfile

import duckdb

# What a database holds besides rows; each column is compared as text. `{db}` is the database's name as a string.
# A sequence is compared by the number it gives next: where it began is not kept by an export.
KINDS = {
    "schemas": "SELECT schema_name FROM duckdb_schemas() WHERE database_name = {db} AND NOT internal",
    "tables": "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = {db}",
    "columns": "SELECT schema_name, table_name, column_index, column_name, data_type, column_default, is_nullable"
    " FROM duckdb_columns() WHERE database_name = {db} AND NOT internal",
    "constraints": "SELECT schema_name, table_name, constraint_type, constraint_text, expression,"
    " constraint_column_names FROM duckdb_constraints() WHERE database_name = {db}",
    "indexes": "SELECT schema_name, table_name, index_name, is_unique, is_primary, expressions, sql"
    " FROM duckdb_indexes() WHERE database_name = {db}",
    "views": "SELECT schema_name, view_name, sql FROM duckdb_views() WHERE database_name = {db} AND NOT internal",
    "macros": "SELECT schema_name, function_name, function_type, parameters, macro_definition"
    " FROM duckdb_functions() WHERE database_name = {db} AND NOT internal AND function_type LIKE '%macro'",
    "types": "SELECT schema_name, type_name, logical_type, labels FROM duckdb_types()"
    " WHERE database_name = {db} AND NOT internal",
    "sequences": "SELECT schema_name, sequence_name, min_value, max_value, increment_by, cycle,"
    " coalesce(last_value + increment_by, start_value) FROM duckdb_sequences() WHERE database_name = {db}",
}

# Where people may write comments.
COMMENTED = {
    "tables": "table_name",
    "views": "view_name",
    "columns": "table_name || '.' || column_name",
    "indexes": "index_name",
    "functions": "function_name",
    "types": "type_name",
    "sequences": "sequence_name",
}

COMMENTS = " UNION ALL ".join(
    f"SELECT {name}, comment FROM duckdb_{kind}() WHERE database_name = {{db}} AND comment IS NOT NULL"
    for kind, name in COMMENTED.items()
)


# HitKeep's engine forgets over a restart which number came last, and counts the next one as used.
if duckdb.__version__ < "2":
    KINDS["sequences"] = KINDS["sequences"].replace("coalesce(last_value + increment_by, start_value)", "NULL")

# How the engines spell one and the same default.
KINDS["columns"] = KINDS["columns"].replace(
    "column_default",
    "CASE column_default WHEN 'CAST(''t'' AS BOOLEAN)' THEN 'true' WHEN 'CAST(''f'' AS BOOLEAN)' THEN 'false'"
    " ELSE column_default END",
)


def literal(text):
    return "'" + text.replace("'", "''") + "'"


def identifier(name):
    return '"' + name.replace('"', '""') + '"'


def differences(con, ours, source):
    """Returns what is not the same in the two attached databases, by kind."""
    found = {}
    for kind, sql in {**KINDS, "comments": COMMENTS}.items():
        held = [
            sorted(json.dumps([None if value is None else str(value) for value in row], ensure_ascii=False) for row in
                   con.execute(sql.format(db=literal(database))).fetchall())
            for database in (ours, source)
        ]
        missing, extra = list(held[1]), []
        for row in held[0]:
            missing.remove(row) if row in missing else extra.append(row)
        found[kind] = [["ours", json.loads(row)] for row in extra] + [["source", json.loads(row)] for row in missing]
    found["rows"] = rows(con, ours, source)
    return {kind: what for kind, what in found.items() if what}


def rows(con, ours, source):
    """Returns the tables whose rows differ as text, byte for byte, each with how many there are only on that side."""
    tables = con.execute(KINDS["tables"].format(db=literal(source)) + " ORDER BY ALL").fetchall()
    found = []
    for schema, table in tables:
        sides = [
            f"SELECT encode(CAST(COLUMNS(*) AS VARCHAR)) FROM {database}.{identifier(schema)}.{identifier(table)}"
            for database in (ours, source)
        ]
        for side, one, other in (("ours", *sides), ("source", *reversed(sides))):
            try:
                count = con.execute(f"SELECT count(*) FROM ({one} EXCEPT ALL {other})").fetchone()[0]
            except duckdb.CatalogException:
                count = "no such table"
            if count:
                found.append([side, [schema, table, count]])
    return found


def compare(con, prepare, source):
    con.execute(f"ATTACH {literal(source)} AS source (READ_ONLY)")
    try:
        con.execute("USE ours")
        prepare(con)
    except duckdb.Error as error:
        print(json.dumps({"import": str(error).splitlines()[0]}))
        return
    print(json.dumps(differences(con, "ours", "source"), ensure_ascii=False))


def snapshot(folder, source):
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as con:
        con.execute(f"ATTACH {literal(os.path.join(scratch, 'fresh.db'))} AS ours")
        compare(con, lambda con: con.execute(f"IMPORT DATABASE {literal(folder)}"), source)


def database(path, source):
    with duckdb.connect() as con:
        con.execute(f"ATTACH {literal(path)} AS ours (READ_ONLY)")
        compare(con, lambda con: None, source)


def export(source, folder):
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    with duckdb.connect(source, read_only=True) as con:
        con.execute(f"EXPORT DATABASE {literal(folder)} (FORMAT PARQUET)")


def make(path, script):
    with duckdb.connect() as con, open(script, encoding="utf-8") as text:
        con.execute(f"ATTACH {literal(path)} AS made (STORAGE_VERSION 'v1.0.0')")
        con.execute("USE made")
        con.execute(text.read())
        con.execute("USE memory; DETACH made")


# The tables of HitKeep's archives, and the column that it compares with the cutoff.
ARCHIVED = {
    **dict.fromkeys(["hits", "events", "web_vitals", "ai_fetches", "qr_code_opens"], "timestamp"),
    "imported_traffic_daily": "date",
    "imported_dimension_daily": "date",
    "imported_event_daily": "date",
    "imported_event_dimensions_daily": "date",
    "imported_event_properties_daily": "date",
}


def archive(path, source, site, cutoff):
    """Prints what HitKeep's own archive has and ours has not, or the other way round: columns, and numbers of rows."""
    until = {"timestamp": literal(cutoff), "date": literal(cutoff[:10])}
    selects = [
        f"SELECT {literal(table)} AS _source, * FROM {table} WHERE site_id = {literal(site)} AND {time} < {until[time]}"
        for table, time in ARCHIVED.items()
    ]
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as con:
        con.execute(f"SET TimeZone = 'UTC'; ATTACH {literal(source)} AS source (READ_ONLY); USE source")
        theirs = literal(os.path.join(scratch, "theirs.parquet"))
        con.execute(
            f"COPY ({' UNION ALL BY NAME '.join(selects)}) TO {theirs} (FORMAT PARQUET, COMPRESSION 'SNAPPY')"
        )
        con.execute(f"CREATE TEMP VIEW theirs AS FROM read_parquet({theirs})")
        known = ", ".join(literal(table) for table in ARCHIVED)
        con.execute(f"CREATE TEMP VIEW ours AS FROM read_parquet({literal(path)}) WHERE _source IN ({known})")
        described = [con.execute(f"SELECT column_name, column_type FROM (DESCRIBE {side})").fetchall() for side in ("theirs", "ours")]
        columns = ", ".join('"' + name + '"' for name, _ in described[0])
        only = lambda one, other: con.execute(
            f"SELECT count(*) FROM (SELECT {columns} FROM {one} EXCEPT ALL SELECT {columns} FROM {other})"
        ).fetchone()[0]
        lost = [list(column) for column in described[0] if column not in described[1]]
        rows = con.execute("SELECT count(*) FROM theirs").fetchone()[0]
        print(json.dumps({"columns": lost, "theirs": only("theirs", "ours"), "ours": only("ours", "theirs"), "rows": rows}))


def hold(path):
    with duckdb.connect(path) as con:
        con.execute("SELECT 1")
        print("held", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    {"snapshot": snapshot, "database": database, "export": export, "make": make, "archive": archive, "hold": hold}[sys.argv[1]](
        *sys.argv[2:]
    )
