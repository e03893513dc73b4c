"""One person's experiment on disk: what is asked, what was answered, undo, going on after a break, export."""

import secrets
from pathlib import Path
from typing import Any

import pandas as pd

from alignet.worlds.folder import answers
from alignet.worlds.format.tables import TRIPLET, WorldError

PLAN, ANSWERS = "plan.csv", "answers.csv"
RATINGS = range(1, 6)


class Session:
    """Trials and answers in a folder of their own. Every answer is on disk before the next trial is shown.

    No name and no address is kept: a participant is a random number, drawn when the session is made.
    """

    def __init__(self, folder: Path, plan: pd.DataFrame | None = None):
        """A new session with a plan (`collect.plan`), or the one that is in the folder already.

        Raises: WorldError if there is neither.
        """
        self.folder = folder
        if not (folder / PLAN).is_file():
            if plan is None:
                raise WorldError(f"{folder / PLAN}: no such session: give a plan")
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / f"{PLAN}.part"
            plan.assign(participant=f"p{secrets.token_hex(4)}").to_csv(part, index=False)
            part.replace(folder / PLAN)
        self.plan = pd.read_csv(folder / PLAN, dtype=str, keep_default_na=False)
        self.participant = str(self.plan["participant"].iloc[0])
        self.kind = "triplets" if "image_2" in self.plan else "ratings"
        self.answers: list[dict[str, Any]] = []
        if (folder / ANSWERS).is_file():
            stored = pd.read_csv(folder / ANSWERS, dtype=str, keep_default_na=False)
            self.answers = [
                {"trial": int(row["trial"]), "chosen": int(row["chosen"]), "rt": float(row["rt"])}
                for row in stored.to_dict("records")
            ]

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
        """Keep an answer: the position of the odd one out (0, 1, 2) or a rating (1 to 5), and seconds.

        An answer to another trial than the one that is open, as of a key pressed twice, is ignored.
        Raises: ValueError if `chosen` is no answer.
        """
        allowed = range(3) if self.kind == "triplets" else RATINGS
        if chosen not in allowed:
            raise ValueError(f"{chosen} is none of {', '.join(map(str, allowed))}")
        if trial == self.done and trial < self.total:
            self.answers.append({"trial": trial, "chosen": chosen, "rt": round(rt, 4)})
            self._save()

    def undo(self) -> None:
        """Take the last answer back; its trial is shown again."""
        if self.answers:
            self.answers.pop()
            self._save()

    def _save(self) -> None:
        part = self.folder / f"{ANSWERS}.part"
        pd.DataFrame(self.answers, columns=["trial", "chosen", "rt"]).to_csv(part, index=False)
        part.replace(self.folder / ANSWERS)

    def rows(self) -> pd.DataFrame:
        """What was answered, as rows of triplets.csv, levels.csv or ratings.csv; practice trials are left out."""
        given = pd.DataFrame(self.answers, columns=["trial", "chosen", "rt"])
        table = self.plan.iloc[given["trial"].tolist()].reset_index(drop=True)
        name = "odd" if self.kind == "triplets" else "rating"
        table = table.assign(**{name: given["chosen"]}, rt=given["rt"])[table["practice"] != "True"]
        columns = [*(column for column in TRIPLET if column in table), name, "participant"]
        columns += ["rt"] if self.kind == "triplets" else []
        columns += ["level"] if "level" in table and (table["level"] != "").any() else []
        return table[columns].reset_index(drop=True)

    def consistency(self) -> tuple[int, int]:
        """How many of the trials that were shown twice were answered alike, and how many there are so far."""
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
        """Append the rows to the tables of the world in a folder, each once; what was added, in words."""
        file = self.folder / "export.csv"
        self.rows().to_csv(file, index=False)
        return answers.add(world, file, unit="seconds")
