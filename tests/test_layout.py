import ast
import re
from pathlib import Path

import nbformat
import pytest
import yaml

from alignet.config import home

ROOT = home()

# From the ground up: a module imports from its own layer and from those before it.
LAYERS = [
    ("config", "results"),
    ("devices", "maths"),
    ("worlds.format",),
    ("worlds", "figures"),
    ("models",),
    ("people",),
    ("teacher",),
    ("synthesis",),
    ("student",),
    ("evaluation",),
    ("report",),
    ("export", "explore", "collect"),
    ("pipeline", "reruns"),
    ("__main__",),
]
MODULES = sorted(path for path in (ROOT / "alignet").rglob("*.py") if path.name != "__init__.py")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STAGES = [path for path in NOTEBOOKS if re.match(r"(?!00)\d\d_", path.name)]  # 00_by_hand is none


def name_of(path):
    return ".".join(path.relative_to(ROOT / "alignet").with_suffix("").parts)


def layer_of(name):
    """The number of the layer whose folder or module `name` lies in; of nested ones (worlds.format) the inner one's."""
    fitting = [
        (len(room), number)
        for number, rooms in enumerate(LAYERS)
        for room in rooms
        if f"{name}.".startswith(f"{room}.")
    ]
    return max(fitting)[1]


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
    source = "from alignet.maths import losses\nfrom alignet import config\nimport torch\n"
    source += "from alignet.worlds.format.tables import World"
    assert imports(ast.parse(source)) == {"maths.losses", "config", "worlds.format.tables"}
    assert layer_of("worlds.format.tables") < layer_of("worlds.check") < layer_of("models.backbones")
    assert len(MODULES) > 10
    assert len(STAGES) > 5


IMPORTS = {name_of(path): imports(parsed(path)) for path in MODULES}


def closure(names, graph):
    """The names and all that they import, directly or not."""
    reached, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += graph[name]
    return reached


def cycles(graph):
    """Modules that import themselves by way of others."""
    return sorted(name for name in graph if name in closure(graph[name], graph))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_from_its_own_layer_and_those_below_it_only(path):
    name = name_of(path)
    too_high = {used for used in IMPORTS[name] if layer_of(used) > layer_of(name)}
    assert too_high == set()


def test_no_module_imports_itself_by_way_of_others():
    assert cycles(IMPORTS) == []


def test_a_cycle_inside_a_folder_would_be_found():
    graph = {"teacher.a": {"teacher.b"}, "teacher.b": {"teacher.c"}, "teacher.c": {"teacher.b"}}
    assert cycles(graph) == ["teacher.b", "teacher.c"]


def test_worlds_and_models_hold_no_evaluation_code():
    lower = [name for name in IMPORTS if name.split(".")[0] in ("worlds", "models")]
    assert {name for name in closure(lower, IMPORTS) if name.startswith(("evaluation", "student", "figures"))} == set()


@pytest.mark.parametrize("path", sorted((ROOT / "alignet" / "figures").glob("*.py")), ids=lambda path: path.stem)
def test_figures_neither_load_nor_fit_nor_score(path):
    others = {name for name in imports(parsed(path)) if not name.startswith("figures.")}
    assert {name for name in others if not name.startswith("worlds.format.")} <= {"config", "results", "maths.choices"}


