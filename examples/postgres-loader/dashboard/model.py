"""Bike hires at one station in one hour, from a linear model of log(1 + hires).

`model.py hires.csv model.json` trains it; only that needs numpy.
"""

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

from clean import STATIONS, clean


def features(station: str, hour: int, workday: bool, temp_c: float, rain_mm: float) -> list[float]:
    """One column an hour of the day, twice (workday or not), one a station, then the weather."""
    by_hour = [0.0] * 48
    by_hour[hour + (24 if workday else 0)] = 1.0
    by_station = [float(station == name) for name in STATIONS[1:]]
    warmth = temp_c / 10
    return by_hour + by_station + [warmth, warmth * warmth, float(rain_mm > 0), min(rain_mm, 5.0)]


@dataclass
class Model:
    weights: list[float]
    spread: float  # standard deviation of the residuals of log(1 + hires)
    r2: float
    rows: int

    @classmethod
    def read(cls, path: Path) -> "Model":
        return cls(**json.loads(path.read_text()))

    def predict(self, **given) -> tuple[float, float, float]:
        """The hires to expect, and the range that four of five hours fall in."""
        log = sum(w * x for w, x in zip(self.weights, features(**given)))
        around = (log, log - 1.28 * self.spread, log + 1.28 * self.spread)
        expected, low, high = (max(0.0, math.expm1(value)) for value in around)
        return expected, low, high


def train(rows) -> Model:
    import numpy as np

    x = np.array([features(r.station, r.started.hour, r.workday, r.temp_c, r.rain_mm) for r in rows])
    hires = np.array([r.hires for r in rows], float)
    y = np.log1p(hires)
    ridge = 0.1 * np.eye(x.shape[1])
    weights = np.linalg.solve(x.T @ x + ridge, x.T @ y)
    fitted = np.expm1(x @ weights)
    r2 = 1 - ((hires - fitted) ** 2).sum() / ((hires - hires.mean()) ** 2).sum()
    return Model([round(w, 6) for w in weights.tolist()], round(float((y - x @ weights).std()), 4),
                 round(float(r2), 3), len(rows))


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as lines:
        model = train(clean(lines)[0])
    Path(sys.argv[2]).write_text(json.dumps(vars(model)))
    print(f"model: {model.rows} rows, {len(model.weights)} weights, R² {model.r2}")
