"""The deck as PowerPoint, HTML, PDF and Markdown; and whether an altered number in such a file is found."""

from __future__ import annotations

import io
import json
import random
import socket
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import pytest
from pptx import Presentation

from core.deck import files
from core.deck.files import Form
from core.deck.first import first_deck
from core.deck.keep import Ask, asking, edited
from core.deck.pictures import pictures
from core.deck.read_back import read_back
from core.deck.slide import Slide
from core.deck.tables import of_confusion, of_matrix
from core.deck.verify import verified
from core.errors import RequestError
from core.findings import summarise
from core.store import Store
from tests.support.altered_decks import altered
from tests.support.command_line import whylook
from tests.support.discovered import make_discovered_store
from tests.support.store_factory import make_store

FORMS: tuple[Form, ...] = ("pptx", "html", "pdf", "md")
ODD = ('<img src=x onerror="alert(1)">', "cow's; DROP", "horse")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return make_discovered_store(tmp_path_factory.mktemp("found") / "store", classes=ODD)


@pytest.fixture(scope="module")
def ask(found: tuple[Store, str]) -> Ask:
    """Queries behind the gate, each run once."""
    return cache(asking(found[0]))


@pytest.fixture(scope="module")
def slides(found: tuple[Store, str], ask: Ask) -> list[Slide]:
    store, run = found
    con = store.reader()
    deck = first_deck(ask, con, run, summarise(con, run))
    return [*deck, of_matrix(ask, run), of_confusion(ask, run, ODD)]


