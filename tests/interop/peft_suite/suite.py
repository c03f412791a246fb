"""Run PEFT's own test suite on our methods, and count.

    python -m tests.interop.peft_suite.suite [METHOD ...] [--work DIR]

PEFT's tests are not in its wheel, but in the source distribution of the same version, which pip
fetches; nothing of it is kept here. They import diffusers for tests that are not run here, so a
module of that name with the one class they name stands in where it is not installed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

from continual.interop.peft_types import register, type_names

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@dataclass(frozen=True)
class Counted:
    """What became of the tests of one method."""

    method: str
    passed: int
    skipped: int
    failed: tuple[str, ...]


def fetch(work: Path) -> Path:
    """Unpack the tests of the installed PEFT below ``work``, and return the folder to run in.

    Raises:
        OSError: the source distribution cannot be had; says what pip said last.
    """
    name = f"peft-{version('peft')}"
    archive = work / f"{name}.tar.gz"
    if not archive.is_file():
        wanted = ["--no-deps", "--no-binary", ":all:", name.replace("-", "==", 1)]
        command = [sys.executable, "-m", "pip", "download", "-q", "--retries", "1"]
        command += ["-d", str(work), *wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not archive.is_file():
            said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
            raise OSError(f"pip cannot download the source of {name}: {said[-1]}")
    folder = work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(work, filter="data")
    shutil.copytree(work / name / "tests", folder / "tests")
    (folder / "tests" / "__init__.py").touch()
    (folder / "pytest.ini").write_text("[pytest]\n")
    shutil.copy(HERE / "selected.py", folder / "tests" / "conftest.py")
    shutil.copy(HERE / "cases.py", folder / "tests" / "test_continual.py")
    return folder


def run(folder: Path, methods: Sequence[str]) -> list[Counted]:
    """Run PEFT's tests of some methods in one fresh process.

    Raises:
        RuntimeError: they could not even be collected; says what pytest said.
    """
    report = folder / "report.xml"
    settings = {"CONTINUAL_METHODS": ",".join(methods), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]
    with (folder / "log.txt").open("w") as log:
        done = subprocess.run(
            [*command, "tests/test_continual.py", f"--junitxml={report}"],
            cwd=folder,
            env=os.environ | settings | {"PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode not in (0, 1):
        said = (folder / "log.txt").read_text()[-2000:]
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{said}")
    return [counted(method, report) for method in methods]


def counted(method: str, report: Path) -> Counted:
    """Return what a report of pytest's says of a method's tests: they name its configuration."""
    mine = re.compile(rf"[\[-]{register(method).__name__}[\]-]")
    passed, skipped, failed = 0, 0, []
    for case in ElementTree.parse(report).iter("testcase"):
        if not mine.search(case.attrib["name"]):
            continue
        outcome = {child.tag for child in case}
        if outcome & {"failure", "error"}:
            failed.append(case.attrib["name"])
        elif "skipped" in outcome:
            skipped += 1
        else:
            passed += 1
    return Counted(method, passed, skipped, tuple(failed))


def main() -> int:
    """Print a row of a table for every method; the exit status says whether nothing failed."""
    parser = argparse.ArgumentParser(description="Run PEFT's own tests on our methods.")
    parser.add_argument("methods", nargs="*", help="all that have a type, if none is named")
    parser.add_argument("--work", type=Path, default=None, help="a folder to keep (a new one)")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    folder = fetch(work)
    found = run(folder, options.methods or list(type_names()))
    for one in found:
        print(f"| `{one.method}` | {one.passed} | {one.skipped} | {len(one.failed)} |")
        for name in one.failed:
            print(f"    {name}")
    print(f"# {folder / 'log.txt'} says more")
    return int(any(one.failed for one in found))


if __name__ == "__main__":
    sys.exit(main())
