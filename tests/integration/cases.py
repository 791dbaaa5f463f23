"""The cases of tests/unit/test_cases.c for tests that need them as files: see there for the form."""

import re
from dataclasses import dataclass, field
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


@dataclass
class Case:
    name: str
    options: list[str]
    files: dict[str, str] = field(default_factory=dict)
    accepted: bool = False

    def write(self, folder: Path) -> Path:
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder


def cases() -> list[Case]:
    found = []
    for path in sorted((TOP / "tests/unit/cases").glob("*.case")):
        for block in re.split(r"(?m)^#### ", path.read_text())[1:]:
            head, _, rest = block.partition("\n")
            case = Case(f"{path.stem}:{head.split()[0]}", head.split()[1:])
            for part in re.split(r"(?m)^=== ", rest)[1:]:
                name, _, text = part.partition("\n")
                if name.startswith("(model)"):
                    case.accepted = True
                elif not name.startswith("("):
                    case.files[name] = text
            found.append(case)
    return found
