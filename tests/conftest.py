"A process per core (pytest-xdist, see pyproject.toml), so a thread for each; and the same random numbers in each run, so that a test that passed once passes again"
import os, random, sys
if 'PYTEST_XDIST_WORKER' in os.environ: os.environ.setdefault('OMP_NUM_THREADS', '1')

def pytest_runtest_setup(item):
    "Models' first weights, shuffles and crops do not depend on the tests that ran before"
    random.seed(0)
    if 'numpy' in sys.modules: sys.modules['numpy'].random.seed(0)
    if 'torch' in sys.modules: sys.modules['torch'].manual_seed(0)