@pytest.mark.parametrize("path", sorted((ROOT / "alignet").rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_an_init_file_holds_a_docstring_the_version_and_the_wait_policy_and_one_lazy_name_only(path):
    docstring, *rest = parsed(path).body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(docstring.value.value, str)
    allowed = [
        "import os",
        "os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')",  # no later place is before torch
    ]
    for node in rest:
        if path.parent.name in LAZY and isinstance(node, ast.FunctionDef | ast.If | ast.ImportFrom):
            assert isinstance(node, ast.ImportFrom) or LAZY[path.parent.name] in ast.unparse(node)
            continue
        version = isinstance(node, ast.Assign) and [target.id for target in node.targets] == ["__version__"]
        assert version or ast.unparse(node) in allowed


LAZY = {"models": "exported", "evaluation": "scoring"}  # `alignet.models.load` and `alignet.evaluation.score`


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_function_is_longer_than_forty_lines(path):
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno + 1 <= 40, node.name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is_and_hides_no_warning(path):
    assert ast.get_docstring(parsed(path))
    assert "filterwarnings" not in path.read_text(encoding="utf-8")


# First words of docstrings that open neither with a verb nor with a noun phrase.
OPENERS = {"Of", "With", "That", "Those", "To", "Where", "From", "By", "On", "At", "In", "For", "Like", "While", "As"}
OPENERS |= {"Its", "Did", "Which", "Who", "Whose", "Why", "Args:", "Returns:", "Raises:", "Source:"}


def badly_opened(tree):
    """Beginnings of the docstrings whose first word is one of OPENERS, or that begin with 'The same'."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docstrings = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented)]
    return [text[:60] for text in docstrings if OPENERS & {*text.split()[:1]} or text.startswith("The same ")]


def test_a_badly_opened_docstring_is_found():
    source = '"""Of all."""\ndef f():\n    """The same words."""\ndef g():\n    """The mean of all."""\ndef h(): ...'
    assert badly_opened(ast.parse(source)) == ["Of all.", "The same words."]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "alignet").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT / "alignet"))
)
def test_a_docstring_opens_with_a_verb_or_a_noun_phrase(path):
    assert badly_opened(parsed(path)) == []


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


def assigned(tree):
    """Names that code assigns, those of comprehensions left out, which end with them."""
    own = {id(node) for part in ast.walk(tree) if isinstance(part, ast.comprehension) for node in ast.walk(part.target)}
    stored = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return {node.id for node in stored if id(node) not in own}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_assigns_no_name_that_it_imports(path):
    cells = [ast.parse(cell.source) for cell in code_cells(path)]
    nodes = [node for tree in cells for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {(alias.asname or alias.name).split(".")[0] for node in nodes for alias in node.names}
    assert imported
    assert set().union(*map(assigned, cells)) & imported == set()  # or a cell could not be run twice


def stages():
    return yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


@pytest.mark.parametrize("stage", stages())
def test_a_stages_sources_exist(stage):
    sources = [path for path in stages()[stage]["deps"] if path.startswith(("alignet/", "notebooks"))]
    assert sources
    assert [path for path in sources if not (ROOT / path).exists()] == []


CELLS = "data/cells/"
NOTEBOOK_STAGES = [name for name, stage in stages().items() if any(dep.startswith(CELLS) for dep in stage["deps"])]


def code_of(stage):
    return {path for path in stages()[stage]["deps"] if path.startswith("alignet/")}


# What a stage may import without a dependency on it: config passes on what stands under `params`, and figures are drawn
# into the notebooks only, but for those of the stage `figures`.
FREE = ("config", "figures")


def uncovered(stage, deps):
    """Modules that a stage's notebook reaches by imports and that lie in none of the `deps`."""
    (said,) = [path for path in stages()[stage]["deps"] if path.startswith(CELLS)]
    notebook = ROOT / "notebooks" / f"{Path(said).stem}.ipynb"
    cells = ast.parse("\n".join(cell.source for cell in code_cells(notebook)))
    rooms = [dep.removeprefix("alignet/").removesuffix(".py").replace("/", ".") for dep in deps]
    free = [room for room in FREE if f"alignet/{room}" not in stages()[stage]["deps"]]
    reached = closure(imports(cells), {**IMPORTS, **{name: set() for name in IMPORTS if name.split(".")[0] in free}})
    reached = {name for name in reached if name.split(".")[0] not in free}
    return {name for name in reached if not any(f"{name}.".startswith(f"{room}.") for room in rooms)}


READERS = ("load", "value", "values", "names", "backbone")  # of a params file, in `config`
COMMANDS = {  # functions of command lines, which no notebook calls
    "evaluation.scoring.resolved",
    "models.features.resolved",
    "student.__main__.resolved",
    "synthesis.released.main",
}
RESOLVED = ("maths", "worlds", "figures", "models", "people", "teacher", "synthesis", "student", "evaluation")


def keys_read(tree):
    """Keys of the params file that `config` is asked for, what is filled in in braces: 'teacher', 'students.{name}'."""
    found = set()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        reader = ast.unparse(call.func).removeprefix("config.")
        if reader in READERS and isinstance(call.func, ast.Attribute):
            key = ast.unparse(call.args[0]).removeprefix("f")[1:-1] if call.args else ""
            if reader == "backbone":  # an entry by its name, mostly a variable
                key = f"backbones.{{{ast.unparse(call.args[0])}}}"
            found.add(f"run.{key}" if reader == "names" else key)
    return found


def test_the_keys_that_a_program_reads_are_found():
    source = "config.load('teacher', x)\nconfig.value('a.b')\nconfig.names('students')"
    source += "\nconfig.load(f'backbones.{name}')\nconfig.backbone(other)"
    source += "\nconfig.folders('.')\nother.load('nothing')\nload('nothing')"
    found = keys_read(ast.parse(source))
    assert found == {"teacher", "a.b", "run.students", "backbones.{name}", "backbones.{other}"}


@pytest.mark.parametrize("name", [name for name in IMPORTS if name.startswith(RESOLVED)])
def test_settings_are_resolved_by_notebooks_and_command_lines_and_passed_on(name):
    tree = parsed(ROOT / "alignet" / f"{name.replace('.', '/')}.py")
    reading = {f"{name}.{node.name}" for node in tree.body if isinstance(node, ast.FunctionDef) and keys_read(node)}
    assert reading <= COMMANDS
    outside = ast.Module([node for node in tree.body if not isinstance(node, ast.FunctionDef)], [])
    assert keys_read(outside) == set()
    taken = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "alignet.config"]
    assert {alias.name for node in taken for alias in node.names}.isdisjoint(READERS)


def test_the_named_command_lines_do_read_settings():
    for name in COMMANDS:
        module, _, function = name.rpartition(".")
        tree = parsed(ROOT / "alignet" / f"{module.replace('.', '/')}.py")
        (found,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
        assert keys_read(found)


@pytest.mark.parametrize("stage", NOTEBOOK_STAGES)
def test_a_stages_params_are_what_its_notebook_reads(stage):
    """Keys in whole: of an entry whose name is no parameter of the notebook (in a loop) the section."""
    said = stages()[stage]
    (cells,) = [path for path in said["deps"] if path.startswith(CELLS)]
    notebook = code_cells(ROOT / "notebooks" / f"{Path(cells).stem}.ipynb")
    given = re.findall(r"-p (\w+) \$\{item\.(\w+)\}", said["cmd"])
    assert all(name == item for name, item in given)
    names = {name for name, _ in given}
    read = keys_read(ast.parse("\n".join(cell.source for cell in notebook)))
    whole = {key if set(re.findall(r"\{(.*?)\}", key)) <= names else key.partition(".{")[0] for key in read}
    assert whole == {key.replace("${item.", "{") for key in said.get("params", [])}


@pytest.mark.parametrize("stage", sorted(stages().keys() - set(NOTEBOOK_STAGES)))
def test_a_stage_without_a_notebook_that_reads_settings_depends_on_the_params_file_or_always_runs(stage):
    said = stages()[stage]
    (module,) = re.findall(r"^python -m alignet\.(\S+)$", said["cmd"])
    program = module if module in IMPORTS else f"{module}.__main__"
    own = closure([program], IMPORTS) - {"config"}
    read = any(keys_read(parsed(ROOT / "alignet" / f"{name.replace('.', '/')}.py")) for name in own)
    assert read == ("params.yaml" in said["deps"] or said.get("always_changed", False))


@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.name)
def test_a_notebook_hands_its_params_file_to_config_alone(path):
    tree = ast.parse("\n".join(cell.source for cell in code_cells(path)))
    named = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "params_file"]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    handed = [arg for call in calls if ast.unparse(call.func).startswith("config.") for arg in call.args]
    assert [node for node in named if isinstance(node.ctx, ast.Load) and node not in handed] == []


