"""The Compose file: what is understood, and what is said when it is wrong."""

import json

import pytest


@pytest.fixture
def project(make_project):
    """Nothing runs here, so no image is needed."""
    return make_project(with_base=False)


def config(project, *args, **options) -> dict:
    return json.loads(project(*args, "config", "--format", "json", **options).out)


def test_anchors_merge_keys_and_extensions(project):
    project.file("""
        x-env: &env
          A: one
          B: two
        x-more: &more
          C: three
        services:
          web:
            image: base
            environment:
              <<: [*env, *more]
              B: mine
          other: &other
            image: base
            command: &cmd ["true"]
            x-note: ignored
          third:
            <<: *other
            command: *cmd
        """)
    services = config(project)["services"]
    assert services["web"]["environment"] == {"A": "one", "B": "mine", "C": "three"}
    assert services["third"]["command"] == ["true"] and services["third"]["image"] == "base"


def test_yaml_1_2_scalars(project):
    project.file("""
        services:
          web:
            image: base
            environment:
              YES: yes
              OFF: off
              NUMBER: 12
              FLOAT: 1.50
              QUOTED: "012"
              EMPTY:
              BOOL: true
            command:
              - |
                two
                lines
              - >-
                one
                line
        """)
    web = config(project)["services"]["web"]
    assert web["environment"]["YES"] == "yes" and web["environment"]["OFF"] == "off"
    assert web["environment"]["NUMBER"] == "12" and web["environment"]["QUOTED"] == "012"
    assert web["environment"]["BOOL"] == "true" and web["environment"]["EMPTY"] is None
    assert web["command"] == ["two\nlines\n", "one line"]


def test_interpolation(project):
    project.write(".env", """
        # a comment
        TAG=from-file
        export EXPORTED="with \\"quotes\\" and $TAG"
        SINGLE='no $TAG here'
        TRAILING=value # comment
        """)
    project.file("""
        services:
          web:
            image: base:${TAG}
            environment:
              DEFAULT: ${NOPE:-fallback}
              UNSET_ONLY: ${EMPTY-not used}
              WHEN_EMPTY: ${EMPTY:-used}
              REPLACED: ${TAG:+there}
              NESTED: ${NOPE:-${ALSO_NOPE:-deep}}
              DOLLAR: $$HOME
              EXPORTED: ${EXPORTED}
              SINGLE: ${SINGLE}
              TRAILING: $TRAILING
        """)
    web = config(project, env={"EMPTY": "", "TAG": "from-shell"})["services"]["web"]
    assert web["image"] == "base:from-shell", "the shell wins over .env"
    env = web["environment"]
    assert env["DEFAULT"] == "fallback" and env["UNSET_ONLY"] == "" and env["WHEN_EMPTY"] == "used"
    assert env["REPLACED"] == "there" and env["NESTED"] == "deep"
    assert env["DOLLAR"] in ("$HOME", "$$HOME")
    assert env["SINGLE"] in ("no $TAG here", "no $$TAG here") and env["TRAILING"] == "value"
    assert env["EXPORTED"].startswith('with "quotes" and from-')


def test_unset_variable_is_warned_about(project):
    project.file("services: {web: {image: base, command: echo $NOT_THERE}}")
    result = project("config")
    assert 'compose.yaml:1:40: warning: The "NOT_THERE" variable is not set. Defaulting to a blank string.' in result.err


def test_required_variable(project):
    project.file("""
        services:
          web:
            image: base
            environment:
              KEY: ${KEY:?give me a key}
        """)
    result = project("config", code=None)
    assert result.code != 0
    assert "KEY" in result.err and "give me a key" in result.err
    assert "compose.yaml:5:" in result.err, "where it stands"


def test_env_file_and_environment(project):
    project.write("a.env", "A=1\nB=2\nC=$A-x\n")
    project.write("b.env", "B=3\n")
    project.file("""
        services:
          web:
            image: base
            env_file: [a.env, {path: b.env}, {path: gone.env, required: false}]
            environment: [C=4, FROM_SHELL]
        """)
    env = config(project, env={"FROM_SHELL": "yes"})["services"]["web"]["environment"]
    assert env == {"A": "1", "B": "3", "C": "4", "FROM_SHELL": "yes"}


