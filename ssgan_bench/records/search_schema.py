"""What is kept of a search for configurations (`SearchPlan`) and of a trial of it (`SearchRecord`), as in schema.py."""

from typing import Any, Literal

from ssgan_bench.config import Frozen, digest
from ssgan_bench.records.schema import Provenance, RunRecord


class Dimension(Frozen):
    """What a search may choose for one configuration key: a range, or one of some choices.

    Whether it is either, and not empty, is checked where a study file is read.
    """

    low: int | float | None = None
    """A range of integers if both ends are integers, else of real numbers; both ends belong to it."""
    high: int | float | None = None
    log: bool = False
    """Draw on a logarithmic scale."""
    choices: list[int | float | str | bool] | None = None

    @property
    def is_integer(self) -> bool:
        """Whether the range is one of integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def ends(self) -> tuple[int | float | str | bool, ...]:
        """The choices, or both ends of the range."""
        if self.choices is not None:
            return tuple(self.choices)
        assert self.low is not None
        assert self.high is not None
        return (self.low, self.high)

    def contains(self, value: Any) -> bool:
        """Whether the search could choose `value`."""
        if self.choices is not None:
            return any(type(value) is type(choice) and value == choice for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int if self.is_integer else int | float):
            return False
        assert self.low is not None
        assert self.high is not None
        return bool(self.low <= value <= self.high)


class SearchArm(Frozen):
    """One arm as a search sees it."""

    name: str
    label: str
    config: dict[str, Any]
    """The arm's own, untuned RunConfig as JSON data; seeds are set per run."""
    space: dict[str, Dimension]
    """By dotted configuration key; every arm has the same number of dimensions."""
    default: dict[str, int | float | str | bool] | None
    """The arm's own values of the searched keys, which are trial 0; None if they lie outside the space."""


class SearchPlan(Frozen):
    """The search that a tuned study begins with. Stored as `search/plan.json` in the study's folder."""

    schema_version: Literal[1] = 1
    protocol_version: str
    study: str
    preset: str
    baseline: str
    num_trials: int
    """Of every arm, pruned ones included."""
    tuning_seeds: tuple[int, ...]
    """Each is split_seed and model_seed of one run per trial, in this order; no result is made with them."""
    sampler_seed: int
    num_labels: int
    num_validation: int
    """Images that a run is judged on; at most num_labels."""
    arms: tuple[SearchArm, ...]

    @property
    def trial_ids(self) -> list[str]:
        """All trials in the order in which they begin: every arm's first, every arm's second, ..."""
        return [f"{arm.name}-{number:04d}" for number in range(self.num_trials) for arm in self.arms]

    def trial(self, trial_id: str) -> tuple[SearchArm, int]:
        """Arm and number of a trial."""
        name, _, number = trial_id.rpartition("-")
        return next(arm for arm in self.arms if arm.name == name), int(number)

    def fingerprint(self) -> str:
        """Digest of all that decides how a search goes; the number of trials is part of it, fixed in advance."""
        data = self.model_dump(mode="json", exclude={"arms": {"__all__": {"label"}}})
        return digest(data)


class SeedScore(Frozen):
    """What one run of a trial reached on the validation set."""

    seed: int
    error_rate: float
    """At the final snapshot; for a run that diverged the chance level 1 - 1/K."""
    diverged_step: int | None = None


class FailedTry(Frozen):
    """A try of a trial that raised an exception; the trial was then repeated with other parameters."""

    params: dict[str, int | float | str | bool]
    error: str


class SearchRecord(Frozen):
    """What one trial of a search came to. Its scores choose a configuration and are no results."""

    schema_version: Literal[2] = 2
    protocol_version: str
    study: str
    preset: str
    trial_id: str
    arm: str
    trial: int
    """Number within the arm, from 0."""
    status: Literal["complete", "pruned", "failed"]
    params: dict[str, int | float | str | bool]
    """Chosen values by dotted configuration key."""
    scores: tuple[SeedScore, ...]
    """One per tuning seed that was run: all of them only if complete."""
    failures: tuple[FailedTry, ...] = ()
    """Earlier tries of this trial, and for status "failed" this one."""
    seconds: float
    """Wall-clock of all runs of this trial."""
    provenance: Provenance | None = None
    started_at: str
    """UTC, ISO 8601."""

    @property
    def is_finished(self) -> bool:
        """Whether the trial need not run again."""
        return self.status in ("complete", "pruned")

    @property
    def error(self) -> str | None:
        """What the exception said; None unless failed."""
        return self.failures[-1].error if self.status == "failed" else None

    @property
    def record_id(self) -> str:
        """Name of the record's file."""
        return self.trial_id

    @property
    def mean_error(self) -> float:
        """Mean validation error over the tuning seeds that were run."""
        return sum(score.error_rate for score in self.scores) / len(self.scores)


Record = RunRecord | SearchRecord
