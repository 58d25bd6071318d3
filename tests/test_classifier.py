"""Loading classifiers: what each SPEC gives, what fits, and what is refused with which words."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from core.classifier.loading import load_classifier, resolve_device, stack_by_shape
from core.errors import ModelError, RequestError
from tests.support.users_model import MODEL_FILE, made, user, write_model_file

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
CIFAR = SHARED / "cifar10"
LABELS = ["camel", "cow", "horse"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model_file(tmp_path)


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