@pytest.mark.parametrize("stage", NOTEBOOK_STAGES)
def test_a_stage_depends_on_all_the_code_that_its_notebook_runs(stage):
    assert uncovered(stage, code_of(stage)) == set()


@pytest.mark.parametrize("stage", NOTEBOOK_STAGES)
def test_a_stage_depends_on_no_code_that_its_notebook_does_not_run(stage):
    assert [path for path in code_of(stage) if not uncovered(stage, code_of(stage) - {path})] == []


def test_a_change_of_a_later_room_runs_no_earlier_stage():
    rooms = {
        stage: {path.removeprefix("alignet/").removesuffix(".py") for path in code_of(stage)} for stage in stages()
    }
    assert rooms["human_uncertainty"].isdisjoint({"figures", "evaluation", "student", "synthesis", "teacher", "models"})
    assert rooms["teacher"].isdisjoint({"figures", "evaluation", "student", "synthesis"})
    assert rooms["student"].isdisjoint({"figures", "evaluation", "teacher", "people"})


def test_every_numbered_notebook_is_a_stages():
    for stage in NOTEBOOK_STAGES:
        (said,) = [path for path in stages()[stage]["deps"] if path.startswith(CELLS)]
        assert f"notebooks/{Path(said).stem}.ipynb" in stages()[stage]["cmd"]
    run = {path for stage in stages().values() for path in stage["deps"] if path.startswith(CELLS)}
    assert run == {f"{CELLS}{path.stem}.py" for path in STAGES}


