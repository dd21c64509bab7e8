"A few trainings that are killed by SIGKILL end as the unbroken run; `python tests/kill.py 50` kills many"
import os, subprocess, sys
from pathlib import Path
import pytest

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='it forks')
def test_killed_trainings_end_as_the_unbroken_one():
    "Learners in a script, with 0 and 2 worker processes, a recipe, an average and accumulated gradients"
    here = Path(__file__).parent
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(here.parent), os.environ.get('PYTHONPATH', '')]))
    r = subprocess.run([sys.executable, here/'kill.py', '2', '--script', '--seed', '1'], env=env, capture_output=True, text=True, timeout=400)
    assert r.returncode == 0 and '2 of 2 runs' in r.stdout, r.stdout + r.stderr[-2000:]
