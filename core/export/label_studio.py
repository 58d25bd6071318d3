"""Tasks for Label Studio: what the classifier said as pre-annotations, with the labelling page and how to open them.

Pictures are named by Label Studio's path of local files, relative to the folder in which the export lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

import pyarrow as pa

from core.export.folders import JsonValue, json_list, placed, plain
from core.export.pictures import Picture, Pictures

DATA = "data"
_SHOWN_AS_BUTTONS = 20
_KEPT = ("image_id", "path", "label", "prediction", "confidence", "correct", "cell", "score", "description", "tags")
_ABOUT = """This folder was written by whylook for Label Studio.

1. Let Label Studio read files: LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and
   LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=the folder in which this one ({name}) lies.
2. Make a project; put config.xml into Settings, Labeling Interface, Code.
3. Settings, Cloud Storage, Add Source Storage, Local Files: the path of {name}/{data}. Save it; do not sync.
4. Import tasks.json. What the classifier said is there as predictions of model version {run}.
"""


def write_label_studio(
    out: Path, tables: Iterable[pa.Table], pictures: Pictures, classes: Sequence[str], *, name: str, run: str
) -> None:
    """Writes pictures, `tasks.json`, `config.xml` and `README.txt` into a folder that will be called `name`."""
    (out / "config.xml").write_text(config(classes), encoding="utf-8")
    (out / "README.txt").write_text(_ABOUT.format(name=name, data=DATA, run=run), encoding="utf-8")
    with json_list(out / "tasks.json", before="[", after="]") as tasks:
        for picture in placed(out / DATA, tables, pictures):
            tasks.add(_task(picture, name, run))


def config(classes: Sequence[str]) -> str:
    """The labelling page: picture, what was said of it, and one class to choose."""
    layout = "inline" if len(classes) <= _SHOWN_AS_BUTTONS else "select"
    choices = "\n".join(f'    <Choice value="{_attribute(name)}"/>' for name in dict.fromkeys(map(text, classes)))
    return f"""<View>
  <Image name="image" value="$image" zoom="true"/>
  <Header value="Labelled $label, called $prediction"/>
  <Text name="said" value="$description"/>
  <Choices name="label" toName="image" choice="single" layout="{layout}">
{choices}
  </Choices>
</View>
"""


def _attribute(value: str) -> str:
    return escape(value, {'"': "&quot;"})


def text(value: str) -> str:
    """A text that an attribute of XML can hold, in one line."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in value).split()) or "–"


def _task(picture: Picture, name: str, run: str) -> JsonValue:
    row = picture.row
    data = {key: plain(row.get(key)) for key in _KEPT}
    data |= {key: text(str(row.get(key) or "–")) for key in ("label", "prediction", "description")}
    data |= {"image": f"/data/local-files/?d={quote(f'{name}/{DATA}/{picture.name}')}", "picture": picture.kind}
    if row.get("prediction") is None:
        return {"data": data}
    chosen = {
        "id": picture.row["image_id"][:10],
        "from_name": "label",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": [text(row["prediction"])]},
    }
    prediction = {"model_version": run, "score": plain(row.get("confidence")) or 0.0, "result": [chosen]}
    return {"data": data, "predictions": [prediction]}
