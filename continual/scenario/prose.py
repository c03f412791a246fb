"""From a docstring to prose that does not give its origin away.

Kept are the summary, the notes and what is said about parameters and results. Left out are
headings, examples, lists of references, signatures, code and mathematics; names of Python objects,
recognised by a dot, an underscore or inner capitals; and every word of a given list.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

LONGEST = 130
FEWEST_WORDS = 12  # of a text worth classifying
SHINGLE = 4  # words
COPY = 0.5  # share of the shorter text's shingles that makes two texts copies

LEFT_OUT = re.compile(
    r"(see also|references?|examples?|attributes|methods|usage|shape|inputs?|outputs?)\b.{0,20}",
    re.I,
)
UNDERLINE = re.compile(r"\s*[-=~]{3,}\s*")
GOOGLE_SECTION = re.compile(r"\s*([A-Z][A-Za-z ]+)::?\s*")
SIGNATURE = re.compile(r"\s*[\w.]+\(.*\)\s*(->.*)?")
DESCRIBING = re.compile(
    r"((other )?parameters|returns|yields|raises|warns|receives)\b.{0,20}", re.I
)
PARAMETER = re.compile(r"\s*[*\w, `]+ : .*|\s*[*\w, `]+\s*(\([^)]*\))?\s*:\s")
WORD = re.compile(r"\w+")
DIRECTIVE = re.compile(r"\s*\.\. ")
NOISE = (
    (re.compile(r"\{[^{}]*\}|%\(\w+\)s|\$[^$]*\$"), " "),  # templates and mathematics
    (re.compile(r":[a-z:]+:`[^`]*`|`[^`]*`_|\[\w+\]_|https?://\S+"), " "),  # references
    (re.compile(r"`+([^`]*)`+"), r" \1 "),
    (re.compile(r"\b\w*(?:[._]\w+)+\b|\b\w+_|\b_\w+"), " "),  # a.b, a_b, 1.2
    (re.compile(r"\b[A-Za-z]*[a-z0-9][A-Z]\w*\b|\b[A-Z]{2,}[a-z]\w*\b"), " "),  # CamelCase
    (re.compile(r"\\\w+|[*^=<>|\\\[\]#@~]+"), " "),
)


def prose(text: str, secrets: Iterable[str]) -> str:
    """Return the prose of a docstring without the secret words, or "" where too little is left.

    Args:
        text: a dedented docstring, in numpy's or Google's style.
        secrets: words to leave out, in any case of letters.
    """
    kept = " ".join(_lines(text.splitlines()))
    for pattern, replacement in NOISE:
        kept = pattern.sub(replacement, kept)
    hidden = {word.lower() for word in secrets}
    kept = WORD.sub(lambda word: " " if word.group().lower() in hidden else word.group(), kept)
    kept = re.sub(r"\(\W*\)", " ", kept)
    kept = re.sub(r"\s+([.,;:)])", r"\1", " ".join(kept.split()))
    kept = re.sub(r"([.,;:])[.,;:]+", r"\1", kept).strip(" ,;:-")
    return _cut(kept) if len(re.findall(r"[A-Za-z]{2,}", kept)) >= FEWEST_WORDS else ""


def _lines(lines: Sequence[str]) -> list[str]:
    kept: list[str] = []
    skipping = code = described = False
    for i, line in enumerate(lines):
        below = lines[i + 1] if i + 1 < len(lines) else ""
        if UNDERLINE.fullmatch(below) and line.strip():
            title, code = line.strip(), False
            skipping, described = bool(LEFT_OUT.fullmatch(title)), bool(DESCRIBING.fullmatch(title))
        elif heading := GOOGLE_SECTION.fullmatch(line):
            skipping, code = bool(LEFT_OUT.fullmatch(heading.group(1))), False
            described = False
        elif line.lstrip().startswith((">>>", "...")):
            code = True
        elif not line.strip():
            code = False
        elif skipping or code or UNDERLINE.fullmatch(line) or _is_markup(line):
            continue
        elif not described or line[0] == " ":  # numpy's parameters stand at the margin
            kept.append(PARAMETER.sub("", line, count=1) if PARAMETER.match(line) else line)
    return kept


def _is_markup(line: str) -> bool:
    return bool(DIRECTIVE.match(line) or SIGNATURE.fullmatch(line))


def _cut(text: str) -> str:
    """Return at most LONGEST characters, ending with a sentence or else with a word."""
    if len(text) <= LONGEST:
        return text
    head = text[:LONGEST]
    sentence = head.rfind(". ")
    return head[: sentence + 1] if sentence > LONGEST // 2 else head[: head.rfind(" ")]


def normalised(text: str) -> tuple[str, ...]:
    """Return the words of a text, in lower case, without numbers and punctuation."""
    return tuple(re.findall(r"[a-z]+", text.lower()))


def without_copies(texts: Sequence[str]) -> list[int]:
    """Return the positions of the texts that are no copy of an earlier one that was kept.

    Two texts are copies where they share at least half of the 4-word sequences of the shorter.
    """
    kept: list[int] = []
    sizes: dict[int, int] = {}
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, text in enumerate(texts):
        words = normalised(text)
        shingles = {words[j : j + SHINGLE] for j in range(max(1, len(words) - SHINGLE + 1))}
        shared: dict[int, int] = defaultdict(int)
        for shingle in shingles:
            for other in holders[shingle]:
                shared[other] += 1
        if any(n >= COPY * min(sizes[other], len(shingles)) for other, n in shared.items()):
            continue
        kept.append(i)
        sizes[i] = len(shingles)
        for shingle in shingles:
            holders[shingle].append(i)
    return kept
