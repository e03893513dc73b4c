"""What people answered, in the tables of a world: rows of triplets.csv, levels.csv or ratings.csv, appended once.

`folder.answer_files` says which files are read. What is read, kept and left out is said in words.
"""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from alignet.worlds.folder import answer_files, trials
from alignet.worlds.folder.answer_files import filled, names, numbers
from alignet.worlds.format import files, tables
from alignet.worlds.format.schema import LEVELS
from alignet.worlds.format.tables import ABOUT, TRIPLET, WorldError

COLUMNS = {  # of each table, in its order; those that may be missing
    "triplets": ([*TRIPLET, "odd", "participant"], ["rt"]),
    "levels": ([*TRIPLET, "odd", "participant", "level"], ["rt"]),
    "ratings": (["image_0", "image_1", "rating", "participant"], []),
}
KNOWN = [*TRIPLET, "odd", "participant", "rt", "level", "rating", "practice"]
ALSO = {  # usual names of columns, in small letters, that are taken where there is no column of the name itself
    "participant": ("prolific_pid", "prolific_id", "participant_id", "subject_id", "subject", "worker_id", "workerid"),
    "rt": ("response_time", "reaction_time"),
}
Unit = Literal["seconds", "milliseconds"]
SECONDS: dict[Unit, float] = {"seconds": 1.0, "milliseconds": 0.001}
SLOW, FAST = 60.0, 0.05  # a median response time beyond these, in seconds, is asked about
SLOWEST = 3600.0  # seconds; a longer time is a break, and its row has none


@dataclass(frozen=True)
class Answers:
    """What a file holds: the columns image_0, image_1, image_2, odd, participant, rt, level and rating that there are.

    The index of rows is the number of each row in the file. said: lines about what was read and left out.
    """

    rows: pd.DataFrame
    said: list[str]


def add(
    world: Path, file: Path, first: int = 0, columns: Mapping[str, str] | None = None, unit: Unit | None = None
) -> str:
    """Append the answers in `file` to the tables of the world in folder `world`; what was added, in words.

    Rows with a level go to levels.csv, those with a rating to ratings.csv, others to triplets.csv. A file that has
    grown, or the same one, can be given twice: see `_not_yet`. Further choices about a held-out triplet are held out
    too. The tables are checked as a whole before they are replaced.

    Args: first, columns, unit: see `read`.
    Raises: WorldError that names the file, row and column; the tables are then as they were.
    """
    if not (world / "world.yaml").is_file():
        raise WorldError(f"{world / 'world.yaml'}: no such file: {world} is not the folder of a world")
    answers = read(file, first, columns, unit)
    rows = answers.rows
    rated = rows["rating"].notna() if "rating" in rows else pd.Series(False, rows.index)
    levelled = (rows["level"].notna() if "level" in rows else pd.Series(False, rows.index)) & ~rated
    kinds = {"levels": rows[levelled], "ratings": rows[rated], "triplets": rows[~levelled & ~rated]}
    said, changed = list(answers.said), {}
    for name, part in kinds.items():
        if len(part):
            part = _whole(part)
            _check_images(world, file, name, part)
            path = files.find(world, name) or world / f"{name}.csv"
            old = stored(path, COLUMNS[name][0]) if path.is_file() else pd.DataFrame(columns=COLUMNS[name][0])
            kept = part[[column for needed in COLUMNS[name] for column in needed if column in part]]
            new, further = _not_yet(kept, old)
            if len(new):
                changed[path] = pd.concat([old, _on_their_side(new, old)], ignore_index=True)
            said.append(f"{path}: {len(new)} rows added, {len(part) - len(new)} were there already")
            said += further
    replace(world, changed)
    return "\n".join(said if len(rows) else [*said, f"{file}: holds no answers"])


