"""How often a question was looked at before, and what the tests of all reports together promise."""

from collections.abc import Sequence

from ssgan_bench.records.looks import Look
from ssgan_bench.reporting.analysis import Analysis
from ssgan_bench.reporting.frames import ALPHA, single_seed
from ssgan_bench.reporting.wording import counted


def earlier_looks(analysis: Analysis) -> list[Look]:
    """List the looks before this report, oldest first: its own row, if it has one already, is left out.

    Its own row has its protocol and seeds, and a date that is not before its first run.
    """
    study, runs = analysis.evidence.study, analysis.evidence.runs
    seeds = [cell.split_seed for cell in study.cells]
    own = (study.protocol_version, min(seeds), max(seeds))
    started = min((start[:10] for start in runs["started_at"] if start), default="")
    return [
        look
        for look in analysis.evidence.looks
        if (look.protocol, look.first_seed, look.last_seed) != own or not started or look.date.isoformat() < started
    ]


def sentences(analysis: Analysis) -> list[str]:
    """Say how often the question was looked at before and whether seeds repeat; nothing without a table of looks."""
    if not analysis.evidence.looks:
        return []
    looks = earlier_looks(analysis)
    if not looks:
        return ["Looks: this is the first look at this question in the table of looks (studies/looks.csv)."]
    last, study = looks[-1], analysis.evidence.study
    seeds = [cell.split_seed for cell in study.cells]
    seen = any(
        look.protocol == study.protocol_version and look.first_seed <= max(seeds) and min(seeds) <= look.last_seed
        for look in looks
    )
    fresh = "Some seeds of this report had been looked at." if seen else "The seeds of this report are fresh."
    return [
        f"Looks: this question was looked at {counted(len(looks), 'time')} before, last on {last.date.isoformat()}, "
        f"with seeds {last.first_seed} to {last.last_seed} (protocol {last.protocol}; {last.verdict}). {fresh} P "
        "values are not corrected for earlier looks."
    ]


def suite_error(analyses: Sequence[Analysis]) -> str:
    """Say what the tests of several reports promise together; empty where none has a test.

    Holm's correction keeps the 5 % of each report's family. Over k families with no true difference anywhere, at most
    0.05 k are expected to show one, and independent ones show any with probability at most 1 - 0.95^k.
    """
    tested = [analysis for analysis in analyses if analysis.family and not single_seed(analysis.evidence.study)]
    if not tested:
        return ""
    families, tests = len(tested), sum(len(analysis.family) for analysis in tested)
    chance = 100 * (1 - (1 - ALPHA) ** families)
    return (
        f"Together they have {counted(tests, 'test')} in {families} {'family' if families == 1 else 'families'}, each "
        f"family at {100 * ALPHA:g} %: if no arm differed anywhere, up to {ALPHA * families:.2g} of them would be "
        f"expected to show a difference, and the probability of at least one would be up to {chance:.0f} %. Nothing is "
        "corrected across reports."
    )
