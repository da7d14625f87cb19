"""The process keeps freed memory: tensors of a size that it has had before cost no page faults."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from ssgan_bench.training.allocator import keep_freed_memory

if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit(3)
for _ in range(10):
    torch.ones(16 * 2**20)  # 64 MiB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(16 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip("the C library is not glibc")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_large_tensors_reuse_the_memory_of_freed_ones():
    assert page_faults("kept") < 10 < page_faults("returned")
