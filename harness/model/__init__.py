"""The only floor that imports torch: loading, ablation, the engines and head identification.

Threads of GNU's OpenMP, which torch's wheels for Linux come with, turn for milliseconds in an empty loop before they
sleep. Where others want the same cores that loop is all that is done: nine short rows took 44 s with two threads, and
7 s with one. Unless somebody has said otherwise, they turn for some 150 microseconds, which bridges what lies between
two operations (https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html): a row of SmolLM2 takes 11.6 s so, 12.0
where they turn a third of that, and 11.3 where they turn ten times as long (`GOMP_SPINCOUNT`, `retrieval-heads bench`).
It is read when torch is first imported.
"""

import os

SPINS = "3000"
"""How often a thread that waits looks before it gives way, unless somebody has said how it is to wait."""

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
