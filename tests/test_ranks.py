"Processes that differ are told so on each of them; the command under a launcher is one run; what one process finds wrong ends all"
import os, shutil, subprocess, sys
from pathlib import Path
import pytest, torch
from torch import nn
from ranks import free_port, rank_env, run_ranks, start_ranks

# ---------------------------------------------------------------------------------------------- a Learner on two processes
says = dict(n='training samples', files='training files (a hash of their names)', bs='training batch size 16 on process 0 and 8 on process 1',
            sampler='training sampler MScVBS', drop_last='training drop_last False on process 0 and True', model='parameters', frozen='tensors that are trained',
            callback='EMA missing on process 0 and', set='window=2', lr='learning rates', epochs='epochs 1 on process 0 and 2 on process 1')
says['late'] = says['epochs']

def _data(case, odd, out):
    from fastai.vision.all import ImageDataLoaders, Resize
    from cvnets_nb.data.digits import digits
    if case == 'files': return ImageDataLoaders.from_path_func(out, sorted((out/'images').glob('*.png')), lambda f: f.name[0], seed=odd, bs=16, item_tfms=Resize(16))
    return digits(size=16, bs=16, n=40 if case == 'n' and odd else 60)

def _case(case, odd, out):
    "A `Learner` and the epochs of its fit, on the second process with what `case` says"
    from fastai.vision.all import Learner
    from cvnets_nb.callback import EMA, PlanCallback, SET
    from cvnets_nb.callback.plan import RanksAgree
    from cvnets_nb.samplers import MScVBS, SScFBS
    sampler = MScVBS(16, 8 if case == 'bs' and odd else 16, divisor=4)
    dls = _data(case, odd, out).with_plan(SScFBS(16, 16) if case == 'sampler' and odd else sampler)
    if case == 'drop_last' and odd: dls.train.drop_last = True
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 11 if case == 'model' and odd else 10))
    if case == 'frozen' and odd: net[0].requires_grad_(False)
    cbs = [PlanCallback()] if case == 'late' else [RanksAgree(), PlanCallback()]
    if case == 'callback' and odd: cbs.append(EMA(.1))
    if case == 'set': cbs.append(SET(.9, 2 if odd else 3))
    dls.device = 'cpu'
    return Learner(dls, net, cbs=cbs, lr=1e-2 if case == 'lr' and odd else 1e-3), 2 if case in ('epochs','late') and odd else 1

def _fit(learn, *args, **kw):
    with learn.no_bar(), learn.no_logging(), learn.distrib_ctx(sync_bn=False, cpu=True): learn.fit(*args, **kw)

def _told(rank, out):
    "What each case says on this process"
    res = {}
    for case in says:
        learn,n = _case(case, rank == 1, out)
        try: _fit(learn, n)
        except Exception as e: res[case] = type(e).__name__,str(e)
    return res

def _few():
    "Selective backprop with one image for two processes"
    from fastai.vision.all import CategoryBlock, DataBlock, IndexSplitter, IntToFloatTensor, ItemGetter, Learner, RandomResizedCrop, TransformBlock, set_seed
    from cvnets_nb.callback import CostLedger, SelectiveBackprop
    from cvnets_nb.data.digits import digit_items
    from cvnets_nb.data.image import OpenImage
    from cvnets_nb.samplers import SScFBS
    db = DataBlock((TransformBlock(type_tfms=OpenImage(), batch_tfms=IntToFloatTensor), CategoryBlock(vocab=[*range(10)])), get_x=ItemGetter(0), get_y=ItemGetter(1),
                   splitter=IndexSplitter([*range(1, 9)]), item_tfms=RandomResizedCrop(16))
    dls = db.dataloaders(digit_items()[:9], bs=4).with_plan(SScFBS(16, 4), seed=0)
    dls.device = 'cpu'
    set_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3*16*16, 10))
    first = net[1].weight.detach().clone()
    learn = Learner(dls, net, cbs=[SelectiveBackprop(.5, start=0, until=1), CostLedger()])
    _fit(learn, 2, 1e-2)
    return dict(history=learn.selective_backprop.history, weight=net[1].weight.detach().clone(), moved=bool((net[1].weight != first).any()),
                samples=learn.cost.totals['samples'])

