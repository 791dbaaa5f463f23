"""From raw lines of hires.csv to clean rows, with a count of everything that was mended or left out."""

import csv
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime

COLUMNS = ["station", "started", "temp_c", "rain_mm", "hires"]
STATIONS = ["Harbour", "Market", "Station", "University"]
ALIASES = {"harbor": "Harbour", "hbf": "Station", "uni": "University", "market sq": "Market"}
TIME_FORMATS = ["%Y-%m-%dT%H:%M", "%d.%m.%Y %H:%M"]
MISSING = {"", "-", "?", "n/a", "na", "nan", "null", "none"}
HIRES_MAX = 400  # more than there are bikes at any station


@dataclass
class Row:
    station: str
    started: datetime
    temp_c: float | None
    rain_mm: float
    hires: int

    @property
    def workday(self) -> bool:
        return self.started.weekday() < 5


class Bad(ValueError):
    """Why a line cannot be used."""


def parse_station(text: str) -> tuple[str, bool]:
    """The station's name and whether it had to be mended."""
    name = " ".join(text.split())
    if name.lower() in MISSING:
        raise Bad("no station")
    for station in STATIONS:
        if name.lower() == station.lower():
            return station, station != text
    if name.lower() in ALIASES:
        return ALIASES[name.lower()], True
    raise Bad("unknown station")


def parse_started(text: str) -> tuple[datetime, bool]:
    for number, form in enumerate(TIME_FORMATS):
        try:
            return datetime.strptime(text.strip(), form), number > 0
        except ValueError:
            pass
    raise Bad("no time" if text.strip().lower() in MISSING else "not a time")


def parse_temp(text: str) -> tuple[float | None, bool]:
    """Degrees Celsius; None where the field is empty. Knows 12,5 and 54.5F."""
    text = text.strip()
    if text.lower() in MISSING:
        return None, False
    match = re.fullmatch(r"(-?\d+(?:[.,]\d+)?)\s*°?([CF]?)", text)
    if not match:
        raise Bad("temperature not a number")
    degrees = float(match[1].replace(",", "."))
    if match[2] == "F":
        degrees = (degrees - 32) / 1.8
    if not -40 <= degrees <= 50:
        raise Bad("temperature out of range")
    return round(degrees, 1), "," in match[1] or match[2] != ""


def parse_rain(text: str) -> tuple[float, bool]:
    text = text.strip().lower()
    if text in MISSING:
        return 0.0, True
    if text == "trace":
        return 0.1, True
    try:
        rain = float(text)
    except ValueError:
        raise Bad("rain not a number") from None
    if not 0 <= rain <= 200:
        raise Bad("rain out of range")
    return rain, False


def parse_hires(text: str) -> int:
    text = text.strip()
    if text.lower() in MISSING:
        raise Bad("no number of hires")
    if not re.fullmatch(r"-?\d+(\.0)?", text):
        raise Bad("hires not a whole number")
    hires = int(float(text))
    if not 0 <= hires <= HIRES_MAX:
        raise Bad("hires out of range")
    return hires


def parse_line(fields: list[str], mended: Counter) -> Row:
    if len(fields) != len(COLUMNS):
        raise Bad(f"not {len(COLUMNS)} fields")
    station, station_mended = parse_station(fields[0])
    started, started_mended = parse_started(fields[1])
    temp, temp_mended = parse_temp(fields[2])
    rain, rain_mended = parse_rain(fields[3])
    row = Row(station, started, temp, rain, parse_hires(fields[4]))
    mended.update({
        "station name": station_mended,
        "time format": started_mended,
        "temperature unit": temp_mended,
        "rain missing or trace": rain_mended,
    })
    return row


def fill_temperatures(rows: list[Row], mended: Counter) -> list[Row]:
    """A missing temperature is the mean of the other stations in that hour, else of that day."""
    by_hour, by_day = defaultdict(list), defaultdict(list)
    for row in rows:
        if row.temp_c is not None:
            by_hour[row.started].append(row.temp_c)
            by_day[row.started.date()].append(row.temp_c)
    for row in rows:
        if row.temp_c is None:
            near = by_hour.get(row.started) or by_day.get(row.started.date())
            if near:
                row.temp_c = round(sum(near) / len(near), 1)
                mended["temperature missing"] += 1
    return [row for row in rows if row.temp_c is not None]


@dataclass
class Report:
    read: int
    mended: Counter
    dropped: Counter
    kept: int

    def lines(self):
        yield f"{self.read:6} lines read"
        for what, counts in (("mended", self.mended), ("dropped", self.dropped)):
            for reason, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
                if n:
                    yield f"{n:6} {what}: {reason}"
        yield f"{self.kept:6} rows kept"


def clean(lines) -> tuple[list[Row], Report]:
    """lines: an iterable of CSV lines, the first names the columns."""
    reader = csv.reader(lines)
    header = next(reader, [])
    if header != COLUMNS:
        raise SystemExit(f"loader: the first line names {header}, want {COLUMNS}")
    mended, dropped, rows, read = Counter(), Counter(), {}, 0
    for fields in reader:
        read += 1
        try:
            row = parse_line(fields, mended)
        except Bad as bad:
            dropped[str(bad)] += 1
            continue
        key = row.station, row.started
        if key not in rows:
            rows[key] = row
        elif rows[key] == row:
            dropped["duplicate"] += 1
        else:
            dropped["contradicts an earlier line"] += 1
    kept = fill_temperatures(list(rows.values()), mended)
    dropped["no temperature near"] = len(rows) - len(kept)
    kept.sort(key=lambda row: (row.started, row.station))
    return kept, Report(read, mended, dropped, len(kept))
