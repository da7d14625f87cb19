"""The table of looks, `studies/looks.csv`: every time a study's question was put to data, with what came out.

A test keeps its level for seeds that nothing was chosen with. Whoever runs a study again takes fresh seeds, or says
that the row repeats some, and adds a row whatever the verdict is.
"""

import csv
import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from ssgan_bench.config import ConfigError, Frozen
from ssgan_bench.records.shipped import shipped

NAME = "looks.csv"


class Look(Frozen):
    """One row: one run of a study's preset that somebody saw the verdict of."""

    study: Annotated[str, Field(min_length=1)]
    preset: Annotated[str, Field(min_length=1)]
    first_seed: Annotated[int, Field(ge=0)]
    """Smallest split seed."""
    last_seed: Annotated[int, Field(ge=0)]
    """Largest split seed."""
    protocol: Annotated[str, Field(min_length=1)]
    date: datetime.date
    commit: Annotated[str, Field(pattern=r"^([0-9a-f]{7,40}|unknown)$")]
    """What holds the report."""
    repeats: Literal["yes", "no"]
    """Whether some of its seeds had been looked at before, under the same protocol."""
    verdict: Annotated[str, Field(min_length=1)]
    """In words; "unknown" where it was not kept."""
    reason: Annotated[str, Field(min_length=1)]
    """Why it was looked again."""

    def shares_seeds(self, other: "Look") -> bool:
        """Whether both are of one study, preset and protocol and have a seed in common."""
        one_question = (self.study, self.preset, self.protocol) == (other.study, other.preset, other.protocol)
        return one_question and self.first_seed <= other.last_seed and other.first_seed <= self.last_seed


def read_looks(path: Path) -> tuple[Look, ...]:
    """Read a table of looks in its order.

    Raises:
        ConfigError: a row is wrong, is older than one of its study and preset above it, or shares seeds with one above
            and does not say so.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    looks: list[Look] = []
    for line, row in enumerate(rows, start=2):
        try:
            look = Look.model_validate(row, strict=False)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ConfigError(f"{path}, row {line}, {where}: {first['msg']}; correct the row") from None
        if look.last_seed < look.first_seed:
            raise ConfigError(f"{path}, row {line}: last_seed {look.last_seed} is below first_seed {look.first_seed}")
        earlier = [one for one in looks if (one.study, one.preset) == (look.study, look.preset)]
        if any(one.date > look.date for one in earlier):
            raise ConfigError(f"{path}, row {line}: {look.date} is before a row of the same preset above; sort by date")
        seen = [one for one in earlier if one.shares_seeds(look)]
        if bool(seen) != (look.repeats == "yes"):
            what = f"shares seeds with the look of {seen[0].date}" if seen else "shares no seeds with an earlier look"
            remedy = "take fresh seeds, or write yes under repeats" if seen else "write no under repeats"
            raise ConfigError(f"{path}, row {line}: {look.study}, {look.preset}, {what}; {remedy}")
        looks.append(look)
    return tuple(looks)


def known_looks(study: str, preset: str) -> tuple[Look, ...]:
    """Find the looks at a study's preset in `studies/looks.csv` here, else in the one that came with the package.

    Raises:
        ConfigError: the table is damaged.
    """
    paths = [path for path in (Path("studies") / NAME, *shipped(NAME)) if path.is_file()]
    looks = read_looks(paths[0]) if paths else ()
    return tuple(look for look in looks if (look.study, look.preset) == (study, preset))
