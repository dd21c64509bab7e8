"Every task, and one that is registered here, with everything that uses a task"
import json, os, sys, warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
import numpy as np, pytest, torch
from PIL import Image
from functools import partial
from fastai.vision.all import (CategoryBlock, DataBlock, MultiCategoryBlock, IndexSplitter, ItemGetter, L1LossFlat, RegressionBlock, RegressionSetup, Resize, TransformBlock, IntToFloatTensor, load_learner, mae, Callback)
from cvnets_nb.all import *
from cvnets_nb.bench import Arm, run_row
from cvnets_nb.cli import cvnets_train
from cvnets_nb.data import digit_items
from cvnets_nb.tasks.classification import ValueLearner
from cvnets_nb.data import OpenImage
from cvnets_nb.tasks.core import find_tfm, get_task, task_class, _tasks
from ranks import run_ranks
from test_segmentation import direct_scores

# --- a task of one's own, in twenty lines: how much ink an image has, from the brightness of the digits
class Ink(float):
    "An amount of ink"
class InkSetup(RegressionSetup):
    "The transform by which the task recognises its targets"

def ink_data(size=32, bs=16, seed=0, num_workers=0, path='.', n=120, **kwargs):
    items = [[a, float(a.mean()/255)] for a, _ in digit_items()[:n]]
    block = TransformBlock(type_tfms=[InkSetup(c=1)])
    return DataBlock((TransformBlock(type_tfms=OpenImage(), batch_tfms=IntToFloatTensor), block), get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=IndexSplitter(range(n*4//5, n)),
                     item_tfms=Resize(size)).dataloaders(items, bs=bs, num_workers=num_workers, path=path)

@dataclass(frozen=True)
class InkTask(Task):
    "How much ink there is"
    name: ClassVar[str] = 'ink'
    score: ClassVar[str] = 'mae'
    learner_cls: ClassVar[type] = ValueLearner
    @classmethod
    def of(cls, dls): return cls(1) if find_tfm(dls, InkSetup) else None
    def loss(self, smoothing=0.): return L1LossFlat()
    def metrics(self): return [mae]
    def passes(self, pred, yb, rule): return (pred.detach().flatten() - yb[0]).abs() < .1
    @classmethod
    def toy(cls, **kwargs): return ink_data(**kwargs)
    @classmethod
    def say_score(cls, v): return f'{v:.3f} of ink'

@pytest.fixture(autouse=True)
def with_ink():
    register_task(InkTask)
    yield
    _tasks.pop('ink')

names = ['classification', 'detection', 'ink', 'multi_label', 'regression', 'segmentation', 'video']
arch = 'mobilenetv1_025'
def arch_of(name): return f'shift/{arch}' if name == 'video' else arch
small = dict(segmentation=dict(size=(32, 48), bs=8, n=24), detection=dict(size=64, bs=8, n=24), video=dict(n=80, bs=16), **{nm: dict(n=240, bs=32) for nm in ('classification', 'multi_label', 'regression')})
def data(name, **kw): return toy_data(name, **{**dict(size=32, bs=16 if name == 'ink' else 64), **small.get(name, {}), **kw})
def model_kw(name): return {'segmentation':dict(width=16, output_stride=16), 'detection':dict(head='fcos', width=16)}.get(name, {})
def rule(name, **kw):
    "One by which images are easy at once: whatever is right; of boxes, scenes without any in which nothing is found"
    return SET(.99 if name == 'detection' else 0., 1, every=1, until=1, share=0., tol=1e9 if name == 'regression' else None, **kw)
def made(name, **kw): return set_learner(data(name), arch_of(name), **{**dict(set=rule(name), sampler=partial(VideoVBS, frames=8) if name == 'video' else MScVBS), **model_kw(name), **kw})
def quiet(f, *a, **k):
    learn = getattr(f, '__self__', None) or a[0]
    with learn.no_bar(), learn.no_logging(): return f(*a, **k)

@pytest.fixture(scope='module')
def learners():
    "One trained Learner of each task"
    register_task(InkTask)
    out = {}
    for nm in names:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            out[nm] = made(nm)
            quiet(out[nm].fit, 2, 5e-3)
    _tasks.pop('ink')
    return out

def test_these_are_all(): assert list_tasks() == names

@pytest.mark.parametrize('name', names)
def test_the_data_tell_the_task(name):
    t = task_of(data(name))
    assert t.name == name and type(t) is task_class(name) and t.n_out > 0
    assert [nm for nm in names if task_class(nm).of(data(name)) is not None][:1] == [name] or name in ('ink', 'video')      # those that were registered last are tried first

@pytest.mark.parametrize('name', names)
def test_a_fit_with_a_plan_and_set(name, learners):
    learn = learners[name]
    vals = dict(zip(learn.recorder.metric_names[1:], learn.recorder.values[-1]))
    assert learn.recorder.metric_names[3] == learn.task.score and np.isfinite([v for v in vals.values() if isinstance(v, float)]).all()
    assert isinstance(learn.dls.train.sampler, VideoVBS if name == 'video' else MScVBS) and learn.cost.totals['pixels'] < learn.cost.baseline['pixels']
    assert len(learn.set.history) == 2 and learn.set.counts.sum() > 0 and type(learn) is learn.task.learner_cls
    groups = learn.set._st.labels               # of the steps that went by
    assert len(learn.set.counts) == learn.dls.train.n == len(groups) and groups.min() == 0
    xb,*yb = learn.dls.train.one_batch()
    assert len(learn.task.strata(tuple(yb))) == len(xb)

@pytest.mark.parametrize('name', names)
def test_predictions_are_in_order(name, learners):
    learn = learners[name]
    preds, targs = quiet(learn.get_preds)
    got, want = (targs[-1] if name == 'detection' else targs), [y.as_subclass(torch.Tensor).cpu() for *_, y in learn.dls.valid]
    if name == 'detection': assert [o.tolist() for o in got] == [o.tolist() for b in want for o in b]       # batches are padded each for itself
    else: assert torch.equal(got.as_subclass(torch.Tensor), torch.cat(want))
    assert len(preds) == learn.dls.valid.n
    dl = learn.dls.test_dl(learn.dls.valid.items, with_labels=True)
    assert torch.allclose(quiet(learn.get_preds, dl=dl)[0], preds, atol=1e-5)

@pytest.mark.parametrize('name', names)
def test_what_fastai_does(name, learners):
    learn = learners[name]
    before = [p.clone() for p in learn.model.parameters()]
    with learn.no_bar(), learn.no_logging(): learn.lr_find(num_it=10, show_plot=False)
    assert all(torch.equal(a, b) for a, b in zip(before, learn.model.parameters()))
    with learn.no_bar(): learn.show_results(max_n=2)
    learn.dls.show_batch(max_n=2)

@pytest.mark.parametrize('name', names)
def test_exported_and_loaded(name, learners, tmp_path):
    learn = learners[name]
    item = learn.dls.valid.items[0][0]
    want = quiet(learn.predict, item)[2]
    learn.export(tmp_path/'m.pkl')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        again = load_learner(tmp_path/'m.pkl')
    assert again.task == learn.task and again.set.counts is None
    assert torch.allclose(quiet(again.predict, item)[2], want, atol=1e-5)

@pytest.mark.parametrize('name', names)
def test_a_row_of_the_bench(name):
    "It trains what `set_learner` makes"
    row = run_row(lambda seed, workers: data(name), Arm('all', 'fbs', grow=True, select=lambda: rule(name), speed=True), 2, 0, arch_of(name), data(name).one_batch()[0].shape[-2:], model=model_kw(name))
    score = task_class(name).score
    assert list(row)[3] == score and np.isfinite(row[score]) and row['updates'] > 0

@pytest.mark.parametrize('name', names)
def test_the_command(name, tmp_path, capsys):
    argv = ['--task', name, '--arch', arch_of(name), '--size', '32' if name != 'segmentation' else '32x48', '--epochs', '1', '--out', str(tmp_path/'run'), '--no-set']
    cvnets_train(argv)
    run = json.loads((tmp_path/'run'/'run.json').read_text())
    assert run['score'] in capsys.readouterr().out and np.isfinite(run[task_class(name).score])
    assert {o.name for o in (tmp_path/'run').iterdir()} == {'run.json', 'model.pkl', 'weights.safetensors', 'cost.csv', 'cost.png'}
    cvnets_train(['--resume', '--out', str(tmp_path/'run')])
    assert run['score'] in capsys.readouterr().out

def test_a_folder_of_masks_by_the_command(tmp_path, capsys):
    for d in ('images', 'labels'): (tmp_path/'d'/d).mkdir(parents=True)
    for i, (im, m) in enumerate(scene_items(10, (32, 48))):
        Image.fromarray(im).save(tmp_path/'d'/'images'/f'{i}.jpg')
        Image.fromarray(np.where(m == 255, 11, m).astype(np.uint8)).save(tmp_path/'d'/'labels'/f'{i}.png')
    (tmp_path/'d'/'codes.txt').write_text('\n'.join(['background', *map(str, range(10)), 'void']))
    argv = ['--data', str(tmp_path/'d'), '--arch', 'mobilenetv2_025', '--size', '32x48', '--bs', '4', '--epochs', '1', '--workers', '0', '--out', str(tmp_path/'run')]
    with pytest.raises(SystemExit): cvnets_train([*argv, '--skip'])
    assert '--skip does not apply to segmentation' in capsys.readouterr().err and not (tmp_path/'run').exists()
    cvnets_train(argv)
    out = capsys.readouterr().out
    assert '8 images of 12 classes to train on, 2 to validate' in out and 'miou' in out and json.loads((tmp_path/'run'/'run.json').read_text())['miou'] >= 0
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert load_learner(tmp_path/'run'/'model.pkl').predict(str(tmp_path/'d'/'images'/'3.jpg'))[0].shape == (32, 48)

@pytest.mark.parametrize('name', ['regression'])
def test_set_asks_for_a_tolerance(name):
    with pytest.raises(ValueError, match=r'SET\(tol=...\)'): quiet(made(name, set=SET()).fit, 1)
    assert not hasattr(made(name, set=True), 'set')

# --- two processes
shared = names if os.environ.get('CVNETS_LONG') else ['segmentation', 'detection']       # test_ranks.py and test_set.py train classes

def _rank(out):
    "One process of two: every task trains and saves its results"
    import fastai.distributed
    torch.set_num_threads(1)
    register_task(InkTask)
    found = {}
    for nm in shared:
        torch.manual_seed(0)
        dls = data(nm, bs=8, n=80 if nm == 'detection' else 40)
        learn = set_learner(dls.with_plan(MScVBS(dls.one_batch()[0].shape[-2:], dls.train.bs), seed=3), arch_of(nm), set=rule(nm), **model_kw(nm))
        with warnings.catch_warnings(), learn.no_bar(), learn.no_logging(), learn.distrib_ctx(sync_bn=False, cpu=True):
            warnings.simplefilter('ignore')
            learn.fit(2, 1e-3)
            preds, targs = learn.get_preds()
            scores = list(map(float, learn.validate()))[1:]
            shapes = [list(b[-1].shape[1:]) for b in learn.dls.valid.distributed()]
        with learn.no_bar(), learn.no_logging(): alone = list(map(float, learn.validate()))[1:]
        save_json(f"{out}/{nm}_{os.environ['RANK']}.json", shapes)
        found[nm] = dict(scores=scores, alone=alone, counts=learn.set.counts.tolist(), history=learn.set.history, n=len(preds), samples=learn.cost.totals['samples'])
        if nm == 'segmentation': found[nm].update(direct=direct_scores(preds, targs, 11))
    save_json(f"{out}/{os.environ['RANK']}.json", found)
def save_json(f, o): Path(f).write_text(json.dumps(o))

def test_two_processes_know_the_same(tmp_path):
    run_ranks(__file__, tmp_path, 400)
    a, b = (json.loads((tmp_path/f'{r}.json').read_text()) for r in range(2))
    assert a == b and list(a) == shared
    np.testing.assert_allclose(a['segmentation']['scores'], a['segmentation']['direct'], rtol=1e-6)     # of the images of both processes
    for nm in shared: np.testing.assert_allclose(a[nm]['scores'], a[nm]['alone'], rtol=1e-4)                        # as one process finds: a mean of losses, of other halves
    widths = [json.loads((tmp_path/f'detection_{r}.json').read_text()) for r in range(2)]
    assert widths[0] != widths[1], 'the fullest images of the two shares have as many boxes, so the test shows nothing'
    for nm in shared: assert len(a[nm]['history']) == 2 and a[nm]['samples'] > 0 and a[nm]['n'] > 0

if __name__ == '__main__':
    _rank(sys.argv[1])
    os._exit(0)     # torch's threads sometimes abort an interpreter that ends while the other rank's do

def test_encoded_labels_and_several_targets():
    rgb = [[np.stack([a]*3, -1), y] for a, y in digit_items()[:40]]
    db = DataBlock((TransformBlock(type_tfms=OpenImage(), batch_tfms=IntToFloatTensor), MultiCategoryBlock(encoded=True, vocab=['odd', 'any'])), get_x=ItemGetter(0), get_y=odd_or_any, item_tfms=Resize(32))
    learn = set_learner(db.dataloaders(rgb, bs=8, num_workers=0), arch)
    assert learn.task.name == 'multi_label'
    quiet(learn.fit, 1)
    two = DataBlock((TransformBlock(type_tfms=OpenImage(), batch_tfms=IntToFloatTensor), CategoryBlock, RegressionBlock), n_inp=1, getters=[ItemGetter(0), ItemGetter(1), ItemGetter(1)], item_tfms=Resize(32))
    with pytest.raises(ValueError, match='no task knows these targets'): task_of(two.dataloaders(rgb, bs=8, num_workers=0))
def odd_or_any(o): return [o[1] % 2, 1]

def test_names_of_tasks_are_taken_once():
    with pytest.raises(ValueError, match="the name 'classification' is taken"): register_task(type('Other', (Classification,), {}))
    with pytest.raises(ValueError, match='needs a classmethod `of'): register_task(type('Nobodys', (Task,), dict(name='nobodys')))
    order = list(_tasks)
    register_task(Classification)
    assert list(_tasks) == order and type(get_task(InkTask, data('ink'))) is InkTask
