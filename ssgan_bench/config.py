"""The resolved configuration of one run: frozen, strict, and the only place where defaults live.

A configuration is plain data. What a method's own options are is declared beside the method
(`methods/<name>.py`) by deriving from `MethodConfig`; everything else is declared here.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=1e6)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


def since_default(value: Any) -> Any:
    """Mark an option that came later: at `value`, which is what was done before, it is left out of the plain data.

    So runs that do not use it keep their digest, and with it their cell, checkpoint and record.
    """
    return Field(exclude_if=lambda given: given == value)


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
    num_unlabeled: Annotated[int, Field(ge=0)] | None = None
    """Unlabeled images besides the labeled ones; None keeps all there are."""
    classes: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=2, strict=False)] | None = None
    """Classes that are told apart, renumbered from 0 in this order; labeled, validation and test images are of these
    alone, and so are the unlabeled ones unless foreign_share is given. None: all classes of the data set."""
    foreign_share: Fraction | None = None
    """Share of the unlabeled images whose class is none of data.classes (class mismatch, Oliver et al. 2018, P.4):
    that share of equally many images from each of a fixed number of classes (data/splits.py)."""
    num_validation: Annotated[int, Field(ge=0)] = 200
    """Images split from training for the curves, and for choosing settings."""
    num_test: Annotated[int, Field(ge=1)] | None = None
    """Images split off as the test set of a folder without test/; None: a fifth of each class, at least one image. For
    a data set with a test set of its own only None is possible."""
    evaluation_set: Annotated[Literal["test", "validation"], since_default("test")] = "test"
    """Images that the final metrics are of. validation: for choosing settings; the test images are not read."""

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.num_labels is None) == (self.labeled_rate is None):
            raise ValueError("give exactly one of data.num_labels and data.labeled_rate")
        return self

    @model_validator(mode="after")
    def _evaluation_set_has_images(self) -> Self:
        if self.evaluation_set == "validation" and self.num_validation == 0:
            raise ValueError(
                "data.evaluation_set = 'validation' with data.num_validation = 0: there is nothing to evaluate on; "
                "raise num_validation"
            )
        return self

    @model_validator(mode="after")
    def _unlabeled_set_is_possible(self) -> Self:
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError(f"data.classes = {list(self.classes)}: a class stands twice; drop one")
        if self.foreign_share is not None and self.classes is None:
            raise ValueError(
                f"data.foreign_share = {self.foreign_share}: foreign to which classes? give data.classes as well"
            )
        if self.foreign_share is not None and self.unlabeled_includes_labeled:
            raise ValueError(
                f"data.foreign_share = {self.foreign_share}: the labeled images, none of them foreign, would change "
                "that share; set data.unlabeled_includes_labeled = false"
            )
        if self.num_unlabeled is not None and self.label_protocol == "resampled":
            raise ValueError(
                f"data.num_unlabeled = {self.num_unlabeled}: under data.label_protocol = 'resampled' every training "
                "image is labeled at some time, so there are none besides; use 'fixed' or leave it out"
            )
        return self


class ConvConfig(Frozen):
    """The article's convolutional pair (networks/conv.py)."""

    family: Literal["conv"] = "conv"
    width: Annotated[int, Field(ge=4, le=512)] = 128
    """Channels of the first convolution; the article's is 128."""
    latent_dim: Annotated[int, Field(ge=1, le=4096)] = 100
    """Length of the generator's input z."""
    dropout: Dropout = 0.3
    """Drop rate after the convolutions (the article feeds keep probability 0.7)."""
    fast_dropout: Annotated[bool, since_default(True)] = True
    """On a CPU, draw dropout masks from 16 random bits per element (the rate is the nearest multiple of 2^-16) and not
    with PyTorch's own, slower layer, which a GPU has either way."""
    normalization: Literal["batch", "weight", "none"] = "batch"
    """Of the discriminator's convolutions; the generator keeps batch norm."""
    norm_momentum: Annotated[float, Field(gt=0.0, le=1.0)] = 0.01
    """Share of a new batch in the running averages of batch norm (the article's: 0.01). A consistency loss's teacher,
    the generator's samples and train.evaluation_statistics = "running" use them; short runs need more."""


