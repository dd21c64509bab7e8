"Two real processes on the CPU train with MSc-VBS and SET: equal steps, weights, counts and bills, exact metrics, ordered predictions"
import os, sys
from pathlib import Path
import numpy as np, pytest, torch
from torch import nn
from ranks import run_ranks

epochs = 3

def _learner(num_workers=0):
    from fastai.vision.all import Callback, ConvLayer, Flatten, Learner, accuracy, rank_distrib, set_seed
    from cvnets_nb.callback import EMA, SET, CostLedger
    from cvnets_nb.data.digits import digits
    from cvnets_nb.samplers import MScVBS

    class Steps(Callback):
        "What each step held"
        order = 13
        def before_fit(self):
            self.seen = []
            if not hasattr(self, 'labels'): self.labels = torch.tensor([int(o) for o in self.dls.train.dataset.tls[1]])
        def after_pred(self):
            if not self.training: return
            ids = self.learn.sample_ids
            assert (self.labels[ids] == self.y.cpu()).all()
            self.seen.append((self.learn.epoch, tuple(self.x.shape[-2:]), ids.copy(), self.learn.n_real))

    set_seed(100 + rank_distrib())
    dls = digits(size=32, bs=32, num_workers=num_workers).with_plan(MScVBS(size=32, bs=32))   # a seed of its own on each process
    dls.device = 'cpu'
    set_seed(0)
    net = nn.Sequential(ConvLayer(3, 8, stride=2), ConvLayer(8, 16, stride=2), nn.AdaptiveAvgPool2d(1), Flatten(), nn.Linear(16, 10))
    cbs = [SET(0.3, 1, every=1, keep=0, until=1), CostLedger(), EMA(0.1, evaluate=False), Steps()]
    return Learner(dls, net, metrics=accuracy, cbs=cbs)

def _train(out):
    "One of the processes"
    from fastai.vision.all import rank_distrib
    import fastai.distributed   # gives Learner its distrib_ctx
    torch.set_num_threads(1)
    learn = _learner()
    with learn.no_bar(), learn.no_logging(), learn.distrib_ctx(sync_bn=False, cpu=True):
        assert torch.distributed.get_world_size() == 2
        learn.fit_one_cycle(epochs, 2e-2)
        steps = learn.steps.seen
        train_state = {k: v.clone() for k,v in learn.model.named_parameters()}
        history = [list(map(float, v)) for v in learn.recorder.values]
        scores = list(map(float, learn.validate()))
        preds,targs,losses = learn.get_preds(with_loss=True)
        train_preds,train_targs = learn.get_preds(ds_idx=0)
        test_preds,_ = learn.get_preds(dl=learn.dls.test_dl(list(learn.dls.valid_ds.items[:5])))     # one step: 3 and 2
        lonely,_ = learn.get_preds(dl=learn.dls.test_dl(list(learn.dls.valid_ds.items[:1])))         # one id, two processes
    assert not hasattr(learn.model, 'module') and learn.dls.train.world == 1
    other = _learner(num_workers=2)
    with other.no_bar(), other.no_logging(), other.distrib_ctx(sync_bn=False, cpu=True):
        other.fit(1, 2e-2)
        workers = dict(steps=other.steps.seen, scores=list(map(float, other.recorder.values[-1])), counts=other.set.counts)
        workers['targs'] = other.get_preds()[1]
    bill = {k: v for k,v in learn.cost.totals.items() if 'seconds' not in k and k != 'peak_memory'}
    base = {k: v for k,v in learn.cost.baseline.items() if 'seconds' not in k and k != 'peak_memory'}
    torch.save(dict(steps=steps, params=train_state, model=learn.model.state_dict(), counts=learn.set.counts, sets=learn.set.history,
                    bill=bill, base=base, history=history, scores=scores, preds=preds, targs=targs, losses=losses, train_preds=train_preds,
                    train_targs=train_targs, average=learn.ema.avg, test_preds=test_preds, lonely=lonely, workers=workers), Path(out)/f'{rank_distrib()}.pt')

