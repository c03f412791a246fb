"""Every way in which the hub can fail, told in words that say what to do."""

import errno
import sys

import pytest
from huggingface_hub import constants, errors

from continual.errors import InputError
from continual.hub import Repo, explain, locate, telling

REPO = Repo(
    id="org/tiny",
    kind="dataset",
    what="hub dataset 'org/tiny'",
    otherwise="give the rows as files",
    revision="v1",
    offline=True,
)


def answer(kind: type[errors.HfHubHTTPError], status: int) -> errors.HfHubHTTPError:
    """The error that the library makes of an answer with a status."""
    library = sys.modules[errors.Response.__module__.split(".")[0]]
    request = library.Request("GET", "http://127.0.0.1:9/x")
    return kind("what it says", response=errors.Response(status, request=request))


def caused(error: Exception, by: Exception) -> Exception:
    """An error with a cause."""
    error.__cause__ = by
    return error


CASES = {
    "gated": (answer(errors.GatedRepoError, 401), "accept the terms at .*/datasets/org/tiny"),
    "missing": (answer(errors.RepositoryNotFoundError, 404), "no dataset 'org/tiny' at http"),
    "disabled": (answer(errors.DisabledRepoError, 403), "disabled on the hub; give the rows"),
    "revision": (answer(errors.RevisionNotFoundError, 404), "no revision 'v1'.*40 digits"),
    "file": (answer(errors.RemoteEntryNotFoundError, 404), "has no file http://127.0.0.1:9/x"),
    "name": (errors.HFValidationError("bad"), "'org/tiny' is no hub id"),
    "offline": (
        caused(errors.LocalEntryNotFoundError("x"), errors.OfflineModeIsEnabled("y")),
        "HF_HUB_OFFLINE is set and its revision 'v1' is not in the cache .*: unset it",
    ),
    "no network": (ConnectionError("Network is unreachable"), r"reached \(Network is unreach"),
    "limit": (answer(errors.HfHubHTTPError, 429), "429.*wait some minutes"),
    "bad token": (answer(errors.HfHubHTTPError, 401), "token in use is not valid.*hf auth login"),
    "forbidden": (answer(errors.HfHubHTTPError, 403), r"refused \(what it says\). Give the rows"),
    "server": (
        caused(errors.LocalEntryNotFoundError("x"), answer(errors.HfHubHTTPError, 503)),
        r"failed \(503\).*Run the same command again later",
    ),
    "no hub": (errors.FileMetadataError("no X-Repo-Commit"), "Check HF_ENDPOINT"),
    "broke off": (errors.HTTPError("peer closed connection"), "broke off .peer closed.*again"),
    "size": (OSError("Consistency check failed: 3 bytes"), "broke off .*nothing half-written"),
    "full": (caused(RuntimeError("x"), OSError(errno.ENOSPC, "full")), "disk is full .*HF_HOME"),
    "estimated": (OSError("Not enough disk space. Needed: 1 GB"), "disk is full"),
    "read-only": (OSError(errno.EROFS, "read-only"), "cache cannot be written .*HF_HOME"),
}


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    """Nobody is logged in."""
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)


@pytest.mark.parametrize("name", CASES)
def test_every_failure_says_what_to_do(name):
    """However deep its cause lies; the first error stays the cause of ours."""
    error, pattern = CASES[name]

    with (
        pytest.raises(
            InputError, match=rf"cannot load hub dataset 'org/tiny': .*{pattern}"
        ) as told,
        telling(REPO),
    ):
        raise error

    assert told.value.__cause__ is error
    assert str(told.value).count("\n") == 0


def test_with_a_token_the_advice_is_another(monkeypatch):
    """Who is logged in need not log in."""
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_secret")

    for name in ("gated", "missing"):
        said = str(explain(REPO, CASES[name][0]))
        assert "token in use" in said
        assert "hf_secret" not in said


def test_other_errors_are_none_of_the_hubs():
    """They pass as they are."""
    assert explain(REPO, ValueError("a bug")) is None
    with pytest.raises(ValueError, match="a bug"), telling(REPO):
        raise ValueError("a bug")


def test_offline_the_cache_knows_branches_and_commits(tmp_path, monkeypatch):
    """A branch means what it meant when the hub was last asked."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789" * 4
    folder = tmp_path / "datasets--org--tiny"
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "v1").write_text(commit)

    assert locate(REPO, ".gitattributes") == commit
    with pytest.raises(InputError, match="its revision 'v2' is not in the cache"):
        locate(Repo(**{**vars(REPO), "revision": "v2"}), ".gitattributes")
