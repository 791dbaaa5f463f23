"""Output: where it goes, that nothing of it is lost, and what reading it costs."""

import gzip
import json
import os
import random
import re
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from harness import SLOWER, alive, run, wait_for
from test_network import sleeper, write


class Receiver:
    """A syslog or journal: what it was sent, a datagram or a stream at a time."""

    def __init__(self, family, kind, address):
        self.socket = socket.socket(family, kind)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(address)
        self.got, self.kind = [], kind
        if kind == socket.SOCK_STREAM:
            self.socket.listen(4)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        try:
            while self.kind == socket.SOCK_DGRAM:
                self.got.append(self.socket.recv(65536))
            while True:
                connection = self.socket.accept()[0]
                threading.Thread(target=self._read, args=(connection,), daemon=True).start()
        except OSError:
            pass

    def _read(self, connection):
        with connection:
            while data := connection.recv(65536):
                self.got.append(data)

    def text(self) -> str:
        return b"".join(self.got).decode(errors="replace")

    def port(self) -> int:
        return self.socket.getsockname()[1]


@contextmanager
def receiver(family, kind, address):
    r = Receiver(family, kind, address)
    try:
        yield r
    finally:
        r.socket.close()


SAY = ["sh", "-c", "echo to stdout; echo to stderr >&2; printf unfinished; sleep 600"]


def says(**options) -> dict:
    return sleeper(command=SAY, stop_grace_period="0s", logging={"driver": "syslog", "options": options})


@pytest.mark.parametrize("transport", ["udp", "tcp", "unix"])
def test_syslog(project, transport):
    place = {"udp": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)), "tcp": (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
             "unix": (socket.AF_UNIX, socket.SOCK_DGRAM, str(project.tmp / "log"))}[transport]
    with receiver(*place) as r:
        address = f"unixgram://{project.tmp}/log" if transport == "unix" else f"{transport}://127.0.0.1:{r.port()}"
        write(project, {"x": says(**{"syslog-address": address, "tag": "{{.Name}}/{{.ID}}", "syslog-facility": "local3"})})
        project.up()
        wait_for(lambda: "unfinished" in r.text(), "all to arrive")
        record = project.record("x")
        tag = re.escape(f"{record['name']}/{record['id'][:12]}")
        for severity, words in ((6, "to stdout"), (3, "to stderr"), (6, "unfinished")):
            assert re.search(rf"<{19 * 8 + severity}>\w+ [ \d]\d \d\d:\d\d:\d\d {tag}\[\d+\]: {words}", r.text()), r.text()
        logs = project.logs("--no-log-prefix")
        assert "to stdout\n" in logs and "to stderr\n" in logs, "a copy is kept, as Docker keeps one"


def test_syslog_formats(project):
    with receiver(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)) as r:
        to = {"syslog-address": f"tcp://127.0.0.1:{r.port()}"}
        write(project, {"a": says(**to, **{"syslog-format": "rfc5424micro", "tag": "new"}), "b": says(**to, **{"syslog-format": "rfc3164", "tag": "old"})})
        project.up()
        wait_for(lambda: r.text().count("unfinished") == 2, "all to arrive")
        host = socket.gethostname()
        assert re.search(rf"\d+ <30>1 \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{6}}Z {host} new \d+ new - to stdout", r.text())
        assert re.search(rf"<30>\w+ [ \d]\d \S+ {host} old\[\d+\]: to stdout\n", r.text())


def openssl(folder: Path, *args) -> None:
    run("openssl", *args, cwd=folder)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Path:
    """ca, and of it server (localhost, 127.0.0.1), elsewhere (another name) and client; stranger is by itself."""
    folder = tmp_path_factory.mktemp("tls")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for name in ("ca", "stranger"):
        openssl(folder, "req", "-x509", *key, "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    for name, alt in (("server", "DNS:localhost,IP:127.0.0.1"), ("elsewhere", "DNS:elsewhere"), ("client", "DNS:client")):
        (folder / f"{name}.ext").write_text(f"subjectAltName={alt}\n")
        openssl(folder, "req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(folder, "x509", "-req", "-days", "2", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-extfile", f"{name}.ext", "-out", f"{name}.pem")
    return folder


class TlsReceiver(Receiver):
    def __init__(self, folder: Path, name: str, port: int = 0, client: bool = False):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
        if client:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(folder / "ca.pem")
        self.open: list[socket.socket] = []
        super().__init__(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port))

    def _read(self, connection):
        with suppress(OSError):
            secure = self.context.wrap_socket(connection, server_side=True)
            self.open.append(secure)
            super()._read(secure)

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)  # whoever waits in accept() would take one more
        self.socket.close()
        for connection in self.open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def tls(port: int, **more) -> dict:
    return {"syslog-address": f"tcp+tls://localhost:{port}", "syslog-format": "rfc5424", "tag": "web"} | more


