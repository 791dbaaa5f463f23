"""The dashboard: a page of charts from the database, /health, and /predict from the model in the image."""

import os
from pathlib import Path

import jinja2
import psycopg
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse
from psycopg_pool import ConnectionPool
from pydantic import BaseModel, Field

import charts
from clean import STATIONS
from model import Model

HERE = Path(__file__).parent
MODEL = Model.read(HERE / "model.json")
PAGE = jinja2.Environment(autoescape=True).from_string((HERE / "page.html").read_text())

app = FastAPI(title="Bike hires", docs_url=None, redoc_url=None)
pool = ConnectionPool(kwargs={"password": Path(os.environ["PASSWORD_FILE"]).read_text().strip(),
                              "autocommit": True}, min_size=1, max_size=4, timeout=2)


class Hour(BaseModel):
    station: str = Field(regex=f"^({'|'.join(STATIONS)})$")
    hour: int = Field(ge=0, le=23)
    workday: bool
    temp_c: float = Field(ge=-40, le=50)
    rain_mm: float = Field(0, ge=0, le=200)


def rows(query: str, *values) -> list[tuple]:
    try:
        with pool.connection() as db:
            return db.execute(query, values).fetchall()
    except psycopg.OperationalError:
        pool.check()  # the database was replaced: connections to the old one are made anew
        with pool.connection() as db:
            return db.execute(query, values).fetchall()


def figures() -> dict:
    hires, hours, first, last = rows(
        "select sum(hires), count(*), min(started)::date, max(started)::date from hires")[0]
    loaded = rows("select max(loaded_at) from loads")[0][0]
    refreshes, refreshed = rows("select count(*), max(refreshed_at) from refreshes")[0]
    packages = rows("select count(*) from packages")[0][0]
    return {"hires": hires or 0, "rows": hours, "first": first, "last": last, "loaded_at": loaded,
            "refreshes": refreshes, "refreshed_at": refreshed, "packages": packages}


def by_hour() -> str:
    series = {"workdays": [], "weekends": []}
    for workday, hour, mean in rows(
            """select workday, extract(hour from started)::int, avg(hires)::float8
               from hires group by 1, 2 order by 1 desc, 2"""):
        series["workdays" if workday else "weekends"].append((hour, mean))
    return charts.lines("Hires by hour of the day", "hour of the day", "hires an hour and station", series)


def by_temperature() -> str:
    bands = rows("""select width_bucket(temp_c, 0, 24, 8) as band, avg(hires)::float8 from hires
                    where extract(hour from started) between 7 and 20 and rain_mm = 0
                    group by 1 order by 1""")
    names = {0: "below 0 °C", 9: "24 °C and more"}
    return charts.bars("Hires by temperature", "hires an hour and station, dry hours from 7 to 20",
                       [(names.get(band, f"{band * 3 - 3}–{band * 3} °C"), round(mean, 1))
                        for band, mean in bands])


def by_section() -> str | None:
    sections = rows("select section, count(*) from packages group by 1 order by 2 desc, 1 limit 10")
    return charts.bars("Packages by section", "packages", sections) if sections else None


@app.get("/", response_class=HTMLResponse)
def page():
    return PAGE.render(figures=figures(), by_hour=by_hour(), by_temperature=by_temperature(),
                       by_section=by_section(), model=MODEL, stations=STATIONS)


@app.get("/api/summary")
def summary():
    return figures()


@app.get("/api/hires")
def hires(station: str = STATIONS[0], limit: int = 24):
    names = ["station", "started", "temp_c", "rain_mm", "workday", "hires"]
    return [dict(zip(names, row)) for row in rows(
        f"select {', '.join(names)} from hires where station = %s order by started limit %s",
        station, max(0, min(limit, 1000)))]


@app.post("/predict")
def predict(hour: Hour):
    expected, low, high = MODEL.predict(**vars(hour))
    return {"hires": round(expected, 1), "low": round(low, 1), "high": round(high, 1), "r2": MODEL.r2}


@app.get("/health")
def health():
    try:
        n = rows("select count(*) from hires")[0][0]
    except Exception as error:  # whatever is wrong with the database, this is what /health is for
        return JSONResponse({"status": "no database", "error": str(error)}, status_code=503)
    return {"status": "ok", "rows": n}
