"""One project under test: a folder with its files, roots of its own, a way to run compose on it, and
a close look at what is left when it is gone."""

import contextlib
import ctypes
import json
import os
import secrets
import signal
import subprocess
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
COMPOSE = os.path.abspath(os.environ.get("COMPOSE", TOP / "build" / "compose"))
SANITIZED = "/san" in COMPOSE
SLOWER = 4 if SANITIZED else 1

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE, MNT_DETACH = 0x4000, 1 << 18, 2
libc = ctypes.CDLL(None, use_errno=True)
removals: list[subprocess.Popen] = []  # a store with images takes a while: the next test need not wait


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def run(*args, **options) -> subprocess.CompletedProcess:
    """A program of the machine that must succeed; its stdout as text."""
    options = {"check": True, "capture_output": True, "text": True, "timeout": 60} | options
    try:
        return subprocess.run([str(a) for a in args], **options)
    except subprocess.CalledProcessError as error:
        raise AssertionError(f"{error.cmd} exited with {error.returncode}:\n{error.stderr}") from None


def enter_own_namespaces() -> int:
    """This process and all it starts get a network of their own, so that tests neither meet each
    other nor the machine's firewall, and what a test leaves behind is plain to see. Mounts too: what is
    mounted for a test never reaches the machine. Returns the machine's own network namespace."""
    machine = os.open("/proc/self/ns/net", os.O_RDONLY)
    os.set_inheritable(machine, False)
    _check(libc.unshare(CLONE_NEWNET | CLONE_NEWNS), "unshare")
    _check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount --make-rprivate /")
    run("ip", "link", "set", "lo", "up")
    # What tests publish is no connection's to take on its way out.
    Path("/proc/sys/net/ipv4/ip_local_reserved_ports").write_text("41000-41999")
    return machine


def wait_for(condition, what: str, seconds: float = 10.0):
    """Looks until condition() gives something true, and returns that; fails at the deadline."""
    deadline = time.monotonic() + seconds * SLOWER
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


@dataclass
class Result:
    args: tuple
    code: int
    out: str
    err: str
    seconds: float

    @property
    def text(self) -> str:
        return self.out + self.err

    def __str__(self) -> str:
        return f"compose {' '.join(self.args)}: exit {self.code}\n--stdout--\n{self.out}\n--stderr--\n{self.err}"

    def __contains__(self, words: str) -> bool:
        return words in self.text


class Namespace:
    """Another machine: a network namespace joined to ours by a cable, with us as its gateway."""

    def __init__(self, near: str = "198.18.0.1", far: str = "198.18.0.2"):
        self.near, self.far = near, far
        self.process = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        own = os.stat("/proc/self/ns/net").st_ino
        pid = self.process.pid
        wait_for(lambda: os.stat(f"/proc/{pid}/ns/net").st_ino != own, "another network namespace")
        run("ip", "link", "add", "cable0", "type", "veth", "peer", "name", "eth0", "netns", pid)
        run("ip", "addr", "add", f"{near}/24", "dev", "cable0")
        run("ip", "link", "set", "cable0", "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "addr", "add", f"{far}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "route", "add", "default", "via", near)

    def argv(self, *args) -> list[str]:
        return ["nsenter", "-n", "-t", str(self.process.pid), *map(str, args)]

    def run(self, *args, **options):
        return run(*self.argv(*args), **options)

    def popen(self, *args, **options):
        return subprocess.Popen(self.argv(*args), **options)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        wait_for(lambda: "cable0" not in links(), "the cable to go")