def test_several_files(project):
    project.write("a.yaml", """
        services:
          web:
            image: base
            command: one
            environment: {A: "1", B: "1"}
            ports: ["8000:80"]
            cap_add: [NET_ADMIN]
        """)
    project.write("b.yaml", """
        services:
          web:
            command: two
            environment: [B=2]
            ports: ["8001:81"]
          extra: {image: base}
        """)
    services = config(project, "-f", "a.yaml", "-f", "b.yaml")["services"]
    assert services["web"]["command"] == ["two"]
    assert services["web"]["environment"] == {"A": "1", "B": "2"}
    assert [p["published"] for p in services["web"]["ports"]] == ["8000", "8001"]
    assert "extra" in services


def test_override_file_and_parent_folder(project):
    project.file("services: {web: {image: base, command: one}}")
    project.write("compose.override.yaml", "services: {web: {command: two}}")
    below = project.dir / "a" / "b"
    below.mkdir(parents=True)
    assert config(project, cwd=below)["services"]["web"]["command"] == ["two"]


def test_reset_and_override_tags(project):
    project.file("services: {web: {image: base, ports: ['80:80'], environment: {A: '1'}}}")
    project.write("b.yaml", """
        services:
          web:
            ports: !override ["81:81"]
            environment: !reset null
        """)
    web = config(project, "-f", "compose.yaml", "-f", "b.yaml")["services"]["web"]
    assert [p["published"] for p in web["ports"]] == ["81"]
    assert not web.get("environment")


def test_file_from_stdin(project):
    result = project("-f", "-", "config", "--services", stdin="services: {fromstdin: {image: base}}")
    assert result.out.split() == ["fromstdin"]


def test_profiles(project):
    project.file("""
        services:
          web: {image: base}
          debug: {image: base, profiles: [dev]}
        """)
    assert project("config", "--services").out.split() == ["web"]
    assert set(project("--profile", "dev", "config", "--services").out.split()) == {"web", "debug"}
    assert set(project("config", "--services", env={"COMPOSE_PROFILES": "dev"}).out.split()) == {"web", "debug"}


def test_the_whole_project_must_be_in_order_whatever_is_named(project):
    """What an active profile enables is checked before the named services enable more of it."""
    project.file("""
        services:
          web: {image: base, depends_on: [debug]}
          debug: {image: base, profiles: [dev]}
          files: {image: base, profiles: [more], env_file: missing.env}
        """)
    for name in ("debug", "web"):
        refused = project("config", name, code=1)
        assert 'service "web": depends on service "debug", which is disabled' in refused.err
        assert refused.out == ""
    assert project("--profile", "dev", "config", "--quiet", "debug").out == ""
    assert "missing.env" in project("--profile", "dev", "config", "files", code=1).err


def test_extends_and_include(project):
    project.write("common.yaml", "services: {parent: {image: base, environment: {A: '1'}}}")
    project.write("part/compose.yaml", "services: {included: {image: base, volumes: ['./x:/x']}}")
    project.file("""
        include: [part/compose.yaml]
        services:
          child:
            extends: {file: common.yaml, service: parent}
            environment: {B: "2"}
        """)
    services = config(project)["services"]
    assert services["child"]["environment"] == {"A": "1", "B": "2"}
    assert services["included"]["volumes"][0]["source"] == str(project.dir / "part/x")


def test_project_name(project):
    project.file("name: named\nservices: {web: {image: base}}")
    assert config(project)["name"] == "named"
    assert config(project, "-p", "other")["name"] == "other"
    assert config(project, env={"COMPOSE_PROJECT_NAME": "third"})["name"] == "third"
    project.file("services: {web: {image: base}}")
    assert config(project)["name"] == project.name


# --- bad input -------------------------------------------------------------------------------------


def refused(project, *words, command=("config", "-q"), **options):
    """The command fails, and stderr says all of the words."""
    result = project(*command, code=None, **options)
    assert result.code != 0, str(result)
    for word in words:
        assert word in result.err, f"{word!r} is missing in:\n{result.err}"
    return result


