"A training that stops after any step goes on with the next one and ends the same, whatever chooses its samples, steps or measures"
import warnings
from functools import partial
import numpy as np, pytest, torch
from torch import nn
from fastai.vision.all import (Callback, EarlyStoppingCallback, GradientAccumulation, Learner, Lookahead, MixedPrecision, MixUp, OptimWrapper, Recorder, SGD,
                               accuracy, aug_transforms, params, set_seed)
from cvnets_nb.callback import *
from cvnets_nb.callback import sealed
from cvnets_nb.callback.checkpoint import checkpoints
from cvnets_nb.callback.sealed import BadFile, read_sealed, write_sealed
from cvnets_nb.data import digits
from cvnets_nb.samplers import Growing, MScVBS, SScFBS

def net(): return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(.1), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))

class CutAfter(Callback):
    order = 1000
    def __init__(self, epoch, step): self.at = epoch, step
    def after_batch(self):
        if self.training and (self.learn.epoch, self.learn.iter+1) == self.at: raise KeyboardInterrupt
    def after_epoch(self):
        if (self.learn.epoch, 0) == self.at: raise KeyboardInterrupt

def fit(learn, cbs=(), one_cycle=False, **kw):
    with learn.no_bar(), learn.no_logging():
        if one_cycle: learn.fit_one_cycle(3, 2e-2, cbs=cbs, **kw)
        else: learn.fit(3, 2e-2, cbs=cbs, **kw)
    return learn

def state(learn):
    "What has to be the same"
    res = {f'model {k}':v for k,v in learn.model.state_dict().items()}
    res['losses'] = torch.stack(list(learn.recorder.losses))
    res['values'], res['lrs'] = [list(o) for o in learn.recorder.values], list(learn.recorder.lrs)
    for cb in learn.cbs:
        if hasattr(type(cb), 'history'): res[f'{cb.name} history'] = cb.history
        if isinstance(cb, SelectiveBackprop): res['selective'] = cb.history
        if isinstance(cb, EMA): res['average'] = torch.cat([t.flatten().double() for t in cb.avg])
        if isinstance(cb, CostLedger):
            res['cost'] = {k:cb.totals[k] for k in ('updates','samples','pixels','flops','recheck_samples')}
            res['base'] = {k:cb.baseline[k] for k in ('updates','samples','pixels','flops')}
    return res

def unlike(a, b):
    def same(x, y): return torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
    return [k for k in a if not same(a[k], b[k])]

def wrapped(opt, params, **kw): return OptimWrapper(params, opt, **kw)
kinds = dict(
    set=dict(cbs=lambda: [SET(.1, 1, every=1, keep=0, until=.9)]),
    passes=dict(cbs=lambda: [SET(.1, 1, every=1, source='pass'), MixUp()]),
    infobatch=dict(cbs=lambda: [InfoBatch(.5)]),
    subset=dict(cbs=lambda: [RandomSubset(.5)]),
    selective=dict(cbs=lambda: [SelectiveBackprop(.5, start=0, until=1, every=2)]),
    proxy=dict(cbs=lambda: [Proxy(net(), lr=1e-3)]),
    accumulation=dict(cbs=lambda: [GradientAccumulation(40), EMA(.1)]),
    mixed=dict(cbs=lambda: [MixedPrecision(), GradientAccumulation(40)]),
    metrics=dict(cbs=lambda: [Recorder(train_metrics=True)], default_cbs=True),
    adamw=dict(opt_func=partial(wrapped, torch.optim.AdamW), one_cycle=True),
    lookahead=dict(opt_func=lambda params, **kw: Lookahead(SGD(params, mom=.9, **kw), k=4), one_cycle=True),
    growing=dict(sampler=Growing(MScVBS(32, 16), 3), cbs=lambda: [SET(.1, 1, every=1)], one_cycle=True, size=32),
    bare=dict(ledger=False))

def make(kind, seed):
    set_seed(seed)
    kw = dict(kinds[kind])
    size = kw.pop('size', 16)
    kw.pop('one_cycle', None)
    dls = digits(size, bs=16, n=120, batch_tfms=aug_transforms(size=size)).with_plan(kw.pop('sampler', SScFBS(16, 16)), seed=0)
    cbs = kw.pop('cbs', list)() + ([CostLedger()] if kw.pop('ledger', True) else [])
    return Learner(dls, net(), metrics=accuracy, cbs=cbs, **kw)

