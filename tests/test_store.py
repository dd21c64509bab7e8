"The store of small images: killed, shared by processes, read by workers, and by the command"
import json, multiprocessing, random, time
import numpy as np, pytest
from functools import partial
from pathlib import Path
from PIL import Image
from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, IndexSplitter, RandomResizedCrop, get_image_files, parent_label
from cvnets_nb.all import ImageStore, MScVBS
from cvnets_nb.core import file_lock
from cvnets_nb.data import store as store_module

@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    path = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for i in range(240):
        (path/'ab'[i % 2]).mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize((400 + i, 300)).save(path/'ab'[i % 2]/f'{i:03}.jpg')
    return path

def fill(photos, folder): return ImageStore(folder, 40).fill(get_image_files(photos).sorted(), progress=False, each=8)
def told(photos, folder, q): q.put(fill(photos, folder))
def start(photos, folder, f=fill, *args):
    "A process that fills a store"
    p = multiprocessing.get_context('fork').Process(target=f, args=(photos, folder, *args))
    p.start()
    return p
def contents(folder): return {f.name: f.read_bytes() for f in Path(folder).iterdir() if not f.name.endswith('.lock')}

def test_killed_at_any_moment_it_ends_the_same(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, 'file_lock', partial(file_lock, patience=.1))      # a killed run renews its lock no more
    fill(photos, tmp_path/'whole')
    cut,rng,killed = tmp_path/'cut', random.Random(0), []
    while not (killed and killed[-1] == 30):
        p = start(photos, cut)
        until = len(list(cut.glob('0*.part'))) + rng.randint(0, 6)
        while p.is_alive() and len(list(cut.glob('0*.part'))) < until: time.sleep(.001)
        time.sleep(rng.uniform(0, .03))
        p.kill()
        p.join()
        killed.append(len(list(cut.glob('0*.part'))))
    assert len(killed) > 3
    fill(photos, cut)
    assert contents(cut) == contents(tmp_path/'whole')

def test_two_runs_that_start_together_make_one(photos, tmp_path):
    q = multiprocessing.get_context('fork').Queue()
    runs = [start(photos, tmp_path/'store', told, q) for _ in range(2)]
    assert sorted(q.get(timeout=60) for _ in runs) == [0, 240]
    for p in runs: p.join()
    store = ImageStore(tmp_path/'store', 40)
    assert len(store) == 240 and len(store.part_files()) == 30 and store.verify() == []

def planned(photos, **kw):
    files = get_image_files(photos).sorted()
    block = DataBlock((ImageBlock, CategoryBlock), get_y=parent_label, splitter=IndexSplitter(range(200, 240)), item_tfms=RandomResizedCrop(32))
    return block.dataloaders(files, bs=16, path=photos, **kw).with_plan(MScVBS(32, 16), seed=1)

def test_workers_read_it(photos, tmp_path):
    dls = planned(photos, num_workers=2).cached(folder=tmp_path, progress=False)
    for _ in range(2):
        plan = dls.train.plan
        batches = list(dls.train)
        assert [tuple(x.shape[-2:]) for x, _ in batches] == [(it.h, it.w) for it in plan]
        assert [y.tolist() for _, y in batches] == [[i // 120 for i in it.ids] for it in plan]

def test_the_command_reads_from_copies(photos, tmp_path, capsys):
    from cvnets_nb.cli import cvnets_train
    def train(*args): cvnets_train(['--data', str(photos), '--arch', 'mobilenetv1_025', '--size', '32', '--bs', '32', '--epochs', '1', '--workers', '0', *args])
    train('--cache', str(tmp_path/'copies'), '--out', str(tmp_path/'run'))
    store, = (tmp_path/'copies').iterdir()
    assert len(list(store.glob('*.part'))) == 1 and not (photos/'.cvnets_store').exists()
    assert json.loads((tmp_path/'run'/'run.json').read_text())['args']['cache'] == str(tmp_path/'copies')
    before = (store/'000000.part').stat().st_mtime_ns
    train('--cache', str(tmp_path/'copies'), '--out', str(tmp_path/'again'))
    assert (store/'000000.part').stat().st_mtime_ns == before
    with pytest.raises(SystemExit): cvnets_train(['--cache', '--out', str(tmp_path/'none')])
    assert '--cache keeps copies of image files' in capsys.readouterr().err