def test_error_shows_place_line_and_caret(project):
    project.file("""
        services:
          web:
            image: base
            ports:
              - "80x:80"
        """)
    result = refused(project, "compose.yaml:5:", "error:", 'service "web"', "80x")
    lines = result.err.splitlines()
    source = next(i for i, line in enumerate(lines) if '- "80x:80"' in line)
    assert lines[source].lstrip().startswith("5 |")
    caret = lines[source + 1].index("^")
    assert lines[source][caret] in '"8', "the caret stands under the value"


def test_unknown_key(project):
    project.file("""
        services:
          web:
            image: base
            evnironment: {A: "1"}
        """)
    refused(project, "compose.yaml:4:", "evnironment", "environment")


@pytest.mark.parametrize("line, word", [
    ("image: [not, a, string]", "image"),
    ("privileged: perhaps", "privileged"),
    ("environment: 5", "environment"),
    ("ports: 80", "ports"),
    ("depends_on: {db: {condition: soonish}}", "condition"),
    ("stop_grace_period: 5 parsecs", "stop_grace_period"),
    ("mem_limit: many", "mem_limit"),
])
def test_wrong_type(project, line, word):
    project.write("compose.yaml", f"services:\n  db: {{image: base}}\n  web:\n    image: base\n    {line}\n"
                  if not line.startswith("image") else f"services:\n  db: {{image: base}}\n  web:\n    hostname: x\n    {line}\n")
    refused(project, "compose.yaml:5:", word)


def test_all_errors_at_once(project):
    project.file("""
        services:
          a: {image: base, prots: ["1:1"]}
          b:
            image: base
            privileged: perhaps
          c:
            image: base
            environment: 5
        """)
    result = refused(project, "compose.yaml:2:", "compose.yaml:5:", "compose.yaml:8:")
    assert result.err.count("error:") >= 3


@pytest.mark.parametrize("line, words", [
    ("depends_on: [nobody]", ["nobody"]),
    ("volumes: ['data:/data']", ["data"]),
    ("networks: [back]", ["back"]),
    ("secrets: [key]", ["key"]),
    ("configs: [conf]", ["conf"]),
])
def test_undefined_things(project, line, words):
    project.write("compose.yaml", f"services:\n  web:\n    image: base\n    {line}\n")
    refused(project, "compose.yaml:4:", 'undefined' if "depends_on" not in line else "nobody", *words)


def test_missing_files(project):
    result = refused(project, "gone.yaml", command=("-f", "gone.yaml", "config"))
    assert "no such file" in result.err.lower()
    empty = project.tmp / "empty"
    empty.mkdir()
    refused(project, "no configuration file provided: not found", cwd=empty)
    project.file("services: {web: {image: base, env_file: gone.env}}")
    refused(project, "gone.env")


def test_broken_yaml(project):
    project.write("compose.yaml", "services:\n  web:\n    image: base\n   bad: indent\n")
    refused(project, "compose.yaml:4:")
    project.write("compose.yaml", "services:\n  web:\n    image: base\n    image: again\n")
    refused(project, "compose.yaml:4:", "image")
    project.write("compose.yaml", b"services:\n  web:\n    image: \"\xff\xfe\"\n")
    refused(project, "compose.yaml")
    project.write("compose.yaml", "")
    refused(project)


def test_hostile_yaml(project):
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for n in range(1, 12):
        bomb += f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n"
    project.write("compose.yaml", "x-bomb:\n" + "".join(f"  {line}\n" for line in bomb.splitlines()) + "services: {}\n")
    assert refused(project, "compose.yaml", timeout=10).seconds < 5
    project.write("compose.yaml", "services: " + "[" * 100_000)
    refused(project, "compose.yaml", timeout=10)


def test_cycle_is_printed_as_a_path(project):
    project.file("""
        services:
          a:
            image: base
            depends_on: [b]
          b:
            image: base
            depends_on: [c]
          c:
            image: base
            depends_on:
              a: {condition: service_started}
        """)
    result = refused(project, "cycle", "compose.yaml:4:", "compose.yaml:7:", "compose.yaml:11:")
    assert result.err.replace('"', "").replace(" ", "").count("->") >= 2