def _two(out):
    "Run both processes; what each left behind"
    run_ranks(__file__, out, 300)
    return [torch.load(out/f'{r}.pt', weights_only=False) for r in range(2)]

@pytest.fixture(scope='module')
def both(tmp_path_factory): return _two(tmp_path_factory.mktemp('ranks'))

def _same_steps(both):
    a,b = (o['steps'] for o in both)
    assert len(a) == len(b) and {e for e,*_ in a} == set(range(epochs))
    assert [(e, hw, len(ids)) for e,hw,ids,_ in a] == [(e, hw, len(ids)) for e,hw,ids,_ in b]
    assert len({hw for _,hw,*_ in a}) > 2
    first = np.concatenate([ids[:n] for o in (a,b) for e,_,ids,n in o if e == 0])
    assert np.array_equal(np.sort(first), np.arange(1438)), 'every id once in the first epoch'
    for e in range(epochs):
        ids = np.concatenate([ids[:n] for o in (a,b) for k,_,ids,n in o if k == e])
        assert len(ids) == len(np.unique(ids)) == both[0]['sets'][e]['active']

def test_steps_are_the_same_on_both(both): _same_steps(both)

def test_set_and_the_bill_are_the_same_on_both(both):
    a,b = both
    assert np.array_equal(a['counts'], b['counts']) and a['counts'].max() == 1
    assert a['sets'] == b['sets'] and a['sets'][-1]['active'] < 1438 and a['sets'][-1]['rechecked'] > 0
    assert a['bill'] == b['bill'] and a['base'] == b['base']
    assert a['bill']['samples'] == sum(h['active'] + h['rechecked'] for h in a['sets'])
    assert a['bill']['updates'] == len(a['steps'])
    assert a['base']['samples'] == epochs*1438

def test_weights_are_the_same_on_both(both):
    for k,v in both[0]['params'].items(): assert torch.equal(v, both[1]['params'][k]), k

def test_averages_are_the_same_on_both(both):
    "Also those of normalisations' statistics, which each process counts for itself"
    for a,b in zip(both[0]['average'], both[1]['average']): assert torch.equal(a, b)

def test_metrics_are_those_of_one_process(both):
    "Every validation sample counts once, on both processes, as if there were one"
    learn = _learner()
    learn.model.load_state_dict(both[0]['model'])
    with learn.no_bar(), learn.no_logging():
        want = list(map(float, learn.validate()))
        preds,targs,losses = learn.get_preds(with_loss=True)
        train_preds,train_targs = learn.get_preds(ds_idx=0)
    assert want[1] > 0.2
    np.testing.assert_allclose(both[0]['scores'], both[1]['scores'], rtol=1e-6)
    np.testing.assert_allclose(both[0]['scores'], want, rtol=1e-5)
    np.testing.assert_allclose(both[0]['history'][-1][1:], want, rtol=1e-5)     # what the Recorder wrote while training
    for o in both:
        assert torch.equal(o['targs'], targs) and torch.equal(o['train_targs'], train_targs)
        torch.testing.assert_close(o['preds'], preds)
        torch.testing.assert_close(o['losses'], losses)
        torch.testing.assert_close(o['test_preds'], preds[:5])
        torch.testing.assert_close(o['lonely'], preds[:1])
        assert len(o['train_preds']) == len(train_preds)

def test_with_worker_processes(both):
    a,b = (o['workers'] for o in both)
    assert [(hw, len(ids)) for _,hw,ids,_ in a['steps']] == [(hw, len(ids)) for _,hw,ids,_ in b['steps']]
    assert np.array_equal(np.sort(np.concatenate([ids[:n] for o in (a,b) for *_,ids,n in o['steps']])), np.arange(1438))
    np.testing.assert_allclose(a['scores'][1:], b['scores'][1:], rtol=1e-6)
    assert np.array_equal(a['counts'], b['counts'])
    assert torch.equal(a['targs'], both[0]['targs']) and torch.equal(b['targs'], both[0]['targs'])

if __name__ == '__main__':
    _train(sys.argv[1])
    os._exit(0)     # what a rank found is written; torch's threads sometimes abort an interpreter that ends while the other rank's do
