"""Every pair of our callbacks trains together, with accumulated gradients and with mixed precision, and does what each says

A probe notes each batch and each step of the optimizer. A reference, which knows the callbacks by what their pages say and not by their
code, works out what the gradients and the state should have been."""
import itertools, sys
from importlib.util import find_spec
from types import SimpleNamespace
import numpy as np, pytest, torch, torch.nn.functional as F
from torch import nn
from fastai.vision.all import (Callback, CancelFitException, GradientAccumulation, Learner, MixedPrecision, accuracy, load_learner, set_seed)
from safetensors.torch import load_file
from cvnets_nb.callback import *
from cvnets_nb.callback.ema import model_tensors
from cvnets_nb.callback.plan import LossChanges
from cvnets_nb.callback.set import update_counts
from cvnets_nb.data import digits
from cvnets_nb.learner import set_learner
from cvnets_nb.samplers import MScVBS, SScFBS
from cvnets_nb.tasks import scenes, toy_data

N_ACC, THRESHOLD, EPOCHS = 40, 0.1, 2

def net():
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))

@pytest.fixture(scope='module')
def dls():
    "A training set of 96 digits in steps of 16, of one size"
    return digits(16, bs=16, n=120).with_plan(SScFBS(16, 16), seed=0)

@pytest.fixture(scope='module')
def teacher():
    torch.manual_seed(5)
    return net()

class Probe(Callback):
    "Notes the batches and the steps; after `MixedPrecision`, 10, which takes its scale off the gradients in `before_step`"
    order, run_valid = 10.5, False
    def before_fit(self): self.batches, self.steps, self.epochs = [], [], []
    def before_backward(self):
        assert torch.is_autocast_enabled('cpu') is False
        self.batches.append(SimpleNamespace(epoch=self.learn.epoch, x=self.x.clone(), y=self.y.clone(), ids=self.learn.sample_ids.copy(),
                                            pred=self.learn.pred.detach().clone(), loss=float(self.learn.loss)))
    def before_step(self):
        grads = [p.grad.clone() for p in self.model.parameters()]
        weights = [p.detach().clone() for p in self.model.parameters()]
        self.steps.append(SimpleNamespace(grads=grads, weights=weights, upto=len(self.batches)))
    def after_step(self): self.steps[-1].after = [t.detach().clone() for t in model_tensors(self.model)]
class AtEnds(Callback):
    "Notes the weights at the end of each epoch"
    order = 70
    def before_fit(self): self.weights = []
    def after_epoch(self): self.weights.append({k: v.clone() for k, v in self.model.state_dict().items()})

# --- what the pages say
def losses_of(pred, y): return F.cross_entropy(pred.float(), y, reduction='none')

def last_losses(batches, epoch, n):
    "InfoBatch: the loss of each sample when it was last trained on, before `epoch`"
    scores = np.full(n, np.inf)
    for b in batches:
        if b.epoch < epoch: scores[b.ids] = losses_of(b.pred, b.y).numpy()
    return scores

def sample_weights(cbs, batches, b, n):
    "InfoBatch: samples below the mean of the losses count twice where half of them are left out"
    if 'info_batch' not in cbs: return torch.ones(len(b.y))
    scores = last_losses(batches, b.epoch, n)
    seen = np.isfinite(scores)
    low = seen & (scores < scores[seen].mean()) if seen.any() else seen
    return torch.tensor(np.where(low[b.ids], 2., 1.), dtype=torch.float32)

def expected_loss(model, cbs, batches, b, n):
    pred = model(b.x)
    w = sample_weights(cbs, batches, b, n)
    loss = (losses_of(pred, b.y)*w).mean()
    if 'distill' in cbs:
        d = cbs['distill']
        with torch.no_grad(): t = d.teacher(b.x).float()
        s = pred.float()
        hard = F.cross_entropy(s, t.argmax(-1), reduction='none')
        soft = (t/d.T).softmax(-1)*((t/d.T).log_softmax(-1) - (s/d.T).log_softmax(-1))
        part = hard if d.hard else soft.sum(-1)*d.T**2
        loss = (1-d.alpha)*loss + d.alpha*(part*w).mean()
    return loss

def step_ends(batches, n_acc):
    "After which batches the optimizer steps"
    ends, count = [], 0
    for i, b in enumerate(batches, 1):
        count += len(b.y)
        if n_acc is None or count >= n_acc:
            ends.append(i)
            count = 0
    return ends