class Mounts:
    """A mount namespace in which a script has been run: a machine that looks different from this one."""

    def __init__(self, script: str):
        self.process = subprocess.Popen(["unshare", "-m", "sh", "-c", f"set -e\n{script}\necho ready; exec sleep infinity"],
                                        stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            self.close()
            raise AssertionError(f"{script}: exit {self.process.returncode}")

    def below(self, folder) -> list[str]:
        return mounts_below(folder, self.process.pid)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def links() -> set[str]:
    return {link["ifname"] for link in json.loads(run("ip", "-j", "link").stdout)}


def nft_tables() -> set[str]:
    return set(run("nft", "list", "tables").stdout.split("\n")) - {""}


def mounts_below(folder, pid="self") -> list[str]:
    points = (line.split()[4] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
    return [point for point in points if point == str(folder) or point.startswith(f"{folder}/")]


def processes_of(folder) -> dict[int, str]:
    """Processes that were started for a root: its path stands in their arguments or environment."""
    found, needle = {}, str(folder).encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            args = Path(f"/proc/{entry}/cmdline").read_bytes()
            if needle in args or needle in Path(f"/proc/{entry}/environ").read_bytes():
                found[int(entry)] = args.replace(b"\0", b" ").decode(errors="replace").strip()
    return {pid: args for pid, args in found.items() if alive(pid)}


def cgroups_of(ids) -> list[str]:
    if not ids:
        return []
    short = {i[:64] for i in ids}
    found = []
    for folder, names, _ in os.walk("/sys/fs/cgroup"):
        found += [os.path.join(folder, n) for n in names if any(i in n for i in short)]
    return found


class Project:
    """A project folder DIR/NAME and roots DIR/r and DIR/n; the names are unique on the machine."""

    def __init__(self, images: Path | None, machine_netns: int | None = None):
        # Short: the path of a monitor's socket has to fit into 107 bytes.
        self.tmp = Path(f"/tmp/c{secrets.token_hex(3)}")
        self.name = f"t{secrets.token_hex(3)}"
        self.root, self.run_root = self.tmp / "r", self.tmp / "n"
        self.dir = self.tmp / self.name
        self.machine_netns = machine_netns
        self.mounts: Mounts | None = None
        self.children: list[subprocess.Popen] = []
        self.env: dict[str, str] = {}
        self.dir.mkdir(parents=True)
        self.root.mkdir(mode=0o711)
        self.links_before, self.tables_before = links(), nft_tables()
        if images:
            # Hard links: files of a store are never written in place.
            run("cp", "-al", images, self.root / "images")

    # --- files -------------------------------------------------------------------------------------

    def write(self, name: str, text: str | bytes, mode: int = 0o644) -> Path:
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, bytes):
            path.write_bytes(text)
        else:
            path.write_text(textwrap.dedent(text).lstrip("\n"))
        path.chmod(mode)
        return path

    def file(self, text: str) -> Path:
        return self.write("compose.yaml", text)

    # --- compose -----------------------------------------------------------------------------------

    def environment(self, extra: dict | None = None) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items()
               if not k.startswith(("COMPOSE", "DOCKER")) and k not in ("NO_COLOR", "PYTEST_CURRENT_TEST")}
        env |= {"COMPOSE_ROOT": str(self.root), "COMPOSE_RUN": str(self.run_root), "HOME": str(self.tmp),
                "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
        for tool in ("ASAN", "UBSAN", "LSAN"):
            if SANITIZED:
                env[f"{tool}_OPTIONS"] = f"log_path={self.tmp}/sanitizer:print_stacktrace=1:exitcode=99"
        return env | self.env | (extra or {})

    def argv(self, *args) -> list[str]:
        argv = [COMPOSE, *map(str, args)]
        if self.machine_netns is not None:
            argv = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self.machine_netns}", *argv]
        if self.mounts:
            argv = ["nsenter", "-m", f"--wdns={self.dir}", "-t", str(self.mounts.process.pid), *argv]
        return argv

    def compose(self, *args, code: int | None = 0, timeout: float = 60, stdin: str | None = None,
                env: dict | None = None, cwd: Path | None = None) -> Result:
        """Runs compose to its end. code: what it must exit with; None: anything but a crash."""
        started = time.monotonic()
        process = subprocess.Popen(
            self.argv(*args), cwd=cwd or self.dir, env=self.environment(env), text=True, errors="replace",
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        try:
            out, err = process.communicate(stdin, timeout=timeout * SLOWER)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            result = Result(tuple(map(str, args)), -9, out, err, time.monotonic() - started)
            raise AssertionError(f"no end within {timeout} s: {result}") from None
        result = Result(tuple(map(str, args)), process.returncode, out, err, time.monotonic() - started)
        if code is None:
            assert result.code >= 0, str(result)
        else:
            assert result.code == code, str(result)
        return result

    def __call__(self, *args, **options) -> Result:
        return self.compose(*args, **options)

    def up(self, *args, **options) -> Result:
        return self.compose("up", "-d", *args, **options)

    def popen(self, *args, **options) -> subprocess.Popen:
        """compose in the background, in a session of its own; ended with the test. within: arguments of a program before it."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT,
                   "text": True, "errors": "replace", "start_new_session": True} | options
        env = self.environment(options.pop("env", None))
        argv = [*options.pop("within", []), *self.argv(*args)]
        process = subprocess.Popen(argv, cwd=self.dir, env=env, **options)
        self.children.append(process)
        return process

    def exec(self, service: str, *command, **options) -> Result:
        return self.compose("exec", "-T", service, *command, **options)

    def sh(self, service: str, script: str, **options) -> str:
        return self.exec(service, "sh", "-c", script, **options).out.strip()

    # --- what there is -----------------------------------------------------------------------------

    def ps(self, *args) -> list[dict]:
        out = self.compose("ps", "-a", "--format", "json", *args).out
        return [json.loads(line) for line in out.splitlines()]

    def state(self, service: str) -> str | None:
        return next((c["State"] for c in self.ps() if c["Service"] == service), None)

    def ended(self, service: str, seconds: float = 10) -> int:
        """The exit code of a container that has ended, as ps says it at the first look and ever after."""
        def look():
            return next((c for c in self.ps() if c["Service"] == service and c["State"] == "exited"), None)
        first = wait_for(look, f"{service} to end", seconds)["ExitCode"]
        wait_for(lambda: self.record(service)["status"] == "exited", f"{service}'s end on disk")
        assert self.record(service)["exit_code"] == first, "ps told another exit code at first"
        return first

    def health(self, service: str) -> str | None:
        return next((c.get("Health", "") for c in self.ps() if c["Service"] == service), None)

    def records(self, project: str = "*") -> list[dict]:
        found = []
        for path in sorted(self.root.glob(f"projects/{project}/containers/*/container.json")):
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                found.append(json.loads(path.read_text()))
        return found

    def record(self, service: str, number: int = 1) -> dict:
        for record in self.records():
            if record["service"] == service and record["number"] == number:
                return record
        raise AssertionError(f"no container {service}-{number}")

    def pid(self, service: str, number: int = 1) -> int:
        return self.record(service, number)["pid"]

    def address(self, service: str, network: str = "default", number: int = 1) -> str:
        nets = self.record(service, number)["networks"]
        return next(n["ipv4"] for n in nets if n["network"].endswith(f"_{network}") or n["network"] == network).split("/")[0]

    def in_netns(self, service: str, *command, **options):
        """A program of the machine in a container's network."""
        return run("nsenter", "-n", "-t", self.pid(service), *command, **options)

    def popen_in_netns(self, service: str, *command) -> subprocess.Popen:
        """The same in the background; ended with the test."""
        child = subprocess.Popen(["nsenter", "-n", "-t", str(self.pid(service)), *map(str, command)],
                                 stdin=subprocess.DEVNULL, start_new_session=True)
        self.children.append(child)
        return child

    def supervisor(self, project: str | None = None) -> int | None:
        """The process that supervises the project, None: there is none."""
        found = self.supervisors(project)
        return found[0] if found else None

    def supervisors(self, project: str | None = None) -> list[int]:
        # A monitor's arguments end with the command that starts a supervisor.
        found = [pid for pid, args in processes_of(self.tmp).items()
                 if args.endswith(f" {project or self.name}") and " supervise " in args and not self._is_monitor(args)]
        # Its child that has not become another program yet, or that looks for leaks when it ends, is none.
        return [pid for pid in found if parent(pid) not in found]

    @staticmethod
    def _is_monitor(args: str) -> bool:
        """Not one that enters a container with a probe."""
        return args.split(" ")[0].endswith("compose-monitor") and "--id=" in args

    def monitors(self) -> list[int]:
        return [pid for pid, args in processes_of(self.tmp).items() if self._is_monitor(args)]

    def logs(self, *args) -> str:
        return self.compose("logs", "--no-color", *args).out

    def wait_log(self, service: str, words: str, seconds: float = 10) -> str:
        def look():
            text = self.logs(service)
            return text if words in text else None
        return wait_for(look, f"{words!r} in the log of {service}", seconds)

    # --- the end -----------------------------------------------------------------------------------

    def kill_children(self) -> None:
        for child in self.children:
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream:
                    stream.close()
        self.children.clear()

    def leftovers(self, ids) -> list[str]:
        left = [f"process {pid}: {args}" for pid, args in processes_of(self.tmp).items()]
        left += [f"mount {m}" for m in mounts_below(self.tmp) if m != str(self.root)]
        if self.machine_netns is None:
            left += [f"interface {name}" for name in links() - self.links_before]
            left += [f"nftables {name}" for name in nft_tables() - self.tables_before]
        else:
            left += [f"interface {name}" for name in self._machine_bridges() if name in self._machine_links()]
        left += [f"cgroup {path}" for path in cgroups_of(ids)]
        left += [f"container folder {path}" for path in self.run_root.glob("containers/*")]
        return left

    def _machine_links(self) -> str:
        return run("nsenter", f"--net=/proc/{os.getpid()}/fd/{self.machine_netns}", "ip", "link").stdout

    def _machine_bridges(self) -> list[str]:
        return getattr(self, "bridges", [])

    def down_all(self) -> list[str]:
        """`down -v` of every project in this root; what went wrong."""
        trouble = []
        self.bridges = []
        for path in self.root.glob("networks/*/network.json"):
            with contextlib.suppress(OSError, ValueError):
                if json.loads(path.read_text()).get("bridge"):
                    self.bridges.append(json.loads(path.read_text())["bridge"])
        # Backwards: a test's second project, which may use what the first owns, is named after it.
        for project in sorted((path.name for path in self.root.glob("projects/*")), reverse=True):
            try:
                result = self.compose("-p", project, "down", "-v", "-t", "0", "--remove-orphans", code=None,
                                      cwd=self.tmp)
                if result.code:
                    trouble.append(str(result))
            except AssertionError as error:
                trouble.append(str(error))
        return trouble

    def close(self) -> list[str]:
        """Takes everything down; returns what was left behind (and removes that as well)."""
        self.kill_children()
        ids = [record["id"] for record in self.records()]
        trouble = self.down_all()
        try:
            wait_for(lambda: not self.leftovers(ids), "nothing left", 5)
        except AssertionError:
            trouble += [f"left behind: {what}" for what in self.leftovers(ids)]
            self._sweep(ids)
        for report in self.tmp.glob("sanitizer*"):
            trouble.append(report.read_text()[:6000])
        for point in sorted(mounts_below(self.tmp), reverse=True):
            libc.umount2(point.encode(), MNT_DETACH)
        removals.append(subprocess.Popen(["rm", "-rf", self.tmp], stderr=subprocess.DEVNULL))
        return trouble

    def _sweep(self, ids) -> None:
        for pid in processes_of(self.tmp):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        groups = sorted(cgroups_of(ids), key=len, reverse=True)
        for path in groups:
            with contextlib.suppress(OSError):
                for pid in Path(path, "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
        for path in groups:
            with contextlib.suppress(AssertionError, OSError):
                wait_for(lambda: not Path(path, "cgroup.procs").read_text(), "processes to die", 3)
                os.rmdir(path)
        for point in sorted(mounts_below(self.tmp), reverse=True):
            libc.umount2(point.encode(), MNT_DETACH)
        if self.machine_netns is None:
            for name in links() - self.links_before:
                subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)
            for name in nft_tables() - self.tables_before:
                subprocess.run(["nft", "delete", *name.split()], capture_output=True, check=False)
