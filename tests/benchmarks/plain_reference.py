"""What people write today: the reference that every training step is compared with.

fp32, eager, NCHW; a DataLoader over PIL images, resized batch by batch; a forward pass of its own for every loss; a
backward pass of the generator's loss through all of the discriminator; `.item()` at every step; PyTorch's dropout and
Adam. The networks are the article's pair, with the parameter names of ssgan_bench/networks/conv.py, so that weights
can be copied.

B batch, L labeled, C channels, H W, K classes, D features, Z latent.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ssgan_bench.config import RunConfig
from ssgan_bench.data.splits import Splits

KERNEL_AND_PADDING = {1: (3, 1), 2: (4, 1), 4: (4, 0)}
STRIDES = {16: (2, 2, 1), 32: (2, 2, 2), 64: (2, 2, 4)}


class PlainImages(Dataset[tuple[Tensor, int]]):
    """PIL images that become tensors (C, h, w) in [-1, 1] one by one."""

    def __init__(self, images: Tensor, labels: Tensor):
        self.images = [Image.fromarray(image.squeeze(0).numpy()) for image in images]
        self.labels = labels.tolist()
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


class PlainDiscriminator(nn.Module):
    """Images (B, C, H, W) -> features (B, D), logits."""

    def __init__(self, image_size: int, channels: int, width: int, num_logits: int, dropout: float, momentum: float):
        super().__init__()
        first, second, third = STRIDES[image_size]
        self.conv1 = nn.Conv2d(channels, width, *_kernel(first))
        self.conv2 = nn.Conv2d(width, 2 * width, *_kernel(second))
        self.norm2 = nn.BatchNorm2d(2 * width, eps=1e-3, momentum=momentum)
        self.conv3 = nn.Conv2d(2 * width, 4 * width, *_kernel(third))
        self.norm3 = nn.BatchNorm2d(4 * width, eps=1e-3, momentum=momentum)
        self.conv4 = nn.Conv2d(4 * width, 8 * width, kernel_size=3)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8 * width, num_logits)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.dropout(F.leaky_relu(self.conv1(x), 0.2))
        x = self.dropout(self.norm2(F.leaky_relu(self.conv2(x), 0.2)))
        x = self.dropout(self.norm3(F.leaky_relu(self.conv3(x), 0.2)))
        features = F.leaky_relu(self.conv4(x), 0.2).mean(dim=(2, 3))
        return features, self.head(features)


class PlainGenerator(nn.Module):
    """z (B, Z) -> images (B, C, H, W)."""

    def __init__(self, image_size: int, channels: int, width: int, latent_dim: int, dropout: float, momentum: float):
        super().__init__()
        first, second, third = reversed(STRIDES[image_size])
        self.deconv1 = nn.ConvTranspose2d(latent_dim, 4 * width, kernel_size=4)
        self.norm1 = nn.BatchNorm2d(4 * width, eps=1e-3, momentum=momentum)
        self.deconv2 = nn.ConvTranspose2d(4 * width, 2 * width, *_kernel(first))
        self.norm2 = nn.BatchNorm2d(2 * width, eps=1e-3, momentum=momentum)
        self.deconv3 = nn.ConvTranspose2d(2 * width, width, *_kernel(second))
        self.norm3 = nn.BatchNorm2d(width, eps=1e-3, momentum=momentum)
        self.deconv4 = nn.ConvTranspose2d(width, channels, *_kernel(third))
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: Tensor) -> Tensor:
        x = z.unsqueeze(-1).unsqueeze(-1)
        x = self.dropout(self.norm1(F.relu(self.deconv1(x))))
        x = self.dropout(self.norm2(F.relu(self.deconv2(x))))
        x = self.dropout(self.norm3(F.relu(self.deconv3(x))))
        return torch.tanh(self.deconv4(x))


def _kernel(stride: int) -> tuple[int, int, int]:
    """Kernel size, stride and padding of a layer."""
    kernel, padding = KERNEL_AND_PADDING[stride]
    return kernel, stride, padding


class PlainTrainer:
    """Networks, optimizers and a step of one method: "supervised", "article" or "improved_gan"."""

    def __init__(
        self, method: str, config: RunConfig, images: Tensor, labels: Tensor, splits: Splits, num_classes: int
    ):
        """Make the networks with PyTorch's default weights on the CPU; `to` moves them.

        Args:
            method: which losses.
            config: sizes, rates and batch sizes; its method is not read.
            images: (N, 1, h, w) uint8 on the CPU.
            labels: (N,) int64 on the CPU.
            splits: which of them are labeled and unlabeled.
            num_classes: K.
        """
        self.method, self.config, self.device = method, config, torch.device("cpu")
        network, size = config.network, config.data.image_size
        rates = (network.dropout, network.norm_momentum)
        num_logits = num_classes + 1 if method == "article" else num_classes
        self.discriminator = PlainDiscriminator(size, 1, network.width, num_logits, *rates)
        self.generator = PlainGenerator(size, 1, network.width, network.latent_dim, *rates)
        self.optimizer_d, self.optimizer_g = (
            torch.optim.Adam(
                module.parameters(),
                lr=config.optimizer.learning_rate,
                betas=(config.optimizer.beta1, config.optimizer.beta2),
            )
            for module in (self.discriminator, self.generator)
        )
        assert isinstance(config.train.labeled_batch_size, int)
        self.labeled, self.unlabeled = (
            _endless(DataLoader(PlainImages(images[index], labels[index]), size, shuffle=True, drop_last=True))
            for index, size in (
                (splits.labeled, config.train.labeled_batch_size),
                (splits.unlabeled, config.train.batch_size),
            )
        )

    def to(self, device: str) -> "PlainTrainer":
        self.device = torch.device(device)
        self.discriminator.to(self.device)
        self.generator.to(self.device)
        return self

    def step(self) -> dict[str, float]:
        """Do one D update and, for a GAN, one G update; returns the losses by name."""
        labeled, labels = self._next(self.labeled)
        if self.method == "supervised":
            return self._update(self.optimizer_d, {"supervised_loss": self._supervised_loss(labeled, labels)})
        unlabeled, _ = self._next(self.unlabeled)
        z = torch.randn(len(unlabeled), self.config.network.latent_dim, device=self.device)
        fake = self.generator(z)
        losses = self._update(self.optimizer_d, self.discriminator_losses(labeled, labels, unlabeled, fake.detach()))
        return losses | self._update(self.optimizer_g, self.generator_losses(unlabeled, fake))

    def discriminator_losses(
        self, labeled: Tensor, labels: Tensor, unlabeled: Tensor, fake: Tensor
    ) -> dict[str, Tensor]:
        """Terms of D's update for labeled (L, C, H, W) with labels (L,), unlabeled and fake (B, C, H, W) images."""
        _, on_real = self.discriminator(unlabeled)
        _, on_fake = self.discriminator(fake)
        if self.method == "article":
            real_loss = F.binary_cross_entropy_with_logits(on_real[:, 0], torch.zeros_like(on_real[:, 0]))
            fake_loss = F.binary_cross_entropy_with_logits(on_fake[:, 0], torch.ones_like(on_fake[:, 0]))
        else:
            real_loss = 0.5 * F.softplus(-torch.logsumexp(on_real, dim=1)).mean()
            fake_loss = 0.5 * F.softplus(torch.logsumexp(on_fake, dim=1)).mean()
        return {
            "supervised_loss": self._supervised_loss(labeled, labels),
            "real_loss": real_loss,
            "fake_loss": fake_loss,
        }

    def generator_losses(self, unlabeled: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Terms of G's update for unlabeled and fake images (B, C, H, W); a pass of the fake ones for each."""
        losses = {}
        if self.method == "article":
            _, on_fake = self.discriminator(fake)
            losses["adversarial_loss"] = F.binary_cross_entropy_with_logits(
                on_fake[:, 0], torch.zeros_like(on_fake[:, 0])
            )
        real_features, _ = self.discriminator(unlabeled)
        fake_features, _ = self.discriminator(fake)
        losses["feature_matching_loss"] = F.mse_loss(fake_features.mean(dim=0), real_features.mean(dim=0).detach())
        return losses

    def _supervised_loss(self, labeled: Tensor, labels: Tensor) -> Tensor:
        _, logits = self.discriminator(labeled)
        return F.cross_entropy(logits, labels + 1 if self.method == "article" else labels)

    def _next(self, batches: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        images, labels = next(batches)
        size = self.config.data.image_size
        resized = F.interpolate(images.to(self.device), size=(size, size), mode="bilinear", align_corners=False)
        return resized, labels.to(self.device)

    def _update(self, optimizer: torch.optim.Optimizer, losses: dict[str, Tensor]) -> dict[str, float]:
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        return {name: loss.item() for name, loss in losses.items()}


def _endless(loader: DataLoader[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from loader