def check_gradients(learn, cbs, n_acc, amp):
    tol = (4e-2 if 'distill' in cbs else 2e-2) if amp else 1e-4       # a teacher much like the model: bfloat16 rounds what little they differ by
    probe, n, start = learn.probe, learn.dls.train.n, 0
    assert [s.upto for s in probe.steps] == step_ends(probe.batches, n_acc)
    for step in probe.steps:
        model = net()
        for p, w in zip(model.parameters(), step.weights): p.data.copy_(w)
        for b in probe.batches[start:step.upto]:
            with torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp): loss = expected_loss(model, cbs, probe.batches, b, n)
            assert abs(float(loss) - b.loss) < 1e-4*max(1, b.loss), 'what is logged is the loss that is trained'
            (loss*(len(b.y)/n_acc if n_acc else 1)).backward()
        for got, p in zip(step.grads, model.parameters()):
            assert (got - p.grad).norm() <= tol*p.grad.norm() + 1e-7
        start = step.upto

def check_ema(learn, cb):
    "The average after every update, and no other"
    avg = [t.clone() for t in learn.probe.first]
    for t, step in enumerate(learn.probe.steps):
        m = max(cb.momentum, 9/(10+t))
        avg = [a + m*(w-a) for a, w in zip(avg, step.after)]
    assert cb.updates == len(learn.probe.steps)
    for a, b in zip(avg, cb.avg): torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)

def check_set(learn, cb):
    counts, all_of_plan = np.zeros(learn.dls.train.n, int), not hasattr(learn, 'selective_backprop')
    for e in range(EPOCHS):
        of_epoch = [b for b in learn.probe.batches if b.epoch == e]
        ids = np.concatenate([b.ids for b in of_epoch])
        if all_of_plan:
            assert len(ids) == len(set(ids)) == cb.history[e]['active']
            assert set(np.flatnonzero(counts == 0)) <= set(ids), 'hard samples stay'
        p, y = torch.cat([b.pred for b in of_epoch]).float().softmax(1), torch.cat([b.y for b in of_epoch])
        ok = (p.argmax(1) == y) & (p.max(1)[0] >= THRESHOLD)
        counts = update_counts(counts, ids, ok.numpy(), 1)
    assert np.array_equal(cb.counts, counts)
    if all_of_plan: assert cb.history[-1]['active'] < learn.dls.train.n, 'some have left'

def check_infobatch(learn, cb):
    np.testing.assert_allclose(cb._st.scores, last_losses(learn.probe.batches, EPOCHS, learn.dls.train.n), rtol=1e-4)
    assert cb.history[-1]['active'] < learn.dls.train.n

def check_selective(learn, cb):
    planned = [o['samples'] for o in cb.history]
    got = [sum(len(b.y) for b in learn.probe.batches if b.epoch == e) for e in range(EPOCHS)]
    assert [o['active'] for o in cb.history] == got and all(abs(g - p/2) <= 6 for g, p in zip(got, planned))

def check_cost(learn, cb):
    t = cb.totals
    assert t['updates'] == len(learn.probe.steps)
    assert t['samples'] - t['recheck_samples'] == sum(len(b.y) for b in learn.probe.batches)
    looks = sum(o['samples'] for o in learn.selective_backprop.history) if hasattr(learn, 'selective_backprop') else 0
    assert t['recheck_samples'] == looks

def check_checkpoint(learn, cb):
    sd = torch.load(cb.file(), weights_only=True)
    for k, v in learn.model.state_dict().items(): assert torch.equal(sd['model'][k], v), k
    assert set(sd['callbacks']) >= {c.name for c in learn.cbs if c.name in ('set', 'info_batch', 'ema', 'cost', 'best_weights')}

def check_best(learn, cb):
    losses = [v[learn.recorder.metric_names[1:].index('valid_loss')] for v in learn.recorder.values]
    best, have = learn.at_ends.weights[int(np.argmin(losses))], load_file(cb.file('best'))
    for k, v in best.items(): assert torch.equal(have[k], v), k

