"""What a method cannot do is refused before anything runs."""

from pathlib import Path

import pytest

from ssgan_bench.config import ConfigError
from ssgan_bench.methods import classical
from ssgan_bench.trials.checks import check_cells
from ssgan_bench.trials.plan import make_plan
from ssgan_bench.trials.study_file import read_study

STUDY = Path(__file__).parents[2] / "studies" / "labeled_rate.toml"


def test_every_arm_of_the_main_study_fits_digits(tmp_path: Path) -> None:
    check_cells(make_plan(read_study(STUDY), "x", "quick", {}), tmp_path, None)


def test_a_fit_that_would_take_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classical, "MOST_MULTIPLICATIONS", 1e8)  # digits: 1,100 x (3,600 x 16^2 + 10^7)
    with pytest.raises(ConfigError, match=r"1100 images of 256 pixels need 1\.2e\+10 multiplications"):
        check_cells(make_plan(read_study(STUDY), "x", "quick", {}), tmp_path, None)


def test_redrawn_labels_are_refused_for_a_method_without_batches(tmp_path: Path) -> None:
    changes = {"data.label_protocol": "resampled", "data.num_labels": [100]}
    with pytest.raises(ConfigError, match="label_spreading sees no batches"):
        check_cells(make_plan(read_study(STUDY), "x", "quick", changes), tmp_path, None)
