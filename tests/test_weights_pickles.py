"""Pickles that PyTorch allows and that would take any memory or time; checkpoints that must load as before."""

from __future__ import annotations

import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.classifier.weights import read_weights
from core.errors import RequestError

DOUBLED = b")q\0" + b"h\0h\0\x86q\0" * 40
ENCODED = b"c_codecs\nencode\nX\1\0\0\0a"
LISTS = b"]q\0\x85" + b"](h\0h\0eq\0\x85" * 40
HOSTILE = {
    "a large bytearray": (b"c__builtin__\nbytearray\nJ\0\x94\x35\x77\x85R.", "calls builtins.bytearray"),
    "a bytearray through another call": (
        b"ctorch._tensor\n_rebuild_from_type_v2\n(c__builtin__\nbytearray\nctorch\nTensor\nJ\0\x94\x35\x77\x85}tR.",
        "calls torch._tensor._rebuild_from_type_v2",
    ),
    "a large tensor without a storage": (b"ctorch\nFloatTensor\nJ\0\x94\x35\x77\x85R.", "calls torch.FloatTensor"),
    "a large storage": (b"ctorch.storage\nUntypedStorage\nJ\0\x94\x35\x77\x85R.", "calls torch.storage.UntypedStorage"),
    "a doubled tuple as a key": (DOUBLED + b"}h\0K\1s.", "puts the same values into one another"),
    "a doubled tuple in a set": (DOUBLED + b"c__builtin__\nset\n](h\0e\x85R.", "puts the same values into one another"),
    "a doubled list where an error would show it": (LISTS + b"h\0)R.", "puts the same values into one another"),
    "a set of a text": (b"c__builtin__\nset\nX\1\0\0\0a\x85R.", "calls builtins.set"),
    "a short tuple as a key": (b"})K\1s.", "keys its values by something else"),
    "numbers that collide as keys": (b"}\x8a\x09" + b"\xff" * 8 + b"\0K\1s.", "keys its values by something else"),
    "a text encoded in another way": (ENCODED + b"X\3\0\0\0hex\x86R.", "calls _codecs.encode"),
    "a list in itself": (b"]q\0h\0a.", "puts a value into itself"),
    "deep nesting": (b"(" * 500 + b"t" * 500 + b".", "more than 100 deep"),
    "a storage larger than the file": (
        b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpuJ\0\x94\x35\x77tQ.",
        "declares a tensor of 2000000000 values",
    ),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "bare"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_small_pickle_that_takes_memory_or_time_is_refused_before_it_is_unpickled(
    tmp_path: Path, kind: str, zipped: bool
) -> None:
    (instructions, words), file = HOSTILE[kind], tmp_path / "w.pt"
    if zipped:
        torch.save({"w": torch.zeros(1)}, tmp_path / "good.pt")
        with zipfile.ZipFile(tmp_path / "good.pt") as good, zipfile.ZipFile(file, "w") as bad:
            for name in good.namelist():
                bad.writestr(name, b"\x80\2" + instructions if name.endswith("data.pkl") else good.read(name))
    else:
        file.write_bytes(b"\x80\2" + instructions)
    began = time.monotonic()
    with pytest.raises(RequestError) as caught:
        read_weights(file)
    assert words in str(caught.value) and "w.pt" in str(caught.value)
    assert time.monotonic() - began < 2


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(5))


def model_state() -> dict[str, Tensor]:
    made = model()
    made(torch.rand(2, 3, 8, 8))
    return made.state_dict()


def checkpoint() -> dict[str, object]:
    """What training scripts save beside the weights."""
    made = model()
    made(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer = torch.optim.AdamW(made.parameters(), lr=0.1)
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5, 5])
    return {
        "state_dict": made.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": schedule.state_dict(),
        "classes": ["a", "b"],
        "history": [0.5] * 5000,
        "generator": torch.get_rng_state(),
        "rest": (
            2**127,
            {1, 2},
            b"ab\xff",
            bytearray(b"xy"),
            1j,
            torch.Size([2, 3]),
            torch.device("cpu"),
            torch.half,
            None,
        ),
    }


def tagged() -> dict[str, Tensor]:
    value = nn.Parameter(torch.ones(2))
    value.tag = "x"  # type: ignore[attr-defined]
    return {"a": value, "b": torch.ones(3)}


@pytest.mark.parametrize("new", [True, False], ids=["zip", "before 2020"])
@pytest.mark.parametrize("make", [checkpoint, tagged, model_state], ids=["whole", "parameters", "plain"])
def test_what_training_scripts_save_loads_as_before(
    tmp_path: Path, make: Callable[[], dict[str, Any]], new: bool
) -> None:
    content = make()
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=new)
    state, names = read_weights(tmp_path / "w.pt")
    wanted = content.get("state_dict", content)
    assert state.keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in state.items())
    assert names == content.get("classes")


def test_a_zip_with_one_list_of_contents_for_each_of_two_readers_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2**22)}, tmp_path / "good.pt")
    with (
        zipfile.ZipFile(tmp_path / "good.pt") as good,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in good.namelist():
            packed.writestr(name, good.read(name))
    content = (tmp_path / "packed.pt").read_bytes()
    size, place = struct.unpack_from("<II", content, len(content) - 10)
    listed, end = bytearray(content[place : place + size]), content[place + size :]
    at = 0
    while at < size:  # the second list says that nothing is packed
        struct.pack_into("<I", listed, at + 24, struct.unpack_from("<I", listed, at + 20)[0])
        at += 46 + sum(struct.unpack_from("<HHH", listed, at + 28))
    (tmp_path / "two.pt").write_bytes(content[: place + size] + bytes(listed) + end)
    with zipfile.ZipFile(tmp_path / "two.pt") as two:
        assert sum(entry.file_size for entry in two.infolist()) < 2**20
    with pytest.raises(RequestError, match=r"two\.pt is damaged, or was put together by hand"):
        read_weights(tmp_path / "two.pt")


@pytest.mark.parametrize("place", [-6, -10])
def test_a_zip_whose_record_of_its_list_is_wrong_is_refused(tmp_path: Path, place: int) -> None:
    torch.save({"w": torch.zeros(2)}, tmp_path / "w.pt")
    content = bytearray((tmp_path / "w.pt").read_bytes())
    content[place] ^= 1
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(RequestError, match="does not lie where it says"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file whose first byte cannot be read")
def test_a_weights_file_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "w.pt").symlink_to("/proc/self/mem")
    with pytest.raises(RequestError, match=r"w\.pt is no PyTorch file, or is damaged"):
        read_weights(tmp_path / "w.pt")
