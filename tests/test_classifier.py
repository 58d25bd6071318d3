"""Loading classifiers: what each SPEC gives, what fits, and what is refused with which words."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision.models import resnet18

from core.classifier.loading import load_classifier, resolve_device, stack_by_shape
from core.errors import ModelError, RequestError

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
CIFAR = SHARED / "cifar10"
LABELS = ["camel", "cow", "horse"]

MODEL_FILE = """
import torch
from torch import nn
from torchvision.transforms import v2
from neighbour import WIDTH


class Net(nn.Module):
    def __init__(self, classes=3, width=WIDTH):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.pool(self.features(x)).flatten(1))


class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x):
        return self.head(x.mean((2, 3)))


class Odd(Net):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(super().forward(x))


class Fixed(Net):
    def forward(self, x):
        if x.shape[-1] != 28:
            raise ValueError(f"28 expected,\\ngot {x.shape[-1]}")
        return super().forward(x)


transform = v2.Compose([v2.Resize((32, 32)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
plain = lambda: Net()
training = lambda: Net().train()
both = lambda: (Net(), transform)
all_three = lambda: (Net(), transform, ["cow", "horse", "camel"])
two_names = lambda: (Net(), transform, ["cow", "horse"])
twice = lambda: (Net(), transform, ["cow", "cow", "camel"])
flat = lambda: Flat()
fixed = lambda: Fixed()
nothing = lambda: None
strange_transform = lambda: (Net(), "resize")
broken_transform = lambda: (Net(), lambda image: 1 / 0)
no_tensor = lambda: (Net(), lambda image: image)
nan_transform = lambda: (Net(), lambda image: torch.full((3, 32, 32), float("nan")))
tuple_logits = lambda: Odd(lambda logits: (logits,))
image_logits = lambda: Odd(lambda logits: logits[:, :, None])
integer_logits = lambda: Odd(lambda logits: logits.argmax(1, keepdim=True))
numbers = 5


def raising():
    raise LookupError("no weights\\nanywhere")


def leaving():
    raise SystemExit(3)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "user.py").write_text(MODEL_FILE)
    (tmp_path / "neighbour.py").write_text("WIDTH = 6\n")
    sys.modules.pop("neighbour", None)
    return tmp_path


def user(folder: Path, function: str) -> str:
    return f"{folder / 'user.py'}:{function}"


# --- a user's own file ----------------------------------------------------------------------------------------------


def test_a_function_may_return_a_model_a_transform_and_names(folder: Path) -> None:
    found = load_classifier(user(folder, "all_three"), labels=LABELS)
    assert found.class_names == ("cow", "horse", "camel")
    assert found.layer == "features"
    assert found.transform(Image.new("RGB", (50, 40))).shape == (3, 32, 32)
    assert (found.notes, found.device.type, found.model.training) == ((), resolve_device("auto").type, False)
    assert str(folder) not in sys.path


def test_a_bare_model_gets_a_plain_transform_and_sorted_labels_and_both_are_said(folder: Path) -> None:
    found = load_classifier(user(folder, "training"), labels=["horse", "cow", "camel"], device="cpu")
    assert found.class_names == ("camel", "cow", "horse")
    assert found.transform(Image.new("RGB", (50, 40))).shape == (3, 40, 50)
    assert not found.model.training
    assert len(found.notes) == 2


def test_the_same_spec_is_the_same_model_and_fingerprint_and_leaves_the_random_state_alone(folder: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = load_classifier(user(folder, "all_three"), labels=LABELS)
    assert torch.equal(torch.rand(1), expected)
    second = load_classifier(user(folder, "all_three"), labels=LABELS, layer="features.0")
    assert first.fingerprint == second.fingerprint
    assert torch.equal(first.model.head.weight, second.model.head.weight)


def test_other_weights_names_transform_or_code_are_another_fingerprint(folder: Path) -> None:
    seen = {load_classifier(user(folder, name), labels=LABELS).fingerprint for name in ("plain", "both", "all_three")}
    torch.save({k: v + 1 for k, v in made(folder).state_dict().items()}, folder / "w.pt")
    seen.add(load_classifier(user(folder, "all_three"), labels=LABELS, weights=folder / "w.pt").fingerprint)
    (folder / "user.py").write_text(MODEL_FILE + "\n# changed\n")
    seen.add(load_classifier(user(folder, "all_three"), labels=LABELS).fingerprint)
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("all_thre", "no function 'all_thre'; it has: .*all_three"),
        ("numbers", "no function 'numbers'"),
        ("nothing", "returned NoneType, expected an nn.Module"),
        ("strange_transform", "a str as transform"),
        ("raising", "user.py:raising failed: LookupError: no weights"),
        ("leaving", "user.py:leaving failed: SystemExit"),
        ("two_names", "gives 2 class names, but the model has 3 logits"),
        ("twice", "'cow' more than once"),
        ("flat", "no layer of this model keeps the picture's layout"),
    ],
)
def test_a_function_that_cannot_be_used_is_refused(folder: Path, function: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        load_classifier(user(folder, function), labels=LABELS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("broken_transform", "transform failed: ZeroDivisionError"),
        ("no_tensor", "transform returned Image, expected a float tensor"),
        ("nan_transform", "transform returned values that are not finite"),
        ("tuple_logits", "returned tuple"),
        ("image_logits", r"shape \(1, 3, 1\), expected floating-point logits"),
        ("integer_logits", "int64"),
    ],
)
def test_a_model_that_fails_on_the_first_picture_is_a_model_error(folder: Path, function: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_classifier(user(folder, function), labels=LABELS)


def test_a_model_of_one_size_is_tried_at_several_or_at_the_picture_given(folder: Path) -> None:
    assert load_classifier(user(folder, "fixed"), labels=LABELS).layer == "features"
    with pytest.raises(ModelError, match="ValueError: 28 expected"):
        load_classifier(user(folder, "fixed"), labels=LABELS, probe=Image.new("RGB", (30, 30)))


def test_a_file_that_cannot_be_imported_is_refused_in_one_line(folder: Path) -> None:
    (folder / "bad.py").write_text("def f(:\n")
    (folder / "missing.py").write_text("import nowhere_at_all\n")
    with pytest.raises(RequestError, match=r"bad.py cannot be imported: SyntaxError"):
        load_classifier(f"{folder / 'bad.py'}:f")
    with pytest.raises(RequestError, match=r"ModuleNotFoundError: No module named 'nowhere_at_all'"):
        load_classifier(f"{folder / 'missing.py'}:f")
    with pytest.raises(RequestError, match="no such file"):
        load_classifier(f"{folder / 'gone.py'}:f")


@pytest.mark.parametrize("spec", ["", "resnet50", "torchvision:", "caffe:alexnet", "model.py", "model.py:"])
def test_a_spec_of_no_known_form_lists_the_forms(spec: str) -> None:
    with pytest.raises(RequestError, match="torchvision:NAME"):
        load_classifier(spec)


# --- weights --------------------------------------------------------------------------------------------------------


def made(folder: Path, **options: int) -> nn.Module:
    """A network of the user's file with other random weights."""
    space: dict[str, object] = {}
    sys.path.insert(0, str(folder))
    try:
        exec((folder / "user.py").read_text(), space)  # noqa: S102
    finally:
        sys.path.remove(str(folder))
    torch.manual_seed(7)
    model: nn.Module = space["Net"](**options)  # type: ignore[operator]
    return model


@pytest.mark.parametrize("form", ["plain", "state_dict", "module.", "both", "compiled", "safetensors"])
def test_weights_load_from_every_form_people_save(folder: Path, form: str) -> None:
    state = made(folder).state_dict()
    prefixed = {f"module.{name}": value for name, value in state.items()}
    file = folder / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        save_file(state, file)
    else:
        forms = {
            "plain": state,
            "state_dict": {"state_dict": state, "epoch": 3},
            "module.": prefixed,
            "both": {"state_dict": prefixed, "best_prec1": 0.9},
            "compiled": {f"_orig_mod.{name}": value for name, value in prefixed.items()},
        }
        torch.save(forms[form], file)
    found = load_classifier(user(folder, "plain"), labels=LABELS, weights=file, device="cpu")
    assert torch.equal(found.model.state_dict()["head.weight"], state["head.weight"])


def test_class_names_beside_the_weights_are_used(folder: Path) -> None:
    state = made(folder).state_dict()
    torch.save({"model": state, "class_to_idx": {"horse": 0, "camel": 1, "cow": 2}}, folder / "w.pt")
    found = load_classifier(user(folder, "plain"), labels=LABELS, weights=folder / "w.pt")
    assert found.class_names == ("horse", "camel", "cow")


class Bomb:
    """A pickle that runs code when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


def test_a_pickle_that_carries_code_is_refused_and_not_run(folder: Path) -> None:
    (folder / "raw.pt").write_bytes(pickle.dumps({"state_dict": Bomb(folder / "ran")}))
    torch.save({"state_dict": Bomb(folder / "ran")}, folder / "zip.pt")
    torch.save(nn.Sequential(nn.Linear(2, 2)), folder / "whole.pt")
    (folder / "old.pt").write_bytes(pickle.dumps({"state_dict": Bomb(folder / "ran")}, protocol=2))
    for name in ("raw.pt", "old.pt", "zip.pt", "whole.pt"):
        with pytest.raises(RequestError, match="carries code or objects besides tensors and was refused") as caught:
            load_classifier(user(folder, "plain"), labels=LABELS, weights=folder / name)
        assert "weights_only=False" not in str(caught.value), "nobody is told how to run it"
    assert not (folder / "ran").exists()


def test_files_that_are_no_weights_are_refused(folder: Path) -> None:
    torch.save(made(folder).state_dict(), folder / "whole.pt")
    whole = (folder / "whole.pt").read_bytes()
    (folder / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (folder / "text.pt").write_text("version https://git-lfs.github.com/spec/v1")
    (folder / "empty.pt").write_bytes(b"")
    (folder / "bad.safetensors").write_bytes(b"\x00" * 100)
    for name in ("cut.pt", "text.pt", "empty.pt"):
        with pytest.raises(RequestError, match="is damaged"):
            load_classifier(user(folder, "plain"), labels=LABELS, weights=folder / name)
    with pytest.raises(RequestError, match="no safetensors file"):
        load_classifier(user(folder, "plain"), labels=LABELS, weights=folder / "bad.safetensors")
    with pytest.raises(RequestError, match="no such weights file"):
        load_classifier(user(folder, "plain"), labels=LABELS, weights=folder / "gone.pt")
    torch.save({"epoch": 3}, folder / "none.pt")
    with pytest.raises(RequestError, match="holds no tensors"):
        load_classifier(user(folder, "plain"), labels=LABELS, weights=folder / "none.pt")
    torch.save(torch.zeros(3), folder / "tensor.pt")
    with pytest.raises(RequestError, match="holds a Tensor"):
        load_classifier(user(folder, "plain"), labels=LABELS, weights=folder / "tensor.pt")


def test_weights_that_do_not_fit_say_how(folder: Path) -> None:
    torch.save(made(folder, width=9).state_dict(), folder / "wide.pt")
    torch.save(resnet18().state_dict(), folder / "other.pt")
    with pytest.raises(RequestError, match=r"another shape \(first: features.0.weight is \(9, 3, 3, 3\), not \(6,"):
        load_classifier(user(folder, "plain"), labels=LABELS, weights=folder / "wide.pt")
    with pytest.raises(RequestError, match=r"6 of its 6 tensors are missing .*; \d+ are unknown to it"):
        load_classifier(user(folder, "plain"), labels=LABELS, weights=folder / "other.pt")


def test_fine_tuned_torchvision_weights_bring_their_number_of_classes(tmp_path: Path) -> None:
    tuned = resnet18(num_classes=3)
    torch.save(tuned.state_dict(), tmp_path / "w.pt")
    found = load_classifier("torchvision:resnet18", labels=LABELS, weights=tmp_path / "w.pt", device="cpu")
    assert found.class_names == ("camel", "cow", "horse")
    assert torch.equal(found.model.state_dict()["fc.bias"], tuned.state_dict()["fc.bias"])
    assert not any("untrained" in note for note in found.notes)


# --- class names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.txt", "horse\ncow\ncamel\n\n"),
        ("c.json", '["horse", "cow", "camel"]'),
        ("c.json", '{"0": "horse", "2": "camel", "1": "cow"}'),
        ("c.json", '{"horse": 0, "camel": 2, "cow": 1}'),
    ],
)
def test_a_file_of_names_goes_before_the_functions_own(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    found = load_classifier(user(folder, "all_three"), labels=LABELS, classes=folder / name)
    assert found.class_names == ("horse", "cow", "camel")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("c.txt", "cow\nhorse\n", "c.txt gives 2 class names, but the model has 3 logits"),
        ("c.txt", "cow\nhorse\ncamel\ngnu\n", "gives 4 class names"),
        ("c.json", '{"0": "cow", "5": "horse"}', "no JSON list of names"),
        ("c.json", "[1, 2, 3]", "no JSON list of names"),
        ("c.json", "{", "no JSON list of names"),
    ],
)
def test_a_file_of_names_that_does_not_fit_is_refused(folder: Path, name: str, content: str, words: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(RequestError, match=words):
        load_classifier(user(folder, "plain"), labels=LABELS, classes=folder / name)
    with pytest.raises(RequestError, match="cannot be read"):
        load_classifier(user(folder, "plain"), labels=LABELS, classes=folder / "gone.txt")


def test_an_unknown_class_is_refused_with_the_nearest_names(folder: Path) -> None:
    with pytest.raises(RequestError, match=r"does not know .*'cows', 'gnu'; nearest to 'cows': cow"):
        load_classifier(user(folder, "all_three"), labels=["cows", "gnu", "horse"])


def test_labels_that_are_fewer_than_logits_need_names(folder: Path) -> None:
    with pytest.raises(RequestError, match="3 logits and names no classes, and the pictures have 2 labels.*--classes"):
        load_classifier(user(folder, "plain"), labels=["cow", "horse"])
    found = load_classifier(user(folder, "all_three"), labels=["cow", "horse"])
    assert found.class_names == ("cow", "horse", "camel")
    assert load_classifier(user(folder, "plain")).class_names == ("class_0", "class_1", "class_2")


def test_names_with_quotes_brackets_and_emoji_stay_as_they_are(folder: Path) -> None:
    names = ["o'\"x; DROP TABLE", "<script>alert(1)</script>", "\N{COW FACE}"]
    (folder / "c.json").write_text(json.dumps(names))
    found = load_classifier(user(folder, "plain"), labels=sorted(names), classes=folder / "c.json")
    assert found.class_names == tuple(names)


def test_folder_names_that_mean_a_class_in_other_spelling_are_that_class() -> None:
    labels = ["Dutch_oven", "TENCH", "cardigan", "sulphur-butterfly"]
    found = load_classifier("torchvision:squeezenet1_1", labels=labels)
    assert len(found.class_names) == 1000
    assert set(labels) <= set(found.class_names)
    assert found.class_names.index("TENCH") == 0
    assert found.class_names.index("cardigan") == 474, "the garment; Cardigan is the dog"
    assert "untrained" in found.notes[0]


def test_devices_that_are_not_there_are_refused() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(RequestError, match="must be auto, cpu"):
        resolve_device("tpu")
    with pytest.raises(RequestError, match="use --device cpu"):
        resolve_device("cuda:99")


def test_pictures_of_mixed_sizes_are_stacked_by_size() -> None:
    tensors = [torch.full((3, size, 4), float(size)) for size in (5, 6, 5)]
    groups = stack_by_shape(tensors)
    assert [(places, tuple(batch.shape)) for places, batch in groups] == [([0, 2], (2, 3, 5, 4)), ([1], (1, 3, 6, 4))]
    assert stack_by_shape([]) == []