def _resumed(out):
    "A training of four epochs, and one that ended after two and goes on in a Learner of its own"
    from fastai.vision.all import CancelFitException, Callback, Learner, accuracy, rank_distrib, set_seed
    from cvnets_nb.callback import CheckpointCallback, CostLedger, SET, load_checkpoint
    from cvnets_nb.data.digits import digits
    from cvnets_nb.samplers import MScVBS
    class Stop(Callback):
        def before_epoch(self):
            if self.epoch == 2: raise CancelFitException
    def make(seed):
        set_seed(seed)
        dls = digits(size=16, bs=16, n=200).with_plan(MScVBS(16, 16, divisor=4), seed=3)
        dls.device = 'cpu'
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(.2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))
        learn = Learner(dls, net, metrics=accuracy, cbs=[SET(.05, 1, every=2, until=1), CostLedger(), CheckpointCallback(out/'checks')])
        return learn
    def fit(learn, **kw):
        set_seed(rank_distrib())
        _fit(learn, 4, 1e-2, **kw)
    whole,cut,again = make(0),make(0),make(9)
    fit(whole)
    fit(cut, cbs=Stop())
    torch.distributed.barrier()                     # until the first process has written
    fit(again, start_epoch=load_checkpoint(again, out/'checks'/'last.pth'))
    return [dict(weights=o.model.state_dict(), history=o.set.history, counts=o.set.counts, values=[list(v)[:-1] for v in o.recorder.values][-2:],
                 cost={k:v for k,v in o.cost.totals.items() if 'seconds' not in k and k != 'peak_memory'}) for o in (whole, again)]

def _rank(out):
    from fastai.vision.all import rank_distrib
    import fastai.distributed
    torch.set_num_threads(1)
    rank = rank_distrib()
    _connect()
    torch.save(dict(told=_told(rank, out), few=_few(), resumed=_resumed(out)), out/f'{rank}.pt')

def _connect():
    "Connected before anything is compared, as by the command"
    torch.distributed.init_process_group('gloo')

@pytest.fixture(scope='module')
def both(tmp_path_factory):
    from PIL import Image
    out = tmp_path_factory.mktemp('ranks')
    (out/'images').mkdir()
    for i in range(20): Image.new('RGB', (20,20), (i*9,)*3).save(out/'images'/f'{"ab"[i % 2]}{i}.png')
    run_ranks(__file__, out, 240)
    return [torch.load(out/f'{r}.pt', weights_only=False) for r in range(2)] + [out]

@pytest.mark.parametrize('case', says)
def test_processes_that_differ_are_told_so_on_each(case, both):
    for o in both[:2]:
        kind,text = o['told'][case]
        assert kind == 'ValueError' and says[case] in text and 'start each with the same script, data and arguments' in text, text
    assert both[0]['told'][case] == both[1]['told'][case]

def test_selective_backprop_with_fewer_images_than_processes(both):
    a,b = (o['few'] for o in both[:2])
    assert a['moved'] and torch.equal(a['weight'], b['weight'])
    assert [h['active'] for h in a['history']] == [1, 1] and [h['active'] for h in b['history']] == [0, 0]
    assert a['samples'] == b['samples'] == 2 + 2, 'trained on, and predicted to choose from'

def test_resumed_on_as_many_processes_is_exact(both):
    for rank in both[:2]:
        whole,again = rank['resumed']
        assert whole['history'] == again['history'] and min(h['active'] for h in whole['history']) < max(h['active'] for h in whole['history'])
        assert (whole['counts'] == again['counts']).all() and whole['cost'] == again['cost'] and whole['values'] == again['values']
        for k,v in whole['weights'].items(): assert torch.equal(v, again['weights'][k]), k

def test_another_number_of_processes_is_refused(both):
    from fastai.vision.all import Learner
    from cvnets_nb.callback import load_checkpoint
    from cvnets_nb.data.digits import digits
    learn = Learner(digits(16, n=20), nn.Linear(1, 1))
    with pytest.raises(ValueError, match='last.pth is of a training on 2 processes, and this is one on 1.*go on with 2'): load_checkpoint(learn, both[2]/'checks'/'last.pth')

# ---------------------------------------------------------------------------------------------- the command
quick = '--size 16 --bs 32 --epochs 2 --arch mobilenetv1_025 --sampler ssc_fbs'.split()
launchers = dict(torchrun=['torchrun', '--nproc_per_node', '2', '-m'],
                 accelerate=['accelerate', 'launch', '--multi_gpu', '--num_processes', '2', '--num_machines', '1', '--mixed_precision', 'no', '--dynamo_backend', 'no', '-m'])

