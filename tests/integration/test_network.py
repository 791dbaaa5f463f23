"""Networks: who reaches whom, published ports, and what is left of them (nothing)."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

from docker_engine import DockerEngine, unpacked
from harness import links, nft_tables, run, wait_for
from registry import free_port

WEB = ["sh", "-c", "mkdir -p /w && hostname > /w/index.html && exec httpd -f -p 80 -h /w"]


def web(**keys) -> dict:
    return {"image": "base", "init": True, "command": WEB, "hostname": "web"} | keys


def sleeper(**keys) -> dict:
    return {"image": "base", "init": True, "command": ["sleep", "600"]} | keys


def write(project, services: dict, **top) -> None:
    project.write("compose.yaml", json.dumps({"services": services} | top))


def fetch(url: str, seconds: float = 5) -> str:
    """What an HTTP server says, once it does."""
    def look():
        done = subprocess.run(["curl", "-sS", "--max-time", "2", url], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None
    return wait_for(look, f"an answer from {url}", seconds)


def unreachable(*command) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode != 0


# --- inside ----------------------------------------------------------------------------------------


def test_services_reach_each_other(project):
    write(project, {"web": web(), "x": sleeper()})
    project.up()
    wait_for(lambda: "web" in project.sh("x", "timeout 2 wget -qO- http://web/", code=None), "an answer by name")
    assert project.sh("x", f"timeout 2 wget -qO- http://{project.name}-web-1/") == "web"
    assert project.sh("x", "ping -c 1 -W 1 web | grep -c ' 0% packet loss'") == "1"


def test_networks_are_apart(project):
    write(project, {"web": web(networks=["front"]), "near": sleeper(networks=["front"]),
                    "far": sleeper(networks=["back"]), "both": sleeper(networks=["front", "back"])},
          networks={"front": {}, "back": {}})
    project.up()
    address = project.address("web", "front")
    wait_for(lambda: project.sh("near", f"timeout 2 wget -qO- http://{address}/", code=None) == "web", "an answer")
    assert project.sh("both", "timeout 2 wget -qO- http://web/") == "web"
    assert project.exec("far", "timeout", "1", "wget", "-qO-", f"http://{address}/", code=None).code != 0
    assert project.exec("far", "nslookup", "web", code=None).code != 0
    assert len(project.sh("both", "ls /sys/class/net").split()) == 3  # lo, eth0, eth1


def test_aliases_and_static_addresses(project):
    write(project, {
        "web": web(networks={"n": {"aliases": ["www", "site.example.org"], "ipv4_address": "10.77.5.20"}}),
        "x": sleeper(networks=["n"])},
        networks={"n": {"ipam": {"config": [{"subnet": "10.77.5.0/24", "gateway": "10.77.5.1"}]}}})
    project.up()
    assert project.address("web", "n") == "10.77.5.20"
    for name in ("www", "site.example.org", "web"):
        wait_for(lambda: project.sh("x", f"timeout 2 wget -qO- http://{name}/", code=None) == "web", name)
    assert "default via 10.77.5.1" in project.sh("x", "ip route")


def test_keys_of_an_endpoint(project):
    """Which interface has which name and address, and through which one the world is reached."""
    write(project, {"x": sleeper(networks={
        "a": {"priority": 10},
        "b": {"priority": 100, "ipv4_address": "10.77.16.9", "ipv6_address": "fd00:77:16::9", "interface_name": "lan0",
              "link_local_ips": ["169.254.8.8", "fe80::77"]},
        "c": {"gw_priority": 5}}),
        "y": sleeper(networks=["b"])},
        networks={"a": {}, "c": {}, "b": {"enable_ipv6": True, "ipam": {"config": [
            {"subnet": "10.77.16.0/24"}, {"subnet": "fd00:77:16::/64"}]}}})
    project.up()
    names = project.sh("x", "ls /sys/class/net").split()
    assert sorted(names) == ["eth0", "eth1", "lan0", "lo"]
    shown = project.sh("x", "ip -o address show dev lan0")
    for address in ("10.77.16.9/24", "fd00:77:16::9/64", "169.254.8.8/16", "fe80::77/64"):
        assert f" {address} " in shown, address
    assert [line.split()[2] for line in project.sh("x", "ip route").splitlines() if line.startswith("default")] == [
        project.address("x", "c").rsplit(".", 1)[0] + ".1"]
    assert project.sh("y", "ping -c 1 -W 2 -6 x | grep -c ' 0% packet loss'") == "1"
    a = project.address("x", "a")
    assert f" {a}/" in project.sh("x", "ip -o -4 address show dev eth0"), "the rest in order of priority"


def test_options_of_an_endpoint(project):
    label = "com.docker.network.endpoint"

    def options(sysctls):
        return {"x": sleeper(networks={"default": {"driver_opts": {f"{label}.ifname": "lan.7", f"{label}.sysctls": sysctls}}})}
    write(project, options("net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.forwarding=0"))
    project.up()
    assert project.sh("x", "cd /proc/sys/net/ipv4/conf/lan.7 && cat log_martians forwarding") == "1\n0"
    for wrong, reason in (("net.ipv4.ip_forward=1", "invalid endpoint sysctl"), ("net.ipv4.conf.IFNAME.nonsense=1", "no setting"),
                          ("kernel.IFNAME.x=1", "invalid endpoint sysctl"), ("net.ipv4.conf.IFNAME.forwarding", "invalid endpoint sysctl")):
        write(project, options(wrong))
        assert reason in project.up(code=1).err, wrong


def test_default_routes_of_both_families(project):
    """Each family leaves through the first network that has it."""
    write(project, {
        "even": sleeper(networks=["a4", "both"]),
        "chosen": sleeper(networks={"a4": {"gw_priority": 5}, "both": {}}),
        "apart": sleeper(networks=["a4", "z6"]),
        "inside": sleeper(networks=["z6", "shut"])},
        networks={"a4": {}, "both": {"enable_ipv6": True}, "z6": {"enable_ipv4": False, "enable_ipv6": True},
                  "shut": {"internal": True, "enable_ipv6": True}})
    project.up()

    def leaves(service):
        """The networks that the IPv4 and the IPv6 default route go through."""
        names = {n["ifname"]: n["network"].rsplit("_", 1)[1] for n in project.record(service)["networks"]}
        return [[names[route["dev"]] for route in json.loads(project.in_netns(service, "ip", "-j", f"-{family}", "route").stdout)
                 if route["dst"] == "default"] for family in "46"]
    assert leaves("even") == [["both"], ["both"]]
    assert leaves("chosen") == [["a4"], ["both"]]
    assert leaves("apart") == [["a4"], ["z6"]]
    assert leaves("inside") == [[], ["z6"]]


def test_addresses_come_from_the_given_range(project):
    write(project, {"x": sleeper(scale=3, networks=["n"])}, networks={"n": {"ipam": {"config": [{
        "subnet": "10.77.17.0/24", "ip_range": "10.77.17.64/29", "gateway": "10.77.17.64",
        "aux_addresses": {"printer": "10.77.17.65", "nas": "10.77.17.67"}}]}}})
    project.up()
    assert {project.address("x", "n", n) for n in (1, 2, 3)} == {"10.77.17.66", "10.77.17.68", "10.77.17.69"}
    assert "/24 " in project.sh("x", "ip -o -4 address show dev eth0")


def test_a_network_without_ipv4(project):
    write(project, {"x": sleeper(networks=["n"]), "y": sleeper(networks=["n"])},
          networks={"n": {"enable_ipv4": False, "enable_ipv6": True}})
    project.up()
    assert project.sh("x", "ip -o -4 address show dev eth0 | wc -l") == "0"
    assert project.sh("x", "ping -c 1 -W 2 y | grep -c ' 0% packet loss'") == "1"


def test_names_and_labels_of_networks_and_volumes(project):
    name = f"{project.name}-own"
    write(project, {"x": sleeper(networks=["n"], volumes=["vol:/v"], ports=[
        {"target": 80, "mode": "host", "name": "web", "app_protocol": "http"}])},
        networks={"n": {"name": f"{name}-net", "labels": {"tier": "back"}, "attachable": True, "ipam": {"options": {"a": "b"}}}},
        volumes={"vol": {"name": f"{name}-vol", "labels": {"kept": "yes"}}})
    project.up()
    network = json.loads((project.root / "networks" / f"{name}-net" / "network.json").read_text())
    volume = json.loads((project.root / "volumes" / f"{name}-vol" / "volume.json").read_text())
    assert network["labels"] == {"tier": "back"}
    assert {"kept": "yes", "com.docker.compose.project": project.name, "com.docker.compose.volume": "vol"}.items() <= volume["labels"].items()
    assert f"{name}-vol" in project("volumes", "-q").out
    assert ":" in project("port", "x", "80").out


def test_macvlan(project, outside):
    """A place in the network that an interface of the host is in: no bridge, nothing translated."""
    place = {"driver": "macvlan", "driver_opts": {"parent": "cable0"},
             "ipam": {"config": [{"subnet": "198.18.0.0/24", "ip_range": "198.18.0.64/26", "gateway": outside.far}]}}
    write(project, {"web": web(networks={"lan": {"ipv4_address": "198.18.0.77"}}, ports=["41490:80"]), "x": sleeper(networks=["lan"])},
          networks={"lan": place})
    before = links()
    project.up()
    assert links() == before, "nothing of it in the host's namespace"
    assert project.address("x", "lan") == "198.18.0.64"
    assert "macvlan mode bridge" in project.in_netns("x", "ip", "-d", "link", "show", "eth0").stdout
    assert project.sh("x", "ip route").splitlines()[0].startswith(f"default via {outside.far} dev eth0")
    wait_for(lambda: project.sh("x", "timeout 2 wget -qO- http://web/", code=None) == "web", "an answer by name")
    assert outside.run("curl", "-sS", "--max-time", "5", "http://198.18.0.77/").stdout.strip() == "web"
    assert project.sh("x", f"ping -c 1 -W 2 {outside.far} | grep -c ' 0% packet loss'") == "1"
    assert unreachable("curl", "-sS", "--max-time", "1", f"http://{outside.near}:41490/"), "ports are not published there"
    for again in (("restart", "-t", "0", "web"), ("up", "-d", "--force-recreate", "-t", "0", "web")):
        project(*again)
        wait_for(lambda: outside.run("curl", "-sS", "--max-time", "2", "http://198.18.0.77/", check=False).stdout.strip() == "web",
                 f"an answer after {again[0]}")
    os.kill(project.supervisor(), signal.SIGKILL)
    wait_for(lambda: project.sh("x", "timeout 2 wget -qO- http://web/", code=None) == "web", "names to come back")
    project("down", "-t", "0")
    assert "cable0" in links()

    place["driver_opts"]["macvlan_mode"] = "private"
    write(project, {"web": web(networks=["lan"]), "x": sleeper(networks=["lan"])}, networks={"lan": place})
    project.up()
    assert project.sh("x", f"ping -c 1 -W 2 {outside.far} | grep -c ' 0% packet loss'") == "1"
    assert project.exec("x", "ping", "-c", "1", "-W", "1", project.address("web", "lan"), code=None).code != 0
    project("down", "-t", "0")

    for options, more, why in (({"parent": "eth99"}, {}, 'driver option parent: no interface "eth99" for it'),
                               ({"parent": "cable0", "macvlan_mode": "best"}, {}, 'macvlan_mode: "best": want bridge'),
                               ({"parent": "cable0"}, {"internal": True}, "for an internal network use bridge"),
                               ({}, {}, "driver macvlan wants the driver option parent")):
        write(project, {"x": sleeper(networks=["lan"])}, networks={"lan": place | {"driver_opts": options} | more})
        assert why in project("up", "-d", code=1).err


def test_other_drivers_and_external_secrets_are_refused(project):
    write(project, {"x": sleeper(networks=["n"])}, networks={"n": {"driver": "overlay"}})
    assert 'driver "overlay" is not supported' in project("up", "-d", code=1).err
    write(project, {"x": sleeper(secrets=["s"])}, secrets={"s": {"external": True}})
    assert "unsupported external secret s" in project("up", "-d", code=1).err
    write(project, {"x": sleeper(secrets=["s"])}, secrets={"s": {
        "environment": "GIVEN", "labels": {"a": "b"}, "template_driver": "golang"}})
    project.env["GIVEN"] = "value"
    project.up()
    assert project.sh("x", "cat /run/secrets/s") == "value"


def test_taken_static_address(project):
    write(project, {"a": sleeper(networks={"n": {"ipv4_address": "10.77.6.9"}}),
                    "b": sleeper(networks={"n": {"ipv4_address": "10.77.6.9"}}, depends_on=["a"])},
          networks={"n": {"ipam": {"config": [{"subnet": "10.77.6.0/24"}]}}})
    result = project.up(code=None)
    assert result.code != 0
    assert "10.77.6.9" in result.err and f"{project.name}-a-1" in result.err, "names the holder"


def test_ipv6(project):
    write(project, {"web": web(networks=["n"]), "x": sleeper(networks=["n"])},
          networks={"n": {"enable_ipv6": True, "ipam": {"config": [{"subnet": "fd00:77::/64"}]}}})
    project.up()
    address = project.record("web")["networks"][0]["ipv6"].split("/")[0]
    assert address.startswith("fd00:77::")
    wait_for(lambda: project.exec("x", "ping", "-6", "-c", "1", "-W", "1", address, code=None).code == 0, "ping by IPv6")


def test_internal_network_does_not_lead_out(project, outside):
    write(project, {"inner": sleeper(networks=["n"]), "outer": sleeper()}, networks={"n": {"internal": True}})
    project.up()
    assert project.exec("outer", "ping", "-c", "1", "-W", "2", outside.far, code=None).code == 0
    assert project.exec("inner", "ping", "-c", "1", "-W", "1", outside.far, code=None).code != 0


def test_masquerade(project, outside):
    """What leaves bears the machine's address."""
    server = outside.popen("/usr/bin/python3", "-c",
                           "import socket\ns = socket.create_server(('', 7000))\nc, a = s.accept()\nc.sendall(a[0].encode())")
    try:
        write(project, {"x": sleeper()})
        project.up()
        seen = wait_for(lambda: project.sh("x", f"nc -w 2 {outside.far} 7000 </dev/null", code=None), "an answer")
        assert seen == outside.near
    finally:
        server.kill()
        server.wait()


