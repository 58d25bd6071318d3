"""A store in which discovery has looked: ways of seeing, and a cue of every verdict, with odd names among them."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core import queries
from core.store import Store, open_for_writing
from tests.support.store_factory import make_store, thumbnail

REGION = [0.5, 0.5, 1.0, 1.0]


def features(rows: int, generator: np.random.Generator) -> list[dict[str, object]]:
    """Rows of table `features` for the pictures of make_store, in their order, as random sketches."""

    def sketch(size: int) -> bytes:
        return generator.normal(size=size).astype(np.float16).tobytes()

    return [{"pooled": sketch(60), "places": sketch(96), "detail": sketch(96), "cell": [0, 0]} for _ in range(rows)]


def _saying(tables: dict[str, list[Any]], term: str) -> None:
    """Lets the judge say a term of the first half of each class's pictures."""
    paths = {entry["image_id"]: entry["path"] for entry in tables["images"]}
    for answer in {item.prediction for item in tables["predictions"]}:
        own = sorted(
            (item.image_id for item in tables["predictions"] if item.prediction == answer), key=paths.__getitem__
        )
        first = set(own[: len(own) // 2])
        tables["judgements"] = [
            replace(item, description=f"{item.description} A {term} is there.")
            if item.state == "ok" and item.image_id in first
            else item
            for item in tables["judgements"]
        ]


def make_discovered_store(
    folder: Path, *, classes: tuple[str, ...], rows: int = 48, says: str | None = None
) -> tuple[Store, str]:
    """A run whose first class is seen in two ways; its first way is a used cue, others are not used or not tested.

    `says`: what the judge says of the first way, besides what it says of every picture.
    """
    change = (lambda tables: _saying(tables, says)) if says else (lambda tables: None)
    store, run = make_store(folder, rows=rows, classes=classes, change=change)
    con = store.reader()
    seen = queries.pictures(con, run, order="path", descending=False, limit=rows)
    answer = str(seen[0]["prediction"])
    own = [row["image_id"] for row in seen if row["prediction"] == answer]
    first = own[: len(own) // 2]
    names = {image_id: f"{answer} {1 if image_id in first else 2}" for image_id in own}
    strategies = [
        {
            "image_id": row["image_id"],
            "strategy": names.get(row["image_id"]),
            "cue": f"{answer} 1" if row["image_id"] in first else None,
        }
        for row in seen
    ]
    found = con.execute("SELECT attribution_fingerprint FROM runs WHERE run = ?", [run]).fetchall()[0][0]
    sketches = features(len(seen), np.random.default_rng(0))
    with open_for_writing(store.folder) as writer:
        kept = [{**row, "image_id": picture["image_id"]} for row, picture in zip(sketches, seen, strict=True)]
        writer.write("features", kept, fingerprint=found)
        writer.write("strategies", strategies, fingerprint=run)
        writer.save_cues(run, [_used(answer, first), *_others(answer, own)])
        writer.publish()
    return store, run


def _used(answer: str, members: list[str]) -> dict[str, object]:
    content = base64.b64encode(thumbnail(np.random.default_rng(1))).decode()
    example = {"before": content, "after": content, "said_before": "horse", "said_after": answer}
    example |= {"towards_before": 0.12, "towards_after": 0.83}
    return {
        "cue": f"{answer} 1", "kind": "strategy", "class": answer, "verdict": "used", "reason": "",
        "words": f"The bottom right of {len(members):,} pictures called “{answer}” pulls other pictures towards "
        f"“{answer}”: +41 points of probability (placebo: 2).",
        "sql": f"strategy = {queries.literal(f'{answer} 1')}", "n": len(members), "wrong": 0.5, "wrong_rest": 0.1,
        "effect": 0.39, "low": 0.3, "high": 0.48, "placebo": 0.02, "p": 0.002, "tested": 48, "region": REGION,
        "prototypes": members[:8], "examples": json.dumps([example] * 4),
    }  # fmt: skip


def _others(answer: str, own: list[str]) -> list[dict[str, object]]:
    bare: dict[str, object] = {
        "class": answer, "n": len(own), "wrong": None, "wrong_rest": None, "region": None,
        "prototypes": own[:8], "examples": "[]", "p": 1.0,
    }  # fmt: skip
    there = {"cue": "bright pictures", "kind": "property", "verdict": "present but not used", "reason": ""}
    there |= {
        "words": f"Bright pictures: there but not used; “{answer}” moves by less than 3 points.",
        "sql": "brightness >= 0.7",
        "tested": 48,
    }
    there |= {"effect": 0.0, "low": -0.02, "high": 0.02, "placebo": 0.0}
    late = {"cue": "blurred pictures", "kind": "property", "verdict": "cannot tell", "tested": 0}
    late |= {"reason": "there was no time to test it", "sql": "sharpness <= 0.1"}
    late |= {
        "words": f"Cannot tell whether blurred pictures are pulled towards “{answer}”: there was no time to test it."
    }
    late |= {"effect": None, "low": None, "high": None, "placebo": None}
    return [{**bare, **there}, {**bare, **late}]
