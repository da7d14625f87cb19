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
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.mkldnn.matmul.fp32_precision = _float32_of_onednn()  # type: ignore[attr-defined]


@functools.cache
def _float32_of_onednn() -> str:
    """Setting with which oneDNN multiplies float32 matrices on a CPU, if it stays in float32; else PyTorch's choice.

    That choice, MKL, takes AVX2 on processors of AMD even where they have AVX-512: half the speed (LOG.md; products of
    a few rows lose some microseconds, and other processors were not measured). The only public way to oneDNN is to
    permit bfloat16 products. It uses the permission on processors with AMX, where it is withdrawn, since a product
    shows it.
    """
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before: str = matmul.fp32_precision
    stream = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 256, 256, generator=stream)
    matmul.fp32_precision = "bf16"
    error = (left @ right).double() - left.double() @ right.double()
    matmul.fp32_precision = before
    return "bf16" if error.abs().max() < 1e-3 else "ieee"  # float32: about 4e-5 at these sizes; bfloat16: about 0.2
