"""The Debian archive's package index, fetched by apt from this image's own sources and verified by it."""

import lzma
import re
import subprocess
import tempfile
from pathlib import Path

FETCH_SECONDS = 90
FIELDS = {"Package", "Version", "Section", "Priority", "Installed-Size"}


class Unreachable(Exception):
    """Why there is no index; one line."""


def _apt(folder: Path, *args: str) -> str:
    options = {
        "Dir::State": folder / "state",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": 0,
        "Acquire::http::Timeout": 10,
        "Acquire::https::Timeout": 10,
    }
    command = ["apt-get", "--quiet", *args]
    for name, value in options.items():
        command += ["-o", f"{name}={value}"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        raise Unreachable(f"no answer in {FETCH_SECONDS} s") from None
    trouble = re.findall(r"^[EW]: (.*)", run.stderr, re.M)
    if run.returncode or trouble:
        raise Unreachable(trouble[0] if trouble else f"apt-get exited with {run.returncode}")
    return run.stdout


def _paragraphs(path: Path):
    with (lzma.open(path, "rt") if path.suffix == ".xz" else open(path)) as index:
        paragraph = {}
        for line in index:
            if line == "\n":
                yield paragraph
                paragraph = {}
            elif line[0] not in " \t":
                name, _, value = line.partition(":")
                if name in FIELDS:
                    paragraph[name] = value.strip()
        if paragraph:
            yield paragraph


def fetch() -> list[tuple]:
    """(name, version, section, priority, installed size in KB) of every package, by name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("state/lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        _apt(folder, "update")
        files = _apt(folder, "indextargets", "--format", "$(FILENAME)", "Created-By: Packages").split()
        packages = {}
        for path in map(Path, files):
            if path.exists():
                for p in _paragraphs(path):
                    packages[p["Package"]] = (
                        p["Package"], p["Version"], p.get("Section", "unknown").split("/")[-1],
                        p.get("Priority", "optional"), int(p.get("Installed-Size", 0)))
        if not packages:
            raise Unreachable("apt knows no package source")
        return [packages[name] for name in sorted(packages)]
