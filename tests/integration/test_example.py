"""examples/postgres-loader, from the base image to the page in a browser."""

import json
import re
import shutil
import subprocess

import pytest

from harness import COMPOSE, TOP, run, wait_for
from registry import free_port

pytestmark = [pytest.mark.slow, pytest.mark.host_network, pytest.mark.alone]


@pytest.fixture
def example(project):
    """A copy of the example, its images built; the machine's own base image cache is used."""
    shutil.rmtree(project.dir)
    shutil.copytree(TOP / "examples/postgres-loader", project.dir)
    project.port = free_port()
    project.env |= {"DASHBOARD_PORT": str(project.port), "COMPOSE_PROJECT_NAME": project.name}
    env = project.environment({"COMPOSE": COMPOSE, "BASE_IMAGE_CACHE": "/var/cache/compose-tests"})
    done = subprocess.run(project.argv()[:-1] + [str(TOP / "tools/base-image")], env=env, capture_output=True, text=True,
                          timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^base image: .*(pulled|made|imported)", done.stdout, re.M), "says where it comes from"
    project("--profile", "scheduled", "build", timeout=600)
    return project


def inside(project, *command, **options):
    return run(*project.argv()[:-1], *command, **options)


def http(project, path: str, body: dict | None = None) -> tuple[int, str]:
    command = ["curl", "-sS", "--max-time", "10", "-w", "\n%{http_code}", f"http://127.0.0.1:{project.port}{path}"]
    if body is not None:
        command += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    text, _, code = inside(project, *command).stdout.rpartition("\n")
    return int(code), text


def test_postgres_loader(example):
    example.up("--wait", timeout=180)
    states = {c["Service"]: (c["State"], c.get("Health", ""), c["ExitCode"]) for c in example.ps()}
    assert states["db"][:2] == ("running", "healthy") and states["dashboard"][:2] == ("running", "healthy")
    assert states["loader"] == ("exited", "", 0)

    log = example.logs("--no-log-prefix", "loader")
    for words in ("4194 lines read", "dropped: duplicate", "mended: temperature missing", "3922 rows kept", "hires: 3922 rows copied"):
        assert words in log, log
    assert re.search(r"packages: (\d{4,} rows copied|no network to the Debian archive)", log)

    # Rows through the published port
    code, text = http(example, "/health")
    assert code == 200 and json.loads(text) == {"status": "ok", "rows": 3922}
    rows = json.loads(http(example, "/api/hires?station=Market&limit=5")[1])
    assert len(rows) == 5 and {r["station"] for r in rows} == {"Market"} and rows[0]["started"] == "2026-04-06T00:00:00"

    # The model in the image
    ask = {"station": "Market", "hour": 17, "workday": True, "temp_c": 18}
    code, text = http(example, "/predict", ask)
    answer = json.loads(text)
    assert code == 200 and answer["low"] < answer["hires"] < answer["high"]
    assert answer["hires"] > json.loads(http(example, "/predict", ask | {"hour": 3})[1])["hires"]
    for wrong in ({"hour": "late"}, {"hour": 24}, {"station": "Nowhere"}, {"temp_c": None}):
        assert http(example, "/predict", ask | wrong)[0] == 422, wrong

    # The page as a person sees it
    browser = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
               f"--user-data-dir={example.tmp}/chromium", "--window-size=1200,1300", "--virtual-time-budget=5000"]
    url = f"http://127.0.0.1:{example.port}/"
    page = inside(example, *browser, "--dump-dom", url).stdout
    assert '<b id="rows">3,922</b>' in page and '<b id="hires">48,923</b>' in page
    assert page.count("<svg") >= 2 and page.count('class="dot') == 48, "two lines of 24 hours"
    assert re.search(r'<output id="answer">about [\d.]+ hires', page), "the page's own request was answered"
    picture = example.tmp / "page.png"
    inside(example, *browser, f"--screenshot={picture}", url)
    assert_charts_are_painted(picture)

    # The container is replaced, the data stays
    before = example.record("db")["id"]
    db = example.dir / "db/Dockerfile"
    db.write_text(db.read_text() + "LABEL upgraded=yes\n")
    example.up("--build", "--wait", timeout=180)
    assert example.record("db")["id"] != before
    log = example.logs("--no-log-prefix", "db", "loader")
    assert "the volume holds a cluster" in log and "hires: 3922 rows of this hires.csv are there already" in log
    assert json.loads(http(example, "/health")[1])["rows"] == 3922

    changed_script_is_built_in_seconds(example)

    # The table is refreshed at its interval
    first = json.loads(http(example, "/api/summary")[1])["refreshes"]
    example.compose("--profile", "scheduled", "up", "-d", timeout=120)
    wait_for(lambda: json.loads(http(example, "/api/summary")[1])["refreshes"] >= first + 2, "cron's second refresh", 75)
    example.wait_log("cron", "rows refreshed")

    # down keeps the data, down -v does not
    example.compose("--profile", "scheduled", "down", timeout=60)
    assert (example.root / f"volumes/{example.name}_data").is_dir()
    example.compose("--profile", "scheduled", "down", "-v", timeout=60)
    assert not (example.root / f"volumes/{example.name}_data").exists()


def changed_script_is_built_in_seconds(example) -> None:
    """What the image installs stays, the steps from the script's COPY on are done again."""
    script = example.dir / "loader/load.py"
    script.write_text(script.read_text() + "# changed\n")
    result = example("build", "loader", timeout=120)
    steps = re.findall(r"STEP (\d)/8: (\w+)", result.err)
    assert [name for _, name in steps] == ["FROM", "COPY", "RUN", "ENV", "WORKDIR", "COPY", "USER", "CMD"], result
    assert result.err.count("Using cache") == 4 and "Get:" not in result.err, "COPY, RUN, ENV and WORKDIR"
    assert result.seconds < 20
    assert example("build", "loader", timeout=120).err.count("Using cache") == 7


def assert_charts_are_painted(picture) -> None:
    """The colours of both series and of the bars cover what charts cover, and not all of the page."""
    import struct
    import zlib
    data = picture.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    assert (width, height, depth) == (1200, 1300, 8) and colour in (2, 6)
    raw, at = b"", 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        if kind == b"IDAT":
            raw += data[at + 8:at + 8 + size]
        at += size + 12
    raw, step = zlib.decompress(raw), 3 if colour == 2 else 4
    counts, above = {}, bytearray(width * step)
    for y in range(height):
        line = bytearray(raw[y * (width * step + 1) + 1:(y + 1) * (width * step + 1)])
        how = raw[y * (width * step + 1)]
        for x in range(width * step):
            left = line[x - step] if x >= step else 0
            if how == 1:
                line[x] = line[x] + left & 255
            elif how == 2:
                line[x] = line[x] + above[x] & 255
            elif how == 3:
                line[x] = line[x] + (left + above[x] >> 1) & 255
            elif how == 4:
                corner = above[x - step] if x >= step else 0
                guess = left + above[x] - corner
                near = min((abs(guess - v), i, v) for i, v in enumerate((left, above[x], corner)))[2]
                line[x] = line[x] + near & 255
        for x in range(0, width * step, step):
            pixel = bytes(line[x:x + 3])
            counts[pixel] = counts.get(pixel, 0) + 1
        above = line
    blue, orange = counts.get(bytes.fromhex("0b6e99"), 0), counts.get(bytes.fromhex("d9730d"), 0)
    assert blue > 10_000, "the bars"
    assert orange > 300, "the second line"
    assert counts.get(b"\xff\xff\xff", 0) > 200_000, "the cards"
