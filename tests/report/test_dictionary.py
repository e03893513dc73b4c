import pytest

from alignet import config
from alignet.report import compare, dictionary, reproduced
from alignet.reruns import ablate

PUBLISHED = dictionary.published()
# Of every run, and of commands that nothing published needs.
UNPUBLISHED = {"compare", "findings", "ablations"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_column_of_a_published_table_is_declared(name):
    known = dictionary.meanings(name)
    assert [column for column in PUBLISHED[name] if column not in known] == []


def test_every_declared_table_and_own_column_is_there():
    declared = dictionary.declared()["tables"]
    assert set(declared) - UNPUBLISHED == set(PUBLISHED)
    for name, columns in PUBLISHED.items():
        assert set(declared[name]["columns"]) <= set(columns), name
    assert list(declared["compare"]["columns"]) == compare.COLUMNS
    assert [column for column in reproduced.COLUMNS if column not in dictionary.meanings("findings")] == []
    known = dictionary.meanings("ablations")
    assert [column for column in ablate.COLUMNS if column not in known] == []
    assert set(declared["ablations"]["columns"]) <= set(ablate.COLUMNS)


def test_the_page_is_that_of_the_declaration():
    assert (config.home() / dictionary.OUT).read_text(encoding="utf-8") == dictionary.text(PUBLISHED)
