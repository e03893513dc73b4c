import pytest

from alignet import config
from alignet.report import compare, dictionary
from alignet.reruns import ablate

PUBLISHED = dictionary.published()
UNPUBLISHED = {"compare", "ablations", "development"}  # of every run, and of commands that nothing published needs


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
    known = dictionary.meanings("ablations")
    assert [column for column in ablate.COLUMNS if column not in known] == []
    assert set(declared["ablations"]["columns"]) <= set(ablate.COLUMNS)


def test_the_page_is_that_of_the_declaration():
    assert (config.home() / dictionary.OUT).read_text(encoding="utf-8") == dictionary.text(PUBLISHED)
