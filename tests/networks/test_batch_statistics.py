import numpy as np
import pytest
import torch
from torch import nn

from ssgan_bench.networks.batch_statistics import batch_norms, running_statistics_kept, set_batch_statistics
from ssgan_bench.networks.conv import Discriminator
from ssgan_bench.networks.layers import init_weights


class TwoNorms(nn.Module):
    """1x1 convolutions, so that NumPy computes all of it in a line."""

    def __init__(self):
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3, eps=1e-3)
        self.second, self.norm2 = nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2, eps=1e-3)

    def forward(self, images):
        return self.norm2(self.second(torch.relu(self.norm1(self.first(images)))))


def test_statistics_are_the_mean_and_variance_of_all_images_layer_by_layer():
    torch.manual_seed(0)
    network = TwoNorms().double().eval()
    images = torch.randn(11, 1, 4, 4, dtype=torch.float64) * 2 + 1
    set_batch_statistics(network, images.split(4))

    def conv(layer, x):
        weight, bias = layer.weight.detach().numpy()[:, :, 0, 0], layer.bias.detach().numpy()
        return np.einsum("oi,bihw->bohw", weight, x) + bias[:, None, None]

    x = conv(network.first, images.numpy())
    mean, variance = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
    np.testing.assert_allclose(network.norm1.running_mean.numpy(), mean, rtol=1e-12)
    np.testing.assert_allclose(network.norm1.running_var.numpy(), variance, rtol=1e-12)
    normalized = (x - mean[:, None, None]) / np.sqrt(variance + 1e-3)[:, None, None]
    x = conv(network.second, np.maximum(normalized, 0.0))
    np.testing.assert_allclose(network.norm2.running_mean.numpy(), x.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(network.norm2.running_var.numpy(), x.var(axis=(0, 2, 3)), rtol=1e-12)


@pytest.mark.parametrize("image_size", [16, 32, 64])
def test_the_articles_discriminator_then_computes_in_evaluation_what_it_computes_in_training(image_size):
    """Its batch norms are declared in the order of their use."""
    network = Discriminator(image_size, width=4, dropout=0.0)
    init_weights(network, torch.Generator().manual_seed(0))
    images = torch.rand(20, 1, image_size, image_size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        expected = network.train()(images)
        set_batch_statistics(network.eval(), images.split(7))
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)


def test_dropout_and_the_statistics_from_before_have_no_influence():
    network = Discriminator(16, width=4, dropout=0.5).eval()
    images = torch.rand(9, 1, 16, 16)
    found = []
    for old in (0.0, 7.0):
        for norm in batch_norms(network):
            norm.running_mean.fill_(old)
        set_batch_statistics(network, [images])
        found.append(network(images)[1])
    assert torch.equal(*found)


def test_a_pass_may_keep_the_running_statistics_and_computes_the_same():
    network = Discriminator(16, width=4, dropout=0.0).train()
    images = torch.rand(9, 1, 16, 16)
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    with running_statistics_kept(network):
        features, logits = network(images)
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, before[name]), name
    moved_features, moved_logits = network(images)
    assert not torch.equal(network.norm2.running_mean, before["norm2.running_mean"])
    assert torch.equal(features, moved_features)
    assert torch.equal(logits, moved_logits)


def test_running_statistics_move_again_after_a_pass_that_failed():
    network = Discriminator(16, width=4).train()
    with pytest.raises(RuntimeError), running_statistics_kept(network):
        network(torch.rand(2, 5, 16, 16))
    network(torch.rand(2, 1, 16, 16))
    assert network.norm2.num_batches_tracked == 1
