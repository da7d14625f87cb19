"""One look per arm name in all reports, distinguishable within each."""

import itertools
import tomllib
from pathlib import Path

import numpy as np
import pytest

from ssgan_bench.reporting.palette import COLORS, KNOWN, looks

STUDIES = {
    path.stem: list(tomllib.loads(path.read_text())["arms"])
    for path in sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))
}


@pytest.mark.parametrize("study", STUDIES)
def test_arms_of_a_study_differ_in_look_and_as_long_as_there_are_colors_in_color(study):
    found = looks(STUDIES[study])
    assert len({(look.color, look.marker) for look in found.values()}) == len(found)
    assert len({look.color for look in found.values()}) == min(len(found), len(COLORS))


def test_arm_name_has_one_look_in_all_studies_of_the_suite():
    found = [(arm, look) for arms in STUDIES.values() for arm, look in looks(arms).items()]
    assert {arm for arm, _ in found} == KNOWN.keys(), "palette.KNOWN has these arm names, each with its look, alone"
    several = {arm for arm, _ in found if len({look for other, look in found if other == arm}) > 1}
    assert several == set()


def test_known_name_keeps_its_look_whatever_the_others_are():
    assert looks(["x", "y", "improved_gan"])["improved_gan"] == KNOWN["improved_gan"]


def test_unknown_name_has_the_same_look_in_any_company_that_leaves_its_color_free():
    alone = looks(["my_arm"])["my_arm"]
    others = [arm for arm, look in KNOWN.items() if look.color != alone.color]
    for arm in others:
        assert looks([arm, "my_arm"])["my_arm"] == alone


def test_looks_of_unknown_names_are_distinct_up_to_70():
    found = looks([f"arm_{i}" for i in range(70)])
    assert len({(look.color, look.marker) for look in found.values()}) == 70
    first = looks([f"arm_{i}" for i in range(10)])
    assert len({look.color for look in first.values()}) == 10


# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def lab(color: str, deficiency: str) -> np.ndarray:
    """CIELAB (D65) of a color as it is seen with a deficiency."""
    rgb = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(DEFICIENCIES[deficiency] @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    ratio = to_xyz @ seen / (to_xyz @ np.ones(3))
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_colors_are_told_apart_with_each_color_vision_deficiency_and_from_white(deficiency):
    closest = min(
        float(np.linalg.norm(lab(a, deficiency) - lab(b, deficiency)))
        for a, b in itertools.combinations((*COLORS, "#ffffff"), 2)
    )
    assert closest > 9  # CIE 1976 distance; 2.3 is just noticeable