@pytest.mark.parametrize('kind', kinds)
def test_after_any_step(kind, tmp_path, on_cpu):
    "In the middle of an epoch and at its end; for some kinds also after its first step"
    one = dict(one_cycle=kinds[kind].get('one_cycle', False))
    whole = make(kind, 1)
    steps = len(whole.dls.train)
    whole = state(fit(whole, CheckpointCallback(tmp_path/'whole'), **one))
    last = len(whole['losses'])
    for at in ((0,1), (1,2), (1,0), (2,1)) if kind in ('set', 'accumulation') else ((1,2), (1,0)):
        cut = make(kind, 1)
        with pytest.raises(KeyboardInterrupt): fit(cut, [CheckpointCallback(tmp_path, steps=1), CutAfter(*at)], **one)
        learn = make(kind, 2)
        k = load_checkpoint(learn, tmp_path/'last.pth')
        fit(learn, CheckpointCallback(tmp_path), start_epoch=k, **one)
        assert unlike(whole, state(learn)) == [], at
    assert steps > 2 and last > 3

@pytest.mark.parametrize('kind', ['set', 'accumulation'])
def test_after_the_last_step_of_an_epoch(kind, tmp_path):
    "Nothing of it is left to read, and all of its end is still to come"
    class Last(Callback):
        order = 1000
        def __init__(self, epoch): self.at = epoch
        def after_batch(self):
            if self.training and self.learn.epoch == self.at and self.learn.iter == self.learn.n_iter-1: raise KeyboardInterrupt
    whole = state(fit(make(kind, 1), CheckpointCallback(tmp_path/'whole')))
    for epoch in range(3):
        with pytest.raises(KeyboardInterrupt): fit(make(kind, 1), [CheckpointCallback(tmp_path, steps=1), Last(epoch)])
        learn = make(kind, 2)
        k = load_checkpoint(learn, tmp_path/'last.pth')
        assert k == epoch
        fit(learn, CheckpointCallback(tmp_path), start_epoch=k)
        assert unlike(whole, state(learn)) == []

def test_without_a_plan_from_the_ends_of_epochs(tmp_path):
    "fastai's own loader, shuffled by its own generator"
    def make(seed):
        set_seed(seed)
        return Learner(digits(16, bs=16, n=120), net(), metrics=accuracy)
    whole = state(fit(make(1), CheckpointCallback(tmp_path/'whole'), one_cycle=True))
    with pytest.raises(KeyboardInterrupt): fit(make(1), [CheckpointCallback(tmp_path), CutAfter(1, 3)], one_cycle=True)
    learn = make(2)
    fit(learn, start_epoch=load_checkpoint(learn, tmp_path/'last.pth'), one_cycle=True)
    assert unlike(whole, state(learn)) == []
    with pytest.raises(ValueError, match='leave out steps and minutes'): fit(make(1), CheckpointCallback(tmp_path, minutes=1))

def test_a_run_that_goes_on_is_stopped_again_and_again(tmp_path):
    "Each process trains two steps"
    class Two(Callback):
        order, n = 1000, 0
        def after_batch(self):
            if self.training: self.n += 1
            if self.n == 2: raise KeyboardInterrupt
    whole, rounds = state(fit(make('set', 1), CheckpointCallback(tmp_path/'whole'))), 0
    with pytest.raises(KeyboardInterrupt): fit(make('set', 1), [CheckpointCallback(tmp_path, steps=1), Two()])
    while True:
        learn = make('set', 3+rounds)
        k = load_checkpoint(learn, tmp_path/'last.pth')
        try: fit(learn, [CheckpointCallback(tmp_path, steps=1), Two()], start_epoch=k)
        except KeyboardInterrupt: rounds += 1
        else: break
    assert rounds > 3 and unlike(whole, state(learn)) == []

def test_refused_before_anything_is_copied(tmp_path):
    fit(make('set', 1), CheckpointCallback(tmp_path))
    last = tmp_path/'last.pth'
    dls = digits(16, bs=16, n=120).with_plan(SScFBS(16, 16), seed=0)
    head = lambda m: [params(m[:3]), params(m[3:])]
    for learn, says in ((Learner(dls, net()[:-1]), 'is of another model'), (Learner(dls, nn.Sequential(*net(), nn.Linear(10, 10))), 'is of another model: it lacks'),
                        (Learner(dls, net(), opt_func=SGD), 'is of another optimizer: it is of Optimizer'), (Learner(dls, net(), splitter=head), 'parameter groups'),
                        (Learner(dls, net(), opt_func=partial(wrapped, torch.optim.AdamW)), 'this Learner has AdamW'), (Learner(dls, net(), cbs=SET(window=5)), 'counts to window=1')):
        before = [t.clone() for t in learn.model.state_dict().values()]
        with pytest.raises(ValueError, match=says): load_checkpoint(learn, last)
        assert all(map(torch.equal, before, learn.model.state_dict().values())) and not hasattr(learn, 'resuming')

