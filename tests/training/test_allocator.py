"""The process keeps freed memory: tensors of a size it has had before cost no page faults; and it takes no more."""

import subprocess
import sys
from pathlib import Path

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
    returned = page_faults("returned")
    if returned == 0:
        pytest.skip("this system does not count page faults, or has another allocator")
    assert 10 * page_faults("kept") < returned


EPOCHS = """
import gc
import resource
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from tiny_runs import NUM_CLASSES, textured_images, tiny_batches, tiny_config
from ssgan_bench.training.allocator import keep_freed_memory
from ssgan_bench.training.loop import train

keep_freed_memory()
config = tiny_config(method={"preset": "improved_gan"}, train={"epochs": 90, "evaluations": 90, "weight_average": 0.9})
batches = tiny_batches(config, images=textured_images())


def resident_kib():
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


for number, snapshot in enumerate(train(config, batches, NUM_CLASSES), 1):
    snapshot.classify(batches.images.float() / 127.5 - 1)
    snapshot.sample(4)
    if number in (30, 90):
        print(resident_kib())
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's account of this process")
def test_memory_does_not_grow_from_epoch_to_epoch():
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-c", EPOCHS, str(tests)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    early, late = map(int, done.stdout.split())
    assert late - early < 1024, f"{late - early} KiB more after 60 further epochs"
