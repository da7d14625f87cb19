"""Run one trial of a search: one run per tuning seed, judged on validation images; the test set is never read."""

import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from ssgan_bench import PROTOCOL_VERSION
from ssgan_bench.config import ConfigError, RunConfig
from ssgan_bench.records.schema import Provenance
from ssgan_bench.records.search_schema import FailedTry, Record, SearchArm, SearchPlan, SearchRecord, SeedScore
from ssgan_bench.records.store import SearchStore, write_atomically
from ssgan_bench.trials.plan import merged, nested
from ssgan_bench.trials.queue import Claim, Trials
from ssgan_bench.trials.search import SearchTrials


class Validator(Protocol):
    """All that a search may ask of the runner of cells, so that it cannot come to know a test result."""

    def validation_error(self, config: RunConfig) -> tuple[float, int | None]:
        """Error rate on the validation set, or the chance level and the step at which the run diverged."""

    def provenance(self, config: RunConfig) -> Provenance:
        """Where and with what a configuration is run."""


class TrialRunner:
    """Runs trials of one search in this process."""

    def __init__(self, plan: SearchPlan, store: SearchStore, validator: Validator):
        self._plan = plan
        self._store = store
        self._validator = validator

    def finished_record(self, trial_id: str) -> SearchRecord | None:
        """Read the record of a trial that need not run again: complete or pruned."""
        record = self._store.record(trial_id)
        return record if record is not None and record.is_finished else None

    def start(self, claim: Claim, trials: Trials) -> Callable[[], Record]:
        """Prepare to run a trial and to store its record, unless the trial is given up for dead meanwhile."""
        assert isinstance(trials, SearchTrials)

        def run_and_keep() -> Record:
            record = self.run(claim, trials)
            if trials.still_owns(claim):
                self._store.write_record(record)
            return record

        return run_and_keep

    def run(self, claim: Claim, trials: SearchTrials) -> SearchRecord:
        """Run a trial seed by seed until it is complete or pruned. Every outcome is a record.

        Raises:
            ConfigError: the data set is missing or damaged, which concerns every trial.
            OSError: the disk does not take a file, likewise.
        """
        arm, number = self._plan.trial(claim.cell_id)
        params = trials.params(claim)
        earlier = self._store.record(claim.cell_id)
        failures = () if earlier is None else earlier.failures
        started_at, start = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
        scores: list[SeedScore] = []
        status, provenance = "complete", None
        try:
            for step, seed in enumerate(self._plan.tuning_seeds):
                config = trial_config(arm, params, seed)
                provenance = provenance or self._validator.provenance(config)
                error_rate, diverged_step = self._validator.validation_error(config)
                scores.append(SeedScore(seed=seed, error_rate=error_rate, diverged_step=diverged_step))
                if trials.report(claim, step, error_rate):
                    status = "pruned"
                    break
        except (ConfigError, OSError):
            raise
        except Exception as failure:  # noqa: BLE001  (a failed trial is a row of the report, not the end of the search)
            status = "failed"
            failures += (FailedTry(params=params, error=f"{type(failure).__name__}: {failure}"[:2000]),)
            trace = traceback.format_exc().encode()
            write_atomically(self._store.folder / "failures" / f"{claim.cell_id}.txt", trace)
        return SearchRecord(
            protocol_version=PROTOCOL_VERSION,
            study=self._plan.study,
            preset=self._plan.preset,
            trial_id=claim.cell_id,
            arm=arm.name,
            trial=number,
            status=status,  # type: ignore[arg-type]
            params=params,
            scores=tuple(scores),
            failures=failures,
            seconds=time.perf_counter() - start,
            provenance=provenance,
            started_at=started_at,
        )


def trial_config(arm: SearchArm, params: dict[str, Any], seed: int) -> RunConfig:
    """Put chosen values and a tuning seed into an arm's configuration."""
    return RunConfig.model_validate(merged(arm.config, nested(params)) | {"split_seed": seed, "model_seed": seed})