def test_network_mode_none_and_host(project):
    write(project, {"none": sleeper(network_mode="none"), "host": sleeper(network_mode="host")})
    project.up()
    assert project.sh("none", "ls /sys/class/net") == "lo"
    assert os.readlink(f"/proc/{project.pid('host')}/ns/net") == os.readlink("/proc/self/ns/net")
    assert project.sh("host", "hostname") == socket.gethostname()
    assert project.sh("host", "cat /etc/hosts") == Path("/etc/hosts").read_text().strip()


def test_addresses_that_are_none(project):
    for keys, message in (({"extra_hosts": ["a:b.example"]}, 'invalid IP address in add-host: "b.example"'),
                          ({"dns": ["1.2.3"]}, 'bad nameserver address: "1.2.3"')):
        write(project, {"x": sleeper(**keys)})
        assert message in project.up(code=1).err


def test_who_shares_a_network_comes_along_with_its_owner(project):
    guest = sleeper(network_mode="service:owner", depends_on=["owner"])
    write(project, {"owner": web(), "guest": guest})
    project.up()

    def is_beside():
        return project.sh("guest", "timeout 2 wget -qO- http://127.0.0.1/", code=None) == "web"
    wait_for(is_beside, "an answer")
    assert project.sh("guest", "hostname") == project.sh("owner", "hostname")
    assert project.sh("guest", "cat /etc/hosts") == project.sh("owner", "cat /etc/hosts")
    write(project, {"owner": web(environment={"A": "b"}), "guest": guest})
    project.up()
    wait_for(is_beside, "an answer of the new one")
    started = project.record("guest")["started"]
    assert "Running" in project.up().err and project.record("guest")["started"] == started
    project("restart", "-t", "0", "owner")
    assert not is_beside(), "as in the reference: the namespace is gone"
    project.up()
    wait_for(is_beside, "an answer after up")
    project("rm", "-s", "-f", "owner")
    project.up()
    wait_for(is_beside, "an answer of one that was made anew")