def test_syslog_over_tls(project, certificates):
    """The receiver is who the certificate says, and is shown ours; messages carry their length (RFC 5425)."""
    r = TlsReceiver(certificates, "server", client=True)
    options = tls(r.port(), **{"syslog-tls-ca-cert": str(certificates / "ca.pem"), "syslog-tls-cert": str(certificates / "client.pem"),
                               "syslog-tls-key": str(certificates / "client.key")})
    write(project, {"x": says(**options), "y": says(**options | {"syslog-address": f"tcp+tls://127.0.0.1:{r.port()}"})})
    assert "not supported" not in project.up().err
    wait_for(lambda: r.text().count("unfinished") == 2, "all to arrive")
    for line in ("<30>1 [^<]* - to stdout", "<27>1 [^<]* - to stderr", "<30>1 [^<]* - unfinished"):
        found = re.findall(rf"(\d+) ({line})", r.text())
        assert len(found) == 2 and all(int(n) == len(text) for n, text in found), r.text()
    assert "to stdout\n" in project.logs("--no-log-prefix", "x")
    project("down", "-t", "0")
    r.close()


@pytest.mark.parametrize("server, options, words", [
    ("server", {}, "dial tcp+tls: localhost: "),
    ("elsewhere", {"syslog-tls-ca-cert": "ca.pem"}, "hostname mismatch"),
    ("stranger", {"syslog-tls-ca-cert": "ca.pem"}, "self-signed certificate"),
    ("server", {"syslog-tls-ca-cert": "nosuch.pem"}, "nosuch.pem: "),
    ("server", {"syslog-tls-ca-cert": "ca.pem", "syslog-tls-cert": "client.pem", "syslog-tls-key": "ca.key"}, "key values mismatch"),
    ("stranger", {"syslog-tls-skip-verify": "false"}, None)])
def test_syslog_over_tls_trusts_nobody_else(project, certificates, server, options, words):
    r = TlsReceiver(certificates, server)
    files = {key: value if key.endswith("verify") else str(certificates / value) for key, value in options.items()}
    write(project, {"x": says(**tls(r.port(), **files))})
    result = project.up(code=1 if words else 0)
    if words:
        assert "failed to initialize logging driver: " in result.err and words in result.err
    else:
        wait_for(lambda: "unfinished" in r.text(), "all to arrive: given at all, it counts")
    project("down", "-t", "0")
    r.close()


def test_syslog_over_tls_that_comes_back(project, certificates):
    r = TlsReceiver(certificates, "server")
    count = ["sh", "-c", "i=0; while :; do i=$$((i+1)); echo line $$i; sleep 0.05; done"]
    options = tls(r.port(), **{"syslog-tls-ca-cert": str(certificates / "ca.pem")})
    write(project, {"x": sleeper(command=count, stop_grace_period="0s", logging={"driver": "syslog", "options": options})})
    project.up()
    wait_for(lambda: "line 3" in r.text(), "lines")
    port = r.port()
    r.close()
    before = project.logs().count("line")
    wait_for(lambda: project.logs().count("line") > before + 10, "the container to go on")
    r = TlsReceiver(certificates, "server", port)
    wait_for(lambda: re.search(r"\d+ records are missing here", r.text()) and "line" in r.text(), "lines again", 15)
    for pid in project.monitors():
        os.kill(pid, signal.SIGKILL)
    seen = len(r.open)
    wait_for(lambda: len(r.open) > seen, "the next monitor's connection", 15)
    project("down", "-t", "0")
    r.close()


