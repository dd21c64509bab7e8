"Two processes on the CPU that run a test file as a script"
import os, socket, subprocess, sys
from pathlib import Path

def run_ranks(file, out, timeout=400):
    "Run `file out` as ranks 0 and 1; both have to succeed"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    env = dict(os.environ, WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), ACCELERATE_USE_CPU='true', CUDA_VISIBLE_DEVICES='', OMP_NUM_THREADS='1',
               PYTHONPATH=os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get('PYTHONPATH', '')]))
    ps = [subprocess.Popen([sys.executable, '-W', 'ignore', file, str(out)], env=dict(env, RANK=str(r), LOCAL_RANK=str(r)), stderr=subprocess.PIPE, text=True) for r in range(2)]
    try:
        for p in ps:
            err = p.communicate(timeout=timeout)[1]
            assert p.returncode == 0, err[-3000:]
    finally:
        for p in ps: p.kill(), p.wait()
