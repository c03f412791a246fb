"""Whole runs on data and models of a hub, which is a local stand-in that can also fail."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load, load_file, save

from tests.hub.commands import environment_of, run_commands
from tests.hub.server import STRANGER, TOKEN, Fault, Hub
from tests.hub.things import dataset_files, jsonl, model_files, rows, scenario

pytestmark = pytest.mark.slow

BIG = 24 << 20  # bytes; more than two of the pieces in which a file arrives
EMBEDDING = "model.embed_tokens.weight"  # of no layer that LoRA adapts


def training(file: str, out: str, *more: str, backbone: str = "org/model") -> list[str]:
    """The arguments of a short run."""
    known = ["--method", "lora", "--backbone", backbone, "--out", out, "--quiet"]
    return ["run", file, *known, *more]


def used(folder: Path) -> tuple[dict[str, str], str, str]:
    """The commits of data and backbone that a run wrote down, and what its rows were."""
    facts = json.loads((folder / "environment.json").read_text())
    return facts["data_versions"], facts["backbone_revision"], facts["data"]["only"]


def refusal(result: tuple[int, str, str]) -> str:
    """The message of a command that refused: a few lines without a traceback."""
    code, _, said = result
    assert code == 2, said
    assert said.startswith("error: ")
    assert said.count("\n") <= 3
    assert "Traceback" not in said
    return said


def moved(files: dict[str, bytes]) -> dict[str, bytes]:
    """The weights of a model with another embedding."""
    weights = load(files["model.safetensors"])
    weights[EMBEDDING] = weights[EMBEDDING] + 1
    return {"model.safetensors": save(weights, metadata={"format": "pt"})}


def plain_files() -> dict[str, bytes]:
    """A data set without a card."""
    return {"train.jsonl": jsonl(rows("news", 16)), "test.jsonl": jsonl(rows("news", 8, 100))}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files of tiny models, by how they are saved."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "whole": model_files(folder / "whole"),
        "shards": model_files(folder / "shards", shards=True),
        "pickled": model_files(folder / "pickled", pickled=True),
    }


@pytest.fixture
def hub(files):
    """A stand-in with one data set and one model."""
    stand_in = Hub()
    stand_in.start()
    stand_in.add("datasets", "org/tiny", dataset_files())
    stand_in.add("models", "org/model", files["whole"])
    yield stand_in
    stand_in.released.set()
    stand_in.stop()


def test_a_run_uses_and_records_one_commit(hub, files, tmp_path):
    """Pinned or of the day, with the hub, without a network and offline; exports find it again."""
    data, model = hub.find("datasets", "org/tiny"), hub.find("models", "org/model")
    old = data.refs["main"], model.refs["main"]
    hub.add("datasets", "org/plain", plain_files())
    hub.add("models", "org/shards", files["shards"])
    scenario(tmp_path / "main.yaml")
    scenario(tmp_path / "pinned.yaml", config="reviews", revision=old[0])
    scenario(tmp_path / "plain.yaml", id="org/plain")

    def three(when: str) -> list[list[str]]:
        pin = ("--set", f"backbone.revision={old[1]}")
        return [
            training("main.yaml", f"{when}-main"),
            training("pinned.yaml", f"{when}-pinned", *pin),
            training("plain.yaml", f"{when}-plain", backbone="org/shards"),
        ]

    count = ["count", "lora", "--config", "org/model", "--json"]
    done = run_commands(hub, tmp_path, [count, *three("first")])
    new = data.commit(dataset_files(first=50)), model.commit(moved(files["whole"]))
    merge = ["export", "first-main", "merged", "--to", "merged"]
    done += run_commands(hub, tmp_path, [*three("later"), merge])
    hub.stop()
    done += run_commands(hub, tmp_path, three("cut"))
    done += run_commands(hub, tmp_path, three("offline"), HF_HUB_OFFLINE="1")

    assert [said for code, _, said in done if code] == []
    assert used(tmp_path / "first-main")[:2] == ({"org/tiny": old[0]}, old[1])
    for when in ("later", "cut", "offline"):
        assert used(tmp_path / f"{when}-main")[:2] == ({"org/tiny": new[0]}, new[1])
    for when in ("first", "later", "cut", "offline"):
        assert used(tmp_path / f"{when}-pinned")[:2] == ({f"org/tiny@{old[0]}": old[0]}, old[1])
    for name in ("main", "pinned", "plain"):
        assert used(tmp_path / f"offline-{name}") == used(tmp_path / f"later-{name}")
    assert used(tmp_path / "first-main")[2] != used(tmp_path / "later-main")[2]
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    assert (merged[EMBEDDING] == load(files["whole"]["model.safetensors"])[EMBEDDING]).all()


def test_what_cannot_be_had_is_refused_in_words(hub, files, tmp_path):
    """With what to do, in a few lines, and before anything is written."""
    code = {"config.json": b'{"model_type": "own", "auto_map": {"AutoConfig": "code.Own"}}'}
    trap = b"import pathlib\npathlib.Path('ran').touch()\n"
    hub.add("datasets", "org/terms", dataset_files(), gated=True)
    hub.add("datasets", "org/secret", dataset_files(), private=True)
    hub.add("datasets", "org/script", {"script.py": trap, "README.md": b"# Made\n"})
    hub.add("datasets", "org/empty", {"README.md": b"# Nothing\n"})
    hub.add("models", "org/terms", files["whole"], gated=True)
    hub.add("models", "org/pickled", files["pickled"])
    hub.add("models", "org/code", {**files["whole"], **code, "code.py": trap})
    hub.add("models", "org/adapter", {"adapter_config.json": b"{}"})
    (tmp_path / "split.yaml").write_text(
        (tmp_path / scenario(tmp_path / "ok.yaml")).read_text().replace(": test", ": tset")
    )
    refused = {
        "tinny": ({"id": "org/tinny"}, ["no dataset 'org/tinny'", "did you mean 'org/tiny'"]),
        "word": ({"id": "tiny"}, ["owner/name"]),
        "terms": (
            {"id": "org/terms"},
            [f"{hub.url}/datasets/org/terms", "hf auth login", "HF_TOKEN"],
        ),
        "secret": ({"id": "org/secret"}, ["if it is private", "HF_TOKEN", "--data DIR"]),
        "revision": (
            {"revision": "mian"},
            ["no revision 'mian'", "['main']", "did you mean 'main'"],
        ),
        "config": ({"config": "newz"}, ["['news', 'reviews']", "did you mean 'news'"]),
        "script": ({"id": "org/script"}, ["not run", "refs/convert/parquet"]),
        "empty": ({"id": "org/empty"}, ["--data DIR"]),
    }
    models = {
        "org/modle": ["no model 'org/modle'", "did you mean 'org/model'", "local directory"],
        "org/terms": [f"{hub.url}/org/terms", "hf auth login"],
        "org/pickled": ["safetensors", "['pytorch_model.bin']"],
        "org/code": ["Python code, which was not run", "backbone.trust_remote_code=true"],
        "org/adapter": ["no config.json", f"{hub.url}/org/adapter"],
    }
    pin = ("--set", "backbone.revision=v2")
    commands = [
        training(scenario(tmp_path / f"{name}.yaml", **keys), "out")
        for name, (keys, _) in refused.items()
    ]
    commands += [training("ok.yaml", "out", backbone=name) for name in models]
    commands += [training("ok.yaml", "out", *pin), training("split.yaml", "out")]
    commands += [training("ok.yaml", "out", *pin, backbone="tiny-lm")]
    expected = [parts for _, parts in refused.values()] + list(models.values())
    expected += [["no revision 'v2'", "['main']"], ["no split 'tset'", "did you mean 'test'"]]
    expected += [["backbone.revision", "tiny-lm"]]

    results = run_commands(hub, tmp_path, commands)

    for parts, result in zip(expected, results, strict=True):
        said = refusal(result)
        assert [part for part in parts if part not in said] == [], said
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "ran").exists()
    assert not hub.asked("pytorch_model.bin")


def test_tokens_open_what_is_gated_or_private(hub, files, tmp_path):
    """The right one works; one without access, and a wrong one, are told apart."""
    hub.add("datasets", "org/terms", dataset_files(), gated=True)
    hub.add("datasets", "org/secret", dataset_files(), private=True)
    hub.add("models", "org/terms", files["whole"], gated=True)
    for name in ("terms", "secret"):
        scenario(tmp_path / f"{name}.yaml", id=f"org/{name}")
    stranger, owner, nobody = (f"HF_TOKEN={one}" for one in (STRANGER, TOKEN, "hf_wrong"))
    terms, secret = training("terms.yaml", "out"), training("secret.yaml", "out-2")
    model = training("secret.yaml", "out-3", backbone="org/terms")

    results = run_commands(
        hub,
        tmp_path,
        [
            [stranger, *terms],
            [stranger, *secret],
            [nobody, *terms],
            *([owner, *one] for one in (terms, secret, model)),
        ],
    )

    assert "the account of the token in use has no access" in refusal(results[0])
    assert "the token in use may not read it" in refusal(results[1])
    assert "the token in use is not valid" in refusal(results[2])
    assert [said for code, _, said in results[3:] if code] == []
    assert not any(TOKEN in said or "hf_wrong" in said for _, _, said in results)


def test_broken_downloads_leave_nothing_behind(hub, files, tmp_path):
    """Cut, short or failing for good: said so; passing: survived; afterwards it works."""
    lasting = {"cut": "cut", "short": "short", "down": "status"}
    faults = [Fault("org/passing", "train.parquet", "cut", times=1)]
    faults += [Fault("org/passing", ".gitattributes", "status", times=1)]
    hub.add("datasets", "org/passing", dataset_files())
    for name, kind in lasting.items():
        hub.add("datasets", f"org/{name}", dataset_files())
        hub.add("models", f"org/{name}", files["whole"])
        faults.append(Fault(f"org/{name}", "train.parquet", kind))
        faults.append(Fault(f"org/{name}", "tokenizer.json", kind))
        hub.add("models", f"org/heavy-{name}", files["whole"])
        faults.append(Fault(f"org/heavy-{name}", "model.safetensors", kind))
    for name in (*lasting, "passing", "tiny"):
        scenario(tmp_path / f"{name}.yaml", id=f"org/{name}")
    commands = [training(f"{name}.yaml", name) for name in lasting]
    commands += [training("tiny.yaml", f"m-{name}", backbone=f"org/{name}") for name in lasting]
    heavy = [f"heavy-{name}" for name in lasting]
    commands += [training("tiny.yaml", name, backbone=f"org/{name}") for name in heavy]

    with hub.broken(*faults):
        *refused, survived = run_commands(
            hub, tmp_path, [*commands, training("passing.yaml", "passing")]
        )
    begun = [path for path in (tmp_path / "hf").rglob("*") if path.suffix == ".incomplete"]
    healthy = run_commands(hub, tmp_path, commands)

    for result in refused:
        said = refusal(result)
        assert "broke off" in said or "failed (503)" in said
        assert "Run the same command again" in said
    assert survived[0] == 0, survived[2]
    assert begun == []
    assert [said for code, _, said in healthy if code] == []


def test_a_full_disk_is_said_so(hub, tmp_path):
    """Without a warning beside; what is small enough still fits afterwards."""
    small_disk = (
        "unshare",
        "-rm",
        "sh",
        "-c",
        'mount -t tmpfs -o size=16m t hf && exec "$@"',
        "sh",
    )
    (tmp_path / "hf").mkdir()
    if subprocess.run([*small_disk, "true"], cwd=tmp_path, capture_output=True).returncode:
        pytest.skip("no small disk can be made here")
    lines = [row | {"more": "x" * (BIG // 16)} for row in rows("news", 16)]
    hub.add("datasets", "org/big", {**plain_files(), "train.jsonl": jsonl(lines)})
    commands = [training(scenario(tmp_path / "big.yaml", id="org/big"), "big")]
    commands += [training(scenario(tmp_path / "tiny.yaml"), "tiny")]

    results = run_commands(hub, tmp_path, commands, *small_disk)

    assert "the disk is full" in refusal(results[0])
    assert results[1][0] == 0, results[1][2]


def test_an_interrupted_download_goes_on(hub, tmp_path):
    """A lost connection asks for the rest only; a killed process begins that file again."""
    lines = [row | {"more": "x" * (BIG // 16)} for row in rows("news", 16)]
    hub.add("datasets", "org/big", {**plain_files(), "train.jsonl": jsonl(lines)})
    hub.add("datasets", "org/killed", dataset_files())
    scenario(tmp_path / "big.yaml", id="org/big")
    scenario(tmp_path / "killed.yaml", id="org/killed")
    command = [sys.executable, "-m", "continual.cli", *training("killed.yaml", "killed")]

    with hub.broken(Fault("org/killed", "train.parquet", "stall", times=1)):
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment_of(hub, tmp_path),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        hub.stalled.wait(120)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        hub.released.set()
    with hub.broken(Fault("org/big", "train.jsonl", "cut", times=1)):
        results = run_commands(
            hub, tmp_path, [training("killed.yaml", "killed"), training("big.yaml", "big")]
        )

    assert [said for code, _, said in results if code] == []
    ranges = [
        asked for method, _, asked, _ in hub.asked("org/big/resolve") if method == "GET" and asked
    ]
    assert ranges == [f"bytes={10 << 20}-"]


def test_without_the_hub_only_the_very_commit_will_do(hub, tmp_path):
    """What was prepared of another commit, configuration or data set is not taken instead."""
    data = hub.find("datasets", "org/tiny")
    old = data.refs["main"]
    scenario(tmp_path / "main.yaml")
    new = data.commit(dataset_files(first=50))
    scenario(tmp_path / "old.yaml", revision=old)
    scenario(tmp_path / "reviews.yaml", config="reviews")
    scenario(tmp_path / "never.yaml", id="org/never")
    commands = [training(f"{name}.yaml", "out") for name in ("old", "reviews", "never")]
    commands += [training("main.yaml", "out", backbone="org/never")]

    done = run_commands(hub, tmp_path, [training("main.yaml", "main")])
    offline = run_commands(hub, tmp_path, commands, HF_HUB_OFFLINE="1")
    hub.stop()
    cut_off = run_commands(hub, tmp_path, [training("never.yaml", "out")])

    assert done[0][0] == 0, done[0][2]
    said = [refusal(result) for result in offline]
    assert f"its revision {old!r} is not in the cache" in said[0]
    assert f"'news' at {new[:7]}" in said[1]
    assert all("HF_HUB_OFFLINE" in one for one in said)
    assert "local directory" in said[3]
    assert "cannot be reached" in refusal(cut_off[0])
    assert "--data DIR" in refusal(cut_off[0])