def read(file: Path, first: int = 0, columns: Mapping[str, str] | None = None, unit: Unit | None = None) -> Answers:
    """The answers in a file, checked, and what was left out.

    Left out are headers that come again, screens that ask nothing, practice, trials without an answer or a participant,
    and triplets that show a picture twice; a time that is no number or longer than SLOWEST is dropped from its row.

    Args: first: the number that stands for the first picture in column odd, 0 or 1; odd may also name the picture.
        columns: our name of a column -> the file's. unit: of the times; by default milliseconds in what jsPsych writes,
        and seconds elsewhere.
    Raises: WorldError that names the file and the column or row, or asks for the unit where times look like another's.
    """
    given, headers = answer_files.read(file)
    table, said = _renamed(file, given, columns or {})
    _check_columns(file, table, given)
    if unit is not None and "rt" not in table:
        said.append(f"{file}: has no response times, whose unit was said to be {unit}")
    jspsych = "trial_type" in table
    out = Counter({"headers that come again": headers})
    table = _asked(table, out)
    table = table.assign(participant=_people(table["participant"]))
    for column in [column for column in TRIPLET if column in table]:
        table[column] = names(table[column])
    table = _once_each(table, out)
    if "rt" in table:
        table = table.assign(rt=_times(file, table, unit, "milliseconds" if jspsych else "seconds", said))
    table = _typed(file, table, first, said)
    return Answers(table[[c for c in KNOWN if c in table and c != "practice"]], _summary(file, table, out) + said)


def _renamed(file: Path, table: pd.DataFrame, columns: Mapping[str, str]) -> tuple[pd.DataFrame, list[str]]:
    """The table with our names of columns, and a line for each that was taken for another's by its usual name."""
    if blank := [name for name, given in columns.items() if not given]:
        raise WorldError(f"--columns: {blank[0]}= names no column")
    unknown = [name for name in columns if name not in KNOWN]
    if unknown:
        raise WorldError(f"--columns: {unknown[0]!r} is none of {', '.join(KNOWN)}")
    lacking = [name for name in columns.values() if name not in table]
    if lacking:
        raise WorldError(f"{file}: has no column {lacking[0]} (columns: {', '.join(map(str, table.columns))})")
    replaced = [name for name, given in columns.items() if name in table and name != given]
    found = table.drop(columns=replaced).assign(**{name: table[given] for name, given in columns.items()})
    said = []
    for name, usual in ALSO.items():
        there = [column for column in found if column.lower() in usual]
        if name not in found and there:
            found = found.assign(**{name: found[there[0]]})
            said.append(f"{file}: column {there[0]} is taken as {name}")
            columns = {**columns, name: there[0]}
    expected = (*KNOWN, *columns.values(), trials.LIST)
    unread = [column for column in table if column not in expected]
    return found, said + ([f"{file}: columns that are not read: {', '.join(map(str, unread))}"] if unread else [])


def _asked(table: pd.DataFrame, out: Counter[str]) -> pd.DataFrame:
    """The rows of trials that were answered by somebody; those left out are counted by their reason."""
    answered = filled(table, "odd") | filled(table, "rating")
    practice = (
        table["practice"].str.lower().isin(["true", "1"]) if "practice" in table else pd.Series(False, table.index)
    )
    screen = ~answered & ~filled(table, "image_0")
    nobody = ~filled(table, "participant") if "participant" in table else pd.Series(False, table.index)
    reasons = {
        "screens that ask nothing": screen,
        "practice trials": practice & ~screen,
        "trials without an answer": ~answered & ~screen & ~practice,
        "rows without a participant": nobody & answered & ~practice,
    }
    out.update({reason: int(rows.sum()) for reason, rows in reasons.items()})
    return table[answered & ~practice & ~nobody]


def _check_columns(file: Path, table: pd.DataFrame, given: pd.DataFrame) -> None:
    """Refuse a table without a needed column. Raises: WorldError that names this column, and those that exist."""
    kind = "ratings" if "rating" in table and "odd" not in table else "triplets"
    missing = [column for column in COLUMNS[kind][0] if column not in table]
    if missing:
        there = ", ".join(map(str, given.columns))
        raise WorldError(
            f"{file}: has no column {missing[0]} (columns: {there}); --columns {missing[0]}=NAME if it has another name"
        )


