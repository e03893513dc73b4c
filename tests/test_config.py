import shutil
from dataclasses import replace

import pytest
import yaml
from IPython.lib.pretty import pretty

from alignet import config

SECTIONS = {
    "world": config.WorldSource,
    "emoji": config.Emoji,
    "imagenet": config.ImageNet,
    "features": config.Features,
    "human_uncertainty": config.HumanUncertainty,
    "teacher": config.Teacher,
    "synthesis": config.Synthesis,
    "levels": config.Levels,
    "similarity": config.Similarity,
    "reorganisation": config.Reorganisation,
    "downstream": config.Downstream,
    "cost": config.Cost,
}
PARAMS = [
    "params.yaml",
    *(str(path.relative_to(config.home())) for path in sorted(config.home().glob("params/*.yaml"))),
]
FLOORS = {"floor_colours": 4, "floor_pixels": 4, "floor_untrained": True}
LEVELS = {"seed": 3, "centred": True, "reliability_bins": 10} | FLOORS


def params(tmp_path, **changes):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"levels": LEVELS | changes, "nested": {"levels": LEVELS | changes}}))
    return str(path)


def test_a_section_loads_as_a_frozen_record(tmp_path):
    settings = config.load("levels", config.Levels, params(tmp_path))
    assert (settings.seed, settings.centred, settings.reliability_bins) == (3, True, 10)
    with pytest.raises(AttributeError):
        settings.seed = 4


def test_a_dotted_section_is_nested(tmp_path):
    assert config.load("nested.levels", config.Levels, params(tmp_path)) == config.Levels(**LEVELS)


def test_an_unknown_key_is_refused_by_name(tmp_path):
    with pytest.raises(config.ConfigError, match=r"mine\.yaml: levels\.colour: unknown key"):
        config.load("levels", config.Levels, params(tmp_path, colour="red"))


def test_a_missing_key_is_refused_by_name(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("levels: {seed: 0, centred: true}")
    with pytest.raises(config.ConfigError, match=r"mine\.yaml: levels\.reliability_bins: missing"):
        config.load("levels", config.Levels, str(path))


def test_every_wrong_key_has_a_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"levels": FLOORS | {"centred": True, "reliability_bins": "many"}}))
    with pytest.raises(config.ConfigError) as error:
        config.load("levels", config.Levels, str(path))
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize("written", ["1e-3", "1.0e-3", "1E-03", "0.001"])
def test_a_number_may_be_written_with_an_exponent(written, tmp_path):
    teacher = yaml.safe_load((config.home() / "params.yaml").read_text())["teacher"]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"teacher": teacher}).replace("lr: 0.001", f"lr: {written}"))
    assert config.load("teacher", config.Teacher, str(path)).lr == 0.001


@pytest.mark.parametrize("section", ["heights", "levels.seed.deeper"])
def test_a_missing_section_is_refused_by_name(tmp_path, section):
    with pytest.raises(config.ConfigError, match=rf"mine\.yaml: no section '{section}'"):
        config.load(section, config.Levels, params(tmp_path))


def test_a_missing_file_is_refused_by_name():
    with pytest.raises(config.ConfigError, match=r"nowhere\.yaml: no such file"):
        config.load("levels", config.Levels, "nowhere.yaml")


def test_an_override_of_none_keeps_the_file_and_a_number_replaces_it(tmp_path):
    path = params(tmp_path)
    assert config.load("levels", config.Levels, path, seed=None, reliability_bins=None) == config.Levels(**LEVELS)
    assert config.load("levels", config.Levels, path, seed=None, reliability_bins=7).reliability_bins == 7
    assert config.load("levels", config.Levels, path, seed=0).seed == 0


def test_an_override_of_the_wrong_type_is_refused(tmp_path):
    with pytest.raises(config.ConfigError, match=r"levels\.reliability_bins"):
        config.load("levels", config.Levels, params(tmp_path), reliability_bins="many")