class MlpConfig(Frozen):
    """Improved GAN's fully connected pair (networks/mlp.py), whose sizes, noise and normalization are fixed."""

    family: Literal["mlp"]
    latent_dim: Annotated[int, Field(ge=1, le=4096)] = 100
    """Length of the generator's input z."""


NetworkConfig: TypeAlias = ConvConfig | MlpConfig
NETWORKS: dict[str, type[ConvConfig] | type[MlpConfig]] = {"conv": ConvConfig, "mlp": MlpConfig}
"""By family."""


def network_class(value: Any) -> type[ConvConfig] | type[MlpConfig]:
    """Find the class that says which keys a table of network options may have; conv where it names no family.

    Raises:
        ValueError: the value is no table, or its family is unknown.
    """
    if not isinstance(value, dict):
        raise ValueError("must be a table such as { family = 'conv', width = 16 }")
    family = value.get("family", "conv")
    if not isinstance(family, str) or family not in NETWORKS:
        raise ValueError(f"unknown family {family!r}; known: {', '.join(NETWORKS)}")
    return NETWORKS[family]


def resolve_network(value: Any) -> Any:
    """Turn {"family": ..., options} into that family's own class, so that a key of another one is an unknown key."""
    return value if isinstance(value, NetworkConfig) else network_class(value).model_validate(value)


class OptimizerConfig(Frozen):
    """Adam, one for the discriminator and one for the generator, with the same settings."""

    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = 2e-4
    beta1: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5
    beta2: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.999
    epsilon: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-8
    """Added to the square root of the mean squared gradient, which divides the update."""
    epsilon_root: Annotated[float, Field(ge=0.0, le=1.0), since_default(0.0)] = 0.0
    """Added under that square root, as Improved GAN's program does (with 1e-8)."""
    weight_decay: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    """Decoupled weight decay (AdamW) of the discriminator; 0 is plain Adam."""
    decay_fraction: Fraction = 0.0
    """Share of the steps, at the end, over which the learning rate falls linearly to zero."""

    @model_validator(mode="after")
    def _epsilon_root_needs_beta2(self) -> Self:
        if self.epsilon_root > 0 and self.beta2 == 0:
            raise ValueError(
                f"optimizer.epsilon_root = {self.epsilon_root} with optimizer.beta2 = 0: there is no mean of squares "
                "to add it to; raise beta2, or use epsilon"
            )
        return self


def _labeled_batch_size(value: Any) -> Any:
    """Say once what pydantic says of every member of a union."""
    if value != "as_masked" and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65_536):
        raise ValueError("must be a whole number, at least 1 and at most 65536, or 'as_masked'")
    return value


