"""The resolved configuration of one run: frozen, strict, and the only place where defaults live.

A configuration is plain data. What a method's own options are is declared beside the method
(`methods/<name>.py`) by deriving from `MethodConfig`; everything else is declared here.
"""

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=1e6)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class ConfigError(ValueError):
    """The user's input is wrong; the message says what, where, and what to do. Shown without a traceback."""


class Frozen(BaseModel):
    """Base of every configuration part: immutable, strict types, unknown keys and NaN refused."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class DataConfig(Frozen):
    """Which images, at which size, and which of them are labeled."""

    dataset: Annotated[str, Field(min_length=1, max_length=1024)] = "digits"
    """digits, mnist, fashion_mnist, kmnist, svhn, cifar10, or folder:PATH."""
    image_size: Annotated[int, Field(ge=8, le=128)] = 16
    """Side in pixels that images are resized to; the conv networks take 16, 32 or 64, the MLP any."""
    num_labels: Annotated[int, Field(ge=1)] | None = None
    """Labeled examples in all; give this or labeled_rate."""
    labeled_rate: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Labeled share of the training set; give this or num_labels."""
    class_balance: Literal["balanced", "proportional"] = "balanced"
    """balanced: equally many labels per class; proportional: classes as frequent as in the training set."""
    label_protocol: Literal["fixed", "resampled"] = "fixed"
    """fixed: one labeled subset per split_seed; resampled: the article's per-batch mask (leaks labels)."""
    unlabeled_includes_labeled: bool = True
    """Whether the labeled images are also drawn as unlabeled ones."""
    num_validation: Annotated[int, Field(ge=0)] = 200
    """Images split from training for the curves; nothing is selected on them."""
    num_test: Annotated[int, Field(ge=1)] = 397
    """Images split off as the test set where the data set has no official one."""

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.num_labels is None) == (self.labeled_rate is None):
            raise ValueError("give exactly one of data.num_labels and data.labeled_rate")
        return self


class NetworkConfig(Frozen):
    """The discriminator and generator pair."""

    family: Literal["conv", "mlp"] = "conv"
    """conv: the article's pair (networks/conv.py); mlp: Improved GAN's pair (networks/mlp.py)."""
    width: Annotated[int, Field(ge=4, le=512)] = 128
    """Channels of the first convolution; the article's is 128. The MLP pair has fixed sizes and ignores it."""
    latent_dim: Annotated[int, Field(ge=1, le=4096)] = 100
    """Length of the generator's input z."""
    dropout: Dropout = 0.3
    """Drop rate after the convolutions (the article feeds keep probability 0.7). The MLP pair has none."""
    norm_momentum: Annotated[float, Field(gt=0.0, le=1.0)] = 0.01
    """Share of a new batch in the running statistics of batch norm; short runs need more than the article's 0.01."""


class OptimizerConfig(Frozen):
    """Adam, one for the discriminator and one for the generator, with the same settings."""

    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = 2e-4
    beta1: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5
    beta2: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.999
    epsilon: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    """Decoupled weight decay (AdamW) of the discriminator; 0 is plain Adam."""
    decay_fraction: Fraction = 0.0
    """Share of the steps, at the end, over which the learning rate falls linearly to zero."""


class TrainConfig(Frozen):
    """How long and in what pieces a run trains."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 7
    """Passes over the unlabeled images; every arm of a study takes the same number of steps."""
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 128
    """Unlabeled images, and generated images, per step."""
    labeled_batch_size: Annotated[int, Field(ge=1, le=65_536)] = 32
    """Labeled images per step under the fixed label protocol."""
    evaluations: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Points of the curves, evenly spaced, the last one after the last step."""
    weight_average: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Decay of a moving average of the weights, used for evaluation; None evaluates the weights themselves."""
    num_threads: Annotated[int, Field(ge=1, le=256)] = 1
    """CPU threads of one run. Part of the configuration, since it changes the order of floating-point sums."""


class MethodConfig(Frozen):
    """Options of one method. A method's file derives from this and is thereby known by its `name`."""

    name: str
    by_name: ClassVar[dict[str, type["MethodConfig"]]] = {}
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    """Named configurations, as options of this method: {preset: {option: value}}."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        MethodConfig.by_name[cls.model_fields["name"].default] = cls


def _resolve_method(value: Any) -> Any:
    """Turn {"name": ..., options} into that method's own class, so that its fields are checked strictly."""
    if isinstance(value, MethodConfig):
        return value
    if not isinstance(value, dict):
        raise ValueError("must be a table such as { name = 'supervised' } or { preset = 'article' }")
    options = dict(value)
    if (preset := options.pop("preset", None)) is not None:
        declared = method_preset(preset)
        if options.get("name", declared["name"]) != declared["name"]:
            raise ValueError(f"preset {preset!r} belongs to method {declared['name']!r}, not to {options['name']!r}")
        options = declared | options
    cls = MethodConfig.by_name.get(str(options.get("name")))
    if cls is None:
        raise ValueError(f"unknown method {options.get('name')!r}; known: {', '.join(sorted(MethodConfig.by_name))}")
    return cls.model_validate(options)