def test_network_of_a_container_by_its_name_needs_no_dependency(project):
    name = f"{project.name}-own"
    write(project, {"a": sleeper(network_mode=f"container:{name}"), "b": web(container_name=name)})
    project.up()
    wait_for(lambda: project.sh("a", "timeout 2 wget -qO- http://127.0.0.1/", code=None) == "web", "an answer")
    project("stop", "-t", "0")
    project("start")
    wait_for(lambda: project.sh("a", "timeout 2 wget -qO- http://127.0.0.1/", code=None) == "web", "an answer")
    write(project, {"a": sleeper(network_mode=f"container:{project.name}-b-1"), "b": sleeper(network_mode=f"container:{project.name}-a-1")})
    assert "it is not running" in project.up(code=1).err, "those who wait for each other"


def test_external_network_is_shared_and_kept(project):
    shared = f"{project.name}_shared"
    write(project, {"web": web(networks=["n"])}, networks={"n": {"name": shared}})
    project.up()
    other_file = project.tmp / "other"
    other_file.mkdir()
    (other_file / "compose.yaml").write_text(json.dumps({
        "name": f"{project.name}b", "services": {"x": sleeper(networks=["n"])},
        "networks": {"n": {"external": True, "name": shared}}}))
    project.up(cwd=other_file)
    wait_for(lambda: project("exec", "-T", "x", "timeout", "2", "wget", "-qO-", "http://web/", cwd=other_file,
                             code=None).out.strip() == "web", "an answer from another project")
    project("down", "-t", "0", code=None)
    assert list(project.root.glob(f"networks/{shared}")), "it is in use"
    project("down", cwd=other_file)
    project("down")
    assert not list(project.root.glob(f"networks/{shared}"))


