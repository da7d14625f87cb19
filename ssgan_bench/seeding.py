"""Named random streams: every random decision is a pure function of (seed, name, step).

No stream depends on what was drawn from another one, on the process, or on how far training was interrupted, so a
run can be repeated or continued from any step without storing generator states.
"""

import functools
import hashlib

import numpy as np
import torch


def stream_seed(seed: int, name: str, step: int = 0) -> int:
    """Derive a 63-bit seed from SHA-256 over (seed, name, step)."""
    hashed = hashlib.sha256(f"{seed}/{name}/{step}".encode()).digest()
    return int.from_bytes(hashed[:8], "little") >> 1


def generator(seed: int, name: str, step: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a torch generator on `device` for one named stream."""
    return torch.Generator(device).manual_seed(stream_seed(seed, name, step))


def numpy_generator(seed: int, name: str, step: int = 0) -> np.random.Generator:
    """Make a NumPy generator (PCG64) for one named stream."""
    return np.random.default_rng(stream_seed(seed, name, step))


def seed_layers(seed: int, name: str, step: int) -> None:
    """Seed the global generators (CPU and GPU), which dropout and noise layers draw from."""
    torch.manual_seed(stream_seed(seed, name, step))


def make_deterministic(num_threads: int) -> None:
    """Make runs on a CPU bitwise repeatable (fixed thread count) and runs on a GPU nearly so, in true float32."""
    torch.set_num_threads(num_threads)
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    _let_onednn_multiply_float32()


@functools.cache
def _let_onednn_multiply_float32() -> None:
    """Have oneDNN multiply float32 matrices on a CPU where it stays in float32.

    PyTorch's own choice, MKL, takes AVX2 on processors of AMD even where they have AVX-512: half the speed. The only
    public way to oneDNN is to permit bfloat16 products. It uses the permission on processors with AMX, where it is
    withdrawn, since a product shows it.
    """
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    stream = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 256, 256, generator=stream)
    matmul.fp32_precision = "bf16"
    error = (left @ right).double() - left.double() @ right.double()
    if error.abs().max() > 1e-3:  # float32: about 3e-5 at these sizes; bfloat16: about 0.2
        matmul.fp32_precision = "ieee"
