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


@pytest.mark.parametrize(
    "seeds",
    [
        "",
        "split_seeds = 8",
        "model_seeds = 8",
        "seeds = 8\nsplit_seeds = 8\nmodel_seeds = 8",
        "seeds = 8\nmodel_seeds = 8",
    ],
)
def test_a_preset_gives_one_kind_of_seeds(tmp_path: Path, seeds: str) -> None:
    (line,) = refusal(write(tmp_path, GOOD.replace("seeds = 8", seeds)))
    assert line == "give either seeds, or both split_seeds and model_seeds"


def test_seeds_may_be_crossed(tmp_path: Path) -> None:
    preset = read_study(write(tmp_path, GOOD.replace("seeds = 8", "split_seeds = 2\nmodel_seeds = 3"))).presets["quick"]
    assert sorted(preset.seed_pairs()) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert sorted(preset.seed_pairs(1)) == [(0, 0)]


def test_all_mistakes_are_listed_with_key_value_and_what_is_allowed(tmp_path: Path) -> None:
    text = GOOD.replace('"tiny"', '"Tiny Study"').replace("seeds = 8", 'seeds = "8"\ncolor = 1')
    text = text.replace('label = "A"', "").replace("levels = [20]", "levels = []")
    lines = refusal(write(tmp_path, text))
    assert len(lines) == 5
    for key in ("name = 'Tiny Study'", "arms.a.label", "factors.0.levels = []", "presets.quick.seeds = '8'"):
        assert any(line.startswith(key) for line in lines), key
    unknown = next(line for line in lines if line.startswith("presets.quick.color = 1"))
    known = "description, family, first_seed, levels, model_seeds, published, sample_quality, search, seeds, set, "
    assert f"unknown key; known here: {known}split_seeds" in unknown


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