ours = dict(
    set=(lambda o: SET(THRESHOLD, 1, every=10, until=1), check_set),
    infobatch=(lambda o: InfoBatch(0.5, until=1), check_infobatch),
    selective=(lambda o: SelectiveBackprop(0.5, start=0, until=1), check_selective),
    ema=(lambda o: EMA(0.1), check_ema),
    distill=(lambda o: Distill(o.teacher, 0.7, T=2), None),
    distill_hard=(lambda o: Distill(o.teacher, 0.5, hard=True), None),
    cost=(lambda o: CostLedger(), check_cost),
    checkpoint=(lambda o: CheckpointCallback(o.path), check_checkpoint),
    best=(lambda o: BestWeights(folder=o.path/'best'), check_best),
    memory=(lambda o: KeepMemory(), None),
    threads=(lambda o: Threads(), None),
    lines=(lambda o: EpochLines(), None),
    plan=(lambda o: PlanCallback(), None),
    one=(lambda o: OnePerKind(), None))
modes = ['plain', 'accumulated', 'mixed'] if find_spec('nbdev') else ['accumulated']      # `.ci/run`'s second environment has no nbdev
rivals = {('set','infobatch'), ('set','selective'), ('infobatch','selective'), ('distill','distill_hard')}      # two ways to do one thing

def fit(dls, cbs, n_acc, amp, epochs=EPOCHS):
    set_seed(1)
    cbs = list(cbs)
    extra = [PlanCallback()]*(not any(isinstance(cb, PlanCallback) for cb in cbs)) + [Probe(), AtEnds()]
    extra += [GradientAccumulation(n_acc)]*bool(n_acc) + [MixedPrecision()]*amp
    learn = Learner(dls, net(), metrics=accuracy, cbs=[*cbs, *extra])
    learn.probe.first = [t.detach().clone() for t in model_tensors(learn.model)]
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs, 2e-2)
    return learn

def check_left_as_it_was(learn, dls):
    assert not torch.is_autocast_enabled('cpu') and torch.is_grad_enabled()
    assert learn.sample_ids is None and learn.chosen_ids is None and learn.dls.train.plan.n_samples == dls.train.n
    assert all(m.training is False for m in learn.model.modules()), 'the fit ended with a validation'
    assert sum(isinstance(cb, LossChanges) for cb in learn.cbs) <= 1

@pytest.mark.parametrize('mode', modes)
@pytest.mark.parametrize('pair', [p for p in itertools.combinations(ours, 2) if p not in rivals], ids='+'.join)
def test_pairs(pair, mode, dls, teacher, tmp_path, on_cpu, capsys):
    n_acc, amp = (N_ACC if mode == 'accumulated' else None), mode == 'mixed'
    names = pair if mode == 'plain' else pair[::-1]           # added in either order
    made = {k: ours[k][0](SimpleNamespace(teacher=teacher, path=tmp_path)) for k in names}
    learn = fit(dls, made.values(), n_acc, amp)
    check_gradients(learn, {cb.name: cb for cb in made.values()}, n_acc, amp)
    for k, cb in made.items():
        if ours[k][1]: ours[k][1](learn, cb)
    check_left_as_it_was(learn, dls)

# --- one by one: each of these failed
def test_selective_backprop_leaves_autocast_as_it_was(dls, on_cpu):
    learn = fit(dls, [SelectiveBackprop(0.5, start=0, until=1)], None, True, 1)
    assert not torch.is_autocast_enabled('cpu')
    assert all(g.abs().sum() > 0 for g in learn.probe.steps[0].grads), 'half-precision copies made without gradients were used for training'

def test_an_export_leaves_the_teacher_behind(dls, teacher, tmp_path):
    learn = Learner(dls, net(), cbs=Distill(nn.Sequential(teacher, nn.Identity(), nn.Linear(10, 10))), path=tmp_path)
    learn.distill.teacher.register_buffer('large', torch.zeros(10**6))
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    learn.export()
    assert (tmp_path/'export.pkl').stat().st_size < 10**6 and learn.distill.teacher is not None
    again = load_learner(tmp_path/'export.pkl')
    assert again.distill.teacher is None
    with again.no_bar(): again.predict(dls.valid_ds[0][0])
    again.dls = dls
    with again.no_bar(), again.no_logging():
        again.validate()
        with pytest.raises(ValueError, match='the teacher of Distill is not part of'): again.fit(1)
        again.distill.teacher = teacher
        again.fit(1)

def test_the_average_moves_with_steps_that_are_made(dls, on_cpu):
    "Mixed precision skips a step whose gradients overflow"
    class Overflow(Callback):
        order = 9
        def before_backward(self):
            if self.learn.iter == 1: self.learn.loss_grad = self.learn.loss_grad*float('inf')
    set_seed(0)
    learn = Learner(dls, net(), cbs=[EMA(0.1), CostLedger(), MixedPrecision(), Overflow()])
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    assert learn.ema.updates == learn.cost.totals['updates'] == len(dls.train)-1

