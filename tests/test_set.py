"SET against a plain loop that follows its rules word by word, on a model whose answers are written down beforehand"
import json, math, os, pickle, sys, threading, warnings
from functools import partial
from pathlib import Path
import numpy as np, pytest, torch
from torch import nn
from fastai.vision.all import (Callback, CancelTrainException, Categorize, CrossEntropyLossFlat, Datasets, GradientAccumulation, IntToFloatTensor,
    LabelSmoothingCrossEntropyFlat, Learner, MixUp, CutMix, PILImage, Resize, SGD, ToTensor, Transform, get_model, load_learner, noop)
from cvnets_nb.callback import SET, CheckpointCallback, CostLedger, PlanCallback, load_checkpoint
from cvnets_nb.callback import exchange
from cvnets_nb.callback.exchange import Answers
from cvnets_nb.callback.set import SETConfig, choose_active, choose_mask, easy_mask, ids_to_recheck, move_by, new_counts, update_counts, with_labels
from cvnets_nb.tasks.classification import is_sure
from cvnets_nb.core import rng_for
import cvnets_nb.data.loader   # with_plan
from cvnets_nb.samplers import Growing, IdSet, MScVBS, SScFBS
from cvnets_nb.samplers.order import Shuffle
from ranks import run_ranks

N,C = 60,3

# ---------------------------------------------------------------------------------------------- a made-up task
def image_of(i): return PILImage.create(np.full((16,16,3), i, np.uint8))      # the pixels say which image it is
def label_of(i): return i % C
def make_dls(n=N, bs=8, seed=5, label=label_of, y_tfm=Categorize, sampler=None):
    ds = Datasets(list(range(n+C)), [[image_of], [label, y_tfm()]], splits=[range(n), range(n, n+C)])
    dls = ds.dataloaders(bs=bs, after_item=[Resize(16), ToTensor()], after_batch=IntToFloatTensor(), num_workers=0)
    return dls.with_plan(sampler or MScVBS(16, bs, min_size=8, max_size=24, divisor=8), seed=seed)

class Scripted(nn.Module):
    "Answers by the script: image `i` in epoch `e` is right and sure, or not; counts what it is shown"
    def __init__(self, script):
        super().__init__()
        self.w,self.script,self.e,self.shown,self.bn = nn.Parameter(torch.zeros(1)),script,0,[],nn.BatchNorm1d(1, affine=False)
    def forward(self, x):
        ids = (x[:,0,0,0]*255).round().long()
        self.shown.append((self.e, self.training, ids.tolist(), tuple(x.shape[-2:])))
        sure = torch.as_tensor(self.script[self.e % len(self.script)])[ids % self.script.shape[1]]
        y = ids % C
        return 9.*torch.nn.functional.one_hot(torch.where(sure, y, (y+1)%C), C) + self.w

class Clock(Callback):
    "Tells the model the epoch, counted over all fits"
    order = 12   # after a process has wrapped the model
    def __init__(self, start=0): self.start = start
    def before_train(self): get_model(self.learn.model).e = self.start + self.learn.epoch

def learner(script, cb, start=0, dls=None, cbs=(), **kw):
    learn = Learner(dls or make_dls(), Scripted(script), loss_func=CrossEntropyLossFlat(), opt_func=SGD, cbs=[cb, Clock(start), *cbs], **kw)
    learn.logger = noop
    learn.remove_cb(learn.progress)
    return learn

def script_for(epochs, p=0.8, seed=0, n=N):
    return np.random.default_rng(seed).random((epochs, n)) < p

