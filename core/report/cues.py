"""What discovery found, for a report: cues in the order of their verdicts, and their pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from core import queries
from core.images.outline import outlined
from core.placing import inside
from core.queries import Connection, CueRow, literal

PROTOTYPES = 4


@dataclass(frozen=True)
class Cues:
    """The causes, and the other cues by section."""

    used: tuple[CueRow, ...]
    others: tuple[tuple[str, tuple[CueRow, ...]], ...]

    @property
    def found(self) -> bool:
        """Whether there is anything to say: discovery has looked, and at something."""
        return bool(self.used or self.others)


def cues_of(con: Connection, run: str) -> Cues:
    """The cues of a run; none where discovery has not looked."""
    found = queries.sections(queries.cues(con, run))
    others = tuple((section, tuple(cues)) for section, cues in found.items() if section != queries.CAUSE)
    return Cues(tuple(found.get(queries.CAUSE, ())), others)


def select(run: str, cue: CueRow) -> str:
    """The SELECT of a cue's pictures."""
    return f"SELECT * FROM samples WHERE run = {literal(run)} AND ({cue.sql})"


def prototypes(con: Connection, run: str, cue: CueRow, *, side: int) -> Sequence[Image.Image]:
    """Some pictures that hold a cue, at most `side` pixels long, its region outlined where it has one."""
    thumbnails = queries.thumbnails(con, cue.prototypes[:PROTOTYPES])
    seen = queries.seen_parts(con, run, cue.prototypes[:PROTOTYPES])
    pictures = []
    for image_id in cue.prototypes[:PROTOTYPES]:
        if image_id in thumbnails:
            picture = Image.open(io.BytesIO(thumbnails[image_id])).convert("RGB")
            picture.thumbnail((side, side))
            pictures.append(
                picture if cue.region is None else outlined(picture, inside(cue.region, seen.get(image_id)))
            )
    return pictures
