"""Completion in the real shells, the manual page, and compose under docker's names."""

import json
import os
import re
import subprocess

import pytest

from harness import COMPOSE, run
from test_network import sleeper, write


@pytest.fixture
def shop(project):
    write(project, {"web": sleeper(), "worker": sleeper(), "db": sleeper()})
    (project.dir / "bin").mkdir()
    (project.dir / "bin/compose").symlink_to(COMPOSE)
    project.env["PATH"] = f"{project.dir}/bin:{os.environ['PATH']}"
    return project


def shell(project, *argv) -> str:
    done = subprocess.run(argv, cwd=project.dir, env=project.environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and done.stderr == "", done
    return done.stdout


def bash(project, line: str) -> list[str]:
    """What bash offers at the end of the line."""
    words = line.split(" ")
    quoted = " ".join(f"'{w}'" for w in words)
    script = (f"source <(compose completion bash); COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; compopt() {{ :; }}; "
              "_compose; printf '%s\\n' \"${COMPREPLY[@]}\"")
    return shell(project, "bash", "--norc", "-c", script).split()


def test_bash(shop):
    assert {"up", "down", "ps", "publish"} <= set(bash(shop, "compose "))
    assert bash(shop, "compose unp") == ["unpause"]
    assert bash(shop, "compose up w") == ["web", "worker"]
    assert bash(shop, "compose up --no-b") == ["--no-build"]
    assert bash(shop, "compose up --pull ") == ["always", "missing", "never"]
    assert bash(shop, "compose --progress p") == ["plain"]
    assert bash(shop, "compose image ta") == ["tag"]
    assert bash(shop, "compose -f comp") == ["compose.yaml"], "files are the shell's"
    assert bash(shop, "compose -f compose.yaml exec d") == ["db"]
    assert bash(shop, "compose exec web l") == [], "what runs inside is not ours to know"


def test_zsh(shop):
    script = shop("completion", "zsh").out
    shop.write("_compose", script)
    run("zsh", "-n", shop.dir / "_compose")
    # compadd and _describe belong to a completion in progress: what the function would offer is printed.
    shop.write("try.zsh", """
        compdef() { :; }
        _describe() { print -l -- ${(P)4}; }
        _files() { print files $*; }
        source ./_compose
        words=(compose up w); CURRENT=3; _compose
        words=(compose -f c); CURRENT=3; _compose
        words=(compose --project-directory c); CURRENT=3; _compose
        """)
    out = shell(shop, "zsh", "-f", "try.zsh").splitlines()
    assert [line.split(":")[0] for line in out[:2]] == ["web", "worker"] and out[2:] == ["files", "files -/"]


def test_fish(shop):
    shop.write("compose.fish", shop("completion", "fish").out)
    run("fish", "--no-execute", shop.dir / "compose.fish")

    def fish(line):
        return shell(shop, "fish", "--no-config", "-c", f"source compose.fish; complete -C '{line}'").splitlines()
    assert [c.split("\t")[0] for c in fish("compose up w")] == ["web", "worker"]
    assert [c.split("\t")[0] for c in fish("compose up --no-b")] == ["--no-build"]
    assert any(c.startswith("compose.yaml") for c in fish("compose -f comp"))


def test_unknown_shell(project):
    assert 'unknown shell "tcsh"' in project("completion", "tcsh", code=1).err


def test_manual_page(project):
    page = project.write("compose.1", project("man").out)
    shown = run("man", "--warnings", "-l", page, env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
    assert shown.stderr == "", "groff has nothing to say"
    for words in ("compose up", "--abort-on-container-exit", "EXIT STATUS", "compose image tag"):
        assert words in shown.stdout, words
    assert max(map(len, re.sub(r".\x08", "", shown.stdout).splitlines())) <= 80


def test_documentation_is_what_the_program_prints(project):
    from harness import TOP
    assert project("man", "--format", "markdown").out == (TOP / "docs/cli.md").read_text()


def test_every_option_is_in_help_and_completion(project):
    for command in [c.split()[0] for c in project("__complete", ":", "").out.splitlines()]:
        offered = {line.split("\t")[0] for line in project("__complete", ":", "--", command).out.splitlines()}
        shown = set(re.findall(r"^ +(?:-\w, )?(--[\w-]+)", project(command, "--help").out, re.M))
        if command != "image":  # its subcommands have the options
            assert offered == shown, command


def test_as_docker_compose_and_as_a_plugin(shop):
    """The plugin protocol: docker-cli-plugin-metadata, docker's own options in front, __complete."""
    link = shop.tmp / "docker-compose"
    link.symlink_to(COMPOSE)
    metadata = json.loads(shell(shop, link, "docker-cli-plugin-metadata"))
    assert metadata["SchemaVersion"] == "0.1.0" and metadata["Vendor"] and metadata["ShortDescription"]
    for front in ([], ["compose"], ["--debug", "compose"], ["-D", "-l", "warn", "--context=default", "compose"]):
        assert shell(shop, link, *front, "config", "--services").split() == ["db", "web", "worker"], front
    assert shell(shop, link, "--help").startswith("Usage:  docker compose [OPTIONS] COMMAND")
    assert shell(shop, link, "__complete", "compose", "up", "w").splitlines() == ["web\tbase", "worker\tbase", ":4"]
    assert shell(shop, link, "__complete", "compose", "-f", "").splitlines() == [":0"]
    assert shell(shop, link, "__complete", "compose", "--project-directory", "").splitlines() == [":16"]
    wrong = subprocess.run([link, "--nothing", "compose", "ps"], cwd=shop.dir, env=shop.environment(), capture_output=True, text=True, check=False)
    assert wrong.returncode == 1 and "unknown flag: --nothing" in wrong.stderr