def test_only_the_first_process_copies_the_model(dls, tmp_path, monkeypatch):
    module = sys.modules['cvnets_nb.callback.checkpoint']
    copied = []
    whole = module.training_state
    monkeypatch.setattr(module, 'training_state', lambda *args: copied.append(1) or whole(*args))
    monkeypatch.setattr(module, 'rank_distrib', lambda: 1)
    fit(dls, [CheckpointCallback(tmp_path)], None, False, 1)
    assert not copied and not list(tmp_path.iterdir())
    monkeypatch.setattr(module, 'rank_distrib', lambda: 0)
    fit(dls, [CheckpointCallback(tmp_path)], None, False, 1)
    assert copied and (tmp_path/'last.pth').is_file()

def test_an_interrupted_fit_loses_no_change_of_the_loss(dls, teacher):
    class Stop(Callback):
        order = 8
        def after_loss(self):
            if self.training and self.learn.iter == 2: raise KeyboardInterrupt
    learn = Learner(dls, net(), cbs=Distill(teacher, 0.5))
    with learn.no_bar(), learn.no_logging():
        with pytest.raises(KeyboardInterrupt): learn.fit(1, cbs=Stop())
        learn.remove_cb(Distill)
        before = float(learn.validate()[0])
        learn.fit(1, lr=0, cbs=[PlanCallback(), (probe := Probe())])
    assert abs(float(learn.validate()[0]) - before) < 1e-6
    for b in probe.batches: assert abs(b.loss - float(F.cross_entropy(b.pred, b.y))) < 1e-5

@pytest.mark.parametrize('select', [lambda: SET(THRESHOLD, 1, keep=.1, until=.8), lambda: InfoBatch(.5, until=.75),
                                    lambda: RandomSubset(.5, until=.8)])
def test_a_skipped_epoch_leaves_no_choice_behind(select, dls, tmp_path):
    "A training resumed at the epoch at which all samples come back trains on all of them"
    def samples(learn): return [len(np.concatenate([b.ids for b in learn.probe.batches if b.epoch == e] or [np.zeros(0)])) for e in range(5)]
    def make():
        set_seed(1)
        return Learner(dls, net(), cbs=[select(), CheckpointCallback(tmp_path), Probe()])
    whole, cut = make(), make()
    class Stop(Callback):
        def before_epoch(self):
            if self.learn.epoch == 4: raise CancelFitException
    with whole.no_bar(), whole.no_logging(): whole.fit(5, 2e-2)
    with cut.no_bar(), cut.no_logging(): cut.fit(5, 2e-2, cbs=Stop())
    again = make()
    k = load_checkpoint(again, tmp_path/'last.pth')
    with again.no_bar(), again.no_logging(): again.fit(5, 2e-2, start_epoch=4)
    assert samples(whole)[4] == dls.train.n == samples(again)[4] and min(samples(whole)[:4]) < dls.train.n

def test_two_ways_to_choose_are_refused(dls):
    with pytest.raises(ValueError, match='SET and InfoBatch both choose|InfoBatch and SET both choose'):
        quiet(Learner(dls, net(), cbs=[SET(), InfoBatch()]))
    quiet(Learner(dls, net(), cbs=[SET(), InfoBatch(), OnePerKind()]))
    for two in ([SET(), SelectiveBackprop()], [SelectiveBackprop(), SelectiveBackprop()]):
        with pytest.raises(ValueError, match='both choose the samples that are trained on.*leave one of them out'): quiet(Learner(dls, net(), cbs=two))
    with pytest.raises(ValueError, match='InfoBatch and SET both choose'): set_learner(dls, net(), set=SET(), cbs=InfoBatch())
def quiet(learn):
    with learn.no_bar(), learn.no_logging(): learn.fit(1)

def test_distill_is_for_one_class_an_image(teacher):
    for task, out in (('multi_label', 3), ('regression', 1)):
        with pytest.raises(ValueError, match=f'targets here are for {task}'):
            quiet(set_learner(toy_data(task, size=16, bs=32, n=60), nn.Sequential(nn.Flatten(), nn.Linear(768, out)), set=False, cbs=Distill(teacher)))
    with pytest.raises(ValueError, match='targets here are for segmentation'):
        quiet(set_learner(scenes(32, bs=4, n=8), 'mobilenetv1_025', head='plain', set=False, cbs=Distill(teacher)))
