"""What we say when we are given something that cannot be used."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """What the user gave cannot be used; nothing was written.

    The message says what was given, what is allowed and what to do. The command line exits with 2.
    """


def nearest(given: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest allowed word, or an empty string.

    >>> nearest("curlra", ["lora", "curlora"])
    "; did you mean 'curlora'?"
    """
    close = get_close_matches(str(given), [str(word) for word in allowed], n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def unknown(what: str, given: object, allowed: Iterable[str]) -> InputError:
    """Build the error for a word that is not one of a known few.

    >>> unknown("method", "curlra", ["curlora", "lora"])
    InputError("unknown method 'curlra'; known: ['curlora', 'lora']; did you mean 'curlora'?")
    """
    words = sorted(str(word) for word in allowed)
    return InputError(
        f"unknown {what} {given!r}; known: {words}{nearest(str(given), words) or '.'}"
    )
