"""Names inside the containers: 127.0.0.11, asked with dig from within their networks."""

import json
import re
import socketserver
import struct
import threading

import pytest

from harness import run, wait_for
from test_network import sleeper, write


def dig(project, service: str, name: str, kind: str = "A", *options) -> tuple[str, list[str]]:
    """(status, data of the answers), asked at 127.0.0.11 in the service's network."""
    out = project.in_netns(service, "dig", "@127.0.0.11", "+tries=1", "+time=3", *options, name, kind).stdout
    status = re.search(r"status: (\w+)", out)
    answers = re.findall(rf"^[^;\s]\S*\s+\d+\s+IN\s+(?:{kind}|CNAME)\s+(.+)$", out, re.M)
    return (status[1] if status else "NO ANSWER"), answers


class Upstream:
    """A name server on an address of this test's network: knows *.example and counts what it is asked."""

    def __init__(self, address: str = "198.51.100.53"):
        run("ip", "addr", "add", f"{address}/32", "dev", "lo")
        self.address, self.asked = address, []
        owner = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                data, sock = self.request
                sock.sendto(owner.answer(data), self.client_address)

        self.server = socketserver.ThreadingUDPServer((address, 53), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode("latin-1"))
            at += 1 + query[at]
        question = query[12:at + 5]
        name, kind = ".".join(labels).lower(), struct.unpack(">H", query[at + 1:at + 3])[0]
        self.asked.append((name, kind))
        if not name.endswith("example"):
            return query[:2] + struct.pack(">HHHHH", 0x8183, 1, 0, 0, 0) + question
        data = {1: bytes([203, 0, 113, 7]), 16: b"\x05hello", 65: b"\x00\x01\x00"}.get(kind)
        if data is None:
            return query[:2] + struct.pack(">HHHHH", 0x8180, 1, 0, 0, 0) + question
        record = b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data
        return query[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0) + question + record

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        run("ip", "addr", "del", f"{self.address}/32", "dev", "lo")


@pytest.fixture
def upstream():
    server = Upstream()
    yield server
    server.close()


def test_resolv_conf(project):
    write(project, {"x": sleeper(dns_search=["corp.example"], dns_opt=["ndots:2"])})
    project.up()
    conf = project.sh("x", "cat /etc/resolv.conf")
    assert re.search(r"^nameserver 127\.0\.0\.11$", conf, re.M)
    assert "search corp.example" in conf and "ndots:2" in conf


def test_names_of_a_container(project):
    write(project, {"web": sleeper(networks={"n": {"aliases": ["www"]}}, container_name=f"{project.name}-own", hostname="Its.Host"),
                    "x": sleeper(networks=["n"], links=["web:linked"])}, networks={"n": {}})
    project.up()
    address = project.address("web", "n")
    short = project.record("web")["id"][:12]
    for name in ("web", "www", f"{project.name}-own", short, "WeB", f"web.{project.name}_n", "linked", f"web.{project.name}", "its.host"):
        assert dig(project, "x", name) == ("NOERROR", [address]), name


def test_scaled_service_gives_all_addresses_in_turn(project):
    write(project, {"web": sleeper(scale=3), "x": sleeper()})
    project.up()
    wanted = {project.address("web", number=n) for n in (1, 2, 3)}
    firsts = set()
    for _ in range(30):
        status, answers = dig(project, "x", "web")
        assert status == "NOERROR" and set(answers) == wanted
        firsts.add(answers[0])
    assert len(firsts) > 1, "not always the same first"


def test_known_name_without_the_type_is_nodata_and_never_forwarded(project, upstream):
    write(project, {"web": sleeper(), "x": sleeper(dns=[upstream.address])})
    project.up()
    for kind in ("AAAA", "MX", "HTTPS"):
        assert dig(project, "x", "web", kind) == ("NOERROR", []), kind
    assert not [name for name, _ in upstream.asked if name.startswith("web")]


def test_forwarding(project, upstream):
    write(project, {"x": sleeper(dns=[upstream.address])})
    project.up()
    assert dig(project, "x", "host.example") == ("NOERROR", ["203.0.113.7"])
    assert dig(project, "x", "host.example", "TXT") == ("NOERROR", ['"hello"'])
    assert dig(project, "x", "nothing.invalid")[0] == "NXDOMAIN"
    assert project.in_netns("x", "dig", "@127.0.0.11", "+short", "host.example", "TYPE65").stdout.strip(), \
        "a record type that nobody here knows"


def test_upstream_down_is_servfail_soon(project):
    write(project, {"x": sleeper(dns=["198.51.100.99"])})
    project.up()
    assert dig(project, "x", "host.example", "A", "+time=8")[0] == "SERVFAIL"