def test_other_files_or_another_schedule_are_told(tmp_path, recwarn):
    "In a script as by the command; a folder that was moved is the same"
    from PIL import Image
    from cvnets_nb.core import PackageWarning
    from cvnets_nb.data import folder_dls
    for i in range(16):
        f = tmp_path/'here'/'ab'[i % 2]/f'{i}.png'
        f.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (16,16), (9*i, 0, 0)).save(f)
    def make(root='here', **kw): return Learner(folder_dls(tmp_path/root, 16, 4, num_workers=0, **kw).with_plan(SScFBS(16, 4), seed=0), net(), metrics=accuracy)
    with pytest.raises(KeyboardInterrupt): fit(make(), [CheckpointCallback(tmp_path, steps=1), CutAfter(1, 2)], one_cycle=True)
    last = tmp_path/'last.pth'
    (tmp_path/'here').rename(tmp_path/'there')
    learn = make('there')
    recwarn.clear()
    fit(learn, start_epoch=load_checkpoint(learn, last), one_cycle=True)
    assert not [o for o in recwarn if 'checkpoint' in str(o.message) or 'other files' in str(o.message)]
    learn = make('there', seed=3)
    with pytest.warns(PackageWarning, match='other files for training and validation.*make the data as before'): k = load_checkpoint(learn, last)
    with pytest.warns(UserWarning, match='another schedule, lr up to 0.02 and now up to 0.001'), learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(3, 1e-3, start_epoch=k)
    with pytest.raises(BadFile, match='is a folder; last.pth in it is whole'): load_checkpoint(learn, tmp_path)

def test_a_damaged_file_names_the_one_before(tmp_path):
    fit(make('bare', 1), CheckpointCallback(tmp_path))
    last, whole = tmp_path/'last.pth', (tmp_path/'last.pth').read_bytes()
    rng = np.random.default_rng(0)
    for i in rng.integers(0, len(whole), 20):
        last.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << int(rng.integers(8))]) + whole[i+1:])
        with pytest.raises(BadFile, match=r'last\.pth .*; previous.pth beside it is whole') as e: load_checkpoint(make('bare', 1), last)
        assert '\n' not in str(e.value)
        last.write_bytes(whole[:i])
        with pytest.raises(BadFile, match=r'previous.pth beside it is whole'): load_checkpoint(make('bare', 1), last)
    learn = make('bare', 2)
    assert load_checkpoint(learn, tmp_path/'previous.pth') == 2
    fit(learn, CheckpointCallback(tmp_path), start_epoch=2)
    assert load_checkpoint(make('bare', 1), last) == 3 and load_checkpoint(make('bare', 1), tmp_path/'previous.pth') == 2, 'a damaged file is not kept'

@pytest.mark.parametrize('at', [(1,2), (1,0)])
def test_a_fit_that_was_refused_is_corrected(at, tmp_path):
    "Callbacks of the fit get their states again, however far it came before its first step"
    class Refuse(Callback):
        order = 10_000
        def __init__(self, event): setattr(self, event, self.refuse)
        def refuse(self): raise ValueError('refused')
    def cbs(): return [EarlyStoppingCallback(patience=9), CheckpointCallback(tmp_path, steps=1)]
    whole = state(fit(make('set', 1), [EarlyStoppingCallback(patience=9), CheckpointCallback(tmp_path/'whole')]))
    with pytest.raises(KeyboardInterrupt): fit(make('set', 1), [*cbs(), CutAfter(*at)])
    learn = make('set', 2)
    k = load_checkpoint(learn, tmp_path/'last.pth')
    with pytest.raises(ValueError, match="monitor 'f1' is not recorded"): fit(learn, [*cbs(), CheckpointCallback(tmp_path, monitor='f1')], start_epoch=k)
    for event in ('before_fit', 'before_train'):
        with pytest.raises(ValueError, match='refused'): fit(learn, [*cbs(), Refuse(event)], start_epoch=k)
    fit(learn, cbs(), start_epoch=k)
    assert unlike(whole, state(learn)) == []
    a, b = (read_sealed(o/'last.pth', checkpoints) for o in (tmp_path, tmp_path/'whole'))
    assert [a[k] for k in ('kept','epoch')] == [b[k] for k in ('kept','epoch')] and a['callbacks']['checkpoint'] == b['callbacks']['checkpoint']