def test_syslog_that_comes_back(project):
    """A receiver that is gone holds nobody up; afterwards it is told how much is missing."""
    with receiver(socket.AF_UNIX, socket.SOCK_DGRAM, str(project.tmp / "log")) as r:
        write(project, {"x": sleeper(command=["sh", "-c", "i=0; while :; do i=$$((i+1)); echo line $$i; sleep 0.05; done"], stop_grace_period="0s",
                                     logging={"driver": "syslog", "options": {"syslog-address": f"unix://{project.tmp}/log"}})})
        project.up()
        wait_for(lambda: "line 3" in r.text(), "lines")
    os.unlink(project.tmp / "log")
    count = project.logs().count("line")
    wait_for(lambda: project.logs().count("line") > count + 10, "the container to go on")
    with receiver(socket.AF_UNIX, socket.SOCK_DGRAM, str(project.tmp / "log")) as r:
        wait_for(lambda: re.search(r"\d+ records are missing here", r.text()) and "line" in r.text(), "lines again", 15)


@pytest.mark.parametrize("options, words", [
    ({"syslog-address": "unix:///no/such/socket"}, "failed to initialize logging driver: dial unix /no/such/socket: No such file"),
    ({"syslog-address": "ftp://x"}, "want udp://, tcp://, tcp+tls://, unix:// or unixgram://"),
    ({"syslog-address": "udp://127.0.0.1", "tag": "{{.Nothing}}"}, 'unknown field ".Nothing"'),
    ({"syslog-address": "udp://127.0.0.1", "syslog-facility": "nosuch"}, 'invalid syslog facility "nosuch"'),
    ({"syslog-address": "udp://127.0.0.1", "syslog-format": "x"}, 'invalid syslog format "x"')])
def test_syslog_that_cannot_be(project, options, words):
    write(project, {"x": says(**options)})
    assert words in project.up(code=1).err


def fields(datagram: bytes) -> dict:
    """systemd's native protocol."""
    out, at = {}, 0
    while at < len(datagram):
        end = datagram.index(b"\n", at)
        line = datagram[at:end]
        if b"=" in line:
            key, value = line.split(b"=", 1)
            at = end + 1
        else:
            size = struct.unpack("<Q", datagram[end + 1:end + 9])[0]
            key, value = line, datagram[end + 9:end + 9 + size]
            at = end + 10 + size
        out[key.decode()] = value
    return out


@pytest.mark.skipif(os.path.exists("/run/systemd/journal/socket"), reason="a journal runs here: its socket is not ours to take")
def test_journald(project):
    folder = Path("/run/systemd/journal")
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with receiver(socket.AF_UNIX, socket.SOCK_DGRAM, str(folder / "socket")) as r:
            write(project, {"x": sleeper(command=["sh", "-c", r"printf 'a\0b\377\n'; echo err >&2; sleep 600"], stop_grace_period="0s",
                                         logging={"driver": "journald", "options": {"tag": "mine"} | ASKED}, **METADATA)})
            project.up()
            wait_for(lambda: len(r.got) >= 2, "both to arrive")
            record = project.record("x")
            seen = {f["PRIORITY"]: f for f in map(fields, r.got)}
            assert seen[b"6"]["MESSAGE"] == b"a\0b\xff" and seen[b"3"]["MESSAGE"] == b"err"
            assert seen[b"6"]["CONTAINER_NAME"].decode() == record["name"] and seen[b"6"]["CONTAINER_ID_FULL"].decode() == record["id"]
            assert seen[b"6"]["SYSLOG_IDENTIFIER"] == b"mine" and seen[b"6"]["IMAGE_NAME"] == b"base"
            assert seen[b"3"]["COM_EXAMPLE_X"] == b"1" and seen[b"3"]["PLAIN"] == b"a" and seen[b"3"]["SHAPE_B"] == b"flat"
            assert "OTHER" not in seen[b"3"] and "SECRET" not in seen[b"3"]
            assert "err" in project.logs()
    finally:
        (folder / "socket").unlink(missing_ok=True)
        if made:
            folder.rmdir()


def log_records(project, service: str) -> list[dict]:
    record = project.record(service)
    path = project.root / "projects" / project.name / "containers" / record["id"] / "log"
    return [json.loads(line) for line in path.read_text().splitlines()]