def test_missing_external_network(project):
    write(project, {"x": sleeper(networks=["n"])}, networks={"n": {"external": True, "name": "gone"}})
    result = project.up(code=None)
    assert result.code != 0
    assert "network gone declared as external, but could not be found" in result.err


# --- published ports -------------------------------------------------------------------------------


def test_published_port_from_everywhere(project, outside):
    port = free_port()
    write(project, {"web": web(ports=[f"{port}:80"]), "x": sleeper(), "y": sleeper(networks=["other"])},
          networks={"default": {}, "other": {}})
    project.up()
    assert fetch(f"http://127.0.0.1:{port}/") == "web"
    assert fetch(f"http://localhost:{port}/") == "web"
    assert fetch(f"http://[::1]:{port}/") == "web"
    assert fetch(f"http://{outside.near}:{port}/") == "web", "this machine's own address"
    assert outside.run("curl", "-sS", "--max-time", "3", f"http://{outside.near}:{port}/").stdout.strip() == "web"
    for service in ("x", "web", "y"):
        got = project.sh(service, f"timeout 3 wget -qO- http://{outside.near}:{port}/")
        assert got == "web", f"from {service}, through the machine's address"
    assert f":{port}->80/tcp" in project("ps").out
    assert project("port", "web", "80").out.strip().endswith(f":{port}")


