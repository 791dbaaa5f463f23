"""Files that were not written to be read: an error that says what is wrong, in little time and memory.

The limits are in docs/compatibility.md. Time is the processor's, so that a busy machine does not count."""

import os
import signal
import subprocess
import time

import pytest
from harness import COMPOSE, SANITIZED

WEB = "services: {web: {image: base}}\n"


@pytest.fixture
def project(make_project):
    return make_project(with_base=False)


class Outcome:
    """What came of a command: `config` with options before it, or as it is said."""

    def __init__(self, project, *args, stdin=None):
        command = list(args) if "config" in args else [*args, "config"]
        # Not our own child: what it was before it became compose, a large Python, would count.
        said = project.dir / "usage"
        with (project.dir / "out").open("w+b") as out, (project.dir / "err").open("w+b") as err:
            child = subprocess.Popen(["/usr/bin/time", "-q", "-o", said, "-f", "%M %U %S", COMPOSE, *map(str, command)],
                                     cwd=project.dir, env=project.environment(), stdout=out, stderr=err,
                                     stdin=stdin or subprocess.DEVNULL, start_new_session=True)
            try:
                self.code = child.wait(100)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                self.code = child.wait()
        self.out = (project.dir / "out").read_text(errors="replace")
        self.err = (project.dir / "err").read_text(errors="replace")
        usage = said.read_text().split() or ["inf"] * 3
        self.megabytes, self.seconds = float(usage[0]) / 1024, float(usage[1]) + float(usage[2])

    def within(self, seconds: float, megabytes: float) -> "Outcome":
        assert self.seconds < seconds * (10 if SANITIZED else 1), f"{self.seconds} s"
        assert SANITIZED or self.megabytes < megabytes, f"{self.megabytes} MB"
        return self

    def refused(self, *words: str) -> "Outcome":
        assert self.code == 1 and not self.out, (self.code, self.err[:2000])
        for word in words:
            assert word in self.err, (word, self.err[:2000])
        assert len(self.err) < 20000
        return self


def aliases(levels: int, form) -> str:
    lines = ["a0: &a0 {k: x}"] + [f"a{n}: &a{n} {form(n - 1)}" for n in range(1, levels)]
    return "x-bomb:\n" + "".join(f"  {line}\n" for line in lines) + WEB


