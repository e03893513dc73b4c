"""A plan as an online jsPsych experiment for many people: python -m alignet.collect.jspsych WORLD TRIALS OUT

OUT gets index.html and the pictures, to be put on any web host; `python -m alignet.worlds import` reads what it writes.
TRIALS is a table of `python -m alignet.worlds triplets`, or a plan of `collect.plan`. Where the table has lists, a page
asks one of them: ?list=3 in its address says which, and without it one is drawn at random.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import pandas as pd
from jinja2 import Environment, select_autoescape
from markupsafe import Markup

from alignet.collect.widget import SIDE
from alignet.worlds.folder import trials
from alignet.worlds.folder.trials import LIST
from alignet.worlds.format import pictures, tables
from alignet.worlds.format.tables import TRIPLET, World, WorldError

TEMPLATE = Path(__file__).with_name("jspsych.html")
SOURCE = "https://unpkg.com"  # or a folder beside index.html that holds the packages by the same names
VERSIONS = {"jspsych": "8.3.0", "preload": "2.1.0", "button": "2.1.0"}


def write(world: World, plan: pd.DataFrame, out: Path, source: str = SOURCE) -> None:
    """Write index.html and pictures/ of an experiment; pictures' file names are digests and reveal nothing.

    Args: plan: image_0, image_1 and for triplets image_2; level, practice, repeat_of and list where it has them.
    Raises: WorldError that names a picture that is not the world's, or a folder that is there.
    """
    if out.exists():
        raise WorldError(f"{out}: is there already")
    columns = [column for column in TRIPLET if column in plan]
    paths = dict(zip(world.images["image"], world.paths(), strict=True))
    names = list(dict.fromkeys(plan[columns].to_numpy().ravel()))
    unknown = [name for name in names if name not in paths]
    if unknown:
        raise WorldError(f"trials: {unknown[0]!r} is not among the images of {world.name}")
    files = {name: f"{hashlib.sha256(str(name).encode()).hexdigest()[:12]}.jpg" for name in names}
    with tables.staged(out) as part:
        (part / "pictures").mkdir()
        for name in names:
            pictures.shown(paths[name], SIDE).save(part / "pictures" / files[name], quality=92)
        kept = [column for column in (*columns, "level", "practice", "repeat_of") if column in plan]
        listed = [
            {"files": [files[row[column]] for column in columns], "data": {name: row[name] for name in kept}}
            | ({"list": str(row[LIST])} if LIST in plan else {})
            for row in plan.to_dict("records")
        ]
        text = json.dumps(listed, ensure_ascii=True).replace("<", "\\u003c")
        page = Environment(autoescape=select_autoescape(default=True, default_for_string=True)).from_string(
            TEMPLATE.read_text(encoding="utf-8")
        )
        shown = page.render(trials=Markup(text), ratings=len(columns) == 2, source=source, versions=VERSIONS)
        (part / "index.html").write_text(shown, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="alignet jspsych", description=__doc__.split("\n\n")[0])
    parser.add_argument("world", type=Path)
    parser.add_argument("trials", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", default=SOURCE, help="where the page finds jsPsych: a URL, or a folder beside it")
    wanted = parser.parse_args(arguments)
    try:
        world = tables.read(wanted.world, unfilled=True)
        write(world, trials.read(wanted.trials, world), wanted.out, wanted.source)
    except (WorldError, OSError) as error:  # OSError: a place that cannot be written to
        print(error, file=sys.stderr)
        return 1
    print(f"{wanted.out / 'index.html'}: put the folder on a web host; import what it saves")
    return 0


if __name__ == "__main__":
    sys.exit(main())
