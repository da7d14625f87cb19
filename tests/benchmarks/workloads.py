"""What the benchmarks time: methods, networks and batch sizes, on noise images of the data sets' sizes.

    quick    width 8, 16x16 pixels from 8x8, as in the quick presets in studies/
    narrow   width 8, 32x32 pixels from 28x28, as in the standard presets
    article  width 128, 64x64 pixels from 28x28, the article's networks; on a CPU without AVX-512, where a step takes
             seconds, with half the batch
    mlp      Improved GAN's fully connected pair at 28x28 (its width is fixed; the number is that of the first layer)
The others change one size of these, for the scaling. The narrow ones take 1 CPU thread, as the presets do; the
article's take all cores. The article's method is timed as it is and as fast as the options make it: what the
discriminator's update computed, real features and generated images, reused, channels last (on a CPU the article's
networks are so either way), and for the article's networks bfloat16 passes.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch

import ssgan_bench.methods  # noqa: F401  (makes the methods known to RunConfig)
from ssgan_bench.config import RunConfig
from ssgan_bench.data.batches import Batches
from ssgan_bench.data.splits import Splits, make_splits
from ssgan_bench.methods.base import Method
from ssgan_bench.records.provenance import cpu_name, num_cores
from ssgan_bench.seeding import make_deterministic
from ssgan_bench.training.loop import Trainer

NUM_IMAGES, NUM_CLASSES, NUM_LABELS = 1797, 10, 100
METHODS = {
    "supervised": {"name": "supervised"},
    "article": {"preset": "article"},
    "improved_gan": {"preset": "improved_gan"},
}
REUSE = {"reuse_real_features": True, "reuse_generated_images": True}


@dataclass(frozen=True)
class Workload:
    """One method on networks of one size with one batch size."""

    network: str
    width: int
    image_size: int
    native_size: int
    """Side of the stored images, which are resized to image_size."""
    batch_size: int = 64
    method: str = "article"
    device: str = "cpu"
    num_threads: int = 1
    precision: str = "fp32"
    channels_last: bool = False
    reuses: bool = False
    """method.reuse_real_features and method.reuse_generated_images"""
    cuda_graph: bool = False
    steps_per_call: int = 20
    """In one timed call."""
    calls: int = 5
    """Timed calls."""
    has_plain: bool = False
    """Whether the plain reference is timed along with it."""

    def __str__(self) -> str:
        options = [self.precision] * (self.precision != "fp32") + ["reuse"] * self.reuses
        options += ["nhwc"] * self.channels_last + ["graph"] * self.cuda_graph
        return "-".join([self.device, self.network, self.method, str(self.batch_size), *options])

    @property
    def warmup_steps(self) -> int:
        """Steps between the first one and the timed calls."""
        return max(1, self.steps_per_call // 4)

    @property
    def sizes(self) -> dict[str, Any]:
        """What a report groups by, but for the precision."""
        names = ("network", "width", "image_size", "batch_size")
        method = self.method + ", features and images reused" * self.reuses
        method += ", channels last" * self.channels_last + ", one graph" * self.cuda_graph
        return {"method": method, **{name: getattr(self, name) for name in names}}


QUICK = Workload("quick", 8, 16, 8, calls=4, has_plain=True)
NARROW = Workload("narrow", 8, 32, 28, calls=3, has_plain=True)
HAS_BF16, HAS_AVX512 = (any(word in cpu_name() for word in (name, "AMX")) for name in ("bfloat16", "AVX-512"))
BATCH_SIZE_ON_CPU = 64 if HAS_AVX512 else 32
ARTICLE = Workload(
    "article", 128, 64, 28, BATCH_SIZE_ON_CPU, num_threads=num_cores(), steps_per_call=1, calls=3, has_plain=True
)
FAST_ARTICLE = replace(ARTICLE, precision="bf16", channels_last=True, reuses=True)
FULLY_CONNECTED = Workload("mlp", 1000, 28, 28, batch_size=100, method="improved_gan", calls=3)
SMALL = replace(QUICK, batch_size=16, calls=2, has_plain=False)
SCALED = [
    SMALL,
    replace(SMALL, network="width16", width=16),
    replace(SMALL, network="width32", width=32),
    replace(SMALL, network="narrow", image_size=32, native_size=28),
    replace(SMALL, network="pixels64", image_size=64, native_size=28),
    replace(SMALL, batch_size=256),
]
"""Width and image size are varied at batch 16, which keeps the largest affordable."""


def on_cuda(workload: Workload) -> Workload:
    """The same on a GPU; the article's networks with as many steps per call as the narrow ones."""
    return replace(workload, device="cuda", num_threads=1, steps_per_call=20, calls=5)


