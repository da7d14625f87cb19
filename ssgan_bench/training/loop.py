"""Train one configuration: one step is one discriminator update and, for a GAN, one generator update.

A classical method takes no steps: it is fitted, and there is one snapshot.

Knows nothing of metrics, studies or files: `train` yields a `Snapshot` at every evaluation and goes on when asked for
the next. Evaluating a snapshot cannot change what follows: random streams are re-derived at every step, and the
networks are in evaluation mode while the caller holds the snapshot. For the same reason `Snapshot.state` needs no state
of a random generator: given to `train` again, it leads to the same losses and weights, on a CPU bit by bit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ssgan_bench.config import RunConfig
from ssgan_bench.data.batches import Batches, RealBatch, images_at_once
from ssgan_bench.methods.base import Losses, Method, NetworkMethod, build_method, initialize, with_statistics_of
from ssgan_bench.methods.classical import ClassicalMethod
from ssgan_bench.seeding import generator, seed_layers
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
    that was continued, the sum over its parts."""
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
    """(B, C, H, W) float in [-1, 1] -> whether any label reached the image, (B,) bool; None for a method whose labels
    reach every image."""
    cpu_seconds_taken_over: float = 0.0
    """Processor time of work that an earlier run in this process did and this one uses; "train" has its wall-clock."""
    chosen: dict[str, float] = field(default_factory=dict)
    """Options that a fit chose itself, by their names in the configuration of the method."""


def update(optimizer: Adam, network: nn.Module, losses: Losses) -> Losses:
    """Take one gradient step of `network` alone on the sum of the terms; returns them detached."""
    total = torch.stack(list(losses.values())).sum()
    # Naming the inputs keeps autograd from computing gradients of the other network's weights.
    torch.autograd.backward(total, inputs=list(network.parameters()))
    optimizer.step()
    optimizer.zero_grad()
    return {name: term.detach() for name, term in losses.items()}


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
            if config.train.channels_last is True:
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
        self._evaluated: nn.Module | None = None
        """What `classify` uses; forgotten when training goes on."""

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
        self._evaluated = None

    @property
    def warmup_steps(self) -> int:
        """Steps before the steady state: the first one, or those before a graph is replayed, and its recording."""
        return 1 if self._graph is None else EAGER_STEPS + 1

    def _networks(self) -> list[nn.Module]:
        return [net for net in (self.method.discriminator, self.method.generator) if net is not None]

    def _passes(self) -> torch.autocast:
        """A context in which convolutions and matrix products have the configured precision.

        Passes share no converted weights, so that the gradients of several are added in float32.
        """
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._mixed, cache_enabled=False)

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
        self._evaluated = None
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
        with self._passes():
            losses = method.discriminator_losses(real, None if z is None else z[0])
        terms = update(self.optimizers[0], method.discriminator, losses)
        if method.generator is not None and z is not None:
            with self._passes():
                losses = method.generator_losses(real, z[-1])
            terms |= update(self.optimizers[1], method.generator, losses)
        return terms

    def set_training(self, training: bool) -> None:
        """Switch dropout, noise and batch statistics on or off."""
        for network in self._networks():
            network.train(training)

    @torch.no_grad()
    def classify(self, images: Tensor) -> Tensor:
        """Class logits (B, K) of images (B, C, H, W) by the evaluated (averaged, if configured) discriminator."""
        with self._passes():
            if self._evaluated is None:
                self._evaluated = self._with_evaluation_statistics()
            return self.method.class_logits(self._evaluated(images)[1])

    def _with_evaluation_statistics(self) -> nn.Module:
        """Give the evaluated discriminator's batch norm what `train.evaluation_statistics` says.

        In a copy, because a consistency loss's teacher goes on with the statistics that it has.
        """
        network = self.average.network if self.average else self.method.discriminator
        if self.config.train.evaluation_statistics == "running":
            return network
        at_once = images_at_once(self.config.data.image_size)
        return with_statistics_of(network, lambda: torch.split(self.batches.images_for_statistics(), at_once))

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """Generate (count, C, H, W) images from a fixed z."""
        assert self.method.generator is not None
        at_once = images_at_once(self.config.data.image_size)
        latents = torch.split(self.latent("z/samples", count, 0), at_once)
        with self._passes():
            return torch.cat([self.method.generator(z) for z in latents])


def _outputs_in_float32(network: nn.Module, inputs: object, outputs: Tensor | tuple[Tensor, ...]) -> object:
    """Forward hook under bf16: losses, and whatever else reads the outputs, are computed in float32."""
    return outputs.float() if isinstance(outputs, Tensor) else tuple(output.float() for output in outputs)


def evaluation_steps(total_steps: int, evaluations: int) -> list[int]:
    """Steps after which to evaluate: evenly spaced, the last one after the last step."""
    count = min(evaluations, total_steps)
    return [round(total_steps * (i + 1) / count) for i in range(count)]


def train(config: RunConfig, batches: Batches, num_classes: int, state: State | None = None) -> Iterator[Snapshot]:
    """Train one configuration; yield a snapshot at each evaluation, the last one is final.

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
    fitted = method.fit(labeled, labels, unlabeled)
    clock.lap("train")
    # What an earlier run in this process had made for both counts as if this one had made it.
    seconds = {"warmup": 0.0, **clock.seconds, "train": clock.seconds["train"] + method.taken_over.seconds}
    return Snapshot(
        step=0,
        epoch=0.0,
        losses={},
        seconds=seconds,
        warmup_steps=0,
        is_final=True,
        classify=fitted.classify,
        sample=None,
        state=None,
        cpu_seconds_taken_over=method.taken_over.cpu_seconds,
        reached=fitted.reached,
        chosen=method.chosen,
    )


def _train_networks(config: RunConfig, batches: Batches, num_classes: int, state: State | None) -> Iterator[Snapshot]:
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