def test_config_output_is_a_file_again(project):
    project.write("a.env", "X=multi word\n")
    project.file("""
        services:
          web:
            image: base
            env_file: a.env
            command: sh -c "echo 'a b'; sleep 1"
            ports: ["127.0.0.1:8080-8081:80-81/udp"]
            healthcheck: {test: ["CMD", "true"], interval: 1m30s}
            volumes: ["data:/data:ro", "./here:/there"]
        volumes: {data: {}}
        """)
    once = project("config").out
    again = project("-f", "-", "config", stdin=once).out
    assert once == again


def test_config_lists(project):
    project.file("""
        services:
          web: {image: base, profiles: [p], networks: [n], volumes: ["vol:/v"]}
          db: {image: "other:1"}
        networks: {n: {}}
        volumes: {vol: {}}
        """)
    every = ("--profile", "*")
    assert set(project(*every, "config", "--services").out.split()) == {"web", "db"}
    assert set(project(*every, "config", "--images").out.split()) == {"base", "other:1"}
    assert project(*every, "config", "--volumes").out.split() == ["vol"]
    assert "p" in project(*every, "config", "--profiles").out.split()
    hashes = dict(line.split() for line in project(*every, "config", "--hash", "*").out.splitlines())
    assert set(hashes) == {"web", "db"} and all(len(h) == 64 for h in hashes.values())


def test_config_lists_are_the_whole_projects(project):
    project.file("""
        services:
          web: {image: base, models: [small], env_file: missing.env}
          db: {image: base}
        models: {small: {model: ai/tiny}}
        """)
    assert project("config", "--services", "db").out.split() == ["db", "web"]
    assert project("config", "--models", "db").out.split() == ["ai/tiny"]
    assert "no such service: nope" in project("config", "--no-env-resolution", "--hash", "db,nope", code=1).err
    plain = project("--compatibility", "config", "--no-env-resolution").out
    assert "networks:" not in plain, "files of the old kind are not completed"


def test_config_environment(project):
    """What variables are taken from: the shell and .env; of a project that is in order, as in the reference."""
    project.write(".env", "FROM_FILE=f\nBOTH=file\n")
    project.file("services: {web: {image: base, environment: {A: $NEVER}}}")
    said = project("config", "--environment", env={"BOTH": "shell"})
    assert {"FROM_FILE=f", "BOTH=shell", f"COMPOSE_PROJECT_NAME={project.name}"} <= set(said.out.splitlines())
    assert said.err.count('The "NEVER" variable is not set') == 1
    assert "no such service: nope" in project("config", "--environment", "nope", code=1).err
    project.file("services: {web: {environment: {A: b}}}")
    refused = project("config", "--environment", code=1)
    assert not refused.out and "neither image nor build is given" in refused.err


def test_config_prints_in_pieces_what_is_large(project):
    services = {f"s{n}": {"image": "x", "environment": {"A": "long " * 20}} for n in range(2000)}
    project.write("compose.yaml", json.dumps({"services": services, "x-list": [{f"k{n}": "v" for n in range(20_000)}]}))
    printed = project("config").out
    project("config", "--output", "whole.yaml")
    assert printed == (project.dir / "whole.yaml").read_text() and len(printed) > 500_000
    project.write("compose.yaml", printed)
    assert project("config").out == printed
    assert project("config", "--quiet").out == ""


def test_config_output_goes_through_links_and_devices(project):
    project.file("services: {web: {image: base}}")
    project.write("real.yaml", "old")
    (project.dir / "link.yaml").symlink_to("real.yaml")
    project("config", "--output", "link.yaml")
    assert (project.dir / "link.yaml").is_symlink()
    assert "image: base" in (project.dir / "real.yaml").read_text()
    assert project("config", "--output", "/dev/null").out == ""


