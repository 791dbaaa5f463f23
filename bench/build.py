"""bench/run build: a build whose steps all come from the cache, one whose script has changed, and what compose adds to
buildah, which does the same build bare, turn by turn."""

import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

DOCKERFILE = """FROM bench
RUN echo one > /one
RUN echo two > /two
COPY script /script
RUN sh /script > /three
"""


class Builds:
    def __init__(self, run, times):
        self.run, self.times, self.changes = run, times, 0

    def _project(self, tool) -> tuple[list[str], Path]:
        base = tool.project({"x": {"build": "."}}, name="build")
        context = Path(base[-1]).parent
        (context / "Dockerfile").write_text(DOCKERFILE)
        self._change(context)
        self.run([*base, "build"])
        return base, context

    def _change(self, context: Path) -> None:
        self.changes += 1
        (context / "script").write_text(f"echo {self.changes} of {os.getpid()}\n")

    def _timed(self, argv) -> float:
        started = time.monotonic()
        self.run(argv)
        return time.monotonic() - started

    def _bare(self, argv: list[str], context: Path) -> list[str]:
        """The runtime that compose has chosen; the base has no name in the builder's storage before."""
        controllers = Path("/sys/fs/cgroup/unified/cgroup.controllers")
        runtime = ["--runtime", "runc"] if controllers.exists() and controllers.read_text().strip() else []
        buildah = ["buildah", "--root", os.environ["COMPOSE_ROOT"] + "/buildah", "--runroot", os.environ["COMPOSE_RUN"] + "/bare",
                   "--storage-driver", "overlay"]
        image = subprocess.run([*argv, "image", "inspect", "-f", "{{.Id}}", "bench"], check=True, capture_output=True, text=True)
        self.run([*buildah, "tag", image.stdout.strip().removeprefix("sha256:"), "docker.io/library/bench"])
        return [*buildah, "build", "--layers", "--force-rm", "--identity-label=false", "--format", "docker",
                *runtime, "--network", "host", "--pull=never", "--tag", "docker.io/library/bare", str(context)]

    def __call__(self, tool, note) -> None:
        base, context = self._project(tool)
        bare = self._bare(tool.argv, context) if tool.name == "compose" else None
        cached, floor = [], []
        for _ in self.times(10):
            if bare:
                floor.append(self._timed(bare))
            cached.append(self._timed([*base, "build"]))
        changed = []
        for _ in self.times(4):
            self._change(context)
            changed.append(self._timed([*base, "build"]))
        note("build, cached", statistics.median(cached))
        note("build, script changed", statistics.median(changed))
        if bare:
            note("build, bare buildah", statistics.median(floor))
            # The best of each: what else the machine does only ever adds.
            note("build, added", 1000 * max(0.0, min(cached) - min(floor)))


def possible() -> bool:
    return shutil.which("buildah") is not None


def forget(docker: list[str] | None) -> None:
    """The image that the other tool has built."""
    if docker:
        subprocess.run([*docker, "rmi", "build-x"], capture_output=True, check=False)