MISTAKES = {
    "text for a choice": (
        'name = "tiny"',
        'name = "tiny"\nmetric = "accuracy"',
        "metric = 'accuracy': must be 'error_rate', 'nll' or 'ece'",
    ),
    "text for a number": (
        "seeds = 8",
        'seeds = "8"',
        "presets.quick.seeds = '8': must be a whole number, at least 1 and at most 1000",
    ),
    "true for a number": (
        "seeds = 8",
        "seeds = true",
        "presets.quick.seeds = true: must be a whole number, at least 1 and at most 1000",
    ),
    "a negative number": ("seeds = 8", "seeds = -1", "presets.quick.seeds = -1: must be at least 1 and at most 1000"),
    "a number for a list": ("[20]", "20", "factors.0.levels = 20: must be a list in brackets, such as [1, 2]"),
    "a list in a list": (
        "[20]",
        "[20, [50]]",
        "factors.0.levels.1 = [50]: must be a finite number, text, true or false",
    ),
    "a level that is no number": (
        "[20]",
        "[nan]",
        "factors.0.levels.0 = nan: must be a finite number, text, true or false",
    ),
    "no arm": ('[arms.a]\nlabel = "A"\nset.method.name = "supervised"', "[arms]", "arms: must not be empty"),
    "no table of arms": ('[arms.a]\nlabel = "A"\nset.method.name = "supervised"', "", "arms: required, but missing"),
    "text for an arm": (
        '[arms.a]\nlabel = "A"\nset.method.name = "supervised"',
        'arms.a = "A"',
        "arms.a = 'A': must be a table; known here: label, set",
    ),
    "one table of factors": ("[[factors]]", "[factors]", "factors: must be a list of tables, each under [[factors]]"),
    "a preset's name with spaces": (
        "presets.quick",
        'presets."Too Fast"',
        "presets.Too Fast: as a name, must be 1 to 64 lowercase letters, digits, _ and -",
    ),
    "spaces in a name": (
        '"tiny"',
        '"Tiny Study"',
        "name = 'Tiny Study': must be 1 to 64 lowercase letters, digits, _ and -",
    ),
    "a key without its table": (
        "data.num_labels",
        "num_labels",
        "factors.0.key = 'num_labels': must be a dotted configuration key, such as data.num_labels",
    ),
    "no words": ('"Q?"', '""', "question = '': must not be empty"),
    "the name of a command": (
        '"tiny"',
        '"audit"',
        "name = 'audit': a command of python -m ssgan_bench.study; give the study another name than audit or power",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_typical_mistake_is_one_line_that_says_what_is_allowed(tmp_path: Path, mistake: str) -> None:
    right, wrong, line = MISTAKES[mistake]
    assert right in GOOD
    assert refusal(write(tmp_path, GOOD.replace(right, wrong))) == [line]


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


def test_yardsticks_are_arms_beside_the_baseline_and_leave_one_to_hold_against_them(tmp_path: Path) -> None:
    more = GOOD.replace("[[factors]]", '[arms.b]\nlabel = "B"\n[arms.c]\nlabel = "C"\n[[factors]]')
    assert read_study(write(tmp_path, f'yardsticks = ["b"]\n{more}')).yardsticks == ["b"]
    lines = refusal(write(tmp_path, f'yardsticks = ["a", "z", "b", "b", "c"]\n{more}'))
    reason = "not an arm beside the baseline, or named twice; arms: a, b, c"
    assert [line for line in lines if reason in line] == [f"yardsticks = '{name}': {reason}" for name in "azb"]
    assert "no arm is left beside the baseline to hold against them" in lines[-1]


@pytest.mark.parametrize("margin", ["0", "-0.1", "nan", "1.0", "1.5"])
def test_an_impossible_margin_is_refused(tmp_path: Path, margin: str) -> None:
    (line,) = refusal(write(tmp_path, f"margin = {margin}\n{GOOD}"))
    assert line.startswith("margin = ")


def test_a_margin_is_in_the_unit_of_the_metric(tmp_path: Path) -> None:
    assert read_study(write(tmp_path, f"margin = 0.01\n{GOOD}")).margin == 0.01
    assert read_study(write(tmp_path, f'margin = 1.5\nmetric = "nll"\n{GOOD}')).margin == 1.5


PUBLISHED = """
[[presets.quick.published]]
arm = "a"
levels."data.num_labels" = 20
mean = 0.1
sd = 0.02
n = 10
source = "Somebody 2020"
"""


def test_published_values_belong_to_a_preset(tmp_path: Path) -> None:
    (value,) = read_study(write(tmp_path, GOOD + PUBLISHED)).presets["quick"].published
    assert (value.arm, value.levels, value.mean, value.sd, value.n) == ("a", {"data.num_labels": 20}, 0.1, 0.02, 10)


def test_a_published_value_has_a_level_of_the_preset_and_stands_once(tmp_path: Path) -> None:
    (line,) = refusal(write(tmp_path, GOOD + PUBLISHED.replace('num_labels" = 20', 'num_labels" = 21')))
    assert line == "presets.quick.published.levels.data.num_labels = 21: not a level of it: [20]"
    (line,) = refusal(write(tmp_path, GOOD + PUBLISHED + PUBLISHED))
    assert line.startswith("presets.quick.published = 'Somebody 2020': given twice for a at {'data.num_labels': 20}")


@pytest.mark.parametrize(
    ("good", "bad", "line"),
    [
        (
            'arm = "a"\nlevels',
            'arm = "b"\nlevels',
            "presets.quick.published = 'Somebody 2020': needs one of the arms a and",
        ),
        (
            'data.num_labels" = 20\nmean',
            'data.image_size" = 20\nmean',
            "presets.quick.published = 'Somebody 2020': needs",
        ),
        ("mean = 0.1", "mean = -0.1", "presets.quick.published.0.mean = -0.1: "),
        ("n = 10", "n = 1", "presets.quick.published.0.n = 1: "),
        ("sd = 0.02\n", "", "presets.quick.published.0.sd: "),
    ],
)
def test_an_odd_published_value_is_refused(tmp_path: Path, good: str, bad: str, line: str) -> None:
    text = GOOD + PUBLISHED
    assert good in text
    (found,) = refusal(write(tmp_path, text.replace(good, bad)))
    assert found.startswith(line)