@pytest.mark.parametrize('launcher', ['torchrun', pytest.param('accelerate', marks=pytest.mark.long)])
def test_a_launched_command_is_one_run(launcher, tmp_path, capsys):
    from fastai.vision.all import load_learner
    from cvnets_nb.cli import cvnets_train, read_run, write_run
    cmd = [str(Path(sys.executable).parent/launchers[launcher][0]), *launchers[launcher][1:], 'cvnets_nb.cli', *quick, '--out', 'run']
    r = subprocess.run(cmd, cwd=tmp_path, env=rank_env(MASTER_PORT=str(free_port())), capture_output=True, text=True, timeout=240)
    assert r.returncode == 0, r.stderr[-3000:]
    lines = r.stdout.splitlines()
    assert [o.split()[0] for o in lines[:3]] == ['epoch','0','1'] and sum('held out' in o for o in lines) == 1 and len(lines) < 25, r.stdout
    out = tmp_path/'run'
    assert {o.name for o in out.iterdir()} == {'run.json','model.pkl','weights.safetensors','cost.csv','cost.png'}
    run = read_run(out)
    assert run['processes'] == 2 and 0 < run['accuracy'] < 1
    learn = load_learner(out/'model.pkl')
    assert type(learn.model).__name__ != 'DistributedDataParallel' and not [cb for cb in learn.cbs if type(cb).__name__ == 'DistributedTrainer']
    shutil.rmtree(out/'checkpoint', ignore_errors=True)
    write_run(out, {k:v for k,v in run.items() if k != 'valid_loss'})             # as if it had been interrupted
    with pytest.raises(SystemExit) as e: cvnets_train(['--resume', '--out', str(out)])
    said = capsys.readouterr().err
    assert e.value.code == 2 and said.count('\n') == 1 and 'began on 2 processes, and this is 1 process' in said

def _two(codes, out, timeout=120):
    status,said = start_ranks(codes, out, timeout)
    return status, ''.join(said)

def _own_lines(said): return sum('cvnets_train: error' in o for o in said.splitlines())          # torch may add some of its own

run_it = 'from cvnets_nb.cli import cvnets_train; cvnets_train({})'

@pytest.mark.long
def test_options_that_differ_are_one_line(tmp_path):
    status,said = _two([run_it.format([*quick, '--bs', bs]) for bs in ('16','8')], tmp_path)
    assert status == [2, 2] and _own_lines(said) == 1 and '--bs 16 on process 0 and 8 on process 1; start each process with the same options' in said, (status, said)
    assert not list(tmp_path.iterdir())

broken = """
from cvnets_nb.callback import CheckpointCallback
import os
def before_batch(self):
    if self.epoch == 1 and self.iter == 2 and os.environ['RANK'] == '1': raise OSError('cannot read the image a.jpg: cut short; mend it')
CheckpointCallback.before_batch = before_batch
"""

def test_an_error_of_one_process_ends_both_with_one_line(tmp_path):
    status,said = _two([broken + run_it.format(quick)]*2, tmp_path)
    assert status == [1, 1] and _own_lines(said) == 1, (status, said)
    assert 'cvnets_train: error: cannot read the image a.jpg: cut short; put the file back' in said and 'continue with cvnets_train --resume --out cvnets_run, on 2 processes again' in said
    assert {o.name for o in (tmp_path/'cvnets_run').iterdir()} == {'run.json','checkpoint','.lock'}

@pytest.mark.long
def test_a_process_that_is_killed_leaves_a_run_that_goes_on(tmp_path):
    killed = broken.replace("raise OSError('cannot read the image a.jpg: cut short; mend it')", 'os.kill(os.getpid(), 9)')
    status,said = _two([killed + run_it.format(quick)]*2, tmp_path)
    assert status == [1, -9] and _own_lines(said) == 1, (status, said)
    assert 'another process of this training ended without a word; continue with cvnets_train --resume --out cvnets_run, on 2 processes again' in said

if __name__ == '__main__':
    _rank(Path(sys.argv[1]))
    os._exit(0)     # what a rank found is written; torch's threads sometimes abort an interpreter that ends while the other rank's do