def test_port_on_one_address(project, outside):
    port = free_port()
    write(project, {"web": web(ports=[f"127.0.0.1:{port}:80"])})
    project.up()
    assert fetch(f"http://127.0.0.1:{port}/") == "web"
    assert unreachable(*outside.argv("curl", "-s", "--max-time", "1", f"http://{outside.near}:{port}/"))
    address = project.address("web")
    assert unreachable(*outside.argv("curl", "-s", "--max-time", "1", f"http://{address}:80/")), \
        "an unpublished port is not reached by the container's own address"


ECHO = ("import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('0.0.0.0', 5000))\n"
        "while True:\n  data, peer = s.recvfrom(2000)\n  s.sendto(data, peer)\n")
ASK = ("import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.settimeout(0.5)\n"
       "s.sendto(b'hello', (sys.argv[1], int(sys.argv[2])))\nprint(s.recvfrom(100))\n")


def test_udp_port(project, outside):
    port = free_port()
    write(project, {"echo": sleeper(ports=[f"{port}:5000/udp"]), "x": sleeper()})
    project.up()
    project.popen_in_netns("echo", "/usr/bin/python3", "-c", ECHO)
    here = ["/usr/bin/python3", "-c", ASK]
    there = ["nsenter", "-n", "-t", str(project.pid("x")), *here]
    for who, argv, address in (("this machine", here, "127.0.0.1"), ("this machine", here, outside.near),
                               ("another machine", outside.argv(*here), outside.near), ("a container", there, outside.near)):
        def answer():
            done = subprocess.run([*argv, address, str(port)], capture_output=True, text=True, check=False)
            return done.stdout if "hello" in done.stdout else None
        back = wait_for(answer, f"a datagram back to {who} from {address}")
        assert f"('{address}', {port})" in back, "it comes from where it was sent"