TEXTS = {
    "list of aliases": (aliases(12, lambda n: f"[{', '.join([f'*a{n}'] * 10)}]"), ["aliases expand to more than 1000000 nodes"]),
    "mapping of aliases": (aliases(12, lambda n: "{" + ", ".join(f"k{i}: *a{n}" for i in range(10)) + "}"), ["aliases expand to more than"]),
    "merge keys of a wide mapping": (
        "x-w: &w {" + ", ".join(f"k{i}: x" for i in range(2000)) + "}\nx-m:\n" + "".join(f"  m{n}: {{<<: *w}}\n" for n in range(3000)) + WEB,
        ["aliases expand to more than"]),
    "anchor in itself": ("x-a: &a [*a]\n" + WEB, ['compose.yaml:1:10: error: anchor "a" contains itself', "note: the anchor is here"]),
    "merge of itself": ("x-a: &a {<<: *a}\n" + WEB, ['anchor "a" contains itself']),
    "flow lists in each other": ("services: " + "[" * 1_000_000, ["compose.yaml:1:210: error: nested deeper than 200 levels"]),
    "flow mappings in each other": ("services: " + "{a: " * 100_000, ["nested deeper than 200 levels"]),
    "block mappings in each other": ("".join(" " * n + "a:\n" for n in range(3000)), ["compose.yaml:201:201: error: nested deeper"]),
    "many values": (WEB + "x-l: [" + "a," * 4_000_000 + "]\n", ["the file has more than 3000000 values"]),
    "NUL byte": ("services:\n  web: {image: 'x\0y'}\n", ["compose.yaml:2:18: error: NUL byte"]),
    "NUL byte at the end": (WEB + "\0", ["compose.yaml:2:1: error: NUL byte"]),
    "bytes that are no UTF-8": (b"services:\n  web: {image: '\xff\xfe'}\n", ["compose.yaml:2:17: error: invalid UTF-8"]),
    "half a character": (b"services:\n  web: {image: '\xe2\x82", ["invalid UTF-8"]),
    "tab": ("services:\n\tweb: {image: base}\n", ["compose.yaml:2:1: error: a tab cannot indent in YAML: use spaces"]),
    "key twice": ("services:\n  web:\n    image: a\n    image: b\n", [
        'compose.yaml:4:5: error: key "image" is already defined', "compose.yaml:3:5: note: first defined here"]),
    "service twice": ("services:\n  web: {image: a}\n  web: {image: b}\n", [
        'compose.yaml:3:3: error: key "web" is already defined', "compose.yaml:2:3: note: first defined here"]),
    "integer": ("services: {web: {image: x, pids_limit: 99999999999999999999}}\n", ["compose.yaml:1:40: error", "want an integer"]),
    "number of a million digits": ("services: {web: {image: x, pids_limit: " + "9" * 1_000_000 + "}}\n", ["compose.yaml:1:40: error"]),
    "float": ("services: {web: {image: x, cpus: 1e400}}\n", ['cpus: invalid value "1e400"']),
    "port": ("services: {web: {image: x, ports: ['99999999999999999999:80']}}\n", ["invalid port"]),
    "ports": ("services: {web: {image: x, ports: ['1-65535:1-65535', '1-65535:1-65535/udp']}}\n", ["more than 100000 published ports"]),
    "duration": ("services: {web: {image: x, stop_grace_period: 99999999999999999999h}}\n", ["stop_grace_period"]),
    "references in each other": ("services: {web: {image: '" + "${A:-" * 500 + "}" * 500 + "'}}\n", ["nested deeper than 50"]),
    "service that extends itself": ("services: {web: {extends: web}}\n", ["circular extends: web -> web"]),
    "long chain of extends": ("services:\n" + "".join(f"  s{n}: {{extends: s{n + 1}}}\n" for n in range(300)) + "  s300: {image: x}\n", [
        "extends nested deeper than 100"]),
    "large service extended often": (
        "services:\n  b:\n    image: x\n    environment:\n" + "".join(f"      K{n}: v\n" for n in range(5000))
        + "".join(f"  s{n}: {{extends: b}}\n" for n in range(5000)), ["the project is too large: it takes more than 256 MiB"]),
    "file that includes itself": ("include: [compose.yaml]\n" + WEB, ["include cycle: compose.yaml includes itself"]),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text(project, name):
    text, words = TEXTS[name]
    project.write("compose.yaml", text if isinstance(text, bytes) else text.encode())
    Outcome(project).within(8, 1000).refused(*words)


def test_long_list_of_mappings(project):
    ports = "".join(f"      - {{target: {n}, published: '{n}'}}\n" for n in range(1, 30_000))
    project.write("compose.yaml", f"services:\n  web:\n    image: base\n    ports:\n{ports}")
    assert Outcome(project).within(3, 100).code == 0


@pytest.mark.parametrize("services", [1000, 10_000])
@pytest.mark.parametrize("form", ["yaml", "json"])
def test_large_project_takes_ten_times_its_file(project, services, form):
    text = "services:\n" + "".join(
        f"  s{n}:\n    image: registry.example/team/s{n}:1.{n}\n    command: [\"run\", \"--port\", \"80\"]\n    environment:\n"
        + "".join(f"      KEY_{k}: ${{VALUE_{k}:-the value number {k} of service {n}}}\n" for k in range(10))
        + f"    ports:\n      - \"{10000 + n}:80\"\n    volumes:\n      - ./data:/data:ro\n      - cache:/cache\n    labels:\n"
        f"      com.example.description: what service {n} is for and who answers for it\n    healthcheck:\n"
        "      test: [\"CMD\", \"true\"]\n      interval: 10s\n" for n in range(services)) + "volumes:\n  cache:\n"
    project.write("compose.yaml", text)
    assert Outcome(project, "config", "--format", form).within(20, 10 * len(text) / (1 << 20)).code == 0


def test_byte_order_mark(project):
    project.write("compose.yaml", b"\xef\xbb\xbf" + WEB.encode())
    assert Outcome(project).code == 0


def test_large_files(project):
    project.write("compose.yaml", WEB)
    os.truncate(project.dir / "compose.yaml", 100 << 20)
    Outcome(project).within(1, 150).refused("compose.yaml: larger than 33554432 bytes")
    project.write("compose.yaml", "services: {web: {image: base, env_file: big.env}}\n")
    project.write("big.env", "A=b\n")
    os.truncate(project.dir / "big.env", 100 << 20)
    Outcome(project).within(1, 150).refused("big.env: larger than 8388608 bytes", "compose.yaml:1:41: note: big.env is read because of this")
    project.write("compose.yaml", f"services: {{web: {{image: base, labels: {{a: '{'x' * 30_000_000}'}}}}}}\n")
    assert Outcome(project).within(4, 10 * 30).code == 0  # large, and all right


def test_endless_input(project):
    """Standard input has no size that could be looked at before."""
    with subprocess.Popen(["yes", "# x"], stdout=subprocess.PIPE) as source:
        Outcome(project, "-f", "-", stdin=source.stdout).within(4, 200).refused("larger than 33554432 bytes")
        source.kill()


def test_variables_that_grow(project):
    project.write(".env", "A0=" + "x" * 1000 + "\n" + "".join(f"A{n}=" + f"${{A{n - 1}}}" * 20 + "\n" for n in range(1, 10)))
    project.file(WEB)
    Outcome(project).within(2, 150).refused(".env:4:1: error: longer than 4194304 bytes after interpolation")
    project.write(".env", "A=" + "x" * 3_000_000 + "\n")
    many = ", ".join(f"'K{n}=${{A}}'" for n in range(1000))
    project.file(f"services: {{web: {{image: base, environment: [{many}]}}}}\n")
    Outcome(project).within(8, 800).refused("the project is too large: it takes more than 256 MiB")


def test_includes_that_multiply(project):
    for n in range(30):
        project.write(f"i{n}.yaml", f"include: [i{n + 1}.yaml, i{n + 1}.yaml]\n")
    project.write("i30.yaml", WEB)
    project.write("compose.yaml", "include: [i0.yaml]\n")
    Outcome(project).within(4, 200).refused("more than 2000 includes")
    for n in range(60):
        project.write(f"i{n}.yaml", f"include: [i{n + 1}.yaml]\n")
    Outcome(project).within(2, 150).refused("i49.yaml:1:11: error: include nested deeper than 50")


PLACES = {
    "config file": lambda path: (["-f", path], WEB),
    "--env-file": lambda path: (["--env-file", path], WEB),
    "env_file": lambda path: ([], f"services: {{web: {{image: base, env_file: '{path}'}}}}\n"),
    "label_file": lambda path: ([], f"services: {{web: {{image: base, label_file: '{path}'}}}}\n"),
    "include": lambda path: ([], f"include: ['{path}']\n"),
    "extends.file": lambda path: ([], f"services: {{web: {{extends: {{file: '{path}', service: x}}}}}}\n"),
}


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_regular_file(project, place):
    os.symlink("loop", project.dir / "loop")
    for path in ("loop", "/dev/zero", "/dev/random", "/dev/tty", "/proc/self/mem", "/proc/kmsg", ".", "missing"):
        args, text = PLACES[place](path)
        project.write("compose.yaml", text)
        told = Outcome(project, *args).within(1, 150).refused(path if path != "." else str(project.dir))
        assert place in ("config file", "--env-file") or "compose.yaml:1:" in told.err


def test_pipes(project):
    """A pipe into which somebody writes is read, late as he may be; one without is given up."""
    os.mkfifo(project.dir / "pipe")
    children = []
    for n, (args, text) in enumerate(make("pipe") for make in PLACES.values()):
        name = f"compose{n}.yaml"
        project.write(name, text)
        argv = [COMPOSE, *(args if "-f" in args else ["-f", name, *args]), "config"]
        children.append(subprocess.Popen(argv, cwd=project.dir, env=project.environment(), stdin=subprocess.DEVNULL,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    os.mkfifo(project.dir / "fed")
    project.write("compose.yaml", "services: {web: {image: base, env_file: fed}}\n")
    fed = subprocess.Popen([COMPOSE, "config"], cwd=project.dir, env=project.environment(), stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with (project.dir / "fed").open("w") as pipe:
        pipe.write("FROM_PIPE=yes\n")
    try:
        assert "FROM_PIPE" in fed.communicate(timeout=60)[0]
        for child in children:
            out, err = child.communicate(timeout=60)
            assert child.returncode == 1 and not out and "nothing was written into this pipe for 10 s" in err, err
    finally:
        for child in [fed, *children]:
            child.kill()
            child.wait()