def method_preset(preset: str) -> dict[str, Any]:
    """Options of the named method preset (`article`, `improved_gan`, ...), with the method's name.

    Raises:
        ValueError: no method declares that preset.
    """
    for name, cls in MethodConfig.by_name.items():
        if str(preset) in cls.presets:  # a study file may hold anything, even what cannot be looked up
            return {"name": name} | cls.presets[preset]
    known = sorted(preset for cls in MethodConfig.by_name.values() for preset in cls.presets)
    raise ValueError(f"unknown method preset {preset!r}; known: {', '.join(known)}")


class RunConfig(Frozen):
    """Everything that determines a run's result. Import `ssgan_bench.methods` before building one."""

    data: DataConfig
    network: NetworkConfig = NetworkConfig()
    method: Annotated[SerializeAsAny[MethodConfig], BeforeValidator(_resolve_method)]
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    split_seed: Seed = 0
    """Decides which images are labeled, validation and (without an official test set) test."""
    model_seed: Seed = 0
    """Decides initialization, noise and data order; shared by all arms of a study (common random numbers)."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.network.family == "conv" and self.data.image_size not in (16, 32, 64):
            raise ValueError(
                f"data.image_size = {self.data.image_size}: the conv networks take 16, 32 or 64 "
                "(or set network.family = 'mlp')"
            )
        return self

    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON; equal configurations have equal digests on every machine."""
        return digest(self.model_dump(mode="json"))


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-serialisable value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Mistake(Frozen):
    """One thing wrong with a configuration given as plain data."""

    key: str
    """Dotted key, e.g. "train.epochs"."""
    value: Any
    message: str


def mistakes_in(error: ValidationError, model: type[BaseModel], prefix: str = "") -> list[Mistake]:
    """List what pydantic found wrong with input for `model`, with dotted keys below `prefix`."""
    found = []
    for item in error.errors():
        key = ".".join([prefix] * bool(prefix) + [str(part) for part in item["loc"]])
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = f"unknown key; known here: {', '.join(_keys_beside(model, item['loc']))}"
        missing = item["type"] == "missing"
        if missing:
            message = "required, but missing"
        found.append(Mistake(key=key, value=None if missing else item["input"], message=message))
    return found


def _keys_beside(model: Any, location: tuple[int | str, ...]) -> list[str]:
    """Keys that the table around `location` may have."""
    for part in location[:-1]:
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(str(part))
            model = field.annotation if field else None
            if type(None) in get_args(model):  # an optional table
                model = get_args(model)[0]
        else:  # an entry of dict[..., Model] or list[Model]
            model = get_args(model)[-1]
    return sorted(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def parse_run_config(values: dict[str, Any]) -> tuple[RunConfig | None, list[Mistake]]:
    """Validate plain data as a RunConfig and report every mistake at once.

    Returns:
        (config, []) or (None, mistakes).
    """
    mistakes: list[Mistake] = []
    try:  # first on its own: only the method's own class can say which keys are known
        method = _resolve_method(values.get("method"))
    except ValidationError as error:
        name = values["method"].get("name") or method_preset(values["method"]["preset"])["name"]
        mistakes += mistakes_in(error, MethodConfig.by_name[name], "method")
    except ValueError as error:
        mistakes.append(Mistake(key="method", value=values.get("method"), message=str(error)))
    else:
        values = {**values, "method": method}
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        others = [m for m in mistakes_in(error, RunConfig) if not (mistakes and m.key.split(".")[0] == "method")]
        return None, mistakes + others
    return config, []
