#!/usr/bin/env python3
"""Writes hires.csv: six weeks of hourly bike hires at four stations of a town that does not exist,
as a careless logger would write them. The same file at every run."""

import math
import random
from datetime import datetime, timedelta
from pathlib import Path

DAYS = 42
START = datetime(2026, 4, 6)
BUSY = {"Harbour": 0.8, "Market": 1.0, "Station": 1.4, "University": 0.9}
WORKDAY = [1, 1, 0, 0, 1, 4, 14, 34, 42, 22, 15, 17, 21, 19, 18, 22, 33, 45, 36, 24, 16, 11, 7, 3]
WEEKEND = [4, 3, 2, 1, 1, 1, 2, 4, 8, 14, 21, 27, 31, 33, 34, 33, 30, 27, 23, 18, 14, 11, 9, 6]

rng = random.Random(20260406)


def weather():
    """(hour, °C, mm) for every hour: a warming spring with fronts that bring rain and cold."""
    front, rain = 0.0, 0.0
    for hour in range(DAYS * 24):
        now = START + timedelta(hours=hour)
        front = 0.98 * front + rng.gauss(0, 0.45)
        if rain == 0 and rng.random() < 0.02 + max(0, -front) * 0.01:
            rain = rng.uniform(0.4, 4)
        elif rain and rng.random() < 0.3:
            rain = 0.0
        temp = 9 + hour / 24 * 0.17 - 5.5 * math.cos((now.hour - 4) / 24 * 2 * math.pi) + front
        yield now, round(temp, 1), round(rain * rng.uniform(0.5, 1.2), 1) if rain else 0.0


def hires(station, now, temp, rain):
    base = (WORKDAY if now.weekday() < 5 else WEEKEND)[now.hour] * BUSY[station]
    warmth = math.exp(-((temp - 23) / 17) ** 2)
    wet = 0.35 if rain > 1 else 0.6 if rain else 1
    mean = base * warmth * wet * rng.lognormvariate(0, 0.16)
    return max(0, round(rng.gauss(mean, math.sqrt(mean + 0.1))))


def careless(station, now, temp, rain, n):
    """One line's fields; about one line in nine has something wrong."""
    fields = [station, now.strftime("%Y-%m-%dT%H:%M"), f"{temp}", f"{rain}", f"{n}"]
    dice = rng.random()
    if dice < 0.020:
        fields[0] = rng.choice([station.upper(), station.lower(), f" {station}", f"{station} "])
    elif dice < 0.026:
        fields[0] = {"Harbour": "harbor", "Station": "Hbf", "University": "Uni", "Market": "Market sq"}[station]
    elif dice < 0.030:
        fields[0] = rng.choice(["", "Depot", "test"])
    elif dice < 0.045:
        fields[1] = now.strftime("%d.%m.%Y %H:%M")
    elif dice < 0.049:
        fields[1] = rng.choice(["", "yesterday", "2026-13-01T00:00", "1775433600"])
    elif dice < 0.064:
        fields[2] = rng.choice(["", "n/a", "-", "NaN"])
    elif dice < 0.074:
        fields[2] = "\"" + f"{temp}".replace(".", ",") + "\""
    elif dice < 0.080:
        fields[2] = f"{temp * 1.8 + 32:.1f}F"
    elif dice < 0.084:
        fields[2] = rng.choice(["999", "-99.9", "warm"])
    elif dice < 0.096:
        fields[3] = rng.choice(["", "trace"]) if rain < 0.5 else f"{rain}"
    elif dice < 0.104:
        fields[4] = rng.choice(["", "?", "N/A"])
    elif dice < 0.109:
        fields[4] = rng.choice(["-1", "seventeen", "12.5", "65535", "1O"])
    elif dice < 0.111:
        fields = fields[:4]
    return fields


def main():
    lines = []
    for now, temp, rain in weather():
        for station in BUSY:
            local = round(temp + rng.gauss(0, 0.3), 1)
            fields = careless(station, now, local, rain, hires(station, now, local, rain))
            lines.append(",".join(fields))
            if rng.random() < 0.035:
                lines.append(lines[-1])  # the logger sent it twice
            if rng.random() < 0.004:
                fields = list(fields)
                fields[-1] = str(rng.randrange(60))
                lines.append(",".join(fields))  # and once with another number
    for _ in range(60):  # sent late
        lines.insert(rng.randrange(len(lines)), lines.pop(rng.randrange(len(lines))))
    path = Path(__file__).with_name("hires.csv")
    path.write_text("station,started,temp_c,rain_mm,hires\n" + "\n".join(lines) + "\n")


main()