def test_port_range_and_ephemeral_port(project):
    base = 41000
    write(project, {"web": web(ports=[f"{base}-{base + 1}:80-81", "80"])})
    project.up()
    assert fetch(f"http://127.0.0.1:{base}/") == "web"
    ports = {(p["TargetPort"], p["PublishedPort"]) for p in project.ps()[0]["Publishers"] if p["PublishedPort"]}
    assert {(80, base), (81, base + 1)} <= ports
    ephemeral = next(published for target, published in ports if target == 80 and published != base)
    assert fetch(f"http://127.0.0.1:{ephemeral}/") == "web"


def test_port_in_use_names_the_holder(project):
    with socket.create_server(("0.0.0.0", 0)) as holder:
        port = holder.getsockname()[1]
        write(project, {"web": web(ports=[f"{port}:80"])})
        result = project.up(code=None)
        assert result.code != 0
        assert str(port) in result.err and "already" in result.err
        assert str(os.getpid()) in result.err or "python" in result.err or "pytest" in result.err, "names the holder"
    project.up()
    assert fetch(f"http://127.0.0.1:{port}/") == "web"


def test_port_held_by_another_project(project):
    port = free_port()
    write(project, {"web": web(ports=[f"{port}:80"])})
    project.up()
    folder = project.tmp / "second"
    folder.mkdir()
    (folder / "compose.yaml").write_text(json.dumps({"name": f"{project.name}b", "services": {"web": web(ports=[f"{port}:80"])}}))
    result = project.up(cwd=folder, code=None)
    assert result.code != 0 and f"{project.name}-web-1" in result.err
    assert fetch(f"http://127.0.0.1:{port}/") == "web"


def test_ports_go_and_come_with_the_container(project):
    port = free_port()
    write(project, {"web": web(ports=[f"{port}:80"])})
    project.up()
    assert fetch(f"http://127.0.0.1:{port}/") == "web"
    project("stop", "-t", "0")
    assert unreachable("curl", "-s", "--max-time", "1", f"http://127.0.0.1:{port}/")
    with socket.create_server(("0.0.0.0", port)):
        pass
    project("start")
    assert fetch(f"http://127.0.0.1:{port}/") == "web"


def test_scaled_service_shares_a_port_range(project):
    replicas = web(ports=["41100-41102:80"], scale=3)
    del replicas["hostname"] # each shows its own
    write(project, {"web": replicas})
    project.up()
    assert len({fetch(f"http://127.0.0.1:{41100 + n}/") for n in range(3)}) == 3


# --- pools and leftovers ---------------------------------------------------------------------------