EXPLAINED = {
    "compose.yaml": """\
include: [inc.yaml]
x-base: &base
  image: nginx:1
  environment: &env
    A: one
services:
  web:
    <<: *base
    extends: {file: base.yaml, service: base}
    environment:
      <<: *env
      B: mine
      FROM_SHELL:
    ports: ["8080:80", "90:90"]
    env_file: [x.env]
    labels: {com.example.key: value}
volumes:
  data: {driver: local}
""",
    "compose.override.yaml": """\
services:
  web:
    image: nginx:${TAG:-old}
    environment: [A=over]
    ports: ["0.0.0.0:8080:80/tcp"]
    labels: !reset {}
volumes:
  data: {name: other}
""",
    "base.yaml": """\
services:
  base: {extends: grand, mem_limit: 1g}
  grand: {mem_limit: 2g, image: grand}
""",
    "inc.yaml": "services:\n  inc: {image: inc}\n",
    ".env": "TAG=1.27\n",
    "x.env": "ONLY=file\nB=weak\n",
}


def explain(project, path: str) -> tuple:
    """(action, place, value) of each step, and all that was told."""
    told = json.loads(project("config", "--explain", path, "--format", "json", env={"FROM_SHELL": "sh"}).out)
    return [(s["action"], f"{s['file']}:{s['line']}:{s['column']}", s.get("value")) for s in told["steps"]], told


def test_explain_tells_where_a_value_comes_from(project):
    for name, text in EXPLAINED.items():
        project.write(name, text)
    steps, told = explain(project, "services.web.image")
    assert told["value"] == "nginx:1.27"
    assert steps == [("set", "compose.override.yaml:3:12", "nginx:1.27"), ("overridden", "compose.yaml:3:10", "nginx:1"),
                     ("overridden", "base.yaml:3:33", "grand")]
    first, second, third = told["steps"]
    assert first["text"] == "nginx:${TAG:-old}"
    assert first["variables"] == [{"name": "TAG", "value": "1.27", "source": "file", "file": ".env", "line": 1, "column": 1}]
    assert [(way["how"], way["line"]) for way in second["via"]] == [("merge key", 8)]
    assert [(way["how"], way["file"], way["line"]) for way in third["via"]] == [("extends", "base.yaml", 2), ("extends", "compose.yaml", 9)]
    assert explain(project, "services.web.mem_limit")[0] == [("set", "base.yaml:2:37", "1g"), ("overridden", "base.yaml:3:22", "2g")]
    steps, told = explain(project, "services.web.environment.A")
    assert told["value"] == "over" and steps[0] == ("set", "compose.override.yaml:4:19", "A=over")
    assert explain(project, "services.web.environment.B")[0] == [("set", "compose.yaml:12:10", "mine"), ("overridden", "x.env:2:1", "weak")]
    _, told = explain(project, "services.web.environment.FROM_SHELL")
    assert told["value"] == "sh" and told["steps"][0]["variables"][0]["source"] == "environment"
    steps, told = explain(project, "services.web.ports[0]")
    assert told["value"]["published"] == "8080"
    assert [step[:2] for step in steps] == [("set", "compose.override.yaml:5:13"), ("overridden", "compose.yaml:14:13")]
    assert explain(project, "services.inc.image")[1]["steps"][0]["via"] == [{"how": "include", "file": "compose.yaml", "line": 1, "column": 11}]
    assert [step[0] for step in explain(project, "volumes.data")[0]] == ["part", "part"]
    assert explain(project, "networks.default")[0] == []  # nobody wrote it
    text = project("config", "--explain", "services.web.image").out
    assert text.splitlines()[:4] == ['services.web.image: "nginx:1.27"', 'compose.override.yaml:3:12: set here: "nginx:1.27"',
                                     "    3 |     image: nginx:${TAG:-old}", "      |            ^~~~~~~~~~~~~~~~"]


def test_explain_tells_the_aliases(project):
    project.write("compose.yaml", """\
x-ports: &ports ["80:80"]
x-base: &base
  ports: *ports
  logging: {driver: none}
services:
  web:
    <<: *base
    image: a
  api: {image: a, ports: *ports}
""")

    def via(path: str) -> list:
        (step, ) = explain(project, path)[1]["steps"]
        return [(way["how"], way["line"], way["column"]) for way in step["via"]]

    assert via("services.web.logging.driver") == [("merge key", 7, 5)]
    assert via("services.web.ports[0]") == [("alias", 3, 10), ("merge key", 7, 5)]
    assert via("services.api.ports[0]") == [("alias", 9, 26)]


