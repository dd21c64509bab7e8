"A process per core (pytest-xdist, see pyproject.toml), so a thread for each"
import os
if 'PYTEST_XDIST_WORKER' in os.environ: os.environ.setdefault('OMP_NUM_THREADS', '1')