def test_tcp_and_edns(project):
    write(project, {"web": sleeper(), "x": sleeper()})
    project.up()
    address = project.address("web")
    assert dig(project, "x", "web", "A", "+tcp") == ("NOERROR", [address])
    out = project.in_netns("x", "dig", "@127.0.0.11", "+bufsize=1400", "web").stdout
    assert "EDNS: version: 0" in out and address in out
    assert "EDNS" not in project.in_netns("x", "dig", "@127.0.0.11", "+noedns", "web").stdout


def test_many_addresses_by_udp_are_truncated_and_whole_by_tcp(project):
    write(project, {"web": sleeper(scale=40), "x": sleeper()})
    project.up(timeout=120)
    out = project.in_netns("x", "dig", "@127.0.0.11", "+noedns", "+ignore", "web").stdout
    assert re.search(r"flags:[^;]* tc", out)
    assert len(dig(project, "x", "web", "A", "+noedns")[1]) == 40


def test_reverse_names(project):
    write(project, {"web": sleeper(), "x": sleeper()})
    project.up()
    out = project.in_netns("x", "dig", "@127.0.0.11", "+short", "-x", project.address("web")).stdout
    assert out.startswith(f"{project.name}-web-1.")


def test_names_follow_the_containers(project):
    write(project, {"web": sleeper(), "x": sleeper()})
    project.up()
    assert dig(project, "x", "web")[1]
    project("stop", "-t", "0", "web")
    wait_for(lambda: dig(project, "x", "web")[1] == [], "the name to go")
    project("start", "web")
    wait_for(lambda: dig(project, "x", "web")[1] == [project.address("web")], "the name to come back")
    project.up("--scale", "web=2")
    wait_for(lambda: len(dig(project, "x", "web")[1]) == 2, "the second address")


def test_own_server_on_port_53(project):
    """A container may serve DNS itself, on all its addresses."""
    write(project, {"ns": sleeper(), "x": sleeper()})
    project.up()
    project.popen_in_netns("ns", "/usr/bin/python3", "-c",
                           "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('0.0.0.0', 53))\n"
                           "while True:\n  data, peer = s.recvfrom(2000)\n  s.sendto(b'mine', peer)\n")
    wait_for(lambda: "0.0.0.0:53" in project.in_netns("ns", "ss", "-lun").stdout, "its own server to listen")
    assert dig(project, "ns", "x")[1] == [project.address("x")], "names still resolve in it"
    script = ("import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.settimeout(2)\n"
              "s.sendto(b'?', (sys.argv[1], 53))\nprint(s.recv(100).decode())\n")
    answer = project.in_netns("x", "/usr/bin/python3", "-c", script, project.address("ns"))
    assert answer.stdout.strip() == "mine", "and others reach its own"


def test_other_projects_names_on_a_shared_network(project):
    shared = f"{project.name}_shared"
    write(project, {"web": sleeper(networks=["n"])}, networks={"n": {"name": shared}})
    project.up()
    folder = project.tmp / "second"
    folder.mkdir()
    (folder / "compose.yaml").write_text(json.dumps({
        "name": f"{project.name}b", "services": {"y": sleeper(networks=["n"])},
        "networks": {"n": {"external": True, "name": shared}}}))
    project.up(cwd=folder)
    assert dig(project, "y", "web") == ("NOERROR", [project.address("web", shared)])
    wait_for(lambda: dig(project, "web", "y") == ("NOERROR", [project.address("y", shared)]), "the newcomer's name")
    assert dig(project, "web", f"y.{project.name}b")[1] == [project.address("y", shared)]


def test_dns_after_the_supervisor_was_killed(project):
    import os
    write(project, {"web": sleeper(), "x": sleeper()})
    project.up()
    address = project.address("web")
    os.kill(project.supervisor(), 9)
    project("ps")

    def answers():
        done = project.in_netns("x", "dig", "@127.0.0.11", "+tries=1", "+time=1", "+short", "web", check=False)
        return done.stdout.strip() == address
    wait_for(answers, "names to resolve again")


def test_nonsense_does_not_hurt(project):
    import random
    write(project, {"web": sleeper(), "x": sleeper()})
    project.up()
    seed = random.Random(7)
    packets = [bytes(seed.randrange(256) for _ in range(seed.randrange(0, 90))) for _ in range(300)]
    packets += [b"\0\1\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1", b"\0\1\1\0\xff\xff\0\0\0\0\0\0" + b"\x3f" * 64]
    script = ("import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
              "for line in sys.stdin: s.sendto(bytes.fromhex(line.strip()), ('127.0.0.11', 53))\n")
    project.in_netns("x", "/usr/bin/python3", "-c", script, input="\n".join(p.hex() for p in packets))
    assert dig(project, "x", "web") == ("NOERROR", [project.address("web")])
