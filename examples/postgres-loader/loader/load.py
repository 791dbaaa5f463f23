"""Cleans the CSV that it is given and loads it, and the Debian package index where it can be fetched."""

import hashlib
import os
import sys
import time
from pathlib import Path

import psycopg

import clean
import packages

HIRES = ["station", "started", "temp_c", "rain_mm", "workday", "hires"]
PACKAGES = ["name", "version", "section", "priority", "installed_kb"]


def say(text: str) -> None:
    print(f"loader: {text}", flush=True)


def connect() -> psycopg.Connection:
    # Host, database and user come from PGHOST, PGDATABASE and PGUSER.
    return psycopg.connect(password=Path(os.environ["PASSWORD_FILE"]).read_text().strip())


def already_loaded(db, source: str, fingerprint: str) -> int | None:
    row = db.execute("select rows from loads where source = %s and fingerprint = %s",
                     (source, fingerprint)).fetchone()
    return row and row[0]


def replace(db, table: str, columns: list[str], rows, source: str, fingerprint: str) -> None:
    """All rows of a table, by COPY, in one transaction with the note about them."""
    started, n = time.monotonic(), 0
    with db.transaction():
        db.execute(f"truncate {table}")
        with db.cursor().copy(f"copy {table} ({', '.join(columns)}) from stdin") as copy:
            for row in rows:
                copy.write_row(row)
                n += 1
        db.execute("""insert into loads (source, fingerprint, rows) values (%s, %s, %s)
                      on conflict (source) do update set fingerprint = excluded.fingerprint,
                      rows = excluded.rows, loaded_at = now()""", (source, fingerprint, n))
    say(f"{table}: {n} rows copied in {time.monotonic() - started:.2f} s")


def load_hires(db, path: Path) -> None:
    raw = path.read_bytes()
    fingerprint = hashlib.sha256(raw).hexdigest()
    rows = already_loaded(db, path.name, fingerprint)
    if rows is not None:
        say(f"hires: {rows} rows of this {path.name} are there already")
        return
    kept, report = clean.clean(raw.decode("utf-8", "replace").splitlines())
    say(f"{path.name}:")
    for line in report.lines():
        say(f"  {line}")
    replace(db, "hires", HIRES, ((r.station, r.started, r.temp_c, r.rain_mm, r.workday, r.hires)
                                 for r in kept), path.name, fingerprint)


def load_packages(db) -> None:
    source, today = "Debian package index", time.strftime("%Y-%m-%d")
    if os.environ.get("PACKAGE_INDEX", "yes") == "no":
        say("packages: not asked for (PACKAGE_INDEX=no)")
        return
    rows = already_loaded(db, source, today)
    if rows is not None:
        say(f"packages: {rows} rows, fetched today already")
        return
    try:
        index = packages.fetch()
    except packages.Unreachable as why:
        kept = db.execute("select count(*) from packages").fetchone()[0]
        say(f"packages: no network to the Debian archive ({why}); going on with {kept} known packages")
        return
    replace(db, "packages", PACKAGES, index, source, today)


def main() -> int:
    path = Path(sys.argv[1])
    if not path.is_file():
        say(f"{path}: no such file")
        return 1
    with connect() as db:
        db.autocommit = True
        db.execute(Path(__file__).with_name("schema.sql").read_text())
        load_hires(db, path)
        load_packages(db)
        days = db.execute("select refresh_daily()").fetchone()[0]
        say(f"daily: {days} rows refreshed")
    say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