class TrainConfig(Frozen):
    """How long and in what pieces a run trains."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Passes over the unlabeled images (single steps where these fill no batch); give this or steps. Every arm of a
    study takes the same number of steps."""
    steps: Annotated[int, Field(ge=1, le=10**8)] | None = None
    """Steps in all; give this or epochs. For comparing unlabeled sets of different sizes, whose epochs differ."""
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 128
    """Unlabeled images, and generated images, per step."""
    labeled_batch_size: Annotated[int | Literal["as_masked"], BeforeValidator(_labeled_batch_size)] = 32
    """Labeled images per step under the fixed label protocol; as_masked: as many as the mask of the resampled protocol
    keeps of a batch, int(labeled_rate * batch_size), so that the two can be compared."""
    evaluations: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Points of the curves, evenly spaced, the last one after the last step."""
    augmentation: Annotated[float, Field(ge=0.0, le=5.0)] = 0.0
    """Strength of the random affine distortion of real images, labeled and unlabeled (data/augment.py); 0 is off."""
    weight_average: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Decay of a moving average of the weights, used for evaluation; None evaluates the weights themselves."""
    evaluation_statistics: Literal["real", "running"] = "real"
    """Batch norm's mean and variance where weights are evaluated. real: estimated anew at every evaluation, for the
    weights at hand, from the run's own real training images without augmentation or labels: labeled and unlabeled ones,
    or the labeled ones alone for a method that is given no others. The running averages, which a consistency loss's
    teacher uses, are then of real images alone. running: the article's program, running averages over all training
    passes, generated images included."""
    precision: Annotated[Literal["fp32", "bf16"], since_default("fp32")] = "fp32"
    """Of convolutions and matrix products: fp32, or bf16, in which a GPU and wide networks on a CPU with bfloat16 units
    are faster. Weights, their updates, losses and what the networks give out are float32 either way."""
    channels_last: bool | Literal["auto"] = "auto"
    """Keep convolutions' weights as (O, H, W, I), which bf16 wants; equal up to rounding and other dropout masks. auto:
    from width 64 at 64 pixels on, where a CPU takes less time and memory so, but not with weight norm, whose weights
    PyTorch computes in its own format. A RunConfig holds the answer, true or false."""
    cuda_graph: Annotated[bool, since_default(False)] = False
    """On a GPU, launch each step as one CUDA graph; without effect on a CPU."""
    num_threads: Annotated[int, Field(ge=1, le=256)] = 1
    """CPU threads of one run. Part of the configuration, since it changes the order of floating-point sums."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of train.epochs and train.steps")
        return self

    def total_steps(self, steps_per_epoch: int) -> int:
        """Number of steps of a run whose epochs have `steps_per_epoch` steps."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None  # exactly one of the two is given
        return self.epochs * steps_per_epoch


Kind: TypeAlias = Literal["supervised", "semi_supervised", "classical"]


class MethodConfig(Frozen):
    """Options of one method. A method's file derives from this and is thereby known by its `name`."""

    name: str
    kind: ClassVar[Kind]
    """supervised: sees labeled images only; semi_supervised: networks that also see unlabeled ones; classical: fitted
    once, without a network."""
    has_generator: ClassVar[bool] = False
    """Whether it trains a generator: a GAN."""
    by_name: ClassVar[dict[str, type["MethodConfig"]]] = {}
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    """Named configurations, as options of this method: {preset: {option: value}}."""

    @property
    def student_augmentation_in_use(self) -> float | None:
        """Strength of the distorted views that a consistency loss needs; None where the method has no such loss."""
        return None

    @property
    def generator_sees_other_images(self) -> bool:
        """Whether the generator's update has real images and z of its own."""
        return False

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        MethodConfig.by_name[cls.model_fields["name"].default] = cls


def resolve_method(value: Any) -> Any:
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
    network: Annotated[NetworkConfig, BeforeValidator(resolve_network)] = ConvConfig()
    method: Annotated[SerializeAsAny[MethodConfig], BeforeValidator(resolve_method)]
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig
    split_seed: Seed = 0
    """Decides which images are labeled, validation and (for a folder without test/) test."""
    model_seed: Seed = 0
    """Decides initialization, noise and data order; shared by all arms of a study (common random numbers)."""

    @model_validator(mode="after")
    def _memory_format_is_known(self) -> Self:
        if self.train.channels_last == "auto":
            network = self.network
            pays = isinstance(network, ConvConfig) and network.width >= 64 and network.normalization != "weight"
            answer = pays and self.data.image_size >= 64
            # The one place where a frozen configuration is completed: from here on it says what is done.
            object.__setattr__(self, "train", self.train.model_copy(update={"channels_last": answer}))
        return self

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.network.family == "conv" and self.data.image_size not in (16, 32, 64):
            raise ValueError(
                f"data.image_size = {self.data.image_size}: the conv networks take 16, 32 or 64 "
                "(or set network.family = 'mlp')"
            )
        if self.method.student_augmentation_in_use is not None and self.train.weight_average is None:
            raise ValueError(
                "a consistency loss takes the averaged weights as its teacher: set train.weight_average, e.g. to 0.99"
            )
        return self

    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON; equal configurations have equal digests on every machine."""
        return digest(self.model_dump(mode="json"))


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-serialisable value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