def test_killed_between_the_best_file_and_the_last(tmp_path, monkeypatch):
    "`last.pth` never tells of a best epoch whose file is not there"
    class Killed(BaseException): pass
    real, names = sealed.os.replace, []
    def replace(a, b):
        names.append(b.name)
        if names[-2:] == ['best.pth', 'last.pth'] and names.count('best.pth') == 2: raise Killed
        real(a, b)
    with pytest.raises(KeyboardInterrupt): fit(make('bare', 1), [CheckpointCallback(tmp_path/'whole', monitor='train_loss'), CutAfter(1, 0)])
    with monkeypatch.context() as m:
        m.setattr(sealed.os, 'replace', replace)
        with pytest.raises(Killed): fit(make('bare', 1), CheckpointCallback(tmp_path, monitor='train_loss'))
    learn = make('bare', 2)
    k = load_checkpoint(learn, tmp_path/'last.pth')
    with pytest.raises(KeyboardInterrupt): fit(learn, [CheckpointCallback(tmp_path, monitor='train_loss'), CutAfter(1, 0)], start_epoch=k)
    a, b = (read_sealed(o/'best.pth', checkpoints) for o in (tmp_path, tmp_path/'whole'))
    assert k == 1 and a['epoch'] == b['epoch'] == 2 and all(torch.equal(a['model'][n], b['model'][n]) for n in a['model'])

def test_a_folder_that_cannot_be_written_to_is_refused_before_the_first_step(tmp_path):
    class Count(Callback):
        n = 0
        def after_batch(self): self.n += 1
    (tmp_path/'file').touch(), (tmp_path/'taken'/'best.pth').mkdir(parents=True)
    for folder, says in ((tmp_path/'file', 'File exists'), (tmp_path/'file'/'a', 'Not a directory'), (tmp_path/'taken', 'best.pth is a folder')):
        count = Count()
        with pytest.raises(ValueError, match=f'{says}.*: make room, or give CheckpointCallback another folder'): fit(make('bare', 1), [CheckpointCallback(folder), count])
        assert count.n == 0

def test_a_full_disk_is_named_and_leaves_what_was_there(tmp_path):
    resource = pytest.importorskip('resource')
    was = resource.getrlimit(resource.RLIMIT_FSIZE)
    class Fill(Callback):
        def after_train(self):
            if self.learn.epoch == 1: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, was[1]))
    try:
        with pytest.raises(OSError, match='last.pth could not be written .File too large.; make room'): fit(make('bare', 1), [CheckpointCallback(tmp_path), Fill()])
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, was)
    assert sorted(o.name for o in tmp_path.iterdir()) == ['best.pth', 'last.pth'] and load_checkpoint(make('bare', 1), tmp_path/'last.pth') == 1

def test_another_version_or_shape_of_a_whole_file_is_refused(tmp_path):
    fit(make('bare', 1), CheckpointCallback(tmp_path))
    good = read_sealed(tmp_path/'last.pth', checkpoints)
    for change, says in ((dict(version=3, states=None), 'is of version 3'), (dict(version=None), 'is of version None'), (dict(states=None), "its 'states' is missing"),
                         (dict(model=5), "its 'model' is missing or of another kind"), (dict(opt=[1]), "its 'opt' is missing"), (dict(callbacks=5), "its 'callbacks' is missing")):
        write_sealed({**good, **change}, tmp_path/'odd.pth')
        with pytest.raises(ValueError, match=says): load_checkpoint(make('bare', 1), tmp_path/'odd.pth')

def test_another_plan_after_an_epoch_is_said(tmp_path):
    fit(make('bare', 1), CheckpointCallback(tmp_path))
    def resumed(bs, n):
        learn = Learner(digits(16, bs=bs, n=n).with_plan(SScFBS(16, bs), seed=0), net(), metrics=accuracy)
        with warnings.catch_warnings(record=True) as w:
            warnings.simplefilter('always')
            fit(learn, start_epoch=load_checkpoint(learn, tmp_path/'previous.pth'))
        return [str(o.message) for o in w if 'the checkpoint' in str(o.message)]
    assert resumed(16, 120) == []
    said = resumed(8, 120)[0]
    assert 'with SScFBS(size=16, bs=16' in said and 'goes on with SScFBS(size=16, bs=8' in said
    assert 'with 97 samples, and this one goes on with 80 samples' in resumed(16, 100)[0]

def test_data_of_a_table(tmp_path):
    "fastai keeps the rows of a table as one, whose truth nobody may ask for"
    import pandas as pd
    from fastai.vision.all import ImageDataLoaders, Resize
    from PIL import Image
    for i in range(10): Image.fromarray(np.full((16, 16, 3), 20*i, np.uint8)).save(tmp_path/f'{i}.png')
    df = pd.DataFrame(dict(name=[f'{i}.png' for i in range(10)], label=['a', 'b']*5))
    def make(): return Learner(ImageDataLoaders.from_df(df, tmp_path, fn_col='name', label_col='label', bs=4, num_workers=0, item_tfms=Resize(16)), net())
    fit(make(), CheckpointCallback(tmp_path/'checks'))
    assert load_checkpoint(make(), tmp_path/'checks'/'last.pth') == 3