# ---------------------------------------------------------------------------------------------- the rules, word by word
class Oracle:
    def __init__(self, cfg, n=N, bs=8, seed=5, labels=None):
        self.cfg,self.n,self.bs,self.seed = cfg,n,bs,seed
        self.labels = labels or [label_of(i) for i in range(n)]
        self.count,self.active,self.epochs = [0]*n,list(range(n)),0
        self.trained,self.rechecked = [],[]
    def check(self, i, ok): self.count[i] = max(0, min(self.cfg.window, self.count[i] + (1 if ok else -1)))
    def fit(self, n_epoch, script, source='train', start=0):
        for e in range(n_epoch):
            ans = script[(start+e) % len(script)]
            full = e >= self.cfg.until*n_epoch - 1e-9
            plan = list(range(self.n)) if full else list(self.active)
            self.epochs += 1
            due = self.epochs % self.cfg.every == 0
            if source == 'train': again = [i for i in range(self.n) if i not in plan] if due else []
            else:                 again = list(range(self.n)) if due else []
            for i in (plan if source == 'train' else []) + again: self.check(i, ans[i])
            self.trained.append(plan), self.rechecked.append(again)
            self.active = self.choose()
        return self
    def choose(self):
        hard = [i for i in range(self.n) if self.count[i] < self.cfg.window]
        turn,stay = rng_for(self.seed, self.epochs, 0x5E7).permutation(self.n).tolist(),set(hard)
        for c in sorted(set(self.labels)):
            size = sum(l == c for l in self.labels)
            for i in turn:
                if sum(self.labels[j] == c for j in stay) >= self.cfg.keep*size - 1e-9: break
                if self.labels[i] == c: stay.add(i)
        for i in turn:
            if len(stay) >= min(self.bs, self.n): break
            stay.add(i)
        return sorted(stay)

def same(learn, o):
    assert learn.set.counts.tolist() == o.count
    assert learn.set.active.tolist() == o.active
    shown = {}
    for e,train,ids,hw in learn.model.shown: shown.setdefault((e,train), []).append((ids,hw))
    hist = learn.set.history
    assert [h['active'] for h in hist] == [len(p) for p in o.trained]
    assert [h['rechecked'] for h in hist] == [len(p) for p in o.rechecked]
    for e,(plan,again) in enumerate(zip(o.trained, o.rechecked)):
        assert sorted(i for ids,_ in shown[e,True] for i in ids) == plan
        looked = [(i,hw) for ids,hw in shown.get((e,False), []) for i in ids if i < o.n]      # the rest is validation
        assert [i for i,_ in looked] == again
        assert all(hw == (16,16) for _,hw in looked)

configs = [dict(threshold=0.9, window=3, every=2, keep=0.2, until=0.85), dict(threshold=0.9, window=1, every=1, keep=0., until=1.),
           dict(threshold=0.5, window=2, every=3, keep=0.5, until=0.5), dict(threshold=0.9, window=2, every=1, keep=0.1, until=0.)]

@pytest.mark.parametrize('kw', configs)
@pytest.mark.parametrize('source', ['train','pass'])
def test_set_is_its_rules(kw, source):
    script = script_for(14)
    learn = learner(script, SET(source=source, **kw))
    learn.fit(14)
    o = Oracle(SETConfig(**kw)).fit(14, script, source)
    same(learn, o)
    if kw['until'] == 1: assert any(len(p) < N for p in o.trained) and sum(h['back'] for h in learn.set.history) > 0

def test_history_counts_those_that_turn_hard_again():
    script = np.ones((6,N), bool)
    script[3,:10] = False
    learn = learner(script, SET(0.9, 2, every=1, keep=0, until=1))
    learn.fit(6)
    assert [h['back'] for h in learn.set.history] == [0,0,0,10,0,0]
    assert [h['easy'] for h in learn.set.history] == [0,N,N,N-10,N,N]
    assert [h['active'] for h in learn.set.history] == [N,N,8,8,10,8]

def test_cvnets_own_rule():
    "Every 5th epoch a full pass; +1 or -1, clipped to [0, 5]; out at 5; all are tested each time (facts of CVNets' engine)"
    script = script_for(40, 0.93)
    learn = learner(script, SET(0.5, 5, every=5, source='pass', keep=0, until=1), dls=make_dls(bs=2, sampler=SScFBS(16,2)))
    learn.fit(40)
    run,left = np.zeros(N, int),[]
    for e in range(40):
        left.append(np.flatnonzero(run < 5))
        if (e+1) % 5 == 0: run = np.clip(run + np.where(script[e], 1, -1), 0, 5)
    assert learn.set.counts.tolist() == run.tolist()
    assert [h['active'] for h in learn.set.history] == [len(o) for o in left] and len(left[-1]) < N

# ---------------------------------------------------------------------------------------------- classes
def test_labels_come_from_the_steps():
    "A fit reads no label but with its sample, and knows all after its first epoch"
    read = []
    def label(i):
        read.append(i)
        return label_of(i)
    learn = learner(script_for(3), SET(0.9, 1, every=9, keep=.5, until=1), dls=make_dls(label=label))
    read.clear()
    learn.fit(1)
    assert set(read) == set(range(N+C)) and len(read) < N+C+5, 'a few more are read to see what kind of targets they are'
    assert learn.set._st.labels.tolist() == [label_of(i) for i in range(N)]

