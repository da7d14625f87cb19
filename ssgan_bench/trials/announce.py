"""What a study says before it runs: its cells, its search, what they will cost."""

from pathlib import Path

from ssgan_bench.records.schema import StudyPlan
from ssgan_bench.records.search_schema import SearchPlan
from ssgan_bench.records.store import RecordStore, SearchStore
from ssgan_bench.trials.progress import describe_seconds


def print_plan(plan: StudyPlan, description: str, changes: list[str], device: str, num_workers: int) -> None:
    """Print what a study is about to run.

    Args:
        plan: the study.
        description: of its preset.
        changes: "key=value" of what the command line changed.
        device: e.g. "cuda:0".
        num_workers: processes at once.
    """
    factors = " x ".join(f"{len(f.levels)} levels of {f.key} {list(f.levels)}" for f in plan.factors)
    config = plan.cells[0].config
    print(f"{plan.study}, preset {plan.preset}: {plan.question}")
    print(f"  {description}")
    if config["data"].get("evaluation_set") == "validation":
        print(f"  for choosing settings: seeds from {plan.seeds[0]}, validation error; the test images are not read")
    if changes:
        print(f"  changed from this description: {', '.join(changes)}")
    print(f"  arms: {', '.join(arm.name for arm in plan.arms)}")
    print(f"  {len(plan.arms)} arms x {factors} x {_seeds_text(plan)} = {len(plan.cells)} cells")
    print(f"  data set {config['data']['dataset']} at {config['data']['image_size']} pixels; ", end="")
    print(f"device {device}, {num_workers} worker{'s' * (num_workers > 1)}", flush=True)


def _seeds_text(plan: StudyPlan) -> str:
    if all(cell.split_seed == cell.model_seed for cell in plan.cells):
        return f"{len(plan.seeds)} seeds"
    split_seeds, model_seeds = ({getattr(cell, f"{kind}_seed") for cell in plan.cells} for kind in ("split", "model"))
    return f"{len(split_seeds)} split seeds x {len(model_seeds)} model seeds"


def print_search(search: SearchPlan, plan: StudyPlan) -> None:
    """Print the size of the search that precedes a study."""
    trials, runs = len(search.arms) * search.num_trials, len(search.tuning_seeds)
    print(
        f"  first a search: {len(search.arms)} arms x {search.num_trials} trials = {trials} trials of at most {runs} "
        f"runs (seeds {search.tuning_seeds[0]} to {search.tuning_seeds[-1]}, judged on {search.num_validation} "
        "validation images each)"
    )
    print(f"  then every arm untuned and with its winner's values: 2 x {len(plan.cells)} cells", flush=True)


def print_damaged(store: RecordStore | SearchStore) -> None:
    """Say which records of earlier runs are not taken over, a line each."""
    for line in store.damaged().values():
        print(f"  {line}", flush=True)


def print_estimate(plan: StudyPlan, search: SearchPlan | None, device: str, num_workers: int, folder: Path) -> None:
    """Time a few steps of every arm, and print all cells and what they will cost."""
    # Imported here, because announcing a plan needs no PyTorch.
    import torch

    from ssgan_bench.trials.estimate import estimate, free_disk_mib

    print("  timing a few steps of each arm ...", flush=True)
    everything = plan
    if search is not None:  # a run of the search costs about what one of the arm's cells costs
        first_cells = tuple(cell for cell in plan.cells if cell.model_seed == plan.seeds[0])
        runs = search.num_trials * len(search.tuning_seeds)
        everything = plan.model_copy(update={"cells": plan.cells * 2 + first_cells * runs})
    cost = estimate(everything, torch.device(device), num_workers)
    for arm, arm_cost in cost.arms.items():
        what = "one fit" if arm_cost.step_ms is None else f"{arm_cost.steps} steps of {arm_cost.step_ms:.1f} ms"
        print(f"    {arm}: {what}, {describe_seconds(arm_cost.run_seconds)} per run")
    if search is not None:
        for tuned in search.arms:
            first = "its own values" if tuned.default is not None else "sampled, its own values lie outside the space"
            keys = ", ".join(tuned.space)
            print(f"  trials of {tuned.name}: 0 to {search.num_trials - 1} over {keys}; trial 0 is {first}")
    print("  cells (arm, levels, seed, id):")
    for cell in plan.cells:
        levels = ", ".join(f"{key} = {value}" for key, value in cell.levels.items())
        print(f"    {cell.arm}, {levels}, {cell.seed_text}, {cell.cell_id}")
    what = "all cells" if search is None else "the search without pruning and all cells"
    print(f"  estimated time: {describe_seconds(cost.total_seconds)} for {what} with {num_workers} workers")
    print(f"  estimated memory: {cost.memory_mib:.0f} MiB per worker")
    print(f"  estimated disk: {cost.disk_mib:.1f} MiB in {folder} ({free_disk_mib(folder):.0f} MiB free)")
