"""Runs that are really killed, at moments drawn from a seed, and continued."""

import pytest

from tests.killing import CONFIGURATIONS, PLACES, kill_at


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_killed_and_continued_once_it_leaves_the_same_bytes(tmp_path, name):
    """In a step, in evaluation, in a checkpoint's file, at a boundary: as if never killed."""
    points = kill_at(name, tmp_path)

    assert [point.place for point in points] == list(PLACES)
    assert all(point.killed for point in points), points  # by SIGKILL, not by another way out
    assert [point for point in points if not point.same] == []