def test_the_lock_names_packages_and_no_addresses():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 5
    assert [line for line in lines if "://" in line or line.startswith("-")] == []


def test_the_lock_pins_every_package():
    lines = [line for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines() if line.strip()]
    assert [line for line in lines if not re.match(r"[A-Za-z0-9._-]+(\[[^]]+\])?==\S+", line)] == []


PAGES = sorted((ROOT / "docs").glob("*.md"))
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def in_params(key):
    """Whether params.yaml has a key; NAME stands for any entry, and what is null there may hold anything."""
    values = PARAMS
    for part in key.split("."):
        if not isinstance(values, dict):
            return values is None
        values = values | {"NAME": next(iter(values.values()))}
        if part not in values:
            return False
        values = values[part]
    return True


def unknown_keys(text):
    """Keys in backticks, such as `teacher.start`, that params.yaml lacks although it has their section."""
    keys = [key for key in re.findall(r"`([a-z_]+(?:\.\w+)+)`", text) if key.split(".")[0] in PARAMS]
    return [key for key in keys if not key.endswith((".csv", ".yaml")) and not in_params(key)]


def unknown_modules(text):
    """Modules and folders on the lines 'Code: ...' that alignet/ lacks."""
    named = [name for line in re.findall(r"(?m)^Code:.*", text) for name in re.findall(r"`([\w/]+)`", line)]
    found = (ROOT / "alignet" / name.rstrip("/") for name in named)
    return [path.name for path in found if not path.is_dir() and not path.with_suffix(".py").is_file()]


def test_an_unknown_key_or_module_is_found():
    assert unknown_keys("`teacher.stat`, `teacher.start`, `students.NAME.lr`, `teacher.csv`, `other.key`") == [
        "teacher.stat"
    ]
    assert unknown_modules("Code: `maths/choices`, `people/gone`, `student/`.") == ["gone"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_names_keys_and_modules_that_exist(path):
    text = path.read_text(encoding="utf-8")
    assert unknown_keys(text) == []
    assert unknown_modules(text) == []