def _people(participants: pd.Series) -> pd.Series:
    """Names of people: 7 where a program has made 7.0 of it."""
    return names(participants).str.replace(r"^(\d+)\.0$", r"\1", regex=True)


def _once_each(table: pd.DataFrame, out: Counter[str]) -> pd.DataFrame:
    """The rows that do not show a picture twice; those left out are counted."""
    shown = table[[column for column in TRIPLET if column in table]]
    pairs = [(a, b) for number, a in enumerate(shown) for b in list(shown)[number + 1 :]]
    twice = pd.Series(False, table.index)
    for a, b in pairs:
        twice |= (shown[a] == shown[b]) & (shown[a] != "")
    out["trials that show a picture twice"] = int(twice.sum())
    return table[~twice]


def _times(file: Path, table: pd.DataFrame, unit: Unit | None, usual: Unit, said: list[str]) -> pd.Series:
    """Response times in seconds, NaN where there is none.

    Raises: WorldError if nobody has said the unit, and their median can be no person's in the usual one.
    """
    given, there = numbers(table["rt"]).replace(np.inf, np.nan), filled(table, "rt")
    wrong = there & ~(given >= 0)
    if wrong.any():
        count, row = int(wrong.sum()), wrong.idxmax()
        said.append(f"{file}: {count} response times are no numbers from 0 on (the first in row {row}): left empty")
    seconds = (given.where(given >= 0) * SECONDS[unit or usual]).round(6)
    median = seconds.median()
    if unit is None and (median > SLOW or median < FAST):
        raise WorldError(
            f"{file}, column rt: in {usual} the median would be {median:g} s; say --rt-unit seconds or milliseconds"
        )
    long = seconds > SLOWEST
    if long.any():
        said.append(
            f"{file}: {int(long.sum())} response times above {SLOWEST:g} s (the longest {seconds.max():g} s, row "
            f"{seconds.idxmax()}): left empty, their choices are kept"
        )
    return seconds.where(~long)


def _typed(file: Path, table: pd.DataFrame, first: int, said: list[str]) -> pd.DataFrame:
    """odd as 0, 1, 2 and rating as a number, NaN where a row has none; level as text or None.

    Raises: WorldError that names the row and column of a value that is none of these.
    """
    rated, chosen = filled(table, "rating"), filled(table, "odd")
    if (rated & chosen).any():
        row = (rated & chosen).idxmax()
        raise WorldError(f"{file}, row {row}: holds a rating and an odd one out: give one of them a row of its own")
    if "rating" in table:
        table = table.assign(rating=numbers(table["rating"]).where(rated))
        _refuse(file, table, "rating", rated & table["rating"].isna(), "is no number")
    if "odd" in table:
        table = table.assign(odd=_positions(file, table, chosen & ~rated, first, said))
    if "level" in table:
        there = filled(table, "level")
        table = table.assign(level=table["level"].str.strip().where(there, None))
        _refuse(file, table, "level", there & ~table["level"].isin(LEVELS), f"is none of {', '.join(LEVELS)}")
    return table


def _positions(file: Path, table: pd.DataFrame, chosen: pd.Series, first: int, said: list[str]) -> pd.Series:
    """The place of the odd one out in each chosen row; column odd holds it, counted from `first`, or names the picture.

    Raises: WorldError that names the first row whose value is neither.
    """
    odd = table["odd"]
    places = (numbers(odd) - first).where(chosen)
    if not places[chosen].isin([0, 1, 2]).all() and all(column in table for column in TRIPLET):
        named = pd.concat([names(odd) == table[column] for column in TRIPLET], axis=1).to_numpy()
        if named[chosen.to_numpy()].any(1).all():
            said.append(f"{file}: column odd names the picture")
            return pd.Series(named.argmax(1), table.index, dtype=float).where(chosen)
    counted = (numbers(odd) == 3).any() and first == 0
    hint = "; --first 1 if the pictures are counted from 1" if counted else ""
    expected = ", ".join(str(first + place) for place in range(3))
    _refuse(file, table, "odd", chosen & ~places.isin([0, 1, 2]), f"is none of {expected}{hint}")
    return places