def test_explain_of_a_list_as_it_is_written(project):
    project.write("compose.yaml", "services:\n  web:\n    image: a\n    environment: [A=$B, HOME]\n")
    told = json.loads(project("config", "--no-interpolate", "--explain", "services.web.environment[1]", "--format", "json").out)
    assert told["value"] == "HOME" and told["steps"][0]["column"] == 25


@pytest.mark.parametrize("path, message", [
    ("services.wbe.image", 'services has no "wbe"; did you mean "web"?'),
    ("services.web.imge", 'services.web has no "imge"; did you mean "image"?'),
    ("services.web.cpus", 'services.web has no "cpus": it is not set'),
    ("services.web.labels.x", 'services.web has no "labels": it is not set'),
    ("services.web.ports[7]", "services.web.ports is a list of 2: no element [7]"),
    ("services.web.image.x", "services.web.image is a string: there is no x in it"),
])
def test_explain_of_an_unknown_path(project, path, message):
    for name, text in EXPLAINED.items():
        project.write(name, text)
    failed = project("config", "--explain", path, code=None)
    assert failed.code == 1 and not failed.out and message in failed.err


def test_diagnostics_for_programs(project):
    project.write(".env", "PORT=80x\n")
    project.file("""
        services:
          web:
            image: base
            prots: []
            ports: ["${PORT}:80"]
            environment: [A=$NEVER]
        """)
    failed = project("config", "--quiet", "--format", "json", code=None)
    said = [json.loads(line) for line in failed.err.splitlines()]
    assert failed.code == 1 and not failed.out
    unknown = next(one for one in said if "prots" in one["message"])
    assert unknown["hint"] == 'did you mean "ports"?' and (unknown["file"], unknown["line"]) == ("compose.yaml", 4)
    port = next(one for one in said if "80x" in one["message"])
    assert port["level"] == "error"
    assert port["notes"] == [{"level": "note", "message": 'PORT is "80x"', "file": ".env", "line": 1, "column": 1}]
    assert next(one for one in said if one["level"] == "warning")["message"].startswith('The "NEVER" variable is not set')


def test_what_is_not_honoured_is_warned_about_with_its_place(project):
    project.file("""
        services:
          web:
            image: never-pulled
            pull_policy: never
            cpu_percent: 50
            use_api_socket: true
            cpu_count: 2
            userns_mode: private
            security_opt: ["label=type:web_t", "no-new-privileges"]
            volumes: ["./data:/data:z", {type: tmpfs, target: /t, consistency: cached}]
            logging: {driver: json-file, options: {max-size: 1m, splunk-url: x}}
            networks: {net: {driver_opts: {com.docker.network.endpoint.ifname: x, other: x}}}
            deploy:
              placement: {constraints: ["node.role==manager"]}
              update_config: {parallelism: 2}
            build: {context: ., provenance: mode=max, sbom: "false", platforms: [linux/amd64, linux/arm64]}
        networks:
          net:
            ipam: {driver: mine, options: {a: b}}
            driver_opts: {com.docker.network.driver.mtu: "1400", other: x}
        """)
    err = project("up", "-d", "--no-build", code=None).err
    for line, what in (
            (5, 'service "web": cpu_percent is'), (6, 'service "web": use_api_socket is'), (7, 'service "web": cpu_count is'),
            (8, 'service "web": userns_mode "private" is'),
            (9, 'service "web": security_opt[0] "label=type:web_t" is'), (10, 'service "web": volumes[0].bind.selinux "z" is'),
            (11, 'service "web": logging.options.splunk-url "x" is'),
            (12, 'service "web": networks.net.driver_opts.other "x" is'),
            (14, 'service "web": deploy.placement is'), (15, 'service "web": deploy.update_config is'),
            (16, 'service "web": build.provenance "mode=max" is'),
            (19, 'network "net": ipam.driver "mine" is'),
            (20, 'network "net": driver_opts.other "x" is')):
        assert err.count(f"{what} not supported: ") == 1, (what, err)
        assert f"compose.yaml:{line}:" in next(text for text in err.splitlines() if what in text)
    assert err.count("is not supported") == 13
    assert "not supported" not in project("config", "-q").err
