"""The house rules, read from the source with ast."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "continual"
LAYERS = [
    {"errors", "_torchvision", ""},
    {"linalg"},
    {"metrics"},
    {"scenario", "records"},
    {"adapters", "backbone"},
    {"training", "trackers"},
    {"interop", "reports"},
    {"runs"},
    {"studies"},
    {"listing"},
    {"cli"},
]
DOORS = {
    "scipy": {"linalg", "metrics"},
    "datasets": {"scenario"},
    "sklearn": {"scenario"},
    "transformers": {"backbone"},
    "tokenizers": {"backbone"},
    "accelerate": {"training", "trackers"},
    "pyarrow": {"records", "scenario"},
    "pandas": {"reports", "records"},
    "matplotlib": {"reports"},
    "jinja2": {"reports"},
    "peft": {"interop"},
    "avalanche": {"interop"},
    "bitsandbytes": {"adapters"},
    "ray": {"studies"},
    "typer": {"cli"},
}
GIANTS = ("torch", "transformers", "datasets", "avalanche", "pandas", "matplotlib")
FORBIDDEN = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def room_of(path: Path) -> str:
    name = path.relative_to(PACKAGE).parts[0]
    return "" if name == "__init__.py" else name.removesuffix(".py")


def level(room: str) -> int:
    return next(k for k, rooms in enumerate(LAYERS) if room in rooms)


def imports(path: Path) -> list[tuple[str, int]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.module, node.lineno))
    return found


MODULES = sorted(PACKAGE.rglob("*.py"))


def test_there_is_something_to_check():
    """The tests below see the whole package."""
    assert {room_of(path) for path in MODULES} == set().union(*LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    """A room imports itself and the layers below it, never a sibling or what is above."""
    room = room_of(path)
    if room == "":
        return  # the package's own names are loaded lazily; see the subprocess test
    for name, line in imports(path):
        if not name.startswith("continual."):
            continue
        other = name.split(".")[1]
        assert other == room or level(other) < level(room), f"{path}:{line} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_giant_has_one_door(path):
    """Large third-party packages are imported in their own room only; pickle nowhere."""
    for name, line in imports(path):
        root = name.split(".")[0]
        assert root not in FORBIDDEN, f"{path}:{line} imports {name}"
        assert root not in DOORS or room_of(path) in DOORS[root], f"{path}:{line} imports {name}"


@pytest.mark.parametrize(
    "statement",
    [
        "import continual",
        "import continual.scenario",
        "import continual.cli as c; c.app(['--help'], standalone_mode=False)",
    ],
)
def test_a_light_door(statement):
    """Importing the package, its scenario values or printing the help loads no giant."""
    code = f"{statement}\nimport sys\nprint('loaded:', [g for g in {GIANTS!r} if g in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert found.stdout.strip().endswith("loaded: []")


def test_public_names_are_few_and_real():
    """At most 25 public names, each of which can be loaded, in any order of imports."""
    import continual
    import continual.runs.assemble

    assert len(continual.__all__) <= 25
    for name in continual.__all__:
        assert continual.__getattr__(name) is not None
    assert callable(continual.run)