CPU_STEPS = [
    *(replace(network, method=method) for network in (QUICK, NARROW) for method in METHODS),
    ARTICLE,
    *(replace(network, channels_last=True, reuses=True) for network in (QUICK, NARROW)),
    FAST_ARTICLE,
    *SCALED,
]
CUDA_STEPS = [
    *(on_cuda(replace(network, method=method)) for network in (QUICK, NARROW) for method in METHODS),
    *(on_cuda(replace(ARTICLE, batch_size=size)) for size in (128, 256, 1024)),
    *(on_cuda(replace(FAST_ARTICLE, batch_size=size)) for size in (128, 256, 1024)),
    *(on_cuda(replace(network, cuda_graph=True)) for network in (QUICK, NARROW, replace(FAST_ARTICLE, batch_size=128))),
    *(on_cuda(workload) for workload in SCALED),
]


NETWORKS = [
    QUICK,
    NARROW,
    replace(ARTICLE, batch_size=8),
    *(on_cuda(w) for w in (QUICK, NARROW, replace(ARTICLE, batch_size=128))),
]
"""One workload per network and device."""


def make_config(workload: Workload, **data: Any) -> RunConfig:
    """Configure a run like that of a study's cell with 100 labels; `data` changes its data part."""
    values = {
        "data": {
            "image_size": workload.image_size,
            "num_labels": NUM_LABELS,
            "num_validation": 200,
            "num_test": 397,
            **data,
        },
        "network": {"family": "mlp"} if workload.network == "mlp" else {"width": workload.width, "norm_momentum": 0.1},
        "method": METHODS[workload.method] | (REUSE if workload.reuses else {}),
        "optimizer": {"learning_rate": 2e-4 if workload.network == "article" else 3e-3, "decay_fraction": 0.33},
        "train": {
            "steps": 10_000,
            "batch_size": workload.batch_size,
            "labeled_batch_size": min(64, max(2, workload.batch_size // 4)),
            "num_threads": workload.num_threads,
            "precision": workload.precision,
            "channels_last": workload.channels_last or "auto",
            "cuda_graph": workload.cuda_graph,
        },
    }
    return RunConfig.model_validate(values)


def make_data(workload: Workload, config: RunConfig) -> tuple[torch.Tensor, torch.Tensor, Splits]:
    """Noise images (N, 1, h, w) uint8, their labels (N,) and the index sets, on the CPU."""
    stream = torch.Generator().manual_seed(0)
    shape = (NUM_IMAGES, 1, workload.native_size, workload.native_size)
    images = torch.randint(0, 256, shape, generator=stream, dtype=torch.uint8)
    labels = torch.arange(NUM_IMAGES) % NUM_CLASSES
    return images, labels, make_splits(labels.numpy(), NUM_CLASSES, config.data, config.split_seed)


def make_batches(workload: Workload, **data: Any) -> Batches:
    """Batches on the workload's device; sets the number of threads."""
    config = make_config(workload, **data)
    make_deterministic(workload.num_threads)
    images, labels, splits = make_data(workload, config)
    uses_unlabeled = Method.by_config[type(config.method)].uses_unlabeled
    device = workload.device
    return Batches(images.to(device), labels.to(device), splits, config, uses_unlabeled=uses_unlabeled)


def make_trainer(workload: Workload) -> Trainer:
    """A trainer in training mode; equal workloads give equal ones."""
    batches = make_batches(workload)
    trainer = Trainer(batches.config, batches, NUM_CLASSES)
    trainer.set_training(True)
    return trainer
