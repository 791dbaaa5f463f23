"""Kills and failures at random moments over a changing project. After each: is what runs what stands on disk, does `ps` tell
the truth, and is nothing left over? The seed is printed and can be given again:

  CAMPAIGN_FAULTS   faults a seed (110)
  CAMPAIGN_SEEDS    "1,2,3": numbers, or a range "10-40"
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

import faults
from harness import SANITIZED, alive, links, mounts_below, nft_tables, processes_of
from test_network import fetch, sleeper, web, write


def seeds() -> list[int]:
    found = []
    for part in os.environ.get("CAMPAIGN_SEEDS", "1" if SANITIZED else "1,2,3").split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


FAULTS = int(os.environ.get("CAMPAIGN_FAULTS", "30" if SANITIZED else "110"))
PORT = 41900
KINDS = ["kill supervisor"] * 5 + ["kill monitor"] * 4 + ["kill container"] * 3 + ["kill runtime"] * 3 + ["kill cli"] * 3 + \
    ["stop supervisor", "stop monitor", "stop runtime"]


class Campaign:
    def __init__(self, project, folder: Path, seed: int):
        self.project, self.seed = project, seed
        self.rng = random.Random(seed)
        self.faults = faults.Faults(project, folder)
        self.done: dict[str, int] = {}
        self.story: list[str] = []
        self.killed: set[int] = set()

    def note(self, text: str) -> None:
        self.story.append(text)
        if os.environ.get("CAMPAIGN_VERBOSE"):
            print(text, flush=True)

    # --- the project, which changes ----------------------------------------------------------------

    def rewrite(self) -> None:
        rng = self.rng
        services = {
            "db": sleeper(environment={"V": str(rng.randrange(3))}, volumes=["data:/data"],
                          healthcheck={"test": "true", "interval": "1s", "start_interval": "100ms"}),
            "web": web(depends_on={"db": {"condition": rng.choice(["service_started", "service_healthy"])}},
                       ports=[f"{PORT}:80"], environment={"V": str(rng.randrange(3))}),
            "many": sleeper(scale=rng.randrange(0, 3), networks=rng.choice([["default"], ["default", "back"]]),
                            restart=rng.choice(["no", "always"])),
        }
        if rng.random() < 0.3:
            services["once"] = {"image": "base", "command": ["sh", "-c", "exit 3"], "network_mode": "none"}
        write(self.project, services, networks={"default": {}, "back": {}}, volumes={"data": {}})

    def command(self) -> tuple:
        rng = self.rng
        return rng.choice([
            ("up", "-d", "--remove-orphans"), ("up", "-d"), ("up", "-d", "--force-recreate", "--no-deps", "web"),
            ("up", "-d", "--scale", f"many={rng.randrange(0, 4)}"), ("restart", "-t", "0"), ("stop", "-t", "0", "web"),
            ("start",), ("kill", "many"), ("rm", "-f", "-s", "many"), ("down", "-t", "0"), ("run", "--rm", "-T", "--no-deps", "db", "true"),
            ("exec", "-T", "db", "true")])

    # --- one fault ---------------------------------------------------------------------------------

    def victims(self, kind: str, child) -> list[int]:
        project = self.project
        if kind == "cli":
            return [child.pid] if child.poll() is None else []
        if kind == "supervisor":
            return project.supervisors()
        if kind == "monitor":
            return project.monitors()
        if kind == "runtime":
            return self.runtimes()
        return [r["pid"] for r in project.records() if r["pid"] and r["status"] == "running" and alive(r["pid"])]

    def runtimes(self) -> list[int]:
        return [pid for pid, args in processes_of(self.project.run_root).items() if self.is_runtime(args)]

    @staticmethod
    def is_runtime(args: str) -> bool:
        return args.split(" ")[0].rsplit("/", 1)[-1] in ("crun", "runc", "compose-crun") and "--root" in args

    def strike(self, child) -> bool:
        kind = self.rng.choice(KINDS)
        verb, _, whom = kind.partition(" ")
        found = self.victims(whom, child)
        if not found:
            return False
        pid = self.rng.choice(sorted(found))
        self.note(f"    {kind} {pid}")
        with contextlib.suppress(ProcessLookupError):
            if verb == "kill":
                os.kill(pid, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGSTOP)
                time.sleep(self.rng.uniform(0, 0.1))
                os.kill(pid, signal.SIGCONT)
            self.done[kind] = self.done.get(kind, 0) + 1
            return True
        return False

    def arm(self) -> str:
        call = self.rng.choice(faults.CALLS)
        error = self.rng.choice(faults.ERRORS[call])
        after, times, role = self.rng.randrange(0, 40), self.rng.choice([1, 1, 1, 2, 5]), self.rng.choice([0, 1, 1])
        if call == "pipe":  # libuv aborts where it cannot make its first: supervisors, which come again
            role = 1
        self.faults.arm(call, error, after, times, role)
        return f"{call} {error} after {after} times {times} role {role}"

    def step(self) -> None:
        if self.rng.random() < 0.5:
            self.rewrite()
        command = self.command()
        armed = self.arm() if not SANITIZED and self.rng.random() < 0.45 else None
        self.note(f"{' '.join(command)}{f'  [{armed}]' if armed else ''}")
        child = self.project.popen(*command)
        for _ in range(0 if armed else self.rng.randrange(1, 4)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(self.rng.uniform(0, 0.12))
            for _ in range(4):
                if self.strike(child):
                    break
            if self.rng.random() < 0.5:
                self.check()
        try:
            out = child.communicate(timeout=30)[0]
        except subprocess.TimeoutExpired:
            self.fail(f"{command} hangs")
        if armed:
            hits = self.faults.disarm()
            if hits:
                self.done["syscall"] = self.done.get("syscall", 0) + hits
        self.note(f"    exit {child.returncode}{': ' + out.strip()[-300:] if child.returncode else ''}")
        if child.returncode < 0 and child.returncode != -signal.SIGKILL:
            self.fail(f"{command} died of signal {-child.returncode}: {out}")
        self.check()

    # --- what must hold ----------------------------------------------------------------------------

    def violations(self) -> list[str]:
        project, wrong = self.project, []
        records = {r["id"]: r for r in project.records()}
        live = {i: r for i, r in records.items() if r["status"] in ("running", "paused")}
        for i, r in live.items():
            if not alive(r["pid"]):
                wrong.append(f"{r['name']} is said to run as {r['pid']}")
        waiting = [r["name"] for r in records.values() if r["status"] == "restarting"]
        if waiting:
            wrong.append(f"under way: {waiting}")
        # Processes: one supervisor, one monitor each, no runtime that nobody needs.
        supervisors, monitors = [], {}
        for pid, args in processes_of(project.tmp).items():
            if project._is_monitor(args):
                monitors.setdefault(args.split("--id=")[1].split(" ")[0], []).append(pid)
            elif " supervise " in args:
                supervisors.append(pid)
            elif self.is_runtime(args) and " exec " not in args:
                wrong.append(f"runtime {pid}: {args}")
        if len(supervisors) != bool(live):
            wrong.append(f"{len(supervisors)} supervisors of {len(live)} that run")
        for i in set(monitors) | set(live):
            if len(monitors.get(i, [])) != (i in live):
                wrong.append(f"monitors {monitors.get(i)} of {records[i]['name'] if i in records else 'an unknown one'} {i[:12]}"
                             f" which {'runs' if i in live else 'does not run'}")
        # What the kernel has.
        for folder in Path("/sys/fs/cgroup").glob(f"*/compose/{project.name}/*"):
            if folder.name not in live and folder.is_dir():
                wrong.append(f"cgroup {folder}")
        for point in mounts_below(project.tmp):
            if not any(i in point for i in live):
                wrong.append(f"mount {point}")
        interfaces = {name for name in links() - project.links_before if name.startswith("veth")}
        wanted = sum(len(r["networks"]) for r in live.values())
        if len(interfaces) != wanted:
            wrong.append(f"cables {sorted(interfaces)} of { {r['name']: [n['network'] for n in r['networks']] for r in live.values()} }")
        networks = {json.loads(p.read_text()).get("bridge", "") for p in project.root.glob("networks/*/network.json")}
        for name in links() - project.links_before - interfaces:
            if name not in networks:
                wrong.append(f"bridge {name}")
        for table in nft_tables() - project.tables_before:
            if not any(bridge.removeprefix("br-") in table for bridge in networks):
                wrong.append(f"nftables {table}")
        wrong += [f"folder {p}" for p in project.run_root.glob("containers/*") if p.name not in live]
        # What could not be removed is swept when a supervisor ends or starts.
        wrong += [f"record folder {p}" for p in project.root.glob("projects/*/containers/*") if p.name not in records and not supervisors]
        return wrong

    def ps_lies(self) -> list[str]:
        """A supervisor that answers, and a `ps` that says what there is."""
        said = {c["ID"][:12]: c["State"] for c in self.project.ps()}
        told = {r["id"][:12]: r["status"] for r in self.project.records()}
        return [] if said == told else [f"ps says {said}, the records {told}"]

    def settled(self, seconds: float) -> list[str]:
        deadline, wrong, pause = time.monotonic() + seconds, ["never looked"], 0.005
        while wrong and time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError, KeyError):
                wrong = self.violations() or self.ps_lies()
            if wrong:
                time.sleep(pause)
                pause = min(pause * 1.5, 0.1)
        return wrong

    def check(self) -> None:
        """Everything comes right by itself where something runs; else the next command sees to it."""
        if any(c.poll() is None for c in self.project.children):
            return  # a command is under way: what it does is checked when it is over
        self.project.kill_children()
        wrong = self.settled(0.3 if not self.project.supervisors() and not self.project.monitors() else 20)
        if wrong and not self.project.supervisors():
            self.note(f"    a command sees to {len(wrong)} things")
            self.project.up(code=None)
            wrong = self.settled(20)
        if wrong:
            self.fail("\n".join(wrong[:12]))

    def fail(self, what: str) -> None:
        log = self.project.run_root / "projects" / self.project.name / "supervisor.log"
        tail = log.read_text().splitlines()[-40:] if log.exists() else []
        raise AssertionError("\n".join([f"CAMPAIGN_SEEDS={self.seed}, after {sum(self.done.values())} faults {self.done}:", what, "--- story",
                                        *self.story[-25:], "--- supervisor.log", *tail]))

    def clean_round(self) -> None:
        """Without faults everything works."""
        self.note("clean up")
        result = self.project.up("--remove-orphans", code=None)
        if result.code:
            self.fail(str(result))
        if fetch(f"http://127.0.0.1:{PORT}/") != "web":
            self.fail("the port is not published")
        asked = self.project.exec("db", "nslookup", "web", "127.0.0.11", code=None)
        if asked.code:
            self.fail(f"web has no name: {asked}")
        self.check()


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds())
def test_campaign(project, shared, seed):
    campaign = Campaign(project, shared, seed)
    campaign.rewrite()
    rounds = 0
    while sum(campaign.done.values()) < FAULTS:
        campaign.step()
        rounds += 1
        if rounds % 8 == 0:
            campaign.clean_round()
    print(f"seed {seed}: {campaign.done}, {rounds} commands")
    campaign.clean_round()
    project("down", "-v", "-t", "0")
    assert not list(project.root.glob("projects/*/containers/*"))
    assert not list(project.root.glob("networks/*/")) and not list(project.root.glob("volumes/*/"))
