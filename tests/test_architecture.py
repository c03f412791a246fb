"""The house rules, read from the source with ast."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "continual"
LAYERS = [
    {"errors", "_torchvision", ""},
    {"hub", "processes"},
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
    {"__main__"},
]
DOORS = {
    "scipy": {"linalg", "metrics"},
    "datasets": {"scenario"},
    "sklearn": {"scenario"},
    "transformers": {"backbone", "interop"},
    "huggingface_hub": {"hub"},
    "tokenizers": {"backbone"},
    "accelerate": {"training", "trackers"},
    "pyarrow": {"records", "scenario"},
    "filelock": {"records"},
    "pandas": {"reports", "records"},
    "matplotlib": {"reports"},
    "jinja2": {"reports"},
    "peft": {"interop"},
    "avalanche": {"interop"},
    "bitsandbytes": {"adapters"},
    "ray": {"studies"},
    "optuna": {"studies"},
    "typer": {"cli"},
}
GIANTS = ("torch", "transformers", "datasets", "avalanche", "pandas", "matplotlib")
UNSAFE = ("read_pickle", "to_pickle", "unsafe_load", "unsafe_load_all", "full_load")
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


def unsafe_calls(text: str) -> list[str]:
    """Return the calls that read or write pickles, or YAML that makes objects."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        loose = [k for k in node.keywords if k.arg == "allow_pickle"]
        if (
            name in ("torch.load", "torch.save", "yaml.load", "yaml.load_all")
            or name.rpartition(".")[2] in UNSAFE
            or any(not (isinstance(k.value, ast.Constant) and not k.value.value) for k in loose)
        ):
            found.append(f"{name} in line {node.lineno}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_reads_or_writes_a_pickle(path):
    """By a call either; imports are looked at above."""
    assert unsafe_calls(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.save(state, path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=wanted)",
        "frame.to_pickle(path)",
        "pd.read_pickle(path)",
        "yaml.load(text, Loader=Loader)",
        "yaml.unsafe_load(text)",
    ],
)
def test_what_would_is_seen(line):
    """The test above can fail."""
    assert len(unsafe_calls(line)) == 1
    assert unsafe_calls("np.load(path, allow_pickle=False)\nyaml.safe_load(text)") == []


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
