"What the loader's notebook cannot hold: worker processes that start from nothing"
import os, pickle, subprocess, sys
from cvnets_nb.data.digits import digits
from cvnets_nb.data.loader import PlanDL
from cvnets_nb.samplers import Growing, MScVBS

def _dls(**kw): return digits(size=(32,24), bs=16, **kw).with_plan(MScVBS(size=(32,24), bs=16), seed=1)
def _read(dl): return [tuple(b[0].shape[-2:]) for b in dl]
def _planned(plan): return [(it.h,it.w) for it in plan]

def test_a_loader_pickles():
    "The copy plans the same, reads the same, and sizes transforms of its own"
    dl = _dls().train
    dl.set_active(range(0, 200, 2)), dl.set_epoch(3)
    twin = pickle.loads(pickle.dumps(dl))
    assert isinstance(twin, PlanDL) and twin.plan == dl.plan and twin.sized.tfm is not dl.sized.tfm
    twin.device = dl.device
    it = iter(twin)
    next(it)
    assert dl.sized.sizes == [(32,24)]
    it.close()
    assert _read(twin) == _planned(dl.plan)

def test_a_pickled_loader_knows_its_epoch():
    dl = digits(size=(32,24)).with_plan(Growing(MScVBS(size=(32,24), bs=16), epochs=4), seed=1).train
    dl.set_epoch(2)
    assert pickle.loads(pickle.dumps(dl)).plan == dl.plan == dl.sampler.plan(1438, epoch=2, seed=1)

def test_a_spawned_worker_follows_the_plan(tmp_path):
    "Digits, scenes with masks and a folder of masks: the loader is pickled at the start of each epoch (`spawn`, and a folder: test_everyday.py)"
    prog = tmp_path/'prog.py'
    prog.write_text('''
import multiprocessing, sys
if __name__ == '__main__':
    from pathlib import Path
    from PIL import Image
    from cvnets_nb.data import digits
    from cvnets_nb.tasks import mask_folder_dls, scene_items, scenes
    from cvnets_nb.samplers import MScVBS
    multiprocessing.set_start_method('forkserver')
    multiprocessing.set_forkserver_preload(['cvnets_nb.all'])          # imported once, and the loader is pickled as under spawn
    dl = digits(size=(32,24), bs=16, num_workers=1).with_plan(MScVBS(size=(32,24), bs=16), seed=1).train
    dl.set_active(range(100))
    labels = [int(o) for o in dl.dataset.tls[1]]
    plan = dl.plan
    assert [(tuple(x.shape[-2:]), y.tolist()) for x,y in dl] == [((it.h,it.w), [labels[i] for i in it.ids]) for it in plan]
    assert dl.epoch == 1
    dl = scenes((32,48), bs=4, n=8, num_workers=1).with_plan(MScVBS((32,48), 4), seed=1, replace=True).train
    assert [(tuple(x.shape[-2:]), tuple(y.shape[-2:]), len(y)) for x,y in dl.at(3)] == [((it.h,it.w),)*2 + (len(it.ids),) for it in dl.at(3).plan]
    assert dl.unreadable == []
    root = Path(sys.argv[1])
    for d in ('images', 'labels'): (root/d).mkdir()
    for i, pair in enumerate(scene_items(5, (32,48))):
        for d, a in zip(('images', 'labels'), pair): Image.fromarray(a).save(root/d/f'{i}.png')
    (root/'codes.txt').write_text('\\n'.join(map(str, range(11))))
    assert [tuple(y.shape) for x,y in mask_folder_dls(root, (32,48), 2, num_workers=1).train] == [(2,32,48)]*2
    print('as planned')
''')
    res = subprocess.run([sys.executable, '-W', 'ignore', str(prog), str(tmp_path)], capture_output=True, text=True, timeout=300, env=dict(os.environ, OMP_NUM_THREADS='1'))
    assert res.returncode == 0, res.stderr[-3000:]
    assert res.stdout.strip() == 'as planned'