def test_a_sample_that_was_not_seen_stays():
    class Short(Callback):
        def after_batch(self):
            if self.training and self.iter == 1: raise CancelTrainException
    learn = learner(np.ones((1,N), bool), SET(0.9, 1, every=9, keep=.2, until=1), cbs=[Short()])
    learn.fit(1)
    labels = learn.set._st.labels
    assert 0 < (labels < 0).sum() < N and set(np.flatnonzero(labels < 0)) < set(learn.set.active.tolist()) < set(range(N))

def test_a_state_without_classes_learns_them():
    learn = learner(script_for(4), SET(0.9, 1, every=1, until=1))
    learn.fit(2)
    old = {k:v for k,v in learn.set.state_dict().items() if k != 'labels'} | dict(active=torch.from_numpy(learn.set.active))    # as it was before
    other = learner(script_for(4), SET(0.9, 1, every=1, until=1), start=2)
    other.set.load_state_dict(old)
    assert (other.set.active == learn.set.active).all() and len(learn.set.active) < N
    other.fit(1)
    assert other.set._st.labels.tolist() == [label_of(i) for i in range(N)]      # of the steps, and of those that were looked at again

# ---------------------------------------------------------------------------------------------- over several fits
def test_two_fits_go_on_counting():
    script = script_for(12)
    learn = learner(script, SET(0.9, 2, every=2, until=0.8))
    learn.fit(4)
    assert learn.dls.train.active is None                                 # nothing stays behind on the loader
    learn.clock.start = 4
    learn.fit(8)
    same(learn, Oracle(SETConfig(0.9, 2, 2, until=0.8)).fit(4, script).fit(8, script, start=4))

def test_fits_of_one_epoch_are_looked_at_again_too():
    script = np.ones((1,N), bool)
    learn = learner(script, SET(0.9, 1, every=3, keep=0, until=1))
    for e in range(6): learn.fit(1)
    assert [h['rechecked'] > 0 for h in learn.set.history] == [False,False,True,False,False,True]

def test_reset_forgets():
    learn = learner(np.ones((1,N), bool), SET(0.9, 1, until=1))
    learn.fit(3)
    assert learn.set.history[-1]['active'] < N
    learn.set.reset()
    assert learn.set.counts is None and learn.set.active is None and learn.set.history == []
    learn.fit(1)
    assert learn.set.history[0]['active'] == N

def test_resume_in_the_middle(tmp_path):
    script,cfg = script_for(12),dict(threshold=0.9, window=2, every=2, until=0.85)
    class Cut(Callback):
        def after_batch(self):
            if self.learn.epoch == 5 and self.learn.iter == 1: raise KeyboardInterrupt
    cut = learner(script, SET(**cfg), dls=make_dls(seed=None))
    seed = cut.dls.train.seed
    with pytest.raises(KeyboardInterrupt): cut.fit_one_cycle(12, cbs=[Cut(), CheckpointCallback(tmp_path)])
    learn = learner(script, SET(**cfg), dls=make_dls(seed=None))
    k = load_checkpoint(learn, tmp_path/'last.pth')
    assert k == 5 and learn.dls.train.seed == seed                       # the plans' seed was drawn, and is carried
    learn.fit_one_cycle(12, start_epoch=k, cbs=CheckpointCallback(tmp_path))
    o = Oracle(SETConfig(**cfg), seed=seed).fit(12, script)
    assert learn.set.counts.tolist() == o.count and learn.set.active.tolist() == o.active
    assert [h['active'] for h in learn.set.history] == [len(p) for p in o.trained]
    whole = learner(script, SET(**cfg), dls=make_dls(seed=seed))
    whole.fit_one_cycle(12)
    assert learn.set.history == whole.set.history
    order = lambda l: [ids for e,train,ids,_ in l.model.shown if train and e >= 5]
    assert order(learn) == order(whole)                                   # the same plans, step by step
    a = whole.recorder.lrs
    np.testing.assert_allclose(learn.recorder.lrs, a[len(a)-len(learn.recorder.lrs):])
    assert not hasattr(learn, 'resuming')

