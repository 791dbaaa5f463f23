"""Beside a running Docker, whose `ip filter FORWARD` chain has the policy DROP. The chain stands in this
test's own network namespace, so the machine's rules are not touched."""

import json

import pytest

from harness import run
from test_network import fetch, sleeper, web

DOCKERS_RULES = """
table ip filter {
    chain DOCKER-USER {
        return
    }
    chain DOCKER-FORWARD {
    }
    chain FORWARD {
        type filter hook forward priority filter; policy drop;
        jump DOCKER-USER
        jump DOCKER-FORWARD
    }
}
"""
PLAIN_DROP = """
table inet site {
    chain forward {
        type filter hook forward priority filter; policy drop;
    }
}
"""


@pytest.fixture
def docker_rules():
    run("nft", "-f", "-", input=DOCKERS_RULES)
    yield
    run("nft", "delete", "table", "ip", "filter")


def test_traffic_passes_a_forward_policy_of_drop(project, outside, docker_rules):
    before = run("nft", "list", "table", "ip", "filter").stdout
    project.write("compose.yaml", json.dumps({"services": {
        "web": web(ports=["41300:80"]), "x": sleeper(), "other": sleeper(networks=["n"])},
        "networks": {"default": {}, "n": {}}}))
    project.up()
    assert fetch("http://127.0.0.1:41300/") == "web"
    assert outside.run("curl", "-sS", "--max-time", "3", f"http://{outside.near}:41300/").stdout.strip() == "web"
    assert project.exec("x", "ping", "-c", "1", "-W", "2", outside.far, code=None).code == 0, "the way out"
    assert project.sh("x", "timeout 2 wget -qO- http://web/") == "web"
    address = project.address("web")
    assert project.exec("other", "timeout", "1", "wget", "-qO-", f"http://{address}/", code=None).code != 0
    project("down", "-t", "0")
    assert run("nft", "list", "table", "ip", "filter").stdout == before, "Docker's table is as it was"


def test_a_firewall_that_drops_is_named(project, outside):
    """A policy that is not ours to pass is said by `doctor` and by `up`."""
    run("nft", "-f", "-", input=PLAIN_DROP)
    try:
        result = project("doctor", code=None)
        assert "forward" in result.text.lower() and "site" in result.text
    finally:
        run("nft", "delete", "table", "inet", "site")


def test_containers_of_docker_are_not_touched(project, docker_rules):
    run("nft", "add", "table", "ip", "nat")
    run("nft", "add", "chain", "ip", "nat", "DOCKER")
    try:
        project.write("compose.yaml", json.dumps({"services": {"web": web(ports=["41301:80"])}}))
        project.up()
        assert "DOCKER" in run("nft", "list", "table", "ip", "nat").stdout
        project("down", "-t", "0")
        assert "DOCKER" in run("nft", "list", "table", "ip", "nat").stdout
    finally:
        run("nft", "delete", "table", "ip", "nat")

