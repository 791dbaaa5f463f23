"""Charts as SVG text. Numbers in, one string out; colours and fonts come from the page's style sheet."""

from html import escape
from math import floor, log10

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 14, 46


def ticks(top: float, wanted: int = 5) -> list[float]:
    """Round numbers from 0 to at least top."""
    top = max(top, 1e-9)
    step = 10 ** floor(log10(top / wanted))
    for factor in (1, 2, 2.5, 5, 10):
        if top / (step * factor) <= wanted:
            step *= factor
            break
    values = [0.0]
    while values[-1] < top:
        values.append(values[-1] + step)
    return values


def number(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\u202f") if value == round(value) else f"{value:.1f}"


def text(x: float, y: float, words: str, kind: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def frame(title: str, height: int, body: list[str]) -> str:
    return (f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
            f'{"".join(body)}</svg>')


def lines(title: str, x_name: str, y_name: str, series: dict[str, list[tuple[float, float]]],
          x_every: int = 3) -> str:
    """One line a series, each a list of (x, y) with x from 0 upward in steps of 1."""
    x_top = max((x for points in series.values() for x, _ in points), default=1) or 1
    y_ticks = ticks(max((y for points in series.values() for _, y in points), default=1))

    def px(x): return LEFT + x / x_top * (WIDTH - LEFT - RIGHT)
    def py(y): return HEIGHT - BOTTOM - y / y_ticks[-1] * (HEIGHT - TOP - BOTTOM)

    body = []
    for y in y_ticks:
        body.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{py(y):.1f}" y2="{py(y):.1f}" class="grid"/>')
        body.append(text(LEFT - 8, py(y) + 4, number(y), "tick", "end"))
    for x in range(0, int(x_top) + 1, x_every):
        body.append(text(px(x), HEIGHT - BOTTOM + 18, str(x), "tick"))
    body.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_name, "axis"))
    body.append(f'<g transform="translate(13 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)">'
                f'{text(0, 0, y_name, "axis")}</g>')
    for index, (name, points) in enumerate(series.items()):
        path = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in points)
        body.append(f'<polyline points="{path}" class="line s{index}"/>')
        for x, y in points:
            body.append(f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="3" class="dot s{index}">'
                        f"<title>{escape(name)}, {x_name} {x:g}: {y:.1f}</title></circle>")
        body.append(f'<line x1="{LEFT + 14}" x2="{LEFT + 38}" y1="{TOP + 10 + 18 * index}" '
                    f'y2="{TOP + 10 + 18 * index}" class="line s{index}"/>')
        body.append(text(LEFT + 44, TOP + 14 + 18 * index, name, "legend", "start"))
    return frame(title, HEIGHT, body)


def bars(title: str, x_name: str, rows: list[tuple[str, float]]) -> str:
    """One horizontal bar a row, with its number beside it."""
    left, thick, gap = 120, 20, 8
    height = TOP + len(rows) * (thick + gap) + BOTTOM
    x_ticks = ticks(max((value for _, value in rows), default=1))

    def px(x): return left + x / x_ticks[-1] * (WIDTH - left - 60)

    floor_y = height - BOTTOM
    body = []
    for x in x_ticks:
        body.append(f'<line x1="{px(x):.1f}" x2="{px(x):.1f}" y1="{TOP}" y2="{floor_y}" class="grid"/>')
        body.append(text(px(x), floor_y + 18, number(x), "tick"))
    for index, (name, value) in enumerate(rows):
        y = TOP + index * (thick + gap)
        body.append(text(left - 8, y + 15, name, "label", "end"))
        body.append(f'<rect x="{left}" y="{y}" width="{px(value) - left:.1f}" height="{thick}" rx="2" class="bar">'
                    f"<title>{escape(name)}: {number(value)}</title></rect>")
        body.append(text(px(value) + 6, y + 15, number(value), "value", "start"))
    body.append(text((left + WIDTH - 60) / 2, height - 8, x_name, "axis"))
    return frame(title, height, body)