def test_state_is_plain_and_checked(tmp_path):
    learn = learner(script_for(4), SET(0.9, 2))
    learn.fit(4)
    torch.save(learn.set.state_dict(), tmp_path/'s.pth')
    sd = torch.load(tmp_path/'s.pth', weights_only=True)
    other = learner(script_for(4), SET(0.9, 2))
    other.set.load_state_dict(sd)
    assert (other.set.counts == learn.set.counts).all() and other.set.history == learn.set.history
    with pytest.raises(ValueError, match='window=2'): SET(window=3).load_state_dict(sd)
    with pytest.raises(ValueError, match='60 samples'): learner(script_for(4), SET(0.9, 2), dls=make_dls(n=30)).set.load_state_dict(sd)
    learn.dls = make_dls(n=30)
    with pytest.raises(ValueError, match='reset'): learn.fit(1)

# ---------------------------------------------------------------------------------------------- what it leaves alone
def test_lr_find_and_predictions_leave_it_alone(tmp_path):
    script = script_for(8)
    a,b = (learner(script, SET(0.9, 2, until=1), path=tmp_path) for _ in range(2))
    a.lr_find(num_it=30, show_plot=False, suggest_funcs=None)
    assert a.set.counts is None and a.set.history == []
    for l in (a,b): l.model.shown.clear()
    a.fit(4), b.fit(4)
    same(a, Oracle(SETConfig(0.9, 2, until=1)).fit(4, script))
    before,active = a.set.counts,a.set.active
    with a.no_bar():
        assert len(a.get_preds(ds_idx=0)[0]) == N                         # all samples, not the active ones
        a.validate(), a.validate(ds_idx=0)
        a.lr_find(num_it=30, show_plot=False, suggest_funcs=None)
    assert (a.set.counts == before).all() and (a.set.active == active).all() and len(a.set.history) == 4
    for l in (a,b): l.clock.start = 4
    a.fit(4), b.fit(4)
    assert a.set.history == b.set.history

def test_validation_during_a_fit_is_not_a_check():
    learn = learner(np.ones((1,N), bool), SET(0.9, 5))
    learn.fit(2)
    assert learn.set.counts.tolist() == [2]*N

def test_a_cut_epoch_counts_what_was_seen():
    class Short(Callback):
        def after_batch(self):
            if self.training and self.iter == 1: raise CancelTrainException
    learn = learner(np.ones((1,N), bool), SET(0.9, 5), cbs=[Short()])
    learn.fit(1)
    seen = sorted(i for _,train,ids,_ in learn.model.shown if train for i in ids)
    assert np.flatnonzero(learn.set.counts).tolist() == seen and 0 < len(seen) < N

def test_the_recheck_changes_nothing_of_the_model():
    class Modes(Callback):
        order = PlanCallback.order+1
        def before_train(self): self.model.bn.eval()                       # a layer somebody froze
        def after_train(self): modes.append((self.model.training, self.model.bn.training))
    modes = []
    learn = learner(np.ones((1,N), bool), SET(0.9, 1, every=1, keep=0, until=1), cbs=[Modes()])
    learn.fit(2)
    assert [o for o in learn.model.shown if not o[1] and max(o[2]) < N]    # there was one
    assert modes == [(True,False)]*2                                       # frozen it stays, and the model is in training mode again

def test_export_leaves_sample_state_behind(tmp_path):
    learn = learner(np.ones((1,N), bool), SET(0.9, 1, until=1), cbs=[CostLedger()], path=tmp_path)
    learn.fit(3)
    assert learn.sample_ids is None
    state = learn.set.__getstate__()
    assert not any(isinstance(v, (np.ndarray,torch.Tensor,list)) for v in state.values()) and '_st' not in state
    try: pickle.dumps(Transform(PILImage.create))
    except TypeError: pytest.skip('this plum cannot pickle any fastai transform')
    learn.export('e.pkl')
    back = load_learner(tmp_path/'e.pkl')
    assert back.set.counts is None and back.set.cfg == learn.set.cfg
    assert len(back.predict(image_of(3))[2]) == C

