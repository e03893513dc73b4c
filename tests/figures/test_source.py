import importlib

import pytest
import torch

from alignet.figures import source
from alignet.maths import choices
from alignet.models import backbones
from alignet.teacher.affine_map import AffineMap


def test_a_function_is_shown_without_its_docstring_and_with_its_module():
    shown = source.code(choices.odd_one_out)
    assert shown.splitlines()[0] == "# alignet.maths.choices"
    assert "def odd_one_out(similarities: Tensor) -> Tensor:" in shown
    assert '"""' not in shown
    assert "tied maximum" not in shown
    assert shown.splitlines()[-1] == "    return similarities.argmax(-1).masked_fill(tied, -1)"


def test_what_is_shown_computes_what_the_function_computes():
    names = {"Tensor": torch.Tensor}
    exec(source.code(choices.odd_one_out), names)
    similarities = torch.tensor([[1.0, 3.0, 2.0], [2.0, 2.0, 1.0]])
    assert names["odd_one_out"](similarities).tolist() == choices.odd_one_out(similarities).tolist() == [1, -1]


def test_a_method_is_shown_with_its_class_and_from_the_left_margin():
    first, second, *_ = source.code(AffineMap.standardised).splitlines()
    assert first == "# alignet.teacher.affine_map, class AffineMap"
    assert second.startswith("def standardised(self, ")


def test_several_functions_are_one_block_of_python():
    shown = source.of(choices.pair_similarities, choices.odd_one_out).data
    assert shown.startswith(f"{source.FENCE}python\n")
    assert shown.endswith(f"\n{source.FENCE}")
    assert shown.count(source.FENCE) == 2
    assert shown.count("\ndef ") == 2


def test_a_function_without_a_source_is_refused():
    with pytest.raises(TypeError):
        source.of(len)


def test_a_function_is_found_by_its_name_where_its_file_was_edited_after_the_import(tmp_path, monkeypatch):
    file = tmp_path / "edited_later.py"
    file.write_text('def first():\n    """One."""\n    return 1\n')
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("edited_later")
    file.write_text(f"def other():\n    return 0\n\n\n{file.read_text()}")
    assert source.code(module.first) == "# edited_later\ndef first():\n    return 1"
    file.write_text("")
    with pytest.raises(OSError, match="has no first"):
        source.code(module.first)


def test_decorators_are_shown():
    assert source.code(backbones.outputs).splitlines()[1] == "@torch.inference_mode()"
