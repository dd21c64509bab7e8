"""Trainings that are killed by SIGKILL, at random steps and while a checkpoint is written, go on and end as the unbroken run, bit for bit.

    python tests/kill.py 50              50 runs: a Learner in a script and the command, in turn, with 0 and 2 worker processes
    python tests/kill.py 10 --ranks      10 runs of two processes
    python tests/kill.py 4 --seed 1      the same ones each time; `tests/test_kill.py` runs a few

A run is a forked process, which tells each step and each beginning of a checkpoint by a byte; this one kills it at some of them."""
import argparse, hashlib, io, json, os, random, shutil, signal, socket, sys, tempfile, time, warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
os.environ.update(OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')       # a forked process has no other threads, and no GPU
warnings.filterwarnings('ignore')
import pandas as pd, torch
from fastai.vision.all import Callback, ConvLayer, Flatten, GradientAccumulation, Learner, accuracy, nn, rank_distrib, set_seed
from safetensors.torch import load_file
from cvnets_nb.callback import EMA, SET, CheckpointCallback, CostLedger, load_checkpoint
from cvnets_nb.callback import checkpoint as module
from cvnets_nb.cli import cvnets_train
from cvnets_nb.data.digits import digits
from cvnets_nb.learner import set_learner
from cvnets_nb.recipes import get_recipe
from cvnets_nb.samplers import MScVBS
torch.set_num_threads(1)

argv = '--arch mobilenetv1_025 --size 32 --bs 128 --epochs 2 --recipe resnet_advanced --sampler msc_vbs --set --seed 3'.split()
counted = 'updates','samples','pixels','flops'

# --- what is trained
def net(): return nn.Sequential(ConvLayer(3, 8, stride=2), ConvLayer(8, 16, stride=2), nn.Dropout(.1), nn.AdaptiveAvgPool2d(1), Flatten(), nn.Linear(16, 10))

class Tell(Callback):
    "A byte after each step"
    order = 1000
    def __init__(self, fd): self.fd = fd
    def after_batch(self):
        if self.training: os.write(self.fd, b's')

def fit_or_resume(learn, out, f, **kw):
    "The script that a user would write"
    last = out/'last.pth'
    start = load_checkpoint(learn, last) if last.exists() else 0
    with learn.no_bar(), learn.no_logging(): f(start_epoch=start, cbs=CheckpointCallback(out, steps=3), **kw)

def digest(tensors): return hashlib.sha256(b''.join(t.detach().cpu().contiguous().numpy().tobytes() for t in tensors)).hexdigest()

def result(learn):
    "All that has to be the same"
    rec, cost = learn.recorder, learn.cost
    return dict(weights=digest(learn.model.state_dict().values()), average=digest(learn.ema.avg), updates=learn.ema.updates,
                losses=digest(rec.losses), lrs=rec.lrs, values=repr(rec.values), counts=learn.set.counts.tolist(), history=learn.set.history,
                cost={k:cost.totals[k] for k in counted}, base={k:cost.baseline[k] for k in counted})

def script(out, fd, workers):
    "A plain script: recipe, mixed images, average, accumulation"
    set_seed(5, reproducible=True)
    recipe = get_recipe('resnet_advanced').scaled(epochs=3, n=240, bs=32, size=32).replace(ema=.1)
    dls = digits(size=32, bs=32, n=300, num_workers=workers)
    learn = set_learner(dls, net(), sampler=MScVBS(32, 32), recipe=recipe, metrics=accuracy, set=SET(.2, 1, every=1, source='pass'),
                        cbs=[GradientAccumulation(72), Tell(fd)])
    fit_or_resume(learn, out, lambda **kw: learn.fit_recipe(3, **kw))
    best = torch.load(out/'best.pth', weights_only=True)
    return dict(result(learn), best=[best['epoch'], digest(best['model'].values())])

def command(out, fd, workers):
    "The command, which is told to write more often than every 10 minutes"
    start = CheckpointCallback.start
    def often(self):
        self.steps = 4
        self.learn.add_cb(Tell(fd))
        start(self)
    CheckpointCallback.start = often
    own = ['--resume'] if (out/'run.json').exists() else []
    with redirect_stdout(io.StringIO()): cvnets_train([*argv, *own, '--workers', str(workers), '--out', str(out)])
    run = json.loads((out/'run.json').read_text())
    cost = pd.read_csv(out/'cost.csv', index_col='quantity').loc[list(counted)].to_dict()
    return dict(weights=digest(load_file(out/'weights.safetensors').values()), cost=repr(cost), **{k:run[k] for k in ('accuracy','valid_loss','set_history')})

def ranks(out, fd, workers):
    "One of two processes"
    import fastai.distributed
    set_seed(5 + rank_distrib())
    dls = digits(size=16, bs=32, n=400, num_workers=workers).with_plan(MScVBS(16, 32), seed=2)
    dls.device = 'cpu'
    set_seed(6)
    learn = Learner(dls, net(), metrics=accuracy, cbs=[SET(.2, 1, every=1), CostLedger(), EMA(.1, evaluate=False), GradientAccumulation(48), Tell(fd)])
    set_seed(7 + rank_distrib())
    with learn.distrib_ctx(sync_bn=False, cpu=True): fit_or_resume(learn, out, lambda **kw: learn.fit_one_cycle(3, 2e-2, **kw))
    return result(learn)

# --- killing
def child(f, out, fd, workers, env):
    "In the forked process: train, and leave the result"
    os.environ.update(env)
    write = module.write_sealed
    def told(*args, **kw):
        os.write(fd, b'w')
        return write(*args, **kw)
    module.write_sealed = told
    try:
        got = f(out, fd, workers)
        tmp = out.with_name(f"{out.name}.{env.get('RANK', 0)}.tmp")
        tmp.write_text(json.dumps(got))
        os.replace(tmp, tmp.with_suffix('.json'))
        os._exit(0)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)