# ---------------------------------------------------------------------------------------------- the floors
def test_a_class_that_would_be_emptied():
    "Class 0 is easy altogether: a fifth of it stays, and each of its images has its turn"
    script = np.array([[label_of(i) == 0 for i in range(N)]])
    learn = learner(script, SET(0.9, 1, every=100, keep=0.2, until=1))
    learn.fit(30)
    plans = [set(i for e,train,ids,_ in learn.model.shown if train and e == k for i in ids) for k in range(30)]
    zeros = [[i for i in p if label_of(i) == 0] for p in plans[1:]]
    assert {len(z) for z in zeros} == {4} and set(sum(zeros, [])) == set(range(0, N, C))
    assert all(sum(label_of(i) == c for i in p) == 20 for p in plans for c in (1,2))

@pytest.mark.parametrize('seed', range(20))
def test_floors_hold_for_any_counts(seed):
    rng = np.random.default_rng(seed)
    n,c,w = int(rng.integers(1,200)),int(rng.integers(1,12)),int(rng.integers(1,4))
    labels,counts = rng.integers(0,c,n),rng.integers(0,w+1,n)
    keep,bs = float(rng.choice([0,.1,.2,.5,1])),int(rng.integers(1,40))
    ids = choose_active(counts, w, labels, keep, bs, rng_for(seed))
    assert (np.diff(ids) > 0).all() and ids.dtype == np.int64 and len(ids) >= min(bs, n)
    assert set(np.flatnonzero(~easy_mask(counts, w))) <= set(ids)
    for k in set(labels): assert (labels[ids] == k).sum() >= math.ceil(keep*(labels == k).sum() - 1e-9)
    fewest = sum(max((counts[labels == k] < w).sum(), math.ceil(keep*(labels == k).sum() - 1e-9)) for k in set(labels))
    assert len(ids) == max(fewest, min(bs, n))
    assert (ids == choose_active(counts, w, labels, keep, bs, rng_for(seed))).all()

def test_repeats_count_once():
    c = update_counts(np.zeros(4, int), [1,1,1,2], [True,True,True,False], 3)
    assert c.tolist() == [0,1,0,0]
    class Repeats(Callback):
        "What a rank sees whose share was filled up: one repeat at the end of each step"
        order = PlanCallback.order-1
        def before_batch(self):
            if not self.training: return
            it = self.learn.dl.plan[self.iter]
            self.learn.xb,self.learn.yb = (torch.cat([self.x, self.x[:1]]),),(torch.cat([self.y, self.y[:1]]),)
    class Told(SET):
        def before_batch(self):
            super().before_batch()
            self.learn.sample_ids = np.append(self.learn.sample_ids, self.learn.sample_ids[0])
    learn = learner(np.ones((1,N), bool), Told(0.9, 5), cbs=[Repeats()])
    learn.fit(2)
    assert learn.told.counts.tolist() == [2]*N

# ---------------------------------------------------------------------------------------------- what it refuses
@pytest.mark.parametrize('mix', [MixUp, CutMix])
def test_mixed_targets(mix):
    with pytest.raises(ValueError, match="use SET\\(source='pass'\\)"): learner(script_for(2), SET(source='train')).fit(1, cbs=mix())
    script = script_for(6)
    learn = learner(script, SET(0.9, 2, every=2))
    with pytest.warns(UserWarning, match="source='pass'"): learn.fit(6, cbs=mix())
    o = Oracle(SETConfig(0.9, 2, 2)).fit(6, script, 'pass')
    assert learn.set.counts.tolist() == o.count and [h['active'] for h in learn.set.history] == [len(p) for p in o.trained]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        learner(script, SET(source='pass')).fit(1, cbs=mix())              # asked for: nothing to announce

def test_label_smoothing():
    def go(t, loss):
        learn = learner(script_for(1), SET(t))
        learn.loss_func = loss
        learn.fit(1)
    asked = 1 - 0.1 + 0.1/C
    for loss in (LabelSmoothingCrossEntropyFlat(eps=0.1), CrossEntropyLossFlat(label_smoothing=0.1), nn.CrossEntropyLoss(label_smoothing=0.1),
                 partial(nn.functional.cross_entropy, label_smoothing=0.1)):
        with pytest.raises(ValueError, match='asks for'): go(asked+0.01, loss)
        go(asked-0.01, loss)

