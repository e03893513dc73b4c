"""What the explorer shows, as data: choices about three pictures, nearest neighbours, the tree of labels."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from alignet import config
from alignet.config import Backbone
from alignet.evaluation import representations
from alignet.evaluation.human_choices import TimedChoices, choices_by_level
from alignet.evaluation.uncertainty import fitted_sharpness
from alignet.maths.choices import pair_similarities
from alignet.maths.metrics import unit_vectors
from alignet.models import activations
from alignet.worlds.format import pictures, tables
from alignet.worlds.format.schema import LEVELS

DRAWN = 2000  # triplets of a world without judged ones, among which the explorer looks for the one it opens on
UNJUDGED_SHARPNESS = 10.0  # of the softmax where nobody judged test pictures, to fit it to


class Scene:
    """A finished run's test pictures as one student sees them: base, control and AligNet."""

    def __init__(self, student: str, params_file: str = config.PARAMS, out_dir: str = "."):
        self.student, targets = student, config.names("targets", params_file)
        self.people = config.load("human_uncertainty", config.HumanUncertainty, params_file)
        self.backbone = config.load(f"backbones.{student}", Backbone, params_file)
        self.data, _ = config.folders(out_dir)
        self.world = tables.read(self.data / "world")
        self.rows = self.world.rows("test")
        self.images = self.world.images.iloc[self.rows.tolist()].reset_index(drop=True)
        self.paths = self.world.paths(self.rows)
        stored = representations.load(self.data, self.world, [student], targets)
        order = ("base", *sorted(targets, reverse=True))  # control before AligNet
        self.features = {target: stored[student, target, "pooled"].float() for target in order}
        self.unit = {target: unit_vectors(rows, True) for target, rows in self.features.items()}

    @cached_property
    def judged(self) -> dict[tuple[int, ...], Tensor]:
        """People per item of each triplet of test pictures: the three pictures' numbers, ascending -> (3,)."""
        return dict(pair for judged in self._judged if judged.level == "all" for pair in self._counts(judged))

    @cached_property
    def _judged(self) -> list[TimedChoices]:
        """People's choices about test pictures alone, by level."""
        return [judged for judged in choices_by_level(self.world, self.people) if judged.regime == "new"]

    def _counts(self, judged: TimedChoices) -> Iterator[tuple[tuple[int, ...], Tensor]]:
        """The three pictures' numbers among the test pictures, and people per item, of each triplet."""
        rows = self.world.scored_rows()[judged.triplets]
        shown = torch.isin(rows, self.rows).all(1)
        numbers = torch.searchsorted(self.rows, rows[shown])
        yield from zip(map(tuple, numbers.tolist()), judged.counts()[shown], strict=True)

    @cached_property
    def sharpness(self) -> dict[str, float]:
        """Sharpness of each model's softmax, fitted to all choices about test pictures (Eq. 12 of docs/method.md)."""
        if not self.judged:
            return dict.fromkeys(self.unit, UNJUDGED_SHARPNESS)
        triplets, counts = torch.tensor([*self.judged]), torch.stack([*self.judged.values()])
        return {
            target: fitted_sharpness(pair_similarities(rows[triplets]), counts) for target, rows in self.unit.items()
        }

    def triplets(self, level: str | None = None) -> list[tuple[int, ...]]:
        """The judged triplets of a level, or of all."""
        if level is None:
            return [*self.judged]
        return [three for judged in self._judged if judged.level == level for three, _ in self._counts(judged)]

    def opening(self) -> tuple[int, ...]:
        """The triplet that the explorer opens on: where base and AligNet (else the control) choose differently, and
        disagree most.

        It is sought among the triplets that several people judged; else among those that anybody judged, else among
        DRAWN ones. Whether people agree with either model plays no part. Disagreement is the total variation between
        the two choice distributions, half the sum of the absolute differences.
        """
        several = [three for three, counts in self.judged.items() if counts.sum() > 1]
        shown = torch.tensor(several or [*self.judged] or self._drawn())
        base, aligned = (
            (self.sharpness[target] * pair_similarities(self.unit[target][shown]).double()).softmax(1)
            for target in ("base", [*self.unit][-1])
        )
        apart = (base - aligned).abs().sum(1) / 2 + (base.argmax(1) != aligned.argmax(1)).double()
        return tuple(shown[int(apart.argmax())].tolist())

    def _drawn(self) -> list[list[int]]:
        """Triplets of three different test pictures, DRAWN or a few less."""
        drawn = torch.randint(len(self.images), (DRAWN, 3), generator=torch.Generator().manual_seed(0))
        return drawn[(drawn.sort(1).values.diff(dim=1) > 0).all(1)].tolist()

    def level_of(self, three: tuple[int, ...]) -> str | None:
        """The level at which people judged a triplet; None where they did not."""
        return next((level for level in LEVELS if tuple(sorted(three)) in self.triplets(level)), None)

    def choices(self, three: tuple[int, int, int]) -> pd.DataFrame:
        """The probability that each of three test pictures is the odd one out: a row a model, and people where they
        judged the triplet; columns 0, 1, 2 in the order given, and n (people).
        """
        chosen = {target: rows[list(three)] for target, rows in self.unit.items()}
        return self._table(chosen, self.judged.get(tuple(sorted(three))), three)

    def choices_of(self, files: list[Path]) -> pd.DataFrame:
        """The table of `choices` for three picture files of one's own.

        Raises: WorldError that names a file that does not open.
        """
        shown = torch.stack([pictures.decode(file, self.backbone.picture_size) for file in files])
        chosen = {}
        for target, (embedder, _) in self._models.items():
            with torch.inference_mode():
                own = embedder(shown).float()
            centred = own - self.features[target].mean(0)
            chosen[target] = torch.nn.functional.normalize(centred, dim=1)
        return self._table(chosen, None, (0, 1, 2))

    @cached_property
    def _models(self) -> dict[str, tuple]:
        targets = [target for target in self.unit if target != "base"]
        loaded = activations.load(self.data, {self.student: self.backbone}, targets)
        return {target: model for (_, target), model in loaded.items()}

    def _table(self, unit: dict[str, Tensor], people: Tensor | None, three: tuple[int, ...]) -> pd.DataFrame:
        rows = {
            target: (self.sharpness[target] * pair_similarities(one[None]).double()).softmax(1)[0].tolist()
            for target, one in unit.items()
        }
        table = pd.DataFrame.from_dict(rows, orient="index").assign(n=pd.NA)
        if people is not None:
            place = [sorted(three).index(picture) for picture in three]
            shares = (people.double() / people.sum())[place].tolist()
            table.loc["people"] = [*shares, int(people.sum())]
        return table

    def neighbours(self, picture: int, n: int = 8) -> dict[str, list[int]]:
        """The n nearest test pictures by cosine, nearest first, for each model."""
        found = {}
        for target, rows in self.unit.items():
            similarity = rows @ rows[picture]
            similarity[picture] = -torch.inf
            found[target] = similarity.topk(min(n, len(rows) - 1)).indices.tolist()
        return found

    def common(self, one: int, other: int) -> str:
        """The finest label that two pictures share, as 'class: bird'; 'nothing' where there is none."""
        for label in self.world.hierarchy:
            if self.images[label].iloc[one] == self.images[label].iloc[other]:
                return f"{label}: {self.images[label].iloc[one]}"
        return "nothing"

    def below(self, chosen: dict[str, str]) -> tuple[str | None, list[str], list[int]]:
        """One step down the hierarchy: the next finer label, its values, and the pictures, within chosen values.

        Args: chosen: label -> value, of coarser labels. Returns: the label is None at the bottom.
        """
        inside = pd.Series(True, self.images.index)
        for label, value in chosen.items():
            inside &= self.images[label] == value
        left = [label for label in self.world.hierarchy[::-1] if label not in chosen]
        finer = left[0] if left else None
        values = sorted(self.images.loc[inside, finer].unique()) if finer else []
        return finer, values, [int(row) for row in self.images.index[inside]]

    def closeness(self, pictures: list[int]) -> dict[str, float]:
        """Mean cosine between different ones of these pictures, for each model; NaN for fewer than two."""
        if len(pictures) < 2:
            return dict.fromkeys(self.unit, float("nan"))
        n = len(pictures)
        return {
            target: float((rows[pictures].sum(0).square().sum() - n) / (n * (n - 1)))
            for target, rows in self.unit.items()
        }
