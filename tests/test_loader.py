"What the loader's notebook cannot hold: worker processes that start from nothing"
import gc, multiprocessing, os, pickle, subprocess, sys
import pytest
from PIL import Image
from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, IndexSplitter, Resize
from cvnets_nb.data.digits import digits
from cvnets_nb.data.loader import PlanDL
from cvnets_nb.samplers import Growing, MScVBS, SScFBS

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

def test_loaders_of_masks_pickle(tmp_path):
    "What each worker gets at the start of an epoch: scenes, and a folder of masks"
    from PIL import Image
    from cvnets_nb.tasks import mask_folder_dls, scene_items, scenes
    dl = scenes((32,48), bs=4, n=8).with_plan(MScVBS((32,48), 4), seed=1, replace=True).train
    dl.set_epoch(3)
    twin = pickle.loads(pickle.dumps(dl))
    twin.device = dl.device
    assert [(tuple(x.shape[-2:]), tuple(y.shape[-2:]), len(y)) for x,y in twin] == [((it.h,it.w),)*2 + (len(it.ids),) for it in dl.plan] and twin.unreadable == []
    for d in ('images', 'labels'): (tmp_path/d).mkdir()
    for i, pair in enumerate(scene_items(5, (32,48))):
        for d, o in zip(('images', 'labels'), pair): Image.fromarray(o).save(tmp_path/d/f'{i}.png')
    (tmp_path/'codes.txt').write_text('\n'.join(map(str, range(11))))
    twin = pickle.loads(pickle.dumps(mask_folder_dls(tmp_path, (32,48), 2, num_workers=0).train))
    assert [tuple(y.shape) for x,y in twin] == [(2,32,48)]*2

spawned = dict(images='''
    from cvnets_nb.data import digits
    from cvnets_nb.samplers import MScVBS
    dl = digits(size=(32,24), bs=16, num_workers=1).with_plan(MScVBS(size=(32,24), bs=16), seed=1).train
    dl.set_active(range(100))
    labels = [int(o) for o in dl.dataset.tls[1]]
    plan = dl.plan
    assert [(tuple(x.shape[-2:]), y.tolist()) for x,y in dl] == [((it.h,it.w), [labels[i] for i in it.ids]) for it in plan]
    assert dl.epoch == 1
    print('as planned')
''', videos='''
    from cvnets_nb.samplers import VideoVBS
    from cvnets_nb.tasks.video.data import clip_folder_dls, write_moving
    dl = clip_folder_dls(write_moving(sys.argv[1], 8), 32, bs=2, num_workers=1).with_plan(VideoVBS(32, 2, clips=2), seed=1).train
    labels = [int(o) for o in dl.dataset.tls[1]]
    plan = dl.plan
    assert [(tuple(x.shape), y.tolist()) for x,y in dl] == [((len(it.ids),2,3,it.frames,it.h,it.w), [labels[i] for i in it.ids]) for it in plan]
    print('as planned')
''')

@pytest.mark.parametrize('kind', ['images', pytest.param('videos', marks=pytest.mark.long)])
def test_a_spawned_worker_follows_the_plan(kind, tmp_path):
    "A worker that starts from nothing, as on Windows and macOS (`forkserver`, and a folder: test_everyday.py)"
    prog = tmp_path/'prog.py'
    prog.write_text(f'''
import multiprocessing, sys
if __name__ == '__main__':
    multiprocessing.set_start_method('spawn')
{spawned[kind]}''')
    cmd = [sys.executable, '-W', 'ignore', str(prog), str(tmp_path/'moving')]
    res = subprocess.run(cmd, capture_output=True, text=True, timeout=300, env=dict(os.environ, OMP_NUM_THREADS='1'))
    assert res.returncode == 0, res.stderr[-3000:]
    assert res.stdout.strip() == 'as planned'

def test_many_paths_reach_a_worker(tmp_path):
    (tmp_path/'d').mkdir()
    Image.new('RGB', (9, 8)).save(tmp_path/'one.png')
    files = [tmp_path/'one.png' if i % 2 else tmp_path/'d'/'..'/'one.png' for i in range(5000)]
    block = DataBlock((ImageBlock, CategoryBlock), get_y=lambda f: len(f.parts) % 2, splitter=IndexSplitter([0]), item_tfms=Resize(8))
    dl = block.dataloaders(files, bs=2500, num_workers=1).with_plan(SScFBS(8, 2500), seed=0).train
    ids = dl.plan.ids
    assert [int(y) for _, ys in dl for y in ys] == [int(dl.vocab.o2i[len(files[i+1].parts) % 2]) for i in ids]

def drop(dl):
    dl._workers = None, None
    gc.collect()

def test_a_forked_process_leaves_the_workers_alone(capfd):
    dl = _dls(num_workers=1).train
    _read(dl)
    p = multiprocessing.get_context('fork').Process(target=drop, args=(dl,))
    p.start()
    p.join()
    assert p.exitcode == 0 and 'Error' not in capfd.readouterr().err
    assert _read(dl) == _planned(dl.at(1).plan)
