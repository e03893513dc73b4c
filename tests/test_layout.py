import ast
import re

import nbformat
import pytest
import yaml

from alignet.config import ROOT

LAYERS = {
    "config": 1,
    "triplets": 2,
    "devices": 2,
    "losses": 2,
    "metrics": 2,
    "released": 2,
    "gather": 2,
    "kmeans": 2,
    "depthwise": 2,
    "release": 3,
    "backbones": 3,
    "frozen": 3,
    **dict.fromkeys(("vice", "human_uncertainty", "teacher", "synthesis", "features", "batches", "student"), 4),
    **dict.fromkeys(("evaluation", "uncertainty", "representations", "similarity", "disagreement"), 5),
    **dict.fromkeys(("reorganisation", "episodes", "downstream", "cost"), 5),
    **dict.fromkeys(("nb", "repro", "report", "export", "fetch"), 6),
    "kernels": 5,
    "paper": 5,
    "evaluate": 7,
}
SIBLINGS = (3, 4, 5)  # layers whose modules may import each other; those of a package (worlds, figures) may too
MODULES = sorted(path for path in (ROOT / "alignet").rglob("*.py") if path.name != "__init__.py")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STAGES = [path for path in NOTEBOOKS if re.match(r"\d\d_", path.name)]


def name_of(path):
    return ".".join(path.relative_to(ROOT / "alignet").with_suffix("").parts)


def layer_of(name):
    return {"worlds": 3, "figures": 6}.get(name.split(".")[0]) or LAYERS[name]


def imports(tree):
    """Modules of alignet that a module imports, anywhere in it: 'losses', 'worlds.tables'."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    known = {name_of(path) for path in MODULES}
    return {name.removeprefix("alignet.") for name in found if name.startswith("alignet.")} & known


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_the_parts_of_this_check_find_what_they_look_for():
    tree = ast.parse("from alignet import losses, config\nfrom alignet.worlds.tables import World\nimport torch")
    assert imports(tree) == {"losses", "config", "worlds.tables"}
    assert len(MODULES) > 10
    assert len(STAGES) > 5


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_from_layers_above_its_own_only(path):
    name = name_of(path)
    for used in imports(parsed(path)):
        own, other = layer_of(name), layer_of(used)
        package = name.split(".")[0] == used.split(".")[0]
        siblings = own == other and (own in SIBLINGS or package)
        assert other < own or siblings, f"{name} (layer {own}) imports {used} (layer {other})"


@pytest.mark.parametrize("path", sorted((ROOT / "alignet" / "figures").glob("*.py")), ids=lambda path: path.stem)
def test_figures_neither_load_nor_fit_nor_score(path):
    allowed = {"config", "triplets", "worlds.tables"}
    assert {name for name in imports(parsed(path)) if not name.startswith("figures.")} <= allowed


@pytest.mark.parametrize("path", sorted((ROOT / "alignet").rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_an_init_file_holds_a_docstring_the_version_and_the_wait_policy_only(path):
    docstring, *rest = parsed(path).body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(docstring.value.value, str)
    allowed = [
        "import os",
        "os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')",  # no later place is before torch
    ]
    for node in rest:
        version = isinstance(node, ast.Assign) and [target.id for target in node.targets] == ["__version__"]
        assert version or ast.unparse(node) in allowed


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_function_is_longer_than_forty_lines(path):
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno + 1 <= 40, node.name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is_and_hides_no_warning(path):
    assert ast.get_docstring(parsed(path))
    assert "filterwarnings" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_stripped(path):
    notebook = nbformat.read(path, as_version=4)
    assert "papermill" not in notebook.metadata
    for cell in code_cells(path):
        assert cell.outputs == []
        assert cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebooks_cells_have_fixed_ids(path):
    ids = [cell.id for cell in nbformat.read(path, as_version=4).cells]
    assert ids == [str(number) for number in range(len(ids))]  # as nbstripout numbers them


@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.name)
def test_a_stages_notebook_has_one_parameters_cell(path):
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code_cells(path)) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebooks_cells_are_short_and_define_nothing(path):
    for cell in code_cells(path):
        assert len(cell.source.splitlines()) <= 15, cell.id
        assert "sys.path" not in cell.source, cell.id
        assert not re.search(r"^\s*[!%]", cell.source, re.MULTILINE), cell.id
        barred = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda | ast.Try
        assert not any(isinstance(node, barred) for node in ast.walk(ast.parse(cell.source))), cell.id


def stages():
    return yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


@pytest.mark.parametrize("stage", stages())
def test_a_stages_sources_exist(stage):
    sources = [path for path in stages()[stage]["deps"] if path.startswith(("alignet/", "notebooks/"))]
    assert sources
    assert [path for path in sources if not (ROOT / path).exists()] == []


def test_every_numbered_notebook_is_a_stages():
    run = {path for stage in stages().values() for path in stage["deps"] if path.startswith("notebooks/")}
    assert run == {f"notebooks/{path.name}" for path in STAGES}


@pytest.mark.parametrize("name", ["requirements.in", "requirements.txt"])
def test_requirements_name_packages_and_no_addresses(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert len(lines) > 5
    assert [line for line in lines if "://" in line or line.startswith("-")] == []


def test_the_lock_pins_every_package():
    lines = [line for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines() if line.strip()]
    assert [line for line in lines if not re.match(r"[A-Za-z0-9._-]+(\[[^]]+\])?==\S+", line)] == []
