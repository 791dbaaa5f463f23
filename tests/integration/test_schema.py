"""The schema for editors, and that what config prints is a file again."""

import json
import os
import re
import subprocess

import jsonschema
import pytest
import yaml
from cases import TOP, cases

SCHEMA = json.loads((TOP / "schema/compose.schema.json").read_text())
ACCEPTED = [case for case in cases() if case.accepted]
EXAMPLES = sorted((TOP / "examples").glob("*/compose.yaml"))


# What config prints of these says something else when it is read again, in the reference as well.
UNSTABLE = {
    ("build:build1", "yaml"), ("build:build1", "json"),  # context: "" is left out, and then the folder is implied
    ("interpolation:interp7", "yaml"), ("interpolation:interp7", "json"),  # "$$" of a key stays, keys are not substituted
    ("merge:mf1", "yaml"), ("merge:mf1", "json"),  # two ports that differ in their mode only
    ("profiles:prof4", "yaml"), ("profiles:prof4", "json"),  # an optional dependency on a service that is left out
    ("services:misc47", "yaml"), ("services:misc47", "json"),  # a label without a name
    ("extends:ext12", "json"), ("services:misc1", "json"),  # JSON has Path and Weight of weight_device
    ("services:misc29", "json"),  # JSON has no models
    ("reference:ref-groups", "yaml"), ("reference:ref-groups", "json"),  # 1 and "1" are then listed twice
    ("reference:ref-empty-device", "yaml"), ("reference:ref-empty-device", "json"),  # no target to mount at
    ("reference:ref-next-line", "json"),
}
LAX = {"reference:ref-include-nothing"}  # accepted against the schema of the reference, with a warning


@pytest.fixture(scope="module")
def validator():
    return jsonschema.validators.validator_for(SCHEMA)(SCHEMA)


@pytest.fixture
def config(make_project):
    """config(folder, *args): what it prints; None where the file is refused."""
    project = make_project(with_base=False)
    env = project.environment({"HOME": "/home/user", "PATH": os.environ["PATH"], "SHELL_PORT": "zz"})

    def run(folder, *args, text: str | None = None) -> str | None:
        done = subprocess.run([*project.argv(*args)], cwd=folder, env=env, input=text or "", capture_output=True, text=True,
                              timeout=60, check=False)
        assert done.returncode in (0, 1), done.stderr
        return done.stdout if done.returncode == 0 else None

    return run


class Core(yaml.SafeLoader):
    """YAML 1.2: "yes" and 12:30 are strings."""


Core.yaml_implicit_resolvers = {}
for tag, pattern, first in (
        ("bool", "^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"), ("null", "^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
        ("int", "^[-+]?(?:[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
        ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+0123456789."), ("merge", "^<<$", "<")):
    Core.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


def documents(text: str) -> list | None:
    """None where only compose can read it: its tags, variables."""
    if "$" in text or "!reset" in text or "!override" in text:
        return None
    try:
        return [document for document in yaml.load_all(text, Core) if document is not None]
    except (yaml.YAMLError, ValueError):
        return None


def faults(validator, document) -> list[str]:
    """A repetition in a list is a fault to an editor, and compose drops it."""

    def repeats(error) -> bool:
        return error.validator == "uniqueItems" or any(map(repeats, error.context))

    return [f"{'.'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in validator.iter_errors(document) if not repeats(e)]


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_key_is_described():
    bare = []

    def look(node, path):
        if isinstance(node, dict):
            for key, value in node.get("properties", {}).items():
                if not value.get("description", "").strip():
                    bare.append(f"{path}.{key}")
            for key, value in node.items():
                look(value, f"{path}.{key}")
        elif isinstance(node, list):
            for value in node:
                look(value, path)

    look(SCHEMA, "")
    assert not bare


def test_what_is_accepted_fits_the_schema(config, validator, tmp_path):
    """Files as they are written, where any YAML reader understands them, and what config makes of them."""
    read = 0
    for case in ACCEPTED:
        folder = case.write(tmp_path / case.name.replace(":", "-"))
        for text in case.files.values() if len(case.files) == 1 and case.name not in LAX else ():
            for document in documents(text) or ():
                read += 1
                assert not faults(validator, document), case.name
        printed = config(folder, *case.options, "config")
        if "--no-interpolate" not in case.options and (case.name, "yaml") not in UNSTABLE:
            assert not faults(validator, yaml.load(printed, Core)), case.name
    assert read > 50
    for path in EXAMPLES:
        assert not faults(validator, yaml.load(config(path.parent, "config"), Core)), path


@pytest.mark.parametrize("text, at", [
    ("services: {web: {image: x, prots: []}}", ["services", "web"]),
    ("services: {web: {image: 1}}", ["services", "web", "image"]),
    ("services: {web: {image: x, depends_on: {db: {condition: healthy}}}}", ["services", "web", "depends_on"]),
    ("networks: {n: {ipam: {pool: x}}}", ["networks", "n"]),
    ("volumes: {v: [x]}", ["volumes", "v"]),
    ("nothing: {}", []),
])
def test_the_schema_refuses_what_compose_refuses(config, validator, tmp_path, text, at):
    (tmp_path / "compose.yaml").write_text(text)
    assert config(tmp_path, "config", "-q") is None
    errors = list(validator.iter_errors(yaml.load(text, Core)))
    assert errors and list(errors[0].absolute_path)[:len(at)] == at


def test_what_config_prints_is_a_file_again(config, tmp_path):
    """For all cases and examples: config of its own output prints the same."""
    files = [(case.name, case.write(tmp_path / case.name.replace(":", "-")), case.options) for case in ACCEPTED]
    files += [(str(path), path.parent, []) for path in EXAMPLES]
    unstable = set()
    for name, folder, options in files:
        if "--no-interpolate" in options:
            continue
        profiles = [word for at, word in enumerate(options) if "--profile" in (word, options[max(0, at - 1)])]
        for form in ("yaml", "json"):
            printed = config(folder, *options, "config", "--format", form)
            assert printed, name
            again = config(folder, *profiles, "-f", "-", "config", "--format", form, text=printed)
            if again != printed:
                unstable.add((name, form))
    assert unstable == UNSTABLE
