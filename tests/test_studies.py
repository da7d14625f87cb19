"""Every study file of the repository can be run as it stands."""

from pathlib import Path

import pytest

from ssgan_bench.trials.checks import check_cells
from ssgan_bench.trials.plan import make_plan
from ssgan_bench.trials.search_plan import make_search_plan
from ssgan_bench.trials.study_file import read_study

PATHS = sorted((Path(__file__).parents[1] / "studies").glob("*.toml"))


def test_there_are_studies() -> None:
    assert "labeled_rate" in [path.stem for path in PATHS]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_study_is_named_like_its_file_and_has_a_card_and_all_presets(path: Path) -> None:
    study = read_study(path)
    assert study.name == path.stem
    assert {"quick", "standard"} < set(study.presets)
    header = path.read_text().split("\n\n")[0].splitlines()
    assert all(line.startswith("# ") for line in header)
    assert "?" in "".join(header) or "question" in "".join(header)
    assert any(line.startswith("# Cost: ") for line in header)


PRESETS = [(path, preset) for path in PATHS for preset in read_study(path).presets]


@pytest.mark.parametrize(("path", "preset"), PRESETS, ids=lambda part: part if isinstance(part, str) else part.stem)
def test_every_preset_resolves_and_can_show_something(path: Path, preset: str) -> None:
    plan = make_plan(read_study(path), str(path), preset, {})
    seeds = {(cell.split_seed, cell.model_seed) for cell in plan.cells}
    levels = {tuple(cell.levels.values()) for cell in plan.cells}
    assert len(plan.cells) == len(plan.arms) * len(seeds) * len(levels)
    assert plan.baseline in [arm.name for arm in plan.arms]
    assert set(plan.family) <= set(plan.factors[0].levels)
    assert len(plan.seeds) >= 8  # PROTOCOL.md: fewer are no claim
    # The smallest p of an exact sign-flip test, times the number of tests (Holm), must be able to fall below 5 %.
    num_tests = len(plan.family) * (len(plan.arms) - 1 - len(plan.yardsticks))
    assert num_tests * 2 / 2 ** len(plan.seeds) <= 0.05


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_quick_needs_no_download_and_no_gpu(path: Path) -> None:
    plan = make_plan(read_study(path), str(path), "quick", {})
    assert 8 <= len(plan.seeds) <= 16
    assert {cell.config["data"]["dataset"] for cell in plan.cells} == {"digits"}
    assert {cell.config["data"]["image_size"] for cell in plan.cells} == {16}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_cell_of_quick_can_be_drawn_from_its_data(path: Path, tmp_path: Path) -> None:
    check_cells(make_plan(read_study(path), str(path), "quick", {}), tmp_path, None)


@pytest.mark.parametrize("preset", ["quick", "standard", "full"])
@pytest.mark.parametrize("path", [path for path in PATHS if read_study(path).search], ids=lambda path: path.stem)
def test_every_search_resolves_can_prune_and_begins_with_every_arms_own_values(path: Path, preset: str) -> None:
    study = read_study(path)
    untuned = make_plan(study, str(path), preset, {})
    plan = make_search_plan(study, str(path), untuned, {}, {})
    assert len(plan.tuning_seeds) >= 5
    assert all(arm.default is not None for arm in plan.arms)
    # With its tuned twin, every arm but one is compared with the tuned baseline.
    num_tests = len(untuned.family) * (2 * len(untuned.arms) - 1)
    assert num_tests * 2 / 2 ** len(untuned.seeds) <= 0.05