@pytest.fixture(scope="module")
def written(found: tuple[Store, str], slides: list[Slide]) -> dict[Form, bytes]:
    shown = pictures(found[0].reader(), slides)
    return {form: files.write(slides, shown, form) for form in FORMS}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_carries_its_slides_and_every_number_in_it_counts_again(
    found: tuple[Store, str], ask: Ask, slides: list[Slide], written: dict[Form, bytes], form: Form, tmp_path: Path
) -> None:
    assert read_back(written[form], form).slides == tuple(slides)
    path = tmp_path / f"deck.{form}"
    path.write_bytes(written[form])
    checked = verified(found[0], path, ask=ask)
    assert checked.differences == ()
    assert all("stand in words" in note for note in checked.notes)
    assert checked.numbers > 50 and checked.queries > 5


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_hundred_of_a_hundred_altered_digits_are_found_without_a_network(
    found: tuple[Store, str], ask: Ask, written: dict[Form, bytes], form: Form, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def no_network(*_: object) -> None:
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    path, missed = tmp_path / f"deck.{form}", []
    for words, content in altered(written[form], form, count=100, seed=7):
        path.write_bytes(content)
        if not verified(found[0], path, ask=ask).differences:
            missed.append(words)
    assert missed == []


def test_a_number_altered_in_what_the_file_carries_is_found(
    found: tuple[Store, str], ask: Ask, slides: list[Slide], tmp_path: Path
) -> None:
    place = next(place for place, slide in enumerate(slides) if slide.figures and slide.bars)
    old = slides[place]
    assert old.bars is not None
    for wrong in (
        replace(old, figures=(replace(old.figures[0], shown="12%"), *old.figures[1:])),
        replace(old, figures=(replace(old.figures[0], sql=old.figures[0].sql + " LIMIT 0"), *old.figures[1:])),
        replace(old, bars=replace(old.bars, values=(0.123, *old.bars.values[1:]))),
    ):
        path = tmp_path / "deck.html"
        path.write_bytes(files.write([wrong], {}, "html"))
        assert verified(found[0], path, ask=ask).differences


def test_a_number_altered_only_where_nobody_sees_it_is_found(
    found: tuple[Store, str], slides: list[Slide], tmp_path: Path
) -> None:
    slide = next(slide for slide in slides if slide.figures)
    head, mark, carried = files.write([slide], {}, "html").decode().partition('"whylook-slides": ')
    shown = rf"\"shown\": \"{slide.figures[0].shown}\""
    assert mark and shown in carried
    path = tmp_path / "deck.html"
    path.write_text(head + mark + carried.replace(shown, r"\"shown\": \"12.5%\"", 1))
    assert any("as carried" in words for words in verified(found[0], path).differences)


def test_a_run_that_is_gone_is_named_and_the_others_are_checked(
    found: tuple[Store, str], slides: list[Slide], tmp_path: Path
) -> None:
    path = tmp_path / "deck.md"
    path.write_bytes(files.write([slides[1], replace(slides[1], key="k", run="r-gone")], {}, "md"))
    checked = verified(found[0], path)
    assert len(checked.differences) == 1 and "run r-gone is not in this store" in checked.differences[0]


def test_words_may_be_edited_and_slides_taken_out_but_new_numbers_are_named(
    found: tuple[Store, str], ask: Ask, written: dict[Form, bytes], tmp_path: Path
) -> None:
    deck = Presentation(io.BytesIO(written["pptx"]))
    titles = [shape for shape in deck.slides[1].shapes if shape.name == "title"]
    titles[0].text_frame.text = "What we ran last week"
    deck.slides._sldIdLst.remove(deck.slides._sldIdLst[3])
    path = tmp_path / "deck.pptx"
    deck.save(str(path))
    checked = verified(found[0], path, ask=ask)
    assert checked.differences == ()
    assert any("no longer in the file" in line for line in checked.notes)
    titles[0].text_frame.text = "What we ran in 2031"
    deck.save(str(path))
    assert verified(found[0], path, ask=ask).differences[0].endswith("the file says 2031, which no query gives")


def test_numbers_in_a_presenters_words_are_named(found: tuple[Store, str], ask: Ask, slides, tmp_path: Path) -> None:
    own = edited(slides[0], title="We lost 4711 cows", body="in 1999\n\n and since  ", notes="ask for 12 more")
    assert own.body == ("in 1999", "and since")
    path = tmp_path / "deck.md"
    path.write_bytes(files.write([own], {}, "md"))
    [note] = verified(found[0], path, ask=ask).notes
    assert "4711, 1999, 12 stand in words" in note


def test_powerpoint_stays_editable(written: dict[Form, bytes]) -> None:
    deck = Presentation(io.BytesIO(written["pptx"]))
    shapes = [shape for slide in deck.slides for shape in slide.shapes]
    assert any(shape.has_chart for shape in shapes) and any(shape.has_table for shape in shapes)
    assert all(slide.has_notes_slide for slide in deck.slides)
    sizes = [
        paragraph.font.size.pt for shape in shapes if shape.name == "title" for paragraph in shape.text_frame.paragraphs
    ]
    assert min(sizes) >= 20  # 40 pixels at 1920


def test_html_asks_for_nothing_outside_and_shows_what_came_from_outside_as_text(written: dict[Form, bytes]) -> None:
    page = written["html"].decode()
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    assert "<img src=x" not in page


def test_the_commands_write_list_and_check(
    found: tuple[Store, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = found[0].folder, found[1]
    empty, _ = make_store(tmp_path / "empty", rows=12, classes=("cow", "horse"))
    assert "--first" in whylook(capsys, "deck", "--store", empty.folder).err
    assert "must end in .pptx" in whylook(capsys, "deck", "--out", "deck.doc", "--store", folder).err
    out = tmp_path / "deck.html"
    made = whylook(capsys, "deck", "--first", "--run", run, "--out", out, "--store", folder)
    assert made.code == 0 and out.is_file()
    assert whylook(capsys, "deck", "--store", folder).out.count(run) >= 5
    right = whylook(capsys, "verify", out, "--store", folder)
    assert right.code == 0 and right.out.startswith("every number is as the store gives it")
    _, content = next(altered(out.read_bytes(), "html", count=1, seed=1))
    out.write_bytes(content)
    wrong = whylook(capsys, "verify", out, "--store", folder)
    assert wrong.code == 1 and "the file says" in wrong.out
    assert "name the store it is from" in whylook(capsys, "verify", out, "--store", empty.folder).err


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_none_of_ours_or_damaged_is_refused_in_a_sentence(
    found: tuple[Store, str], written: dict[Form, bytes], form: Form, tmp_path: Path
) -> None:
    path = tmp_path / f"deck.{form}"
    for content in (b"", b"\x00\xff" * 99, written[form][: len(written[form]) // 2]):
        path.write_bytes(content)
        with pytest.raises(RequestError, match="write it again"):
            verified(found[0], path)
    with pytest.raises(RequestError, match="cannot read"):
        verified(found[0], tmp_path / f"gone.{form}")


@pytest.mark.parametrize("form", FORMS)
def test_a_flipped_bit_is_found_or_refused_in_a_sentence(
    found: tuple[Store, str], written: dict[Form, bytes], form: Form, tmp_path: Path
) -> None:
    draw, said = random.Random(8), 0
    path = tmp_path / f"deck.{form}"
    for _ in range(10):
        content = bytearray(written[form])
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        try:
            said += bool(verified(found[0], path).differences)
        except RequestError:
            said += 1
    assert said  # most bits are of pictures, in which no number stands


def test_a_file_that_unpacks_to_more_than_memory_is_refused(
    written: dict[Form, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.deck.read_back.MOST_UNPACKED", 10_000)
    with pytest.raises(RequestError, match="at most 10,000 are read"):
        read_back(written["pptx"], "pptx")


@pytest.mark.parametrize("form", FORMS)
def test_odd_titles_gone_pictures_and_other_scripts_are_written(slides: list[Slide], form: Form) -> None:
    title = "A title of many words \x07</script> `` -->\ud800 " * 11
    odd = [replace(slide, title=title[:500]) for slide in slides]
    odd.append(Slide("rtl", "text", "", "שלום עולם: 81%", body=("مرحبا بالعالم",)))
    content = files.write(odd, {}, form)
    assert len(read_back(content, form).slides) == len(odd)
    assert json.dumps(asdict(odd[-1]))
    refused = files.cannot_show(odd, form)
    assert (refused is not None) == (form == "pdf")
