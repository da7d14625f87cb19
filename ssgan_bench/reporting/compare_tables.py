"""Tables and CSV files of the comparison of two evidences."""

from ssgan_bench.reporting.compare import Comparison, Key
from ssgan_bench.reporting.document import Block, Table, Text
from ssgan_bench.reporting.evidence import csv_text
from ssgan_bench.reporting.evidence_columns import METRICS
from ssgan_bench.reporting.units import unit_noun
from ssgan_bench.reporting.wording import Unit, counted, estimate_text, level_text, listed, number, p_text

SIDES = ("status", *METRICS, "config_digest", "labeled_digest", "device_name", "commit")
"""Columns of a pair of runs, each for A and for B."""


def tests_table(comparison: Comparison, unit: Unit) -> Table:
    """One row per arm: the test that the verdict rests on."""
    labels = {arm.name: arm.label for arm in comparison.first.study.arms}
    rows = tuple(
        (
            labels[test.arm],
            estimate_text(test.difference, unit, sign=True),
            p_text(test.p),
            p_text(test.p_holm),
            str(test.num_conditions),
            str(test.difference.n),
        )
        for test in comparison.tests
    )
    noun = unit_noun(comparison.first.study)
    caption = (
        f"B minus A{f' in{unit.difference}' if unit.difference else ''}, averaged over the conditions of each {noun}, "
        f"with 95 % t interval over {noun}s (not corrected); exact two-sided sign-flip p, after Holm over "
        f"{counted(len(rows), 'test')}. The verdict rests on these."
    )
    return Table(("arm", "B − A", "p", "p (Holm)", "conditions", f"{noun}s"), rows, caption, "tables/tests.csv")


def tests_csv(comparison: Comparison) -> str:
    """Write the tests, rates in [0, 1]."""
    columns = ["arm", "metric", "difference", "low", "high", "sd", "n", "num_conditions", "p", "p_holm"]
    rows = (
        {"arm": t.arm, "metric": comparison.first.study.metric, "num_conditions": t.num_conditions}
        | {**vars(t.difference), "difference": t.difference.mean, "p": t.p, "p_holm": t.p_holm}
        for t in comparison.tests
    )
    return csv_text(columns, rows)


def side_by_side(comparison: Comparison, unit: Unit) -> Table:
    """One row per arm and condition, both means beside each other."""
    study = comparison.first.study
    labels = {arm.name: arm.label for arm in study.arms}
    rows = tuple(
        (
            labels[g.arm],
            *(level_text(level) for level in g.condition),
            number(unit.scale * g.first.mean, unit.decimals),
            number(unit.scale * g.second.mean, unit.decimals),
            estimate_text(g.difference, unit, sign=True),
            number(unit.scale * g.largest, unit.decimals),
            f"{g.identical} of {g.num_pairs}",
        )
        for g in comparison.groups
    )
    caption = (
        f"{unit.axis[0].upper()}{unit.axis[1:]}: means over the paired runs; B − A: mean paired difference with its "
        f"95 % t interval over {unit_noun(study)}s, described and not tested; largest: largest absolute "
        f"difference of a pair; identical: pairs of runs with {listed(METRICS)} equal bit for bit."
    )
    heads = ("arm", *(f.label for f in study.factors), "A", "B", "B − A", "largest", "identical")
    return Table(heads, rows, caption, "tables/comparison.csv")


def groups_csv(comparison: Comparison) -> str:
    """Write the means side by side, rates in [0, 1]."""
    keys = [factor.key for factor in comparison.first.study.factors]
    columns = [
        "arm",
        *keys,
        "metric",
        "mean_a",
        "mean_b",
        "difference",
        "low",
        "high",
        "sd",
        "n",
        "num_pairs",
        "identical",
    ]
    rows = (
        {"arm": g.arm, **dict(zip(keys, g.condition, strict=True)), "metric": comparison.first.study.metric}
        | {**vars(g.difference), "difference": g.difference.mean, "mean_a": g.first.mean, "mean_b": g.second.mean}
        | {"num_pairs": g.num_pairs, "identical": g.identical, "largest_absolute_difference": g.largest}
        for g in comparison.groups
    )
    return csv_text([*columns, "largest_absolute_difference"], rows)


def pairs_csv(comparison: Comparison) -> str:
    """Write one row per pair of runs."""
    keys = [factor.key for factor in comparison.first.study.factors]
    columns = ["arm", *keys, "split_seed", "model_seed", "identical"]
    columns += [f"{name}_{side}" for name in SIDES for side in ("a", "b")]
    rows = (
        {"arm": p.arm, **dict(zip(keys, p.condition, strict=True)), "identical": p.identical}
        | {name: int(p.first[name]) for name in ("split_seed", "model_seed")}
        | {f"{name}_a": p.first[name] for name in SIDES}
        | {f"{name}_b": p.second[name] for name in SIDES}
        for p in comparison.pairs
    )
    return csv_text(columns, rows)


def _unpaired_rows(comparison: Comparison) -> list[tuple[str, Key]]:
    return [("A", key) for key in comparison.only_first] + [("B", key) for key in comparison.only_second]


def unpaired_csv(comparison: Comparison) -> str:
    """Write the runs that only one of the two has."""
    keys = sorted(factor.key for factor in comparison.first.study.factors)
    rows = (
        {"only_in": side, "arm": arm, **dict(zip(keys, levels, strict=True)), "split_seed": split, "model_seed": model}
        for side, (arm, levels, split, model) in _unpaired_rows(comparison)
    )
    return csv_text(["only_in", "arm", *keys, "split_seed", "model_seed"], rows)


def unpaired(comparison: Comparison) -> tuple[Block, ...]:
    """Say which runs only one of the two has, seeds gathered by arm and condition."""
    found = _unpaired_rows(comparison)
    if not found:
        return (Text("None: every run has its counterpart."),)
    tied = all(split == model for _, (_, _, split, model) in found)
    counts: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for side, (arm, levels, split, model) in found:
        counts.setdefault((side, arm, tuple(map(level_text, levels))), []).append(
            str(model) if tied else f"{split}/{model}"
        )
    keys = sorted(factor.key for factor in comparison.first.study.factors)
    rows = tuple((s, arm, *levels, ", ".join(seeds)) for (s, arm, levels), seeds in counts.items())
    heads = ("only in", "arm", *keys, "seeds" if tied else "split/model seeds")
    caption = "Runs without a counterpart: not planned in the other, or not run yet."
    return (Table(heads, rows, caption, "tables/unpaired.csv", left=len(heads)),)
