"""`python -m ssgan_bench.study power`: the seeds that a difference takes, and wrong input in one line."""

import pytest

from ssgan_bench.reporting.exact_power import exact_power, pairs_needed_exact
from ssgan_bench.study import main


def test_it_prints_the_seeds_of_the_exact_test_whatever_the_sign(capsys):
    for difference in ("0.05", "-0.05"):
        assert main(["power", "--difference", difference, "--sd", "0.04", "--family", "3"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"power 0.8: {pairs_needed_exact(1.25, 3):.0f} seeds"
        assert lines[1] == f"power 0.9: {pairs_needed_exact(1.25, 3, 0.9):.0f} seeds"
        assert f"   8: {exact_power(1.25, 8, 3):.2f}" in lines


@pytest.mark.parametrize(
    "given",
    [("0", "1", "1"), ("nan", "1", "1"), ("1", "0", "1"), ("1", "inf", "1"), ("1", "-1", "1"), ("1", "1", "0")],
)
def test_what_has_no_meaning_is_refused(given, capsys):
    difference, sd, family = given
    assert main(["power", f"--difference={difference}", f"--sd={sd}", "--family", family]) == 2
    assert "give a" in capsys.readouterr().err
