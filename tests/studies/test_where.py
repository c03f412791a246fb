"""Where the runs of a study are made."""

import socket

import pytest

from continual import InputError
from continual.runs.progress import SilentReporter
from continual.studies import Grid, Share, Where, run_study
from continual.studies.cluster import _check_address
from tests.sequences import small_scenario


def test_options_stand_above_files():
    """And what neither says is left as it is."""
    where = Where.of({"executor": "ray", "cpus": 2, "memory": "2GiB"}, {"cpus": 4, "memory": None})

    assert where == Where(executor="ray", share=Share(cpus=4, memory=2 * 2**30))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"executor": "slurm"}, "unknown executor 'slurm'; known: .'local', 'ray'."),
        ({"executor": "ray", "jobs": 2}, "Ray decides for itself"),
        ({"jobs": 0}, "at least 1; got 0"),
        ({"address": "auto"}, "--address: for --executor ray only"),
        ({"gpus": 1.0}, "--cpus, --memory and --gpus: for --executor ray only"),
        ({"executor": "ray", "cpus": 0}, "whole cores of every run, at least 1; got 0"),
        ({"executor": "ray", "memory": "lots"}, "as in 4GiB or 500MB; got 'lots'"),
        ({"executor": "ray", "memory": "4"}, "got 4 bytes, too few"),
        ({"executor": "ray", "gpus": 1.5}, "a fraction of one GPU, as 0.5, or whole GPUs; got 1.5"),
    ],
)
def test_what_does_not_belong_together_is_refused(said, message):
    """With what the option means."""
    with pytest.raises(InputError, match=message):
        Where.of(said)


@pytest.mark.parametrize(
    ("share", "settings", "message"),
    [
        (Share(), {"backbone": {"device": "cuda"}}, "give --gpus 1, or a fraction"),
        (Share(gpus=0.5), {}, "--gpus 0.5 would keep GPUs that nothing uses"),
    ],
)
def test_gpus_are_asked_for_where_runs_use_them(tmp_path, share, settings, message):
    """Ray hides them from the others."""
    with pytest.raises(InputError, match=message):
        run_study(
            small_scenario(1),
            Grid.parse("lora", "0"),
            out=tmp_path / "study",
            settings=settings,
            executor="ray",
            share=share,
            reporter=SilentReporter(),
        )
    assert not (tmp_path / "study").exists()


def test_an_address_without_a_cluster_is_said_at_once():
    """What it should look like, or that nothing answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for address, message in (
        ("head", "HOST:PORT, as in 10.0.0.1:6379, or auto; got 'head'"),
        ("ray://head:10001", "on a node of the cluster; got 'ray://head:10001'"),
        (f"127.0.0.1:{port}", "nothing answers there .* `ray start --head` starts one"),
    ):
        with pytest.raises(InputError, match=message):
            _check_address(address)