def test_an_override_that_no_field_has_is_refused(tmp_path):
    with pytest.raises(config.ConfigError, match=r"levels\.speed: unknown key"):
        config.load("levels", config.Levels, params(tmp_path), speed=1)


@pytest.mark.parametrize("file", PARAMS)
@pytest.mark.parametrize("section", SECTIONS)
def test_the_repositorys_params_load(file, section):
    assert isinstance(config.load(section, SECTIONS[section], file), SECTIONS[section])


@pytest.mark.parametrize("file", PARAMS)
@pytest.mark.parametrize("section", config.SHARING)
def test_every_backbone_and_student_of_the_repositorys_params_loads(file, section):
    names = list(config.values(file)[section])
    assert names
    for name in names:
        cls = config.Student if section == "students" else config.kind_of_backbone(name, file)
        assert isinstance(config.load(f"{section}.{name}", cls, file), cls)


@pytest.mark.parametrize("file", PARAMS)
def test_every_name_that_a_run_loops_over_has_its_section(file):
    for name in config.names("backbones", file):
        config.backbone(name, file)
    for name in config.names("students", file):
        assert name in config.names("backbones", file)
        config.load(f"students.{name}", config.Student, file)
    if config.load("synthesis", config.Synthesis, file).released is None:  # else there is no teacher
        assert set(config.load("teacher", config.Teacher, file).backbones) <= set(config.names("backbones", file))


def test_folders_take_an_absolute_path_or_one_from_the_root(tmp_path):
    assert config.folders(str(tmp_path)) == (tmp_path / "data", tmp_path / "reports")
    assert config.folders("there") == (config.home() / "there" / "data", config.home() / "there" / "reports")


def test_relative_paths_start_from_the_checkout_or_where_the_environment_says(tmp_path, monkeypatch):
    assert config.home() == config.CHECKOUT
    monkeypatch.setattr(config, "CHECKOUT", None)  # as in an installed package
    monkeypatch.chdir(tmp_path)
    assert config.home() == tmp_path
    monkeypatch.setenv(config.HOME, str(tmp_path / "mine"))
    assert config.folders(".")[0] == tmp_path / "mine" / "data"


def test_a_home_without_params_has_the_packages(tmp_path, monkeypatch):
    monkeypatch.setenv(config.HOME, str(tmp_path))
    default = config.load("levels", config.Levels)
    (tmp_path / "mine.yaml").write_text("base: params.yaml\nlevels: {reliability_bins: 7}\n")
    assert config.load("levels", config.Levels, "mine.yaml") == replace(default, reliability_bins=7)
    with pytest.raises(config.ConfigError, match=r"nowhere\.yaml: no such file"):
        config.load("levels", config.Levels, "nowhere.yaml")


