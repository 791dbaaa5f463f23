"""What a person sees, read from a real terminal (tmux)."""

import itertools
import os
import subprocess

import pytest

from harness import COMPOSE, run, wait_for
from test_network import sleeper, write


@pytest.fixture
def tmux(project):
    """open(columns) gives a function that types a command and returns the screen once it is done."""
    sockets: list[list[str]] = []
    numbers = itertools.count()
    (project.dir / "bin").mkdir()
    (project.dir / "bin/compose").symlink_to(COMPOSE)

    def opened(columns: int, **variables):
        socket = ["tmux", "-L", f"{project.name}{len(sockets)}", "-f", "/dev/null"]
        sockets.append(socket)
        env = project.environment() | {"PS1": "$ ", "PATH": f"{project.dir}/bin:{os.environ['PATH']}"} | variables
        run(*socket, "new-session", "-d", "-x", columns, "-y", 40, "bash", "--norc", "--noprofile", cwd=project.dir, env=env)

        def screen(escapes: bool = False) -> list[str]:
            text = run(*socket, "capture-pane", "-p", *(["-e"] if escapes else [])).stdout
            return [line.rstrip() for line in text.rstrip().splitlines()]

        def typed(command: str, escapes: bool = False) -> list[str]:
            mark = f"=DONE {next(numbers)}="
            run(*socket, "send-keys", f"clear; {command}; echo '{mark}'", "Enter")
            wait_for(lambda: mark in screen(), f"{command} to end", 20)
            lines = screen(escapes)
            return [line for line in lines[:lines.index(mark)] if "clear; " not in line]
        return typed
    yield opened
    for socket in sockets:
        subprocess.run([*socket, "kill-server"], capture_output=True, check=False)


@pytest.mark.parametrize("columns", [80, 200])
def test_progress_fills_the_line_and_no_more(project, tmux, columns):
    write(project, {"db": sleeper(), "a-service-with-quite-a-long-name": sleeper()})
    typed = tmux(columns)
    lines = typed("compose up -d")
    n = project.name
    assert lines[0] == "[+] Running 3/3", lines
    assert [line.split()[:3] for line in lines[1:]] == [
        ["✔", "Network", f"{n}_default"], ["✔", "Container", f"{n}-a-service-with-quite-a-long-name-1"], ["✔", "Container", f"{n}-db-1"]]
    assert {len(line) for line in lines[1:]} == {columns - 1} and all(line.endswith("s") for line in lines[1:]), "times at the right edge"
    assert len({line.index("Created" if "Network" in line else "Started") for line in lines[1:]}) == 1, "words below each other"
    table = typed("compose ps --format 'table {{.Name}}\\t{{.Status}}'")
    assert len(table) == 3 and len({line.index(word) for line, word in zip(table, ["STATUS", "Up", "Up"], strict=True)}) == 1
    down = typed("compose down -t 0")
    assert down[0] == "[+] Running 3/3" and len(down) == 4


def test_a_dumb_terminal_gets_lines(project, tmux):
    write(project, {"db": sleeper()})
    lines = tmux(80)("TERM=dumb compose up -d")
    assert f" Container {project.name}-db-1  Starting" in lines and f" Container {project.name}-db-1  Started" in lines
    assert not any("[+]" in line for line in lines)


def test_colors_and_their_absence(project, tmux):
    write(project, {"x": {"image": "base", "command": ["echo", "hi"]}})
    project.up()
    project.ended("x")
    assert any("\x1b[3" in line for line in tmux(80)("compose logs", escapes=True))
    for variables in ({"NO_COLOR": "1"}, {"COMPOSE_ANSI": "never"}):
        assert not any("\x1b[3" in line for line in tmux(80, **variables)("compose logs", escapes=True)), variables
    assert not any("\x1b" in line for line in tmux(80, NO_COLOR="1")("compose up -d", escapes=True) if "Container" in line)


def test_the_live_table_of_stats(project, tmux):
    write(project, {"x": sleeper(), "y": sleeper()})
    project.up()
    lines = tmux(120)("timeout -s INT 2.5 compose stats")
    heads = [line for line in lines if line.startswith("CONTAINER ID")]
    assert len(heads) == 1, "it is redrawn in place"
    assert sum(f"{project.name}-x-1" in line for line in lines) == 1
