"""A study file with mistakes is refused with all of them at once."""

from pathlib import Path

import pytest

from ssgan_bench.config import ConfigError
from ssgan_bench.trials.study_file import read_study

GOOD = """
name = "tiny"
question = "Q?"
expectation = "E."
baseline = "a"
[arms.a]
label = "A"
set.method.name = "supervised"
[[factors]]
key = "data.num_labels"
label = "Labels"
levels = [20]
[presets.quick]
description = "D"
seeds = 8
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(text)
    return path


def refusal(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_study(path)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(str(path)) for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def test_a_good_file_is_read(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, GOOD))
    assert study.factors[0].levels == [20]
    assert study.presets["quick"].seeds == 8


def test_all_mistakes_are_listed_with_key_value_and_what_is_allowed(tmp_path: Path) -> None:
    text = GOOD.replace('"tiny"', '"Tiny Study"').replace("seeds = 8", 'seeds = "8"\ncolor = 1')
    text = text.replace('label = "A"', "").replace("levels = [20]", "levels = []")
    lines = refusal(write(tmp_path, text))
    assert len(lines) == 5
    for key in ("name = 'Tiny Study'", "arms.a.label", "factors.0.levels = []", "presets.quick.seeds = '8'"):
        assert any(line.startswith(key) for line in lines), key
    unknown = next(line for line in lines if line.startswith("presets.quick.color = 1"))
    assert "unknown key; known here: description, family, first_seed, levels, search, seeds, set" in unknown


def test_references_to_arms_and_factors_are_checked(tmp_path: Path) -> None:
    text = GOOD.replace('baseline = "a"', 'baseline = "z"').replace("levels = [20]\n", "")
    lines = refusal(write(tmp_path, text + 'levels."train.epochs" = [1]\n'))
    assert lines == [
        "baseline = 'z': not an arm; arms: a",
        "presets.quick.levels = 'train.epochs': not a factor of this study; factors: data.num_labels",
        "presets.quick.levels = 'data.num_labels': this factor has no levels",
    ]


@pytest.mark.parametrize("seeds", ["0", "1001", "-1", "1.5", "true"])
def test_an_impossible_number_of_seeds_is_refused(tmp_path: Path, seeds: str) -> None:
    (line,) = refusal(write(tmp_path, GOOD.replace("seeds = 8", f"seeds = {seeds}")))
    assert line.startswith("presets.quick.seeds = ")


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"name = 1\nname = 2"])
def test_what_is_not_toml_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tiny.toml"
    path.write_bytes(content)
    (line,) = refusal(path)
    assert line.startswith("not valid TOML: ")


def test_a_missing_file_and_a_folder_are_refused_in_one_line(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.toml") == ["cannot be read: No such file or directory"]
    assert refusal(tmp_path) == ["cannot be read: Is a directory"]


def test_a_family_names_levels_of_the_first_factor(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("seeds = 8", "seeds = 8\nfamily = [25]"))
    assert refusal(path) == ["presets.quick.family = 25: not a level of data.num_labels: [20]"]
