"""What the benchmarks count: FLOP by definition on every device, memory of the timed part alone."""

import sys

import pytest
import torch
from measurement import PeakMemory, count_flop

from ssgan_bench.networks.conv import Generator


def test_flop_are_those_of_the_layers_by_definition() -> None:
    batch_size, width = 4, 8
    generator = Generator(16, width=width)
    deconv1 = 4 * 4 * 100 * 4 * width  # kernel, inputs, outputs; one pixel
    deconv2 = (4 * 4) * (3 * 3) * 4 * width * 2 * width  # pixels, kernel, inputs, outputs
    deconv3 = (4 * 4) * (4 * 4) * 2 * width * width
    deconv4 = (8 * 8) * (4 * 4) * width
    expected = 2 * batch_size * (deconv1 + deconv2 + deconv3 + deconv4)
    with torch.no_grad():
        assert count_flop(lambda: generator(torch.zeros(batch_size, 100))) == expected


def test_counting_leaves_the_layers_as_they_were() -> None:
    generator = Generator(16, width=8).eval()
    z = torch.ones(2, 100)
    before = generator(z)
    count_flop(lambda: generator(z))
    assert torch.equal(generator(z), before)


@pytest.mark.skipif(sys.platform != "linux", reason="resets the peak by /proc")
def test_peak_memory_of_a_cpu_forgets_what_came_before() -> None:
    torch.ones(64 * 2**20)  # 256 MiB, freed at once
    memory = PeakMemory("cpu")
    before = memory.mib()
    if before is None:
        pytest.skip("the peak of this process cannot be reset")
    torch.ones(16 * 2**20)
    after = memory.mib()
    assert after is not None
    assert 60 < after - before < 200