def test_pool_avoids_the_routes_of_the_machine(project):
    run("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
    run("ip", "link", "set", "lan1", "up")
    try:
        run("ip", "addr", "add", "172.17.3.4/16", "dev", "lan0")
        run("ip", "link", "set", "lan0", "up")
        run("ip", "route", "add", "172.18.0.0/15", "dev", "lan0")
        write(project, {"x": sleeper()})
        project.up()
        address = project.address("x")
        assert not address.startswith(("172.17.", "172.18.", "172.19.")), address
        project("down", "-t", "0")
        write(project, {"x": sleeper()}, networks={"default": {"ipam": {"config": [{"subnet": "172.17.9.0/24"}]}}})
        result = project.up(code=None)
        assert result.code != 0 and "172.17.9.0/24" in result.err and "lan0" in result.err
    finally:
        project("down", "-t", "0")
        run("ip", "link", "del", "lan0")


def test_full_pool(project):
    project.env["COMPOSE_ADDRESS_POOLS"] = "10.88.0.0/24"
    write(project, {"x": sleeper(networks=["a", "b"])}, networks={"a": {}, "b": {}})
    result = project.up(code=None)
    assert result.code != 0
    assert "subnet" in result.err or "pool" in result.err
    assert "COMPOSE_ADDRESS_POOLS" in result.err, "what to do about it"


def test_down_leaves_nothing(project):
    before = links(), nft_tables()
    write(project, {"web": web(ports=["41200:80"], networks=["a", "b"]), "x": sleeper(scale=2)},
          networks={"a": {}, "b": {}, "default": {}})
    project.up()
    assert links() != before[0] and nft_tables() != before[1]
    project("down", "-t", "0")
    assert (links(), nft_tables()) == before


def test_network_is_mended(project):
    """Somebody flushed the firewall and deleted a bridge: the next up puts both right."""
    port = free_port()
    write(project, {"web": web(ports=[f"{port}:80"])})
    project.up()
    assert fetch(f"http://127.0.0.1:{port}/") == "web"
    project("stop", "-t", "0")
    run("nft", "flush", "ruleset")
    for name in links() - project.links_before:
        if name.startswith(("br-", "cbr", "br")):
            run("ip", "link", "del", name)
    project.up()
    assert fetch(f"http://127.0.0.1:{port}/") == "web"


def test_mac_address_and_mtu(project):
    write(project, {"x": sleeper(networks={"n": {"mac_address": "02:42:aa:bb:cc:dd"}})},
          networks={"n": {"driver_opts": {"com.docker.network.driver.mtu": "1400"}}})
    project.up()
    shown = project.sh("x", "ip link show eth0")
    assert "02:42:aa:bb:cc:dd" in shown and "mtu 1400" in shown


def test_many_containers_have_addresses_of_their_own(project):
    write(project, {"x": sleeper(scale=12)})
    project.up()
    addresses = {project.address("x", number=n) for n in range(1, 13)}
    assert len(addresses) == 12


def test_beside_a_running_docker(outside, make_project, request):
    """A Docker Engine sets the policy of FORWARD to DROP: our containers reach out, and are reached, all the same."""
    own = os.open(f"/proc/{outside.process.pid}/ns/net", os.O_RDONLY)
    os.set_inheritable(own, False)
    project = make_project(machine_netns=own)
    outside.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=0")  # Docker drops only where it switches forwarding on
    engine = DockerEngine(unpacked(request.config.machine_netns), project.tmp / "docker", outside)
    try:
        chain = ("iptables", "-S", "FORWARD")
        before = outside.run(*chain).stdout
        assert "-P FORWARD DROP" in before and "DOCKER-USER" in before
        write(project, {"web": web(ports=["41950:80"]), "near": sleeper()})
        project.up()
        assert "us" in project.sh("near", f"ping -c 1 -W 2 {outside.near} >/dev/null && echo us"), "out"
        assert project.sh("near", "wget -qO- http://web/") == "web", "between containers"
        assert fetch(f"http://{outside.far}:41950/") == "web", "in"
        assert outside.run("curl", "-s", "-m", "5", "http://127.0.0.1:41950/").stdout == "web\n"
        project("down", "-t", "0")
        assert outside.run(*chain).stdout == before, "Docker's chain is as it was"
    finally:
        engine.close()
        os.close(own)
