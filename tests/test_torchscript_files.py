"""TorchScript archives that reach beyond tensors: refused before anything of them runs, however they spell it."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import quantization

from core.classifier import archive, torchscript
from core.classifier.loading import load_classifier
from core.errors import RequestError

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning", "ignore::UserWarning")
HOOK = "    self.w = (state)[0]\n"


class Remembers(nn.Module):
    """A module that is put together by code of its own while it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.ones(1)

    @torch.jit.export
    def __getstate__(self):
        return (self.w, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        self.w = state[0]
        self.training = state[1]

    def forward(self, x):
        return x.mean((2, 3)) * self.w


def written(x: Tensor, path: str) -> Tensor:
    for turn in range(2):
        if turn == 1:
            torch.save(x, path)
    return x


class Writes(nn.Module):
    """Writes a file at every batch, in a function that is called from a branch in a loop."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)

    def forward(self, x):
        return written(x, self.path).mean((2, 3))


class Maps(nn.Module):
    """The same by a tensor that is a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)

    def forward(self, x):
        return x.mean((2, 3)) + torch.from_file(self.path, True, 4).fill_(1.0).sum()


def edited(target: Path, edit: Callable[[str], str]) -> Path:
    """An archive of `Remembers` with other code."""
    torch.jit.script(Remembers()).save(str(target.with_suffix(".whole")))
    with zipfile.ZipFile(target.with_suffix(".whole")) as whole, zipfile.ZipFile(target, "w") as changed:
        for name in whole.namelist():
            data = whole.read(name)
            changed.writestr(name, edit(data.decode()).encode() if name.endswith(".py") else data)
    return target


def refused(file: Path) -> str:
    with pytest.raises(RequestError) as caught:
        load_classifier(f"torchscript:{file}")
    assert "\n" not in str(caught.value) and file.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "code",
    [
        'torch.save(self.w, "CANARY")',
        'ops.aten.save(self.w, "CANARY")',
        'torch.autograd.save(self.w, "CANARY")',
        'torch . save(self.w, "CANARY")',
        'torch.\\\n      save(self.w, "CANARY")',
        '(torch).save(self.w, "CANARY")',
        't = torch\n    t.save(self.w, "CANARY")',
        'getattr(torch, "save")(self.w, "CANARY")',
        'getattr(torch, "sa" "ve")(self.w, "CANARY")',
        'getattr(torch, "sa\\166e")(self.w, "CANARY")',
        "getattr(torch, 'save')(self.w, 'CANARY')",
        'getattr(torch, """save""")(self.w, "CANARY")',
        'self.w = torch.from_file("CANARY", True, 16)',
        'ops.image.write_file("CANARY", self.w)',
        'o = ops\n    o.image.write_file("CANARY", self.w)',
        'getattr(ops, "image").write_file("CANARY", self.w)',
    ],
)
def test_what_an_archive_would_write_while_it_loads_is_refused_in_every_spelling(tmp_path: Path, code: str) -> None:
    canary = tmp_path / "canary"
    line = f"    {code.replace('CANARY', str(canary))}\n"
    said = refused(edited(tmp_path / "model.pt", lambda source: source.replace(HOOK, HOOK + line)))
    assert "was refused and not run" in said and not canary.exists()


def test_pytorch_itself_would_have_run_that(tmp_path: Path) -> None:
    """Without this the test above could pass on archives that do nothing."""
    canary = tmp_path / "canary"
    line = f'    torch.save(self.w, "{canary}")\n'
    torch.jit.load(str(edited(tmp_path / "model.pt", lambda source: source.replace(HOOK, HOOK + line))))
    assert canary.exists()


@pytest.mark.parametrize("model", [Writes, Maps])
@pytest.mark.parametrize("fence", ["text", "graphs"])
def test_what_a_model_would_write_with_every_batch_is_refused_by_either_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Callable[[Path], nn.Module], fence: str
) -> None:
    canary = tmp_path / "canary"
    torch.jit.script(model(canary)).save(str(tmp_path / "model.pt"))
    if fence == "graphs":
        monkeypatch.setattr(archive, "_calls_in_text", lambda source: None)
    assert re.search(r"calls (aten::)?(save|from_file)", refused(tmp_path / "model.pt"))
    assert not canary.exists()


def test_every_operator_of_pytorch_that_takes_the_name_of_a_file_is_known() -> None:
    named = {
        schema.name.partition("::")[2]
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.partition("::")[0] in archive.SPACES
        and any(
            re.search("file|path|folder|url", given.name) and "str" in str(given.type) for given in schema.arguments
        )
    }
    assert named and named <= archive.BEYOND


def test_networks_that_load_by_code_of_their_own_and_do_no_more_still_load(tmp_path: Path) -> None:
    """Quantised layers unpack their weights in __setstate__; texts and names that look alike are no operators."""
    quantised = quantization.resnet18(weights=None, quantize=True).eval()
    torch.jit.script(quantised).save(str(tmp_path / "model.pt"))
    assert archive.load_archive(tmp_path / "model.pt")(torch.rand(1, 3, 64, 64)).shape == (1, 1000)
    harmless = '    note = "to save, call ops.image"\n    saved = self.w\n    # torch.save(1)\n'
    file = edited(tmp_path / "other.pt", lambda source: source.replace(HOOK, HOOK + harmless))
    assert archive.load_archive(file)(torch.rand(1, 3, 8, 8)).shape == (1, 3)


def test_a_form_of_archive_in_which_any_file_may_hold_code_is_refused(tmp_path: Path) -> None:
    file = edited(tmp_path / "model.pt", lambda source: source)
    with zipfile.ZipFile(file, "a") as changed:
        changed.writestr(f"{file.with_suffix('.whole').stem}/model.json", "{}")
    assert "before 2019" in refused(file)


def test_a_format_of_an_archive_fills_in_values_and_evaluates_nothing() -> None:
    assert torchscript._format("{} x {}", 3, "{}") == "3 x {}"
    assert torchscript._format("{0.__class__} {:>9999999}", 1) == "{0.__class__} {:>9999999}"
    assert torchscript._format("one {} more {}", 1) == "one 1 more {}"