def test_other_refusals():
    with pytest.raises(ValueError, match='with_plan'):
        ds = Datasets(list(range(N)), [[image_of], [label_of, Categorize()]], splits=[range(50), range(50,N)])
        learner(script_for(1), SET(), dls=ds.dataloaders(bs=8, after_item=[Resize(16), ToTensor()], num_workers=0)).fit(1)
    for kw in (dict(threshold=1.1), dict(threshold=-1), dict(window=0), dict(every=0), dict(source='x'), dict(keep=2), dict(until=-0.1), dict(window=2.5), dict(threshold='a')):
        with pytest.raises(ValueError, match=next(iter(kw))): SET(**kw)
    class Twice(Callback):
        def after_loss(self): self.learn.pred = self.pred[...,None]
    with pytest.raises(ValueError, match='class scores for each image'): learner(script_for(1), SET(), cbs=[Twice()]).fit(1)

def test_sure_means_right_and_confident():
    p,y = torch.randn(500, 7)*3,torch.randint(0, 7, (500,))
    for t in (0., 0.3, 0.9):
        q = p.softmax(1)
        assert is_sure(p, y, t).tolist() == [int(a.argmax()) == int(b) and float(a.max()) >= t for a,b in zip(q, y)]
    assert is_sure(p.half(), y, 0.9).dtype == torch.bool

# ---------------------------------------------------------------------------------------------- with the other callbacks
def test_growing_and_ledger_with_set():
    script = script_for(8)
    dls = make_dls(sampler=Growing(MScVBS(16, 8, min_size=8, max_size=24, divisor=8), epochs=8))
    learn = learner(script, SET(0.9, 2, every=2, until=1), dls=dls, cbs=[CostLedger()])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        learn.fit(8)
    o = Oracle(SETConfig(0.9, 2, 2, until=1)).fit(8, script)
    same(learn, o)
    t,b = learn.cost.totals,learn.cost.baseline
    assert t['samples'] == sum(map(len, o.trained + o.rechecked)) and t['recheck_samples'] == sum(map(len, o.rechecked))
    assert t['pixels'] == sum(len(ids)*h*w for _,train,ids,(h,w) in learn.model.shown if train or max(ids) < N)
    assert b['samples'] == 8*N and b['pixels'] == 8*N*16*16 and b['updates'] == 8*math.ceil(N/8)

def test_gradient_accumulation_counts_updates():
    learn = learner(script_for(3), SET(0.9, 9), cbs=[CostLedger()], dls=make_dls(sampler=SScFBS(16, 8)))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        learn.fit(3, cbs=GradientAccumulation(16))
    assert learn.cost.totals['updates'] == learn.cost.baseline['updates'] > 0

# ---------------------------------------------------------------------------------------------- several processes
def _rank(out):
    "One process of two: train and write down what its SET knows"
    import fastai.distributed
    torch.set_num_threads(1)
    learn = learner(script_for(6, n=61), SET(0.9, 2, every=2), dls=make_dls(n=61, bs=4), cbs=[CostLedger()])
    with warnings.catch_warnings(), learn.distrib_ctx(sync_bn=False, cpu=True):
        warnings.simplefilter('ignore')
        learn.fit(6)
    shown = [(e,ids) for e,train,ids,_ in learn.model.shown if train]
    with open(f"{out}/{os.environ['RANK']}.json", 'w') as f:
        json.dump(dict(counts=learn.set.counts.tolist(), active=learn.set.active.tolist(), history=learn.set.history, shown=shown,
                       cost={k:learn.cost.totals[k] for k in ('updates','samples','pixels','flops','recheck_samples')}, base=learn.cost.baseline), f)

def test_two_processes_know_the_same(tmp_path):
    run_ranks(__file__, tmp_path, 240)
    a,b = (json.load(open(tmp_path/f'{r}.json')) for r in range(2))
    for k in ('counts','active','history','base','cost'): assert a[k] == b[k], k
    o = Oracle(SETConfig(0.9, 2, 2), n=61, bs=8).fit(6, script_for(6, n=61))      # of 4 on each process
    assert a['counts'] == o.count and a['active'] == o.active
    assert [h['active'] for h in a['history']] == [len(p) for p in o.trained]
    assert a['cost']['samples'] == sum(map(len, o.trained + o.rechecked)) and a['cost']['recheck_samples'] == sum(map(len, o.rechecked))
    for e in range(6): assert {i for r in (a,b) for k,ids in r['shown'] if k == e for i in ids} == set(o.trained[e])