METADATA = {"labels": {"plain": "a", "com.example.x": "1", "com.example.y": 'q"\u00e4', "other": "no"},
            "environment": {"COLOR": "red", "SHAPE_A": "round", "SHAPE_B": "flat", "SECRET": "no"}}
ASKED = {"labels": "plain,missing", "labels-regex": "^com[.]example", "env": "COLOR", "env-regex": "^SHAPE_"}


def test_log_attributes(project):
    """Labels, variables and the tag that are asked for stand in each record of json-file, as Docker has them."""
    say = ["sh", "-c", "for i in 1 2 3; do echo line $$i; done; printf end; sleep 600"]
    write(project, {"x": sleeper(command=say, stop_grace_period="0s", logging={"options": ASKED | {"tag": "{{.Name}}"}}, **METADATA),
                    "plain": sleeper(command=say, stop_grace_period="0s", **METADATA)})
    project.up()
    wait_for(lambda: "end" in project.logs("x") and "end" in project.logs("plain"), "the output")
    want = {"plain": "a", "com.example.x": "1", "com.example.y": 'q"\u00e4', "COLOR": "red", "SHAPE_A": "round", "SHAPE_B": "flat",
            "tag": project.record("x")["name"]}
    for r in log_records(project, "x"):
        assert list(r) == ["log", "stream", "attrs", "time"] and r["attrs"] == want
    assert all("attrs" not in r for r in log_records(project, "plain"))
    assert project.logs("--no-log-prefix", "-n", "2", "x") == "line 3\nend\n"
    assert project.logs("--no-log-prefix", "x") == "line 1\nline 2\nline 3\nend\n"
    write(project, {"x": sleeper(logging={"options": {"env-regex": "("}})})
    assert "failed to initialize logging driver: log option env-regex" in project.up(code=1).err


def test_cache_can_be_disabled(project):
    with receiver(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)) as r:
        write(project, {"x": says(**{"syslog-address": f"udp://127.0.0.1:{r.port()}", "cache-disabled": "true"})})
        project.up()
        wait_for(lambda: "to stdout" in r.text(), "it to arrive")
        assert "to stdout" not in project.logs()


def log_folder(project, service: str = "x") -> Path:
    return project.root / "projects" / project.name / "containers" / project.record(service)["id"]


def log_files(project) -> list[str]:
    return sorted(p.name for p in log_folder(project).glob("log*"))


def numbered(*goals: int) -> list[str]:
    """Says "line N" up to each goal, when the one before it has been allowed by a file /N."""
    says = "say() { while [ $$i -lt $$1 ]; do i=$$((i+1)); echo line $$i; done; }; i=0"
    waits = "".join(f"; while [ ! -e /{goal} ]; do sleep 0.02; done; say {goal}" for goal in goals)
    return ["sh", "-c", f"{says}{waits}; sleep 600"]


def lines(first: int, last: int) -> list[str]:
    return [f"line {i}" for i in range(first, last + 1)]


def rotating(project, goals, max_file=5, **logging) -> None:
    options = {"max-size": "16k", "max-file": str(max_file), "compress": "true"} | logging
    write(project, {"x": sleeper(init=False, command=numbered(*goals), stop_grace_period="0s", logging={"options": options})})
    project.up()


def goes_on(project, goal: int) -> None:
    project.sh("x", f"touch /{goal}")
    wait_for(lambda: project.logs("--no-log-prefix", "-n", "1", "x") == f"line {goal}\n", f"line {goal}")


