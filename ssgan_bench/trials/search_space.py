"""What a study file says about its search, and what is wrong with that before any configuration is looked at."""

from typing import Annotated

from pydantic import Field

from ssgan_bench.config import Frozen, Seed
from ssgan_bench.mistakes import Mistake
from ssgan_bench.records.search_schema import Dimension

NumTrials = Annotated[int, Field(ge=2, le=10_000)]
NumSeeds = Annotated[int, Field(ge=1, le=100)]
ALL = "all"
"""Name of the space that every arm has."""
FIXED = (
    "data",
    "split_seed",
    "model_seed",
    "train.epochs",
    "train.steps",
    "train.batch_size",
    "train.evaluations",
    "train.num_threads",
)
"""Keys that a search may not touch: arms share the data, the seeds and the number of steps."""


class SearchSize(Frozen):
    """Effort of a search at one preset."""

    num_trials: NumTrials | None = None
    tuning_seeds: NumSeeds | None = None


class Search(Frozen):
    """An equal search for every arm; the winners are run again on the preset's own seeds."""

    num_trials: NumTrials
    """Of every arm, pruned ones included; trial 0 is the arm's own configuration if that lies in the space."""
    tuning_seeds: NumSeeds
    """Runs of one trial; from five on, a trial can be pruned after four of them."""
    first_tuning_seed: Annotated[int, Field(ge=0, le=10**6)] = 10_000
    """Tuning seeds count from here; they must not be among the preset's seeds."""
    sampler_seed: Seed = 0
    space: Annotated[dict[str, dict[str, Dimension]], Field(min_length=1)]
    """Dimensions by arm and dotted configuration key; those of the arm "all" belong to every arm."""

    def of_arm(self, arm: str) -> dict[str, Dimension]:
        """All dimensions of one arm."""
        return self.space.get(ALL, {}) | self.space.get(arm, {})

    def origin(self, arm: str, key: str) -> str:
        """Where a dimension stands in the study file."""
        return f"search.space.{arm if key in self.space.get(arm, {}) else ALL}.{key}"


def space_mistakes(search: Search, arms: list[str]) -> list[Mistake]:
    """Find what is wrong with the spaces, whatever the preset."""
    mistakes = []
    if ALL in arms:
        mistakes.append(Mistake(key=f"arms.{ALL}", value=None, message="no arm of a tuned study can have this name"))
    for arm, space in search.space.items():
        if arm != ALL and arm not in arms:
            known = ", ".join([ALL, *arms])
            mistakes.append(Mistake(key="search.space", value=arm, message=f"not an arm of this study; known: {known}"))
        for key, dimension in space.items():
            where = f"search.space.{arm}.{key}"
            if any(f"{key}.".startswith(f"{fixed}.") for fixed in FIXED):
                text = f"cannot be searched: arms share {', '.join(FIXED)}"
                mistakes.append(Mistake(key=where, value=None, message=text))
            if problem := _problem(dimension):
                mistakes.append(Mistake(key=where, value=None, message=problem))
            if arm != ALL and key in search.space.get(ALL, {}):
                mistakes.append(Mistake(key=where, value=None, message=f"stands in search.space.{ALL} as well"))
    counts = {arm: len(search.of_arm(arm)) for arm in arms}
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{arm} {count}" for arm, count in counts.items())
        text = f"every arm needs the same number of dimensions, so that all are tuned equally; they have {listing}"
        mistakes.append(Mistake(key="search.space", value=None, message=text))
    elif not max(counts.values()):
        mistakes.append(Mistake(key="search.space", value=None, message="names nothing to search"))
    return mistakes


def _problem(dimension: Dimension) -> str | None:
    """What keeps a dimension from being a range or some choices."""
    low, high, choices = dimension.low, dimension.high, dimension.choices
    if choices is not None:
        if low is not None or high is not None or dimension.log:
            return "give either low and high, or choices"
        if len({(type(choice), choice) for choice in choices}) < max(2, len(choices)):
            return f"needs at least two choices, none of them twice, not {choices}"
    elif low is None or high is None:
        return "needs low and high, or choices"
    elif low >= high:
        return f"an empty range: low = {low} must be less than high = {high}"
    elif dimension.log and low <= 0:
        return f"low = {low}: a logarithmic range must begin above 0"
    return None
