import itertools

import numpy as np
import pytest
import torch

from ssgan_bench.networks.layers import Dropout, GaussianNoise
from ssgan_bench.seeding import generator, make_deterministic, numpy_generator, seed_layers, stream_seed

STREAMS = list(itertools.product([0, 1, 12, 2**31 - 1], ["z", "labeled", "z/1", "1"], [0, 1, 2, 11]))


def test_streams_differ_by_seed_name_and_step():
    assert len({stream_seed(*stream) for stream in STREAMS}) == len(STREAMS)
    assert len({torch.rand(4, generator=generator(*stream)).numpy().tobytes() for stream in STREAMS}) == len(STREAMS)
    assert len({numpy_generator(*stream).random(4).tobytes() for stream in STREAMS}) == len(STREAMS)


def test_a_stream_seed_fits_every_generator():
    assert all(0 <= stream_seed(*stream) < 2**63 for stream in STREAMS)


def test_stream_seeds_stay_the_same_in_every_version():
    # A changed value silently re-draws every split and every run: that needs a new PROTOCOL_VERSION.
    assert stream_seed(0, "labeled") == 6269915401971078935
    assert stream_seed(3, "z", 7) == 6541690574463227112


def test_streams_do_not_depend_on_each_other_or_on_global_state():
    alone = torch.rand(5, generator=generator(1, "z", 2))
    alone_numpy = numpy_generator(1, "splits/test").random(5)
    torch.manual_seed(5)
    other, again = generator(1, "labeled", 2), generator(1, "z", 2)
    torch.rand(100, generator=other)
    torch.rand(3)
    numpy_generator(1, "splits/labeled").random(9)
    assert torch.equal(torch.rand(5, generator=again), alone)
    np.testing.assert_array_equal(numpy_generator(1, "splits/test").random(5), alone_numpy)


def test_a_named_stream_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    torch.rand(7, generator=generator(0, "z"))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("layer", [Dropout(0.5), GaussianNoise(0.5)], ids=["dropout", "noise"])
def test_random_layers_are_functions_of_seed_and_step(layer):
    def mask(seed, step):
        seed_layers(seed, "layers", step)
        return layer(torch.ones(200))

    assert torch.equal(mask(0, 1), mask(0, 1))
    assert not torch.equal(mask(0, 1), mask(0, 2))
    assert not torch.equal(mask(0, 1), mask(1, 1))


@pytest.fixture
def restored_settings():
    threads = torch.get_num_threads()
    benchmark, deterministic = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    products = torch.backends.mkldnn.matmul.fp32_precision
    yield
    torch.backends.mkldnn.matmul.fp32_precision = products
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = benchmark, deterministic


@pytest.mark.usefixtures("restored_settings")
def test_determinism_switches_are_set():
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = True, False
    make_deterministic(num_threads=2)
    assert torch.get_num_threads() == 2
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == (False, True)


@pytest.mark.usefixtures("restored_settings")
def test_switches_are_set_again_after_somebody_changed_them():
    make_deterministic(num_threads=1)
    matmul = torch.backends.mkldnn.matmul
    chosen, matmul.fp32_precision = matmul.fp32_precision, "none"
    make_deterministic(num_threads=1)
    assert matmul.fp32_precision == chosen
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(("rows", "inner", "columns"), [(3, 784, 10), (100, 784, 1000), (512, 1024, 2048)])
@pytest.mark.usefixtures("restored_settings")
def test_products_on_a_cpu_are_true_float32(rows, inner, columns):
    make_deterministic(num_threads=1)
    stream = torch.Generator().manual_seed(1)
    left = torch.randn(rows, inner, generator=stream)
    right = torch.randn(inner, columns, generator=stream)
    exact = left.double() @ right.double()
    scale = left.double().norm(dim=1, keepdim=True) * right.double().norm(dim=0)
    assert ((left @ right - exact).abs() / scale).max() < 1e-6  # bfloat16: about 1e-3