# profiles


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A root of its own with a small params.yaml, a profile of it and another one."""
    monkeypatch.setenv(config.HOME, str(tmp_path))
    (tmp_path / "params.yaml").write_text(
        "# numbers\n"
        "run: {students: [small, large]}\n"
        "students:\n"
        "  small: &small {lr: 0.1, steps: 10}  # for tests\n"
        "  large: {<<: *small, steps: 20}\n"
        "levels: {seed: 0, grid: [1, 2, 3]}\n"
    )
    (tmp_path / "tiny.yaml").write_text(
        "base: params.yaml\n"
        "students: {small: {steps: 1}, new: {like: small, lr: 0.5}, newer: {like: new}}\n"
        "levels: {grid: [4]}\n"
    )
    (tmp_path / "other.yaml").write_text("base: params.yaml\nlevels: {seed: 9}\n")
    return tmp_path


def test_a_profile_is_merged_over_its_base_and_lists_are_replaced(root):
    found = config.values("tiny.yaml")
    assert found["students"]["small"] == {"lr": 0.1, "steps": 1}
    assert found["students"]["large"] == {"lr": 0.1, "steps": 20}
    assert found["levels"] == {"seed": 0, "grid": [4]}
    assert found["run"] == {"students": ["small", "large"]}
    assert "base" not in found


def test_an_entry_may_be_like_another_with_some_values_of_its_own(root):
    found = config.values("tiny.yaml")["students"]
    assert found["new"] == {"lr": 0.5, "steps": 1}
    assert found["newer"] == found["new"]


@pytest.mark.parametrize("other", ["nobody", "a", "b"])
def test_an_entry_like_none_or_like_itself_is_refused(root, other):
    (root / "tiny.yaml").write_text(f"base: params.yaml\nstudents: {{a: {{like: {other}}}, b: {{like: a}}}}\n")
    with pytest.raises(config.ConfigError, match=r"tiny\.yaml: students\.[ab]\.like: '(nobody|a|b)' is no other entry"):
        config.values("tiny.yaml")


def test_a_section_that_the_base_lacks_is_refused(root):
    (root / "tiny.yaml").write_text("base: params.yaml\nlevel: {seed: 1}\n")
    with pytest.raises(config.ConfigError, match=r"tiny\.yaml: params\.yaml has no section level"):
        config.values("tiny.yaml")


def test_writing_a_profile_keeps_the_comments_and_gives_dvc_the_merged_values(root):
    merged = config.values("tiny.yaml")
    assert config.main(["tiny.yaml"]) == 0
    text = (root / "params.yaml").read_text()
    assert "# numbers" in text
    assert "# for tests" in text
    assert yaml.safe_load(text) == {"profile": "tiny.yaml"} | merged
    assert config.main(["tiny.yaml"]) == 0  # once more changes nothing
    assert (root / "params.yaml").read_text() == text


def test_a_profile_is_not_merged_over_another_one(root, capsys):
    assert config.main(["tiny.yaml"]) == 0
    written = (root / "params.yaml").read_text()
    assert config.main(["other.yaml"]) == 1
    assert "params.yaml: was written from tiny.yaml; restore it first" in capsys.readouterr().err
    assert (root / "params.yaml").read_text() == written


def test_a_file_that_is_no_profile_is_not_written(root, capsys):
    assert config.main(["params.yaml"]) == 1
    assert "params.yaml: is no profile" in capsys.readouterr().err


def test_dvc_overrides_one_value_of_one_student(root, monkeypatch):
    from dvc.utils.hydra import apply_overrides  # what `dvc exp run -S` calls

    apply_overrides(str(root / "params.yaml"), ["students.large.lr=0.7"])
    students = config.values()["students"]
    assert students == {"small": {"lr": 0.1, "steps": 10}, "large": {"lr": 0.7, "steps": 20}}


def test_a_notebook_shows_settings_as_the_params_file_has_them_one_a_line():
    for section, cls in SECTIONS.items():
        record = config.load(section, cls)
        lines = config._lines(record).splitlines()
        assert max(map(len, lines)) <= 130, section
        assert yaml.safe_load("\n".join(lines)) == config.value(section)
        assert record._repr_markdown_() == "```yaml\n" + "\n".join(lines) + "\n```"  # which the terminal does not show
        assert pretty(record) == "\n".join(lines)
        assert {line.split(":")[0] for line in lines} >= set(config.value(section))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with the params file of the repository, in which a profile may be written."""
    (tmp_path / config.PARAMS).write_bytes((config.CHECKOUT / config.PARAMS).read_bytes())
    monkeypatch.setenv(config.HOME, str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "mine.yaml: holds nothing"),
        ("- a\n", "mine.yaml: holds no sections"),
        ("base: params.yaml\nteacher: {lr: 1", "mine.yaml: cannot be read as YAML (while parsing a flow mapping"),
        ("base: params.yaml\nteacher:\n\tlr: 1\n", "mine.yaml: cannot be read as YAML (while scanning"),
        ("base: [a]\n", "mine.yaml: base: is ['a'], not a params file"),
        ("base: mine.yaml\n", "mine.yaml: base: mine.yaml builds on mine.yaml itself"),
        ("base: params.yaml\nteacher: {lr: 0.5}\nteacher: {steps: 5}\n", "key 'teacher' stands twice"),
        ("base: params.yaml\nteacher: {lr: 0.5, lr: 0.6}\n", "key 'lr' stands twice"),
        ("base: params.yaml\n# Gr\xf6\xdfe\n", "mine.yaml: cannot be read as YAML ('utf-8' codec"),
    ],
)
def test_a_file_that_holds_no_params_is_one_line_and_changes_nothing(home, capsys, text, said):
    (home / "mine.yaml").write_bytes(text.encode("latin-1"))
    before = (home / config.PARAMS).read_bytes()
    assert config.main(["mine.yaml"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert (home / config.PARAMS).read_bytes() == before


def test_windows_line_ends_and_a_byte_order_mark_are_passed_over(home):
    (home / "mine.yaml").write_bytes(b"\xef\xbb\xbfbase: params.yaml\r\nteacher: {lr: 0.5}\r\n")
    assert config.value("teacher.lr", "mine.yaml") == 0.5


def test_keys_that_merge_keys_bring_do_not_stand_twice(home):
    text = "base: params.yaml\nlevels: {<<: &a {<<: &b {seed: 3}, seed: 4}, centred: true}\n"
    text += "similarity: {<<: *a, pairs: 2}\n"
    (home / "mine.yaml").write_text(text)
    assert config.value("levels.seed", "mine.yaml") == config.value("similarity.seed", "mine.yaml") == 4


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("teacher: 5", "teacher: is 5, not keys with values"),
        ("teacher:", "teacher: is None, not keys with values"),
        ("run: {students: lite0}", "run.students: is 'lite0', not a list of names"),
        ("run: {students: []}", "run.students: is [], not a list of names"),
        ("run: {students: [lite0, lite0]}", "run.students: 'lite0' stands twice"),
    ],
)
def test_a_section_or_a_list_of_another_kind_is_one_line(home, section, said):
    (home / "mine.yaml").write_text(f"base: params.yaml\n{section}\n")
    with pytest.raises(config.ConfigError) as refused:
        config.load("teacher", config.Teacher, "mine.yaml")
        config.names("students", "mine.yaml")
    assert str(refused.value) == f"mine.yaml: {said}"


