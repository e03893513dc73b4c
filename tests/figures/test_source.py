import pytest
import torch

from alignet.figures import source
from alignet.maths import choices
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
