"""How much of an arm's gain over the labels alone its redrawn mask makes: sentence and table."""

from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.document import Table
from ssgan_bench.reporting.evidence import csv_text
from ssgan_bench.reporting.tables import keys_of, levels_of, texts_of
from ssgan_bench.reporting.wording import estimate_text, listed, number

MOST_LISTED = 4
"""Conditions given one by one in a sentence; of more, those of the declared family."""
PATH = "tables/label_leak.csv"
PARTS = ("apparent", "leak", "honest")


def sentences(analysis: Analysis) -> list[str]:
    """Say of each arm with a redrawn mask how much of its gain over the labels alone the mask makes."""
    unit, found = analysis.unit, []
    for arm in dict.fromkeys(row.arm for row in analysis.leaks):
        rows = [row for row in analysis.leaks if row.arm == arm]
        if len(rows) > MOST_LISTED:
            rows = [row for row in rows if row.condition[0] in analysis.evidence.study.family] or rows
        texts = [
            listed([number(unit.scale * getattr(row, part).mean, unit.decimals, sign=True) for row in rows])
            for part in PARTS
        ]
        where = analysis.at([row.condition for row in rows])
        found.append(
            f"{analysis.label(arm)} against {analysis.label(rows[0].alone)}{where}: the apparent gain of {texts[0]} is "
            f"the sum of {texts[1]} by the redrawn mask and {texts[2]} with fixed labels "
            f"(means{unit.in_difference}, described, not tested)."
        )
    return found


def table(analysis: Analysis, csv: dict[str, str]) -> Table:
    """Give the gains of the arms with a redrawn mask, whole and in parts."""
    unit, factors = analysis.unit, analysis.evidence.study.factors
    columns = ["arm", *keys_of(analysis), "labels_alone"]
    columns += [f"{part}{suffix}" for part in PARTS for suffix in ("", "_low", "_high")] + ["n"]
    records, rows = [], []
    for row in analysis.leaks:
        estimates = {part: getattr(row, part) for part in PARTS}
        record = {"arm": row.arm, **levels_of(row.condition, analysis), "labels_alone": row.alone, "n": row.leak.n}
        for part, estimate in estimates.items():
            record |= {part: estimate.mean, f"{part}_low": estimate.low, f"{part}_high": estimate.high}
        records.append(record)
        texts = [estimate_text(estimate, unit, sign=True) for estimate in estimates.values()]
        rows.append((analysis.label(row.arm), *texts_of(row.condition), *texts, str(row.leak.n)))
    csv[PATH] = csv_text(columns, records)
    alone = analysis.label(analysis.leaks[0].alone)
    caption = (
        f"Gain over {alone}{unit.in_difference}, and its two parts: what the same arm with fixed labels loses "
        f"to the redrawn mask, and what it gains over {alone}. Mean [95 % t interval] over {analysis.unit_noun}s; "
        "described, not tested."
    )
    heads = ("gain as it seems", "by the redrawn mask", "with fixed labels", "n")
    return Table(("arm", *(f.label for f in factors), *heads), tuple(rows), caption, PATH, left=1 + len(factors))
