"""Train one configuration: one step is one discriminator update and, for a GAN, one generator update.

A classical method takes no steps: it is fitted, and there is one snapshot.

Knows nothing of metrics, studies or files: `train` yields a `Snapshot` at every evaluation and goes on when asked for
the next. Evaluating a snapshot cannot change what follows: random streams are re-derived at every step, and the
networks are in evaluation mode while the caller holds the snapshot. For the same reason `Snapshot.state` needs no state
of a random generator: given to `train` again, it leads to the same losses and weights, on a CPU bit by bit.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ssgan_bench.config import RunConfig
from ssgan_bench.data.batches import Batches, RealBatch, images_at_once
from ssgan_bench.methods.base import Losses, Method, NetworkMethod, build_method, initialize
from ssgan_bench.methods.classical import ClassicalMethod
from ssgan_bench.seeding import generator, seed_layers
from ssgan_bench.training.allocator import surplus_of_this_process
from ssgan_bench.training.averaging import WeightAverage
from ssgan_bench.training.clock import Clock
from ssgan_bench.training.optimizer import Adam, learning_rate_at, make_optimizer
from ssgan_bench.training.step_graph import EAGER_STEPS, CudaRecorder, StepGraph

State = dict[str, Any]
"""What training needs to go on: plain data and tensors, so that `torch.save` can keep it."""


class DivergedError(ArithmeticError):
    """A loss, or what a network predicts after it, is NaN or infinite; the run cannot be saved."""

    def __init__(self, step: int, what: str):
        super().__init__(f"non-finite loss at step {step}: {what}")
        self.step = step
        """The first step (from 1) where it was seen."""


@dataclass(frozen=True)
class Snapshot:
    """The state of training at one evaluation; valid until the next one is asked for."""

    step: int
    """Steps done; 0 for a method without steps."""
    epoch: float
    losses: dict[str, float]
    """Mean of each weighted loss term over the steps since the last snapshot."""
    seconds: dict[str, float]
    """Wall-clock so far: "setup", "warmup" (the first `warmup_steps`), "train" (all others, or the whole fit); of a run
    that was continued, the sum over its parts; of one that took turns, its turns."""
    warmup_steps: int
    """0 for a method without steps."""
    is_final: bool
    classify: Callable[[Tensor], Tensor]
    """(B, C, H, W) float in [-1, 1] -> class logits (B, K)."""
    sample: Callable[[int], Tensor] | None
    """n -> (n, C, H, W) float in [-1, 1], the same z at every snapshot; None without a generator."""
    state: Callable[[], State] | None
    """Where training stands, for `train` to continue from; its tensors are the networks' own, so save or copy them
    before the next snapshot. None for a method without steps."""
    reached: Callable[[Tensor], Tensor] | None = None
    """(B, C, H, W) float in [-1, 1] -> (B,) bool, whether any label reached the image; None but for graph methods."""
    chosen: dict[str, float] = field(default_factory=dict)
    """Options that the fit chose itself, by name."""


def update(optimizer: Adam, network: nn.Module, parts: Iterable[Losses]) -> Losses:
    """Take one gradient step of `network` alone on the sum of the terms of all parts; returns them detached.

    The gradient of each part is added before the next is asked for. On a CPU, what a part's passes freed may be given
    back to the system before the gradients, for which most memory is needed at once.
    """
    terms: Losses = {}
    for losses in parts:
        total = torch.stack(list(losses.values())).sum()
        if total.device.type == "cpu":
            surplus_of_this_process.give_back()
        # Naming the inputs keeps autograd from computing gradients of the other network's weights.
        torch.autograd.backward(total, inputs=list(network.parameters()))
        terms |= {name: term.detach() for name, term in losses.items()}
    optimizer.step()
    optimizer.zero_grad()
    return terms


class Trainer:
    """The networks, their optimizers and the step that updates them."""

    def __init__(self, config: RunConfig, batches: Batches, num_classes: int):
        self.config, self.batches = config, batches
        self.device = batches.images.device
        self.total_steps = config.train.total_steps(batches.steps_per_epoch)
        method = build_method(config, batches.channels, num_classes)
        assert isinstance(method, NetworkMethod)  # a classical method is fitted, see `train`
        self.method: NetworkMethod = method
        initialize(self.method, config.model_seed, batches.images_for_initialization)
        for network in self._networks():
            network.to(self.device)
            if config.train.channels_last or _faster_channels_last(config, self.device):
                network.to(memory_format=torch.channels_last)
        in_graph = config.train.cuda_graph and self.device.type == "cuda"
        weight_decays = (config.optimizer.weight_decay, 0.0)  # of the discriminator and the generator
        self.optimizers = [
            make_optimizer(network, config.optimizer, decay, in_graph=in_graph)
            for network, decay in zip(self._networks(), weight_decays, strict=False)
        ]
        self._graph = StepGraph(CudaRecorder(self.device)) if in_graph else None
        self._mixed = config.train.precision == "bf16"
        if self._mixed:
            for network in self._networks():
                network.register_forward_hook(_outputs_in_float32)
        decay = config.train.weight_average
        self.average = None if decay is None else WeightAverage(self.method.discriminator, decay)
        self.method.teacher = None if self.average is None else self.average.network

    def state(self) -> dict[str, Any]:
        """Weights, running statistics, optimizers and averages; the tensors are not copied."""
        return {
            "networks": [network.state_dict() for network in self._networks()],
            "optimizers": [optimizer.state() for optimizer in self.optimizers],
            "average": None if self.average is None else self.average.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over the `state` of a trainer of the same configuration; its tensors may be on any device.

        Raises:
            ValueError, KeyError, RuntimeError: it is that of another configuration.
        """
        for network, weights in zip(self._networks(), state["networks"], strict=True):
            network.load_state_dict(weights)
        for optimizer, moments in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load(moments)
        if self.average is not None:
            self.average.load(state["average"])

    @property
    def warmup_steps(self) -> int:
        """Steps before the steady state: the first one, or those before a graph is replayed, and its recording."""
        return 1 if self._graph is None else EAGER_STEPS + 1

    def _networks(self) -> list[nn.Module]:
        return [net for net in (self.method.discriminator, self.method.generator) if net is not None]

    def _passes(self) -> torch.autocast:
        """A context in which convolutions and matrix products have the configured precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._mixed)

    def latent(self, name: str, count: int, step: int) -> Tensor:
        """Draw z (count, Z) of the named stream on the device."""
        assert self.method.generator is not None
        stream = generator(self.config.model_seed, name, step, self.device)
        return self.method.generator.sample_latent(count, stream)

    def _latents(self, step: int) -> Tensor | None:
        """Draw z of the discriminator's update and, where it is another, of the generator's: (1 or 2, B, Z)."""
        if self.method.generator is None:
            return None
        names = ["z", "z/generator"] if self.config.method.generator_sees_other_images else ["z"]
        return torch.stack([self.latent(name, self.config.train.batch_size, step) for name in names])

    def step(self, step: int) -> Losses:
        """Do step `step` (from 0) and return its weighted loss terms by name."""
        config = self.config
        rate = learning_rate_at(step, self.total_steps, config.optimizer)
        for optimizer in self.optimizers:
            optimizer.set_rate(rate)
        real = self.batches(step)
        z = self._latents(step)
        seed_layers(config.model_seed, "layers", step)
        update = self._update_networks  # not kept: a trainer that knew itself would outlive its run
        terms = update(real, z) if self._graph is None else self._graph(update, real, z)
        if self.average is not None:
            self.average.update(self.method.discriminator)
        return terms

    def _update_networks(self, real: RealBatch, z: Tensor | None) -> Losses:
        method = self.method
        parts = method.discriminator_parts(real, None if z is None else z[0])
        terms = update(self.optimizers[0], method.discriminator, self._in_passes(parts))
        if method.generator is not None and z is not None:
            with self._passes():
                losses = method.generator_losses(real, z[-1])
            terms |= update(self.optimizers[1], method.generator, [losses])
        return terms

    def _in_passes(self, parts: Iterator[Losses]) -> Iterator[Losses]:
        """Compute each part in the configured precision, but not what is done with it in between."""
        while True:
            with self._passes():
                losses = next(parts, None)
            if losses is None:
                return
            yield losses

    def set_training(self, training: bool) -> None:
        """Switch dropout, noise and batch statistics on or off."""
        for network in self._networks():
            network.train(training)

    @torch.no_grad()
    def classify(self, images: Tensor) -> Tensor:
        """Class logits (B, K) of images (B, C, H, W) by the evaluated (averaged, if configured) discriminator."""
        network = self.average.network if self.average else self.method.discriminator
        with self._passes():
            return self.method.class_logits(network(images)[1])

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """Generate (count, C, H, W) images from a fixed z."""
        assert self.method.generator is not None
        at_once = images_at_once(self.config.data.image_size)
        latents = torch.split(self.latent("z/samples", count, 0), at_once)
        with self._passes():
            return torch.cat([self.method.generator(z) for z in latents])


def _faster_channels_last(config: RunConfig, device: torch.device) -> bool:
    """Whether the networks are so large that a CPU takes less time and memory in channels_last (LOG.md).

    PyTorch computes weight norm's weights in its own format whatever the format of what they are made from.
    """
    large = config.network.width >= 64 and config.data.image_size >= 64
    return device.type == "cpu" and large and config.network.normalization != "weight"


def _outputs_in_float32(network: nn.Module, inputs: object, outputs: Tensor | tuple[Tensor, ...]) -> object:
    """Forward hook under bf16: losses, and whatever else reads the outputs, are computed in float32."""
    return outputs.float() if isinstance(outputs, Tensor) else tuple(output.float() for output in outputs)


def evaluation_steps(total_steps: int, evaluations: int) -> list[int]:
    """Steps after which to evaluate: evenly spaced, the last one after the last step."""
    count = min(evaluations, total_steps)
    return [round(total_steps * (i + 1) / count) for i in range(count)]


def train(config: RunConfig, batches: Batches, num_classes: int, state: State | None = None) -> Iterator[Snapshot]:
    """Train as `train_in_turns`, without a break between snapshots."""
    return (snapshot for snapshot in train_in_turns(config, batches, num_classes, state) if snapshot is not None)


def train_in_turns(
    config: RunConfig, batches: Batches, num_classes: int, state: State | None = None
) -> Iterator[Snapshot | None]:
    """Train one configuration; yield None after each step, and a snapshot at each evaluation; the last one is final.

    Whoever asks for the next may have done anything in between, such as a step of another run.

    Args:
        config: what to train.
        batches: its data.
        num_classes: K.
        state: of an earlier snapshot of the same configuration and data; the snapshots after it follow.

    Raises:
        DivergedError: a loss became NaN or infinite; found at the next evaluation, reported with its own step.
        ConfigError: the method cannot do this run.
    """
    method = Method.by_config[type(config.method)]
    method.check(config, batches)
    if issubclass(method, ClassicalMethod):
        yield _fit(method(config, batches.channels, num_classes), batches)
    else:
        yield from _train_networks(config, batches, num_classes, state)


def _fit(method: ClassicalMethod, batches: Batches) -> Snapshot:
    """Fit a method without steps; the snapshot is its only one."""
    clock = Clock(batches.images.device)
    labeled, labels, unlabeled = batches.whole_sets()
    clock.lap("setup")
    classify = method.fit(labeled, labels, unlabeled)
    clock.lap("train")
    seconds = {"warmup": 0.0, **clock.seconds}
    return Snapshot(
        step=0,
        epoch=0.0,
        losses={},
        seconds=seconds,
        warmup_steps=0,
        is_final=True,
        classify=classify,
        sample=None,
        state=None,
    )


def _train_networks(
    config: RunConfig, batches: Batches, num_classes: int, state: State | None
) -> Iterator[Snapshot | None]:
    clock = Clock(batches.images.device)
    trainer = Trainer(config, batches, num_classes)
    done = 0
    if state is not None:
        trainer.load(state["trainer"])
        done = state["step"]
        clock.seconds = dict(state["seconds"])
    clock.lap("setup")

    def where_it_stands() -> State:
        return {"step": done, "seconds": dict(clock.seconds), "trainer": trainer.state()}

    for stop in evaluation_steps(trainer.total_steps, config.train.evaluations):
        if stop <= done:
            continue
        trainer.set_training(True)
        history: list[Tensor] = []
        for step in range(done, stop):
            terms = trainer.step(step)
            history.append(torch.stack(list(terms.values())))
            if step < trainer.warmup_steps:
                clock.lap("warmup")
            clock.pause()
            yield None
            clock.resume()
        losses = torch.stack(history).cpu()  # (steps, terms): the only wait for the device
        clock.lap("train")
        _check_finite(losses, list(terms), done)
        done = stop
        trainer.set_training(False)
        yield Snapshot(
            step=done,
            epoch=done / batches.steps_per_epoch,
            losses=dict(zip(terms, losses.mean(dim=0).tolist(), strict=True)),
            seconds=dict(clock.seconds),
            warmup_steps=trainer.warmup_steps,
            is_final=done == trainer.total_steps,
            classify=trainer.classify,
            sample=None if trainer.method.generator is None else trainer.sample,
            state=where_it_stands,
        )
        clock.lap("paused")


def _check_finite(losses: Tensor, names: list[str], first_step: int) -> None:
    bad = (~torch.isfinite(losses)).any(dim=1).nonzero()
    if len(bad):
        row = int(bad[0])
        values = dict(zip(names, losses[row].tolist(), strict=True))
        raise DivergedError(first_step + row + 1, str(values))
