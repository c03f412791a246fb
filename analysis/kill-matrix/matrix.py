"""Print the matrix of kills, a point of every kind for every configuration."""

import tempfile
from pathlib import Path

from tests.killing import CONFIGURATIONS, kill_at, matrix


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        found = {}
        for k, name in enumerate(CONFIGURATIONS):
            (folder := Path(scratch) / str(k)).mkdir()
            found[name] = kill_at(name, folder)
    points = [point for row in found.values() for point in row]
    whole = sum(point.killed and point.same for point in points)
    print(matrix(found))
    print(f"\n{whole} of {len(points)} points: killed, continued once, the same bytes.")


if __name__ == "__main__":
    main()
