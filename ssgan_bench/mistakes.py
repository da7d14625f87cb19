"""What is wrong with a configuration given as plain data, all of it at once and in a user's words."""

from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ssgan_bench.config import (
    Frozen,
    MethodConfig,
    RunConfig,
    method_preset,
    network_class,
    resolve_method,
    resolve_network,
)


class Mistake(Frozen):
    """One thing wrong with a configuration given as plain data."""

    key: str
    """Dotted key, e.g. "train.epochs"."""
    value: Any
    message: str


_WORDING = {
    "bool_type": "must be true or false",
    "dict_type": "must be a table of keys and values",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "greater_than": "must be {bounds}",
    "greater_than_equal": "must be {bounds}",
    "int_type": "must be a whole number",
    "less_than": "must be {bounds}",
    "less_than_equal": "must be {bounds}",
    "list_type": "must be a list in brackets, such as [1, 2]",
    "literal_error": "must be {expected}",
    "model_type": "must be a table; known here: {keys}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be empty",
    "string_type": "must be text",
    "too_long": "must have at most {max_length} entries",
    "too_short": "needs at least {min_length} entries",
    "tuple_type": "must be a list in brackets, such as [1, 2]",
}
"""What a user reads, by pydantic's type of the error; pydantic's own words where a type is not listed."""


def mistakes_in(error: ValidationError, model: type[BaseModel], prefix: str = "") -> list[Mistake]:
    """List what pydantic found wrong with input for `model`, with dotted keys below `prefix`."""
    found = []
    for item in error.errors():
        kind, value, location = item["type"], item["input"], item["loc"]
        facts = {
            **item.get("ctx", {}),
            "bounds": _bounds(model, location),
            "keys": ", ".join(_keys_in(model, location)),
        }
        message = _WORDING[kind].format(**facts) if kind in _WORDING else item["msg"].removeprefix("Value error, ")
        if kind in ("int_type", "float_type") and facts["bounds"]:
            message += f", {facts['bounds']}"
        if kind == "too_short" and facts["min_length"] == 1:
            message = "must not be empty"
        if kind == "extra_forbidden":
            message = f"unknown key; known here: {', '.join(_keys_in(model, location[:-1]))}"
        if kind == "list_type" and isinstance(value, dict):
            message = f"must be a list of tables, each under [[{location[-1]}]]"
        if kind == "missing":
            message = "required, but missing"
        if location[-1:] == ("[key]",):  # the name of a table, not a value in it
            location, value = location[:-1], None
            message = f"as a name, {message}"
        # A table is shown by its key alone, except where several of its values clash: then the message names them.
        if kind == "missing" or (isinstance(value, dict) and kind != "value_error"):
            value = None
        key = ".".join([prefix] * bool(prefix) + [str(part) for part in location])
        found.append(Mistake(key=key, value=value, message=message))
    return found


def _fields_at(model: Any, location: tuple[int | str, ...]) -> dict[str, FieldInfo]:
    """Fields of the table at `location` below `model`; empty where there is no table of known keys."""
    for part in location:
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(str(part))
            model = field.annotation if field else None
            if type(None) in get_args(model):  # an optional table
                model = get_args(model)[0]
        else:  # an entry of dict[..., Model] or list[Model]
            model = (get_args(model) or (None,))[-1]
    return model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}


def _keys_in(model: Any, location: tuple[int | str, ...]) -> list[str]:
    return sorted(_fields_at(model, location))


def _bounds(model: Any, location: tuple[int | str, ...]) -> str:
    """What a number at `location` must be, e.g. "at least 4 and at most 512"; empty where it has no limits."""
    field = _fields_at(model, location[:-1]).get(str(location[-1])) if location else None
    if field is None:
        return ""
    limits = list(field.metadata)
    for alternative in get_args(field.annotation):  # Annotated[...] | None
        for part in getattr(alternative, "__metadata__", ()):
            limits += part.metadata if isinstance(part, FieldInfo) else []
    words = {"ge": "at least", "gt": "greater than", "le": "at most", "lt": "less than"}
    found = [(words[name], getattr(limit, name)) for limit in limits for name in words if hasattr(limit, name)]
    return " and ".join(f"{word} {int(value) if value == int(value) else value}" for word, value in found)


def parse_run_config(values: dict[str, Any]) -> tuple[RunConfig | None, list[Mistake]]:
    """Validate plain data as a RunConfig and report every mistake at once.

    Returns:
        (config, []) or (None, mistakes).
    """
    mistakes: list[Mistake] = []
    # First on their own: only the class of a method or a family of networks can say which keys are known.
    resolvers = {"method": (resolve_method, _method_class), "network": (resolve_network, network_class)}
    for section, (resolve, class_of) in resolvers.items():
        given: Any = values.get(section, {} if section == "network" else None)
        try:
            values = {**values, section: resolve(given)}
        except ValidationError as error:
            mistakes += mistakes_in(error, class_of(given), section)
        except ValueError as error:
            mistakes.append(Mistake(key=section, value=given, message=str(error)))
    known = {mistake.key.split(".")[0] for mistake in mistakes}
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        others = mistakes_in(error, RunConfig)
        return None, mistakes + [m for m in others if m.key.split(".")[0] not in known & resolvers.keys()]
    return config, []


def _method_class(values: dict[str, Any]) -> type[MethodConfig]:
    """Find the class of a method that is known by its name or preset."""
    return MethodConfig.by_name[values.get("name") or method_preset(values["preset"])["name"]]
