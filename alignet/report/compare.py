"""Comparison of a run with another, finding by finding and table by table: did I reproduce it?

python -m alignet.report.compare [--against FOLDER]

Without --against a run is compared with the published one of the same params, reports/reference/<name>. Writes
reports/findings.csv (`reproduced`) and reports/compare.csv. `--fetch` gets that run's figures and notebooks, which are
too large for git (report/archive.py). `--publish NAME` copies the finished run's tables to reports/reference/<name>,
with its findings, its params and what was run where, and puts its figures and notebooks into an archive to be uploaded;
`--elsewhere` names reports/ folders of the same run on other processors, whose spread then is part of where one run is
expected.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from alignet import config, results
from alignet.report import archive, provenance, reproduced
from alignet.report.archive import FACTS
from alignet.worlds.downloads import FetchError

ABSOLUTE, RELATIVE = 0.01, 0.02  # how far two numbers may lie apart (docs/method.md, section 11)
KEYS = {  # columns that say what a row is about; all others are results
    *("student", "target", "representation", "level", "benchmark", "metric", "dataset", "protocol", "shots"),
    *("classifier", "relation", "layer", "base_layer", "depth", "distribution", "triplets", "bin", "scheme", "witness"),
    *("clusters", "map", "split", "fold", "lambda", "local_weight", "lr", "sigma", "steps", "targets", "n_train"),
    *("seed", "against", "stage", "basis", "closer_in", "rank", "quantity", "model", "unit", "backbone", "factor"),
    *("variant", "choices"),
}
PUBLISHED = ("tables", "figures", "variants")  # folders of reports/
COLUMNS = ["table", "verdict", "rows", "only_here", "only_there", "words_differ", "numbers", "beyond", "largest"]
COLUMNS += ["difference", "where"]
NOT_PUBLISHED = "no published run in reports/reference has these params: nothing to compare with"
NOT_JUDGED = {"disagreements.csv": "examples, chosen by rank", "paper.csv": "repeats other tables"}
FOLLOWS = (
    "improvement"  # in columns of percentages of a base's accuracy, in which .01 becomes whatever the base makes it
)
PICTURES = ("world.png", "disagreements.png", "levels.png")  # figures that show pictures of the world


def tables(ours: Path, theirs: Path) -> pd.DataFrame:
    """How far the tables of two reports/ folders are apart, a row a table that both have or that only one has.

    Returns: columns table, verdict (same | within | beyond | not judged | only here | only there), rows, only_here,
    only_there (rows), words_differ (cells of text), numbers (how many were compared), beyond (of them), largest
    (difference over what is tolerated; 1 is the limit), difference and where (of the largest).
    """
    names = sorted({path.name for folder in (ours, theirs) for path in (folder / "tables").glob("*.csv")})
    return pd.DataFrame([_table(name, ours / "tables" / name, theirs / "tables" / name) for name in names])[COLUMNS]


def _table(name: str, ours: Path, theirs: Path) -> dict[str, object]:
    row: dict[str, object] = {"table": name, "rows": 0, "only_here": 0, "only_there": 0, "words_differ": 0}
    row |= {"numbers": 0, "beyond": 0, "largest": 0.0, "difference": 0.0, "where": ""}
    if not (ours.is_file() and theirs.is_file()):
        return row | {"verdict": f"only {'here' if ours.is_file() else 'there'}"}
    if ours.read_bytes() == theirs.read_bytes():
        return row | {"rows": len(_read(ours)), "verdict": "same"}
    if name in NOT_JUDGED:
        return row | {"rows": len(_read(ours)), "where": NOT_JUDGED[name], "verdict": "not judged"}
    return row | difference(_read(ours), _read(theirs))


def difference(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, object]:
    """One row of `tables`: rows are matched by the columns in KEYS, and by their order where these are alike."""
    columns = sorted(column for column in set(ours) & set(theirs) - KEYS if FOLLOWS not in column)
    keys = [column for column in ours if column in KEYS and column in theirs]
    left, right = (_keyed(table, keys) for table in (ours, theirs))
    both = left.index.intersection(right.index, sort=False)
    found: dict[str, object] = {"rows": len(both), "only_here": len(left) - len(both)}
    found |= {"only_there": len(right) - len(both), "largest": 0.0, "difference": 0.0, "where": ""}
    worst, words, numbers, beyond = 0.0, 0, 0, 0
    for column in columns:
        a, b = left.loc[both, column], right.loc[both, column]
        if not (_numeric(a) and _numeric(b)):
            words += int((a.fillna("").astype(str) != b.fillna("").astype(str)).sum())
            continue
        a, b = a.to_numpy(float), b.to_numpy(float)
        words += int((np.isnan(a) != np.isnan(b)).sum())
        apart = np.nan_to_num(np.abs(a - b))
        share = apart / np.maximum(ABSOLUTE, RELATIVE * np.nan_to_num(np.abs(b)))
        numbers, beyond = numbers + int((~np.isnan(a)).sum()), beyond + int((share > 1).sum())
        if len(share) and share.max() > worst:
            worst, place = float(share.max()), int(share.argmax())
            where = f"{column}: {', '.join(str(part) for part in both[place][:-1])}"
            found |= {"largest": worst, "difference": float(a[place] - b[place]), "where": where}
    whole = found["only_here"] == found["only_there"] == words == 0
    found |= {"words_differ": words, "numbers": numbers, "beyond": beyond}
    return found | {"verdict": "within" if whole and worst <= 1 else "beyond"}


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, na_values=[""], low_memory=False)


def _keyed(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    named = table[keys].astype(str)
    order = named.groupby(keys, dropna=False).cumcount() if keys else pd.Series(range(len(table)), table.index)
    return table.set_index(pd.MultiIndex.from_frame(named.assign(order=order)))


def _numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def reference(reports: Path, params: dict) -> Path | None:
    """The published run of the same params: a folder of reports/reference/; None if there is none."""
    for folder in sorted((reports / "reference").glob("*")):
        file = folder / config.PARAMS
        if file.is_file() and yaml.safe_load(file.read_text(encoding="utf-8")) == params:
            return folder
    return None


def lines(found: pd.DataFrame) -> list[str]:
    """How far tables are apart in words, a line a table, and a last one that counts."""
    width = max(map(len, found["table"]))
    said = []
    for row in found.to_dict("records"):
        text = row["verdict"]
        if text == "not judged":
            text += f": {row['where']}"
        if text in ("within", "beyond"):
            text += f", {row['beyond']} of {row['numbers']:,} numbers" if row["beyond"] else ""
            text += f": largest difference {row['difference']:+.3g}, {row['where']}" if row["where"] else ""
            for count, words in (("only_here", "rows only here"), ("only_there", "rows only there")):
                text += f"; {row[count]} {words}" if row[count] else ""
            text += f"; {row['words_differ']} words differ" if row["words_differ"] else ""
        said.append(f"  {row['table']:<{width}}  {text}")
    counts = found["verdict"].value_counts()
    kinds = ("same", "within", "beyond", "not judged")
    total = ", ".join(f"{counts[kind]} {kind}" for kind in kinds if kind in counts)
    numbers, beyond = int(found["numbers"].sum()), int(found["beyond"].sum())
    tolerance = f"within {ABSOLUTE:g} or {RELATIVE:.0%}"
    shares = f"; {1 - beyond / numbers:.1%} of {numbers:,} numbers are {tolerance}" if numbers else ""
    return [*said, f"digits: {total}{shares} (reports/compare.csv)"]


def told(against: Path | None = None, out_dir: str = ".", every_table: bool = False) -> list[str]:
    """Compare a finished run, write reports/findings.csv and reports/compare.csv, and say it: what it was compared
    with, its digits in one line or table by table, and last whether its findings are those that were published.

    Raises: ValueError without tables to compare.
    """
    _, reports = config.folders(out_dir)
    there = against or published()
    if there is None:
        pd.DataFrame(columns=COLUMNS).to_csv(reports / "compare.csv", index=False)
        pd.DataFrame(columns=reproduced.COLUMNS).to_csv(reports / reproduced.FILE, index=False)
        return [NOT_PUBLISHED]
    if not (there / "tables").is_dir() or not (reports / "tables").is_dir():
        absent = next(folder for folder in (there, reports) if not (folder / "tables").is_dir())
        raise ValueError(f"{absent / 'tables'}: no such folder: name the reports/ folder of a finished run")
    found = tables(reports, there)
    found.to_csv(reports / "compare.csv", index=False, float_format="%.6g")
    digits = lines(found)
    start = [f"compared with {_name(there)}", *(digits if every_table else digits[-1:])]
    return [*start, *_findings(reports, there)]


def _findings(reports: Path, there: Path) -> list[str]:
    """The verdict on findings, as `reproduced.verdict`, and reports/findings.csv; a line where there are none."""
    file = there / reproduced.FILE
    if not file.is_file() and not (there / "tables" / "seeds.csv").is_file():
        pd.DataFrame(columns=reproduced.COLUMNS).to_csv(reports / reproduced.FILE, index=False)
        return [f"no findings to compare: {there / 'tables'} is of one training seed (make replicate)"]
    known = results.load(file) if file.is_file() else reproduced.published(there / "tables")
    try:
        table = reproduced.compared(known, reproduced.scores(reports / "tables"))
    except ValueError as error:  # a run that is not finished
        pd.DataFrame(columns=reproduced.COLUMNS).to_csv(reports / reproduced.FILE, index=False)
        return [f"no findings to compare: {error}"]
    results.save(table, reports / reproduced.FILE)
    return reproduced.verdict(table)


def published() -> Path | None:
    """The published run of the params that are in force now."""
    file = config.home() / config.PARAMS
    if not file.is_file():
        raise ValueError(f"{file}: no such file: run this in alignet's folder")
    return reference(config.home() / "reports", yaml.safe_load(file.read_text(encoding="utf-8")))


def _name(folder: Path) -> str:
    facts = folder / FACTS
    place = folder.relative_to(config.home()) if folder.is_relative_to(config.home()) else folder
    if not facts.is_file():
        return str(place)
    known = yaml.safe_load(facts.read_text(encoding="utf-8"))
    return f"{place} ({known.get('processor', '')}, {known.get('written', '')[:10]})"


def publish(name: str, out_dir: str = ".", place: str | None = None, elsewhere: list[Path] | None = None) -> list[str]:
    """Make a finished run reports/reference/<name>: what git keeps there, all else in an archive (report/archive.py).
    Its findings are written where it has several seeds.

    Figures and notebooks that show the pictures of a world of one's own, of which others may hold the rights, are in
    neither.

    Args: place: the address of the folder that the archive will be uploaded to; that of the run published before under
        this name if it is left out; elsewhere: reports/ folders of the same run on other processors, for
        `reproduced.published`.
    Returns: what was written and what to do with it, in words.
    Raises: ValueError if the run has no tables, or no other seeds where `elsewhere` names runs.
    """
    _, reports = config.folders(out_dir)
    if not (reports / "tables" / "levels.csv").is_file():
        raise ValueError(f"{reports / 'tables' / 'levels.csv'}: no such file: run make repro first")
    folder = config.home() / "reports" / "reference" / name
    place = place or _place(folder)
    several = (reports / "tables" / "seeds.csv").is_file() or bool(elsewhere)
    found = reproduced.published(reports / "tables", [run / "tables" for run in elsewhere or []]) if several else None
    _copy(reports, folder)
    if found is not None:
        results.save(found, folder / reproduced.FILE)
    shutil.copyfile(config.home() / config.PARAMS, folder / config.PARAMS)
    made = archive.write(folder, place)
    facts: dict[str, Any] = provenance.facts() | {"written": pd.Timestamp.now().strftime("%Y-%m-%d %H:%M")}
    facts |= {archive.KEY: made} if made else {}
    known = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)
    (folder / FACTS).write_text(known, encoding="utf-8")
    if not made:
        return [str(folder)]
    to = made["url"] or f"where you will, and write its address into {folder / FACTS}, {archive.KEY}.url"
    return [str(folder), f"{archive.MADE}/{made['file']}: {made['bytes'] / 1e6:.1f} MB: upload it to {to}"]


def _copy(reports: Path, folder: Path) -> None:
    """Tables, figures as PNG and the notebooks as Markdown. Tables of other seeds stay where the run has none."""
    own = config.value("world.source") != "emoji"
    for part in filter(lambda part: (reports / part).is_dir(), PUBLISHED):
        if part == "figures":
            shutil.rmtree(folder / part, ignore_errors=True)
        for path in sorted((reports / part).glob("*.csv")) + sorted((reports / part).glob("*.png")):
            if path.stem == "bench":  # of this machine, not of the run
                continue
            if not own or path.name not in PICTURES:
                (folder / part).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / part / path.name)
    shutil.rmtree(folder / "notebooks", ignore_errors=True)
    if not own and (reports / "notebooks").is_dir():
        from alignet.report import pages

        pages.write_markdown(reports / "notebooks", folder / "notebooks")


def _place(folder: Path) -> str | None:
    """The address of the folder that holds the archive of the run published before."""
    known = yaml.safe_load((folder / FACTS).read_text(encoding="utf-8")) if (folder / FACTS).is_file() else {}
    url = (known.get(archive.KEY) or {}).get("url")
    return url.rpartition("/")[0] if url else None


def fetched(source: Path | None, against: Path | None) -> str:
    """Fetch the archive of the published run of these params, or of another one, and say where it is."""
    folder = against or published()
    if folder is None:
        raise ValueError(NOT_PUBLISHED)
    return f"{archive.fetch(folder, source)}: figures and notebooks of {_name(folder)}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="alignet compare", description=__doc__.split("\n\n")[0])
    parser.add_argument("--against", type=Path, help="the reports/ folder of another run, or a published one's")
    parser.add_argument("--fetch", action="store_true", help="get the published run's figures and notebooks")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="PLACE", help="with --fetch: archive, or its folder"
    )
    parser.add_argument("--publish", metavar="NAME", help="make the finished run reports/reference/NAME")
    parser.add_argument("--url", help="with --publish: the folder that the archive will be uploaded to")
    parser.add_argument(
        "--elsewhere", nargs="+", type=Path, help="with --publish: reports/ of runs on other processors"
    )
    parser.add_argument("--out-dir", default=".", help="of the finished run")
    wanted = parser.parse_args(arguments)
    if wanted.publish:
        config.refuse_beside(parser, wanted, "--publish", "against", "fetch", "source")
    else:
        fetching = ["out_dir"] if wanted.fetch or wanted.source else []
        config.refuse_beside(parser, wanted, "--fetch" if fetching else "no --publish", "url", "elsewhere", *fetching)
    try:
        if wanted.publish:
            said = publish(wanted.publish, wanted.out_dir, wanted.url, wanted.elsewhere)
        elif wanted.fetch or wanted.source:
            said = [fetched(wanted.source, wanted.against)]
        else:
            said = told(wanted.against, wanted.out_dir, every_table=True)
    except (ValueError, FetchError) as error:
        print(error, file=sys.stderr)
        return 1
    print(*said, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
