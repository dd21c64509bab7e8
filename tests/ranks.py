"Two processes on the CPU. Both are forked from one that has imported what they need, since importing takes longer than what most of them do"
import json, os, signal, socket, subprocess, sys, traceback
from pathlib import Path
import pytest

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

def rank_env(**kw):
    return {**os.environ, 'CUDA_VISIBLE_DEVICES':'', 'OMP_NUM_THREADS':'1', 'TORCH_CPP_LOG_LEVEL':'ERROR',
            'PYTHONPATH':os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get('PYTHONPATH', '')]), **kw}

def start_ranks(codes, out, timeout=240, **env):
    "Run Python code as ranks 0 and 1, in the folder `out`; their status and what each said on standard error"
    if not hasattr(os, 'fork'): pytest.skip('it forks')
    env = rank_env(WORLD_SIZE='2', LOCAL_WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port()), **env)
    p = subprocess.Popen([sys.executable, '-W', 'ignore', __file__], cwd=out, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try: said = p.communicate(json.dumps(codes), timeout=timeout)[0]
    finally:
        try: os.killpg(p.pid, signal.SIGKILL)
        except ProcessLookupError: pass
    return json.loads(said)

def run_ranks(file, out, timeout=400):
    "Run `file out` as ranks 0 and 1; both have to succeed"
    code = f'import runpy, sys; sys.argv = {[str(file), str(out)]}; runpy.run_path({str(file)!r}, run_name="__main__")'
    status, said = start_ranks([code]*2, out, timeout, ACCELERATE_USE_CPU='true')
    assert status == [0, 0], '\n'.join(f'process {r}:\n{o[-3000:]}' for r,o in enumerate(said))

def _run(code, rank, err):
    "What a forked process does; it never returns"
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    os.dup2(err, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    status = 0
    try: exec(compile(code, '<rank>', 'exec'), {'__name__':'__main__'})
    except SystemExit as e: status = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException: status = traceback.print_exc() or 1
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(status)

def _main():
    import tempfile, fastai.distributed, fastai.vision.all, cvnets_nb.all, cvnets_nb.cli
    errs, pids = [tempfile.TemporaryFile() for _ in range(2)], []
    for rank,code in enumerate(json.load(sys.stdin)):
        pids.append(os.fork())
        if not pids[-1]: _run(code, rank, errs[rank].fileno())
    status = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    for f in errs: f.seek(0)
    print(json.dumps([status, [f.read().decode(errors='replace') for f in errs]]))

if __name__ == '__main__': _main()