def fork(f, out, workers, env=None):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(r)
        child(f, out, w, workers, env or {})
    os.close(w)
    return pid, r

def environments(n):
    if n < 2: return [{}]
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    return [dict(WORLD_SIZE=str(n), LOCAL_WORLD_SIZE=str(n), RANK=str(i), LOCAL_RANK=str(i), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port)) for i in range(n)]

def once(f, out, workers, n=1, at=None, rng=None):
    "Train once, and where `at` says so `(byte, how often)` kill it then: the bytes that came, and whether it was killed"
    ps = [fork(f, out, workers, env) for env in environments(n)]
    told, killed = b'', False
    for pid, r in ps[1:]: os.set_blocking(r, False)
    while True:
        o = os.read(ps[0][1], 1)
        if not o: break
        told += o
        if at and not killed and o == at[0] and told.count(o) == at[1]:
            time.sleep(rng.uniform(0, .02 if o == b's' else .008))
            for pid, _ in rng.sample(ps, len(ps)): os.kill(pid, signal.SIGKILL)
            killed = True
    codes = [os.waitpid(pid, 0)[1] for pid, _ in ps]
    for _, r in ps: os.close(r)
    assert killed or not any(codes), f'{f.__name__} ended with {codes}'
    return told, killed and any(os.WIFSIGNALED(c) for c in codes)

def results(out, n): return [json.loads(out.with_name(f'{out.name}.{i}.json').read_text()) for i in range(n)]

def kill_run(f, out, workers, n, whole, steps, rng):
    "A training that is killed one to three times; how often, and in what its end differs from `whole`"
    out.mkdir(parents=True)
    if f is command: out.rmdir()
    kills = 0
    for _ in range(rng.randint(1, 3)):
        at = (b's', rng.randint(1, max(1, steps-1))) if rng.random() < .5 else (b'w', rng.randint(1, 6))
        told, killed = once(f, out, workers, n, at, rng)
        kills += killed
        if not killed: break
    if killed: once(f, out, workers, n)
    got = results(out, n)
    return kills, [k for a, b in zip(got, whole) for k in b if a[k] != b[k]]

def main(runs, n=1, seed=None, kinds=None):
    rng = random.Random(seed)
    kinds = [(ranks, 0), (ranks, 2)] if n > 1 else kinds or [(script, 0), (command, 0), (script, 2), (command, 2)]
    top, whole, same, kills = Path(tempfile.mkdtemp()), {}, 0, 0
    for i in range(runs):
        f, workers = kind = kinds[i % len(kinds)]
        if kind not in whole:
            out = top/f'whole_{f.__name__}_{workers}'
            if f is not command: out.mkdir()
            steps = once(f, out, workers, n)[0].count(b's')
            whole[kind] = results(out, n), steps
        k, unlike = kill_run(f, top/f'run{i}', workers, n, *whole[kind], rng)
        kills += k
        same += not unlike
        print(f"run {i+1}: {f.__name__}, {workers} workers, killed {k} times: {'the same' if not unlike else 'differs in ' + ', '.join(unlike)}", flush=True)
        shutil.rmtree(top/f'run{i}', ignore_errors=True)
    shutil.rmtree(top)
    print(f'{same} of {runs} runs, killed {kills} times, ended as the unbroken run')
    return same == runs and kills > 0

if __name__ == '__main__':
    p = argparse.ArgumentParser()
    p.add_argument('runs', type=int, nargs='?', default=50)
    p.add_argument('--ranks', action='store_true')
    p.add_argument('--seed', type=int)
    p.add_argument('--script', action='store_true', help='Learners in scripts only, which is faster')
    a = p.parse_args()
    sys.exit(not main(a.runs, 2 if a.ranks else 1, a.seed, [(script, 0), (script, 2)] if a.script else None))