def test_rotated_files_are_compressed(project):
    rotating(project, [1000, 1500])
    follower = project.popen("logs", "-f", "--no-log-prefix", "x")
    goes_on(project, 1000)
    wait_for(lambda: log_files(project) == ["log", "log.1.gz", "log.2.gz", "log.3.gz", "log.4.gz"], "all to be compressed")
    os.kill(follower.pid, signal.SIGSTOP)  # somewhere in what becomes older and is compressed under it
    goes_on(project, 1500)
    wait_for(lambda: log_files(project) == ["log", "log.1.gz", "log.2.gz", "log.3.gz", "log.4.gz"], "all to be compressed")
    os.kill(follower.pid, signal.SIGCONT)
    seen = [follower.stdout.readline().strip() for _ in range(1500)]
    assert seen == lines(1, 1500), "who follows misses nothing and sees nothing twice"

    folder = log_folder(project)
    kept = [gzip.decompress((folder / f"log.{age}.gz").read_bytes()) for age in (4, 3, 2, 1)] + [(folder / "log").read_bytes()]
    records = [json.loads(line) for data in kept for line in data.splitlines()]
    first = int(records[0]["log"].split()[1])
    assert 300 < first < 800 and [r["log"] for r in records] == [f"line {i}\n" for i in range(first, 1501)]
    assert all((folder / f"log.{age}.gz").stat().st_size < 4000 for age in (1, 2, 3, 4)), "a quarter and less"
    assert lines_of(project) == lines(first, 1500)
    for n in (1, 100, 700):
        assert project.logs("--no-log-prefix", "-n", str(n), "x").splitlines() == lines(1501 - n, 1500)
    middle = records[len(records) // 3]
    since = project.logs("--no-log-prefix", "--since", middle["time"], "x").splitlines()
    assert since[0] == middle["log"].strip() and since[-1] == "line 1500"


def test_reader_stays_where_files_become_older_and_compressed(project):
    """It has read what is then rotated, compressed and no longer there under the name that it opened."""
    rotating(project, [150, 500, 1100], max_file=20)
    goes_on(project, 150)
    follower = project.popen("logs", "-f", "--no-log-prefix", "x")
    seen = [follower.stdout.readline().strip() for _ in range(150)]
    for goal in (500, 1100):
        os.kill(follower.pid, signal.SIGSTOP)
        goes_on(project, goal)
        wait_for(lambda: not [name for name in log_files(project)[1:] if not name.endswith(".gz")], "all to be compressed")
        os.kill(follower.pid, signal.SIGCONT)
        seen += [follower.stdout.readline().strip() for _ in range(goal - len(seen))]
    assert seen == lines(1, 1100)


def test_compression_goes_on_where_a_kill_ended_it(project):
    rotating(project, [1000, 2000, 3000], max_file=50)
    monitor = project.monitors()[0]
    goes_on(project, 1000)
    wait_for(lambda: "log.1.gz" in log_files(project), "the newest to be compressed")
    os.kill(monitor, signal.SIGKILL)
    wait_for(lambda: project.monitors() not in ([], [monitor]), "another monitor")
    folder = log_folder(project)
    # What kills at other moments leave: a compressed file with its origin, one that is not finished, and a gap.
    os.kill(project.monitors()[0], signal.SIGSTOP)
    (folder / "log.1").write_bytes(gzip.decompress((folder / "log.1.gz").read_bytes()))
    (folder / "log.tmp").write_bytes(b"half")
    oldest = max(int(p.name.split(".")[1]) for p in folder.glob("log.*.gz"))
    (folder / f"log.{oldest}.gz").rename(folder / f"log.{oldest + 1}.gz")
    assert lines_of(project) == lines(1, 1000)
    os.kill(project.monitors()[0], signal.SIGKILL)
    wait_for(lambda: "log.tmp" not in log_files(project) and "log.1" not in log_files(project), "the next monitor to clear up")
    assert lines_of(project) == lines(1, 1000)
    goes_on(project, 2000)
    assert lines_of(project) == lines(1, 2000)
    ages = [int(name.split(".")[1]) for name in log_files(project) if name not in ("log", "log.tmp")]
    assert sorted(ages) == list(range(1, len(ages) + 1)), "the gap is filled"


def test_local_compresses_by_itself(project):
    write(project, {"x": sleeper(init=False, command=numbered(1000), stop_grace_period="0s",
                                 logging={"driver": "local", "options": {"max-size": "16k"}})})
    project.up()
    goes_on(project, 1000)
    wait_for(lambda: log_files(project) == ["log", "log.1.gz", "log.2.gz", "log.3.gz", "log.4.gz"], "five files")


@pytest.mark.parametrize("compress", ["true", "false"])
def test_cache_is_rotated(project, compress):
    with receiver(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)) as r:
        options = {"syslog-address": f"udp://127.0.0.1:{r.port()}", "cache-max-size": "16k", "cache-max-file": "3", "cache-compress": compress}
        write(project, {"x": sleeper(init=False, command=numbered(1000), stop_grace_period="0s", logging={"driver": "syslog", "options": options})})
        project.up()
        goes_on(project, 1000)
        end = ".gz" if compress == "true" else ""
        wait_for(lambda: log_files(project) == ["log", f"log.1{end}", f"log.2{end}"], "three files")
        kept = lines_of(project)
        assert kept == lines(1001 - len(kept), 1000) and 400 < len(kept) < 700


