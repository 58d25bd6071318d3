"""Memory that is kept between batches: counted in page faults, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
PROGRAM = """
import resource, sys
from core.memory import give_back, keep_freed_memory
if "keep" in sys.argv:
    assert keep_freed_memory()
import torch

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(2**25).add_(1)  # 128 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

faults(), faults()
again, kept = faults(), resident()
give_back()
print(again, kept - resident())
"""


def figures(*words: str) -> list[int]:
    own = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}  # other tests set it
    command = [sys.executable, "-c", PROGRAM, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=own)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_a_later_batch_faults_no_page_in_and_the_end_of_a_stage_gives_all_back() -> None:
    again, given_back = figures("keep")
    usual, _ = figures()
    assert usual > 10_000  # what glibc does without it: 128 MB in pages of 4 kB, again and again
    assert again < usual / 20  # a machine under pressure takes a few pages back (576 of 32,768 seen)
    assert given_back > 100 * 2**20
