"""Participants: how many people chose, and how many answers have no recorded person."""

import pandas as pd

UNKNOWN = "unknown_"  # the participant of such an answer is this and a number of its own: it is nobody else's


def known(participants: pd.Series) -> int:
    """The number of different people that are named."""
    return sum(not str(name).startswith(UNKNOWN) for name in participants.unique())


def said(participants: pd.Series) -> str:
    """The people behind some choices, in words: '264 participants' and the number of answers that name nobody."""
    named = known(participants)
    unknown = int(participants.str.startswith(UNKNOWN).sum())
    people = [f"{named} participants"] if named or not unknown else []
    return " and ".join([*people, *([f"{unknown} unknown ones"] if unknown else [])])