@pytest.mark.parametrize("driver, options, words", [
    ("json-file", {"compress": "true"}, "compress cannot be true when max-file is less than 2 or max-size is not set"),
    ("json-file", {"compress": "true", "max-size": "1m"}, "compress cannot be true when max-file is less than 2"),
    ("json-file", {"compress": "x", "max-size": "1m", "max-file": "2"}, 'compress: "x" is neither true nor false'),
    ("json-file", {"max-size": "zz"}, 'max-size: "zz" is no size'),
    ("json-file", {"max-size": "0"}, "max-size must be a positive number"),
    ("json-file", {"max-file": "x"}, 'max-file: "x" is no number'),
    ("json-file", {"max-file": "0"}, "max-file cannot be less than 1"),
    ("local", {"max-file": "1"}, "compression cannot be enabled when max file count is 1"),
    ("syslog", {"syslog-address": "udp://127.0.0.1", "cache-disabled": "x"}, 'cache-disabled: "x" is neither true nor false'),
    ("json-file", {"compress": "1", "max-size": "1.5m", "max-file": "2"}, None),
    ("json-file", {"compress": "false", "max-size": "1m"}, None),
    ("local", {"max-file": "1", "compress": "false"}, None),
    ("syslog", {"syslog-address": "udp://127.0.0.1", "cache-compress": "x", "cache-max-size": "zz", "cache-max-file": "1"}, None)])
def test_log_options_that_cannot_be(project, driver, options, words):
    write(project, {"x": sleeper(stop_grace_period="0s", logging={"driver": driver, "options": options})})
    err = project.up(code=1 if words else 0).err
    assert f"failed to initialize logging driver: {words}" in err.replace("invalid value for ", "") if words else "not supported" not in err


def pss(pid: int) -> float:
    return int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1]) / 1024


@pytest.mark.slow
def test_much_output_at_full_speed(project):
    """Neither who writes the log nor who reads it keeps it in memory, the supervisor goes on serving, nothing is missing."""
    size = 1000 if not os.environ.get("QUICK") and SLOWER == 1 else 50  # MB
    lines = size * 10000
    script = f"i=0; yes {'x' * 91} | head -n {lines} | awk '{{print NR, $$0}}'; echo end; sleep 600"
    write(project, {"x": sleeper(command=["sh", "-c", script], stop_grace_period="0s")})
    project.up()
    follower = project.popen("logs", "-f", "--no-log-prefix", "x")
    peak = {"monitor": 0.0, "follower": 0.0}
    total, last, tail, slowest = 0, 0, b"", 0.0
    os.set_blocking(follower.stdout.fileno(), True)
    checked = 0.0
    while b"end\n" not in tail:
        data = os.read(follower.stdout.fileno(), 1 << 20)
        assert data, "the log ended early"
        total += len(data)
        tail = (tail + data)[-200:]
        last += data.count(b"\n")
        if time.monotonic() - checked > 0.5:
            checked = time.monotonic()
            peak = {"monitor": max(peak["monitor"], *map(pss, project.monitors())), "follower": max(peak["follower"], pss(follower.pid))}
            began = time.monotonic()
            project("start", "x")
            slowest = max(slowest, time.monotonic() - began)
    assert last == lines + 1, "every line, once"
    assert peak["monitor"] < 2 and peak["follower"] < (4 if SLOWER == 1 else 32), peak
    assert slowest < 5 * SLOWER, "a supervisor is not held up"


def test_follow_through_a_recreate(project):
    write(project, {"x": sleeper(command=["sh", "-c", "echo first; sleep 600"], stop_grace_period="0s"), "y": sleeper(stop_grace_period="0s")})
    project.up()
    follower = project.popen("logs", "-f", "--no-log-prefix", "x", "y")
    assert follower.stdout.readline() == "first\n"
    write(project, {"x": sleeper(command=["sh", "-c", "echo second; sleep 600"], stop_grace_period="0s"), "y": sleeper(stop_grace_period="0s")})
    project.up()
    seen = ""
    while "second" not in seen:
        line = follower.stdout.readline()
        assert line, seen
        seen += line