def _refuse(file: Path, table: pd.DataFrame, column: str, wrong: pd.Series, why: str) -> None:
    """Refuse wrong rows, if there are any. Raises: WorldError about the first one, by its number in the file."""
    if wrong.any():
        row = wrong.idxmax()
        more = f" ({int(wrong.sum())} rows)" if wrong.sum() > 1 else ""
        raise WorldError(f"{file}, row {row}, column {column}: {table.at[row, column]!r} {why}{more}")


def _summary(file: Path, table: pd.DataFrame, out: Counter[str]) -> list[str]:
    """What was read: people, answers, median time; and a line for each reason for which rows were left out."""
    median = (
        f", median response time {table['rt'].median():.2f} s" if "rt" in table and table["rt"].notna().any() else ""
    )
    read = f"{file}: {len(table)} answers of {table['participant'].nunique()} people{median}"
    return [read, *(f"{file}: left out: {count} {reason}" for reason, count in out.items() if count)]


def _whole(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of one table with odd, and ratings that have no decimals, as whole numbers."""
    if "odd" in rows and rows["odd"].notna().all():
        rows = rows.assign(odd=rows["odd"].astype(int))
    if "rating" in rows and rows["rating"].notna().all():
        whole = [int(value) if float(value).is_integer() else value for value in rows["rating"]]
        rows = rows.assign(rating=pd.Series(whole, rows.index, dtype=object))
    return rows


def _check_images(world: Path, file: Path, name: str, rows: pd.DataFrame) -> None:
    """Refuse unknown pictures.

    Raises: WorldError about the first row with a picture that is not in the world, or not of the splits that the table
        `name` may show.
    """
    path = files.find(world, "images")
    if path is None:
        return  # said when the tables are read
    images = stored(path).astype(str)
    if "image" not in images or "split" not in images:
        return
    split = dict(zip(images["image"], images["split"], strict=True))
    allowed = ABOUT.get(name, ())
    for column in [column for column in TRIPLET if column in COLUMNS[name][0]]:
        of = rows[column].map(split)
        _refuse(file, rows, column, of.isna(), "is not among the images")
        if allowed and set(allowed) & set(split.values()):
            why = f"is not of the split {' or '.join(map(repr, allowed))}, which {name} are about"
            _refuse(file, rows, column, ~of.isin(allowed), why)


def stored(path: Path, needed: Sequence[str] = ()) -> pd.DataFrame:
    """A table of a world, CSV as text.

    Raises: WorldError if it is no table, or lacks a needed column.
    """
    try:
        parquet = path.suffix == ".parquet"
        table = pd.read_parquet(path) if parquet else pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:  # of pandas and pyarrow, also for bytes that are no text
        raise WorldError(f"{path}: cannot be read as a table ({' '.join(str(error).split())})") from None
    lacking = [column for column in needed if column not in table]
    if lacking:
        raise WorldError(f"{path}: missing column {', '.join(lacking)}; `alignet worlds check` says all that is wrong")
    return table


def _not_yet(rows: pd.DataFrame, old: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The rows that a table does not hold yet, and a line for each further session of a person.

    Each person's rows are compared as a whole, since one answer twice can be one row read twice or a person asked
    again. They are there already if all of them are; they have grown if the table's last ones are their first ones, or
    if they hold all of the table's. Otherwise, or if no response time is the same, they are another session, and all
    are added: to leave out the answers that agree with an earlier session would bias what is kept.
    """
    columns = [column for column in rows if column in old and column != "rt"]
    keys = [_keys(table, columns) for table in (rows, old)]
    by_person = {person: part.index for person, part in old.groupby(old["participant"].astype(str), sort=False)}
    kept, said = [], []
    for person, part in rows.groupby("participant", sort=False):
        before = by_person.get(str(person))
        if before is None:
            kept.append(part.index)
            continue
        mine, theirs = keys[0][part.index].tolist(), keys[1][before].tolist()
        new = _grown(mine, theirs)
        matched = sorted(set(range(len(mine))) - set(new))
        if _other_times(part, old.loc[before], [mine[n] for n in matched], matched, theirs):
            new = list(range(len(mine)))
        if len(new) == len(mine):
            said.append(f"{person}: another session of a person who has {len(theirs)} answers: {len(new)} rows added")
        kept.append(part.index[new])
    chosen = [row for index in kept for row in index]
    return rows[rows.index.isin(chosen)], said


def _on_their_side(new: pd.DataFrame, old: pd.DataFrame) -> pd.DataFrame:
    """The new rows with the split of the table's rows about the same triplet, so that none that is held out is fitted.

    Triplets that are new to the table, or stand in several splits of it, get none.
    """
    if "split" not in old or not len(old):
        return new
    triplets = [table[TRIPLET].apply(lambda row: "\n".join(sorted(row.astype(str))), axis=1) for table in (new, old)]
    splits = (
        old["split"].fillna("").groupby(triplets[1]).agg(lambda split: split.iloc[0] if split.nunique() == 1 else "")
    )
    return new.assign(split=triplets[0].map(splits).fillna(""))


def _keys(table: pd.DataFrame, columns: list[str]) -> pd.Series:
    """What a row says, as text: 2, 2.0 and '2' are one answer."""
    words = table[columns].astype(object).map(lambda value: "" if value is None or value != value else str(value))
    words = words.apply(lambda column: column.str.replace(r"^(-?\d+)\.0$", r"\1", regex=True))
    return words.agg("\x1f".join, axis=1) if len(words) else pd.Series([], dtype=str)


def _grown(mine: list[str], theirs: list[str]) -> list[int]:
    """Places of one person's rows that a table does not hold yet; all of them if they are another session's."""
    there, nth, new = Counter(theirs), Counter[str](), []
    for place, key in enumerate(mine):
        nth[key] += 1
        if nth[key] > there[key]:
            new.append(place)
    if not new or not there - Counter(mine):
        return new
    for size in range(min(len(mine), len(theirs)), 0, -1):
        if theirs[-size:] == mine[:size]:
            return list(range(size, len(mine)))
    return list(range(len(mine)))


def _other_times(rows: pd.DataFrame, old: pd.DataFrame, said: list[str], places: list[int], keys: list[str]) -> bool:
    """Whether rows that say what a table's rows say have response times of which none is the same."""
    if "rt" not in rows or "rt" not in old:
        return False
    times: dict[str, list[float]] = {}
    for key, time in zip(keys, pd.to_numeric(old["rt"], errors="coerce"), strict=True):
        times.setdefault(key, []).append(time)
    pairs = [(time, rows["rt"].iloc[place]) for key, place in zip(said, places, strict=True) for time in times[key]]
    both = [(before, now) for before, now in pairs if before == before and now == now]
    return bool(both) and not any(
        np.isclose(before / now if now else 0, [1, 1000, 0.001]).any() for before, now in both
    )


def replace(world: Path, changed: dict[Path, pd.DataFrame]) -> None:
    """Write tables in place of the world's, after the world has been read with them."""
    with tempfile.TemporaryDirectory(dir=world, prefix=".answers") as name:
        tried = Path(name)
        for path in world.iterdir():
            if path.is_file() and path not in changed:
                (tried / path.name).symlink_to(path.resolve())
        for path, table in changed.items():
            if path.suffix == ".parquet":
                _of_one_type(table).to_parquet(tried / path.name, index=False)
            else:
                table.to_csv(tried / path.name, index=False)
        tables.read(tried, unfilled=True)
        for path in changed:
            (tried / path.name).replace(path)


def _of_one_type(table: pd.DataFrame) -> pd.DataFrame:
    """The table with columns that Parquet takes: whole numbers, numbers, or text."""
    typed = {}
    for column in table:
        if column == "odd":
            typed[column] = pd.to_numeric(table[column]).astype("int64")
        elif column in ("rt", "rating"):
            typed[column] = pd.to_numeric(table[column], errors="coerce").astype(float)
        elif not pd.api.types.is_numeric_dtype(table[column]):
            typed[column] = table[column].astype(object).where(table[column].notna(), "").astype(str)
    return table.assign(**typed)