# ---------------------------------------------------------------------------------------------- many epochs on many processes
class Ranks:
    "Threads in place of processes: what each hands to `gather_bytes` reaches all, or the test ends"
    def __init__(self, world): self.world,self.wall,self.box,self.rank = world,threading.Barrier(world, timeout=60),[None]*world,threading.local()
    def gather(self, own, world):
        assert world == self.world
        self.box[self.rank.i] = own.copy()
        self.wall.wait()                    # all have come; one that does not ends the test in a minute
        res = list(self.box)
        self.wall.wait()                    # all have read
        assert len({(o.shape,o.dtype) for o in res}) == 1, 'equal lengths, as all_gather wants them'
        return np.stack(res)
    def run(self, f):
        out = [None]*self.world
        def one(i):
            self.rank.i = i
            try: out[i] = f(i)
            except BaseException as e:
                out[i] = e
                self.wall.abort()
        ts = [threading.Thread(target=one, args=(i,)) for i in range(self.world)]
        for t in ts: t.start()
        for t in ts: t.join()
        for o in out:
            if isinstance(o, BaseException): raise o
        return out

def _epochs(rank, world, n, epochs, sampler, cut):
    "What SET does on one process: plan, answers of the steps, exchange, the next plan; and each epoch's shapes and real ids"
    counts,labels,active,seen = new_counts(n, 2),np.full(n, -1, np.int8),None,[]
    for e in range(epochs):
        plan = sampler.plan(n, epoch=e, seed=3, ids=active, rank=rank, world=world)
        ok,groups,stop = Answers(plan),Answers(plan),len(plan) - (rank % 2 if e in cut else 0)
        for t,it in enumerate(plan):
            if t == stop: break                                           # some processes leave this epoch a step early
            own = it.ids[:it.n_real]
            chosen = own[::2] if e in cut else None                       # and know of some samples only
            ids = own if chosen is None else chosen
            ok.add(t, torch.from_numpy((ids*7919 + e*104729) % 100 < 35 + e//5), chosen)
            groups.add(t, torch.from_numpy(ids % 5), chosen)
        again = ids_to_recheck(n, active, 'train', e % 2 == 1)
        passes = [(ok, groups)]
        if len(again):
            dl = SScFBS(16, 8).plan(n, shuffle=False, ids=again, rank=rank, world=world)
            found = Answers(dl)
            for t,it in enumerate(dl): found.add(t, torch.from_numpy((it.ids[:it.n_real]*31 + e) % 10 > 0))
            passes.append((found, None))
        for found,groups in passes:
            for ids,v in exchange.all_answers(found, world): move_by(counts, ids, v, 2)
            if groups is not None:
                for ids,v in exchange.all_answers(groups, world, np.int64): labels = with_labels(labels, ids, v)
        seen.append(([(*o[:2], len(o.ids)) for o in plan], np.concatenate([o.ids[:o.n_real] for o in plan])))
        active = IdSet.of_mask(choose_mask(counts, 2, labels, .1, 8*world, Shuffle(n, 3, e+1, 0x5E7)))
        if len(active) == n: active = None
    return counts,labels,seen

@pytest.mark.parametrize('world', [2,3,4,8])
def test_three_hundred_epochs_of_shrinking_plans(world, monkeypatch):
    ranks,n = Ranks(world),701
    monkeypatch.setattr(exchange, 'gather_bytes', ranks.gather)
    out = ranks.run(lambda r: _epochs(r, world, n, 300, MScVBS(16, 4, min_size=8, max_size=24, divisor=8), cut={5,6,50}))
    assert len({o[0].tobytes() for o in out}) == len({o[1].tobytes() for o in out}) == 1, 'all know the same'
    sizes = []
    for e in range(300):
        shapes,ids = zip(*(o[2][e] for o in out))
        assert all(s == shapes[0] for s in shapes) and len(shapes[0]) > 0, 'equal steps'
        ids = np.sort(np.concatenate(ids))
        assert (np.diff(ids) > 0).all(), 'no id twice'
        sizes.append(len(ids))
    assert sizes[0] == n and min(sizes) < n/2 and len(set(sizes)) > 10 and (out[0][1] == np.arange(n) % 5).all()

if __name__ == '__main__':
    _rank(sys.argv[1])
    os._exit(0)     # what a rank found is written; torch's threads sometimes abort an interpreter that ends while the other rank's do