def test_merged_by_time(project):
    """Lines of several containers come in the order in which they were said."""
    turn = "sleep 0.{0}; for i in 1 2 3; do echo {0}; sleep 0.9; done; sleep 600"
    write(project, {f"s{i}": sleeper(command=["sh", "-c", turn.format(i)], stop_grace_period="0s") for i in (1, 4, 7)})
    project.up()
    wait_for(lambda: len(project.logs().split("\n")) == 10, "all turns")
    stamps = [line.split(" ", 1)[0] for line in project.logs("-t", "--no-log-prefix").splitlines()]
    assert stamps == sorted(stamps)
    by_service = [project.logs("--no-log-prefix", f"s{i}") for i in (1, 4, 7)]
    assert by_service == ["1\n" * 3, "4\n" * 3, "7\n" * 3]
    assert project.logs("--no-log-prefix").split() != sorted(project.logs("--no-log-prefix").split()), "they are interleaved"


def lines_of(project, service: str = "x") -> list[str]:
    return project.logs("--no-log-prefix", service).splitlines()


def killing_monitors(project, say: str, kills: int, pause: float, **keys) -> int:
    """Kills monitors while the container does say with $i, the next number, until that has been so often; the last number said."""
    script = f"i=0; while [ ! -e /data/enough ]; do {say}; done; echo $$i >/data/last; mv /data/last /data/done; sleep 600"
    write(project, {"x": sleeper(command=["sh", "-c", script], volumes=["data:/data"], stop_grace_period="0s", **keys)}, volumes={"data": None})
    project.up()
    data = project.root / "volumes" / f"{project.name}_data" / "_data"
    killed: set[int] = set()
    chance = random.Random(1)

    def kill() -> bool:
        for pid in set(project.monitors()) - killed:
            time.sleep(chance.random() * pause)
            killed.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if len(killed) >= kills:
            (data / "enough").touch()
        return (data / "done").exists()
    wait_for(kill, "enough kills, and the end", 60)
    last = int((data / "done").read_text())
    wait_for(lambda: str(last) in project.logs("--no-log-prefix", "-n", "1", "x").split(), "the last line", 20)
    return last


@pytest.mark.parametrize("options", [{}, {"max-size": "16k", "max-file": "500", "compress": "true"}], ids=["plain", "compressed"])
def test_monitors_killed_all_the_time(project, options):
    """What was written while no monitor read, and what one was writing when it was killed: all of it, once, in order."""
    burst = "n=0; while [ $$n -lt 100 ]; do i=$$((i+1)); n=$$((n+1)); echo line $$i; done; sleep 0.05"
    last = killing_monitors(project, burst, 12, 0, logging={"options": options})
    assert lines_of(project) == lines(1, last)


def test_monitors_killed_at_full_speed(project):
    last = killing_monitors(project, "seq $$((i+1)) $$((i+100000)); i=$$((i+100000))", 6, 0.02)
    assert lines_of(project) == [str(i) for i in range(1, last + 1)]


@pytest.mark.parametrize("tty", [False, True])
def test_monitor_killed_when_the_container_has_ended(project, tty):
    """What is left of the output is logged by another, and the exit code is known."""
    script = "while [ ! -e /go ]; do sleep 0.02; done; seq 1 500; printf unfinished; echo err >&2; exit 7"
    write(project, {"x": sleeper(init=False, tty=tty, command=["sh", "-c", script])})
    project.up()
    monitor, pid = project.monitors()[0], project.pid("x")
    os.kill(monitor, signal.SIGSTOP)
    project.sh("x", "touch /go")
    wait_for(lambda: not alive(pid), "it to end")
    os.kill(monitor, signal.SIGKILL)
    assert project.ended("x") == 7
    lines = lines_of(project)
    assert lines[:500] == [str(i) for i in range(1, 501)] and sorted("".join(lines[500:]).replace("err", "")) == sorted("unfinished")
    assert "err" in "".join(lines[500:])