def test_a_linked_part_of_data_is_refused_and_a_linked_folder_of_fetched_files_is_not(tmp_path):
    (tmp_path / "disk").mkdir()
    data = tmp_path / "data" / "run" / "data"
    data.mkdir(parents=True)
    for name in ("external", "teacher"):
        (data / name).symlink_to(tmp_path / "disk", target_is_directory=True)
    (tmp_path / "data" / "linked").symlink_to(data.parent, target_is_directory=True)
    assert config.own(data / "external" / "things" / "world") == data / "external" / "things" / "world"
    there = tmp_path / "data" / "linked" / "data" / "world"  # the run's folder is a link, not a part of its data
    assert config.own(there) == there
    with pytest.raises(config.ConfigError, match=r"teacher: is a link to .*remove the link"):
        config.own(data / "teacher")


@pytest.mark.parametrize("profile", sorted(path.name for path in config.home().glob("params/*.yaml")))
def test_a_written_profile_has_the_profiles_values(profile, tmp_path, monkeypatch):
    """Among them 3e-05, which the writer of params.yaml writes and YAML 1.1 reads as text."""
    shutil.copy(config.home() / "params.yaml", tmp_path)
    shutil.copytree(config.home() / "params", tmp_path / "params")
    monkeypatch.setenv(config.HOME, str(tmp_path))
    wanted = config.values(f"params/{profile}")
    config.write_profile(f"params/{profile}")
    assert config.values() == {config.PROFILE: f"params/{profile}"} | wanted
