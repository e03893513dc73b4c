"""One person's experiment on disk: trials, answers, undo, resuming after a break, and export."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import pandas as pd

from alignet.worlds.folder import answers
from alignet.worlds.format.tables import TRIPLET, WorldError

PLAN, ANSWERS = "plan.csv", "answers.csv"
KEPT, LOCK = "answers.before.csv", ".lock"  # answers.csv before the last change; held while one is made
WAIT = 60  # seconds for another kernel to make its change
RATINGS = range(1, 6)


class Session:
    """Trials and answers in a folder of their own. Every answer is on disk before the next trial is shown.

    The answers on disk count: if two kernels show one session, each first reads what the other has written, and an
    answer to a trial that was already answered in the other is ignored. No name and no address is stored: a participant
    is a random number that is drawn when the session begins.
    """

    def __init__(self, folder: Path, plan: pd.DataFrame | None = None):
        """Begin a session with a plan (`collect.plan`), or resume the one in the folder.

        Raises: WorldError if there is neither a plan nor a session.
        """
        self.folder = folder
        if not (folder / PLAN).is_file():
            if plan is None:
                raise WorldError(f"{folder / PLAN}: no such session: give a plan")
            self._begin(plan)
        self.plan = pd.read_csv(folder / PLAN, dtype=str, keep_default_na=False)
        self.participant = str(self.plan["participant"].iloc[0])
        self.kind = "triplets" if "image_2" in self.plan else "ratings"
        self.answers = self._stored()

    def _begin(self, plan: pd.DataFrame) -> None:
        """Write the plan with a participant's number, unless another kernel has just done so."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            if not (self.folder / PLAN).is_file():
                part = self.folder / f"{PLAN}.part"
                plan.assign(participant=f"p{secrets.token_hex(4)}").to_csv(part, index=False)
                part.replace(self.folder / PLAN)

    def _stored(self) -> list[dict[str, Any]]:
        """The answers on disk."""
        if not (self.folder / ANSWERS).is_file():
            return []
        stored = pd.read_csv(self.folder / ANSWERS, dtype=str, keep_default_na=False)
        return [
            {"trial": int(row["trial"]), "chosen": int(row["chosen"]), "rt": float(row["rt"])}
            for row in stored.to_dict("records")
        ]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other kernels from changing the session inside the `with` block. Raises: WorldError if one does not
        finish.
        """
        try:
            with filelock.FileLock(self.folder / LOCK, timeout=WAIT):
                yield
        except filelock.Timeout:
            raise WorldError(f"{self.folder}: another program holds its answers: close it, and answer again") from None

    @property
    def done(self) -> int:
        return len(self.answers)

    @property
    def total(self) -> int:
        return len(self.plan)

    def trial(self) -> dict[str, Any] | None:
        """The trial that is to be answered next; None at the end."""
        if self.done >= self.total:
            return None
        row = self.plan.iloc[self.done]
        images = [row[column] for column in TRIPLET if column in self.plan]
        return {"trial": self.done, "images": images, "practice": row["practice"] == "True"}

    def answer(self, trial: int, chosen: int, rt: float) -> None:
        """Store an answer: the position of the odd one out (0, 1, 2) or a rating (1 to 5), and the response time in
        seconds.

        An answer is ignored if its trial is not the open one, for instance after a key was pressed twice, or in a
        window that still shows a trial which was answered in another window.
        Raises: ValueError if `chosen` is no answer.
        """
        allowed = range(3) if self.kind == "triplets" else RATINGS
        if chosen not in allowed:
            raise ValueError(f"{chosen} is none of {', '.join(map(str, allowed))}")
        with self._alone():
            self.answers = self._stored()
            if trial == self.done and trial < self.total:
                self._save([*self.answers, {"trial": trial, "chosen": chosen, "rt": round(rt, 4)}])

    def undo(self) -> None:
        """Take the last answer back and show its trial again. An answer from another window is not taken back."""
        with self._alone():
            seen, self.answers = self.answers, self._stored()
            if self.answers and seen == self.answers:
                self._save(self.answers[:-1])

    def _save(self, answers: list[dict[str, Any]]) -> None:
        """Write the answers, and keep a copy of the former ones."""
        file, part = self.folder / ANSWERS, self.folder / f"{ANSWERS}.part"
        if file.is_file():
            shutil.copyfile(file, self.folder / KEPT)
        pd.DataFrame(answers, columns=["trial", "chosen", "rt"]).to_csv(part, index=False)
        part.replace(file)
        self.answers = answers

    def rows(self) -> pd.DataFrame:
        """The answers as rows of triplets.csv, levels.csv or ratings.csv, without practice trials."""
        given = pd.DataFrame(self.answers, columns=["trial", "chosen", "rt"])
        table = self.plan.iloc[given["trial"].tolist()].reset_index(drop=True)
        name = "odd" if self.kind == "triplets" else "rating"
        table = table.assign(**{name: given["chosen"]}, rt=given["rt"])[table["practice"] != "True"]
        columns = [*(column for column in TRIPLET if column in table), name, "participant"]
        columns += ["rt"] if self.kind == "triplets" else []
        columns += ["level"] if "level" in table and (table["level"] != "").any() else []
        return table[columns].reset_index(drop=True)

    def consistency(self) -> tuple[int, int]:
        """The number of repeated trials that were answered alike, and the number of repeated trials so far."""
        alike = asked = 0
        for later in self.answers:
            first = int(self.plan["repeat_of"].iloc[later["trial"]])
            if first >= 0:
                asked += 1
                alike += self._picture(later) == self._picture(self.answers[first])
        return alike, asked

    def _picture(self, answer: dict[str, Any]) -> Any:
        if self.kind == "ratings":
            return answer["chosen"]
        return self.plan.iloc[answer["trial"]][TRIPLET[answer["chosen"]]]

    def export(self, world: Path) -> str:
        """Append the rows to the tables of the world in a folder, each once; return a line that says what was added."""
        file = self.folder / "export.csv"
        self.rows().to_csv(file, index=False)
        return answers.add(world, file, unit="seconds" if self.kind == "triplets" else None)
