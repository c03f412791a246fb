"""Raw downloads into the folders that `--data` reads: pictures for one claim, texts for another.

    python analysis/claims/prepare.py --raw RAW --out DATA

RAW has the published files, each in a folder of its own:

    mnist-t10k/       t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz
    omniglot-small1/  images_background_small1.zip
    mrpc/             msr_paraphrase_train.txt, msr_paraphrase_test.txt
    sst2/             stsa.binary.train, stsa.binary.dev, stsa.binary.test
    sentiment140/     negative.txt, positive.txt: a tweet a line; what stands in both is left out
    wikitext2/        test.txt

DATA/vision and DATA/glue get one folder per data set. Of the pictures of a class, the fifth with
the smallest hashes of their pixels is the test split, of the tweets a tenth by the hashes of their
texts, so that nothing is in both splits; Omniglot's 105 × 105 drawings are reduced to
28 × 28.
"""

import argparse
import gzip
import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Row = Mapping[str, object]
SIDE = 28  # pixels
TESTED = 5  # every fifth picture
TWEETS_TESTED = 0.1


def mnist(raw: Path) -> list[Row]:
    """Return the 10,000 digits of MNIST's test file."""
    images = np.frombuffer(gzip.decompress((raw / "t10k-images-idx3-ubyte.gz").read_bytes()), "u1")
    labels = np.frombuffer(gzip.decompress((raw / "t10k-labels-idx1-ubyte.gz").read_bytes()), "u1")
    pixels = images[16:].reshape(-1, SIDE, SIDE)
    return [_row(p, str(k)) for p, k in zip(pixels, labels[8:], strict=True)]


def omniglot(raw: Path) -> list[Row]:
    """Return the drawings of five alphabets; a class is a character, named with its alphabet."""
    rows = []
    with zipfile.ZipFile(raw / "images_background_small1.zip") as archive:
        for name in sorted(n for n in archive.namelist() if n.endswith(".png")):
            _, alphabet, character, _ = name.split("/")
            drawing = Image.open(io.BytesIO(archive.read(name))).convert("L")
            small = drawing.resize((SIDE, SIDE), Image.Resampling.BOX)
            rows.append(_row(255 - np.asarray(small), f"{alphabet}/{character}"))
    return rows


def _row(pixels: np.ndarray, label: str) -> Row:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG")
    return {"image": {"bytes": stream.getvalue(), "path": None}, "label": label}


def _hash(row: Row) -> bytes:
    return hashlib.blake2b(row["image"]["bytes"], digest_size=8).digest()  # type: ignore[index]


def write_pictures(rows: Iterable[Row], folder: Path) -> None:
    """Write train.parquet and test.parquet."""
    classes: dict[str, list[Row]] = {}
    for row in sorted(rows, key=_hash):
        classes.setdefault(str(row["label"]), []).append(row)
    ends = {label: len(own) // TESTED for label, own in classes.items()}
    parts = {
        "test": [row for label, own in classes.items() for row in own[: ends[label]]],
        "train": [row for label, own in classes.items() for row in own[ends[label] :]],
    }
    folder.mkdir(parents=True, exist_ok=True)
    feature = {"image": {"_type": "Image"}, "label": {"dtype": "string", "_type": "Value"}}
    about = {b"huggingface": json.dumps({"info": {"features": feature}}).encode()}
    for part, own in parts.items():
        pq.write_table(
            pa.Table.from_pylist(own).replace_schema_metadata(about), folder / f"{part}.parquet"
        )


def mrpc(path: Path) -> list[Row]:
    """Return the pairs of a file; columns are those of the scenario's text, written out."""
    rows = []
    for line in path.read_text("utf-8-sig").splitlines()[1:]:
        quality, _, _, first, second = line.split("\t")
        text = f"sentence 1: {first}\nsentence 2: {second}"
        rows.append({"text": text, "label": "equivalent" if quality == "1" else "not_equivalent"})
    return rows


def sst2(path: Path) -> list[Row]:
    """Return the sentences of a file of ``label text`` lines."""
    lines = [line.split(" ", 1) for line in path.read_text().splitlines()]
    return [{"text": text, "label": ("negative", "positive")[int(k)]} for k, text in lines]


def sentiment140(raw: Path, *, tested: bool) -> list[Row]:
    """Return a tenth of the tweets, told by their texts, or the others; each of them once."""
    own = {
        label: dict.fromkeys(map(str.strip, (raw / f"{label}.txt").read_text().splitlines()))
        for label in ("negative", "positive")
    }
    unclear = own["negative"].keys() & own["positive"].keys()
    return [
        {"text": text, "label": label}
        for label, texts in own.items()
        for text in texts
        if text and text not in unclear and (_share(text) < TWEETS_TESTED) == tested
    ]


def _share(text: str) -> float:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def write_texts(rows: Iterable[Row], path: Path) -> None:
    """Write one JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def main() -> None:
    """Write every folder."""
    parser = argparse.ArgumentParser(description="Raw downloads into folders for --data.")
    parser.add_argument("--raw", type=Path, required=True, help="folder of the raw files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    given = parser.parse_args()
    raw, vision, glue = given.raw, given.out / "vision", given.out / "glue"
    write_pictures(mnist(raw / "mnist-t10k"), vision / "mnist")
    write_pictures(omniglot(raw / "omniglot-small1"), vision / "omniglot")
    write_texts(mrpc(raw / "mrpc" / "msr_paraphrase_train.txt"), glue / "mrpc" / "train.jsonl")
    write_texts(mrpc(raw / "mrpc" / "msr_paraphrase_test.txt"), glue / "mrpc" / "test.jsonl")
    for part, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
        write_texts(sst2(raw / "sst2" / f"stsa.binary.{name}"), glue / "sst-2" / f"{part}.jsonl")
    for part, tested in (("train", False), ("test", True)):
        tweets = sentiment140(raw / "sentiment140", tested=tested)
        write_texts(tweets, glue / "sentiment140" / f"{part}.jsonl")
    lines = (raw / "wikitext2" / "test.txt").read_text().splitlines()
    kept = [line.strip() for line in lines if len(line.split()) > 8]
    (glue / "wikitext-2.txt").write_text("\n".join(kept) + "\n")
    print(f"written: {vision}, {glue}")


if __name__ == "__main__":
    main()
