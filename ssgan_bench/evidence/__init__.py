"""`python -m ssgan_bench.evidence`: everything that only a GPU can show, in slices of a few minutes.

A thin layer over the other command lines, which do the work in processes of their own: the GPU tests, the step
benchmarks, and the reference studies at full size. A process whose time is up is stopped; a study continues in the next
slice where it was. What is there for the code of this checkout is listed in `reports/reference/evidence.json` and is
not made again.
"""
