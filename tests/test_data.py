"What the notebooks of the data room cannot hold: worker processes, and a fresh interpreter"
import multiprocessing, os, pickle, random, subprocess, sys, time
import numpy as np, pytest, torch
from PIL import Image
from fastai.vision.all import DataBlock, ImageBlock, IndexSplitter, Interpretation, L, Learner, MaskBlock, PILImage, PILMask, accuracy, get_image_files, load_learner, nn
from cvnets_nb.data import listing
from cvnets_nb.data.digits import digits
from cvnets_nb.data.files import Files
from cvnets_nb.data.folder import folder_dls
from cvnets_nb.data.loader import PlanDL
from cvnets_nb.data.sized import AlbumentationsTfm, find_sized, get_albumentations
from cvnets_nb.samplers import MScVBS

def _noise(i): return PILImage.create(np.random.default_rng(0).integers(0, 255, (64,96,3), dtype=np.uint8))

def _alb_dls(num_workers):
    A = get_albumentations()
    tfm = AlbumentationsTfm([A.RandomResizedCrop(size=(24,40), scale=(0.2,0.9)), A.HorizontalFlip()], A.Resize(24,40))
    return DataBlock((ImageBlock, MaskBlock), get_x=_noise, get_y=_mask, splitter=IndexSplitter(range(16,20)), item_tfms=tfm).dataloaders(
        range(20), bs=4, num_workers=num_workers, drop_last=False)
def _mask(i): return PILMask.create(np.asarray(_noise(i))[...,0] // 128)

def test_albumentations_differ_between_workers_and_epochs():
    "16 copies of one image, read by two workers in two epochs: 32 different crops"
    dls = _alb_dls(2)
    dls.train.after_item((_noise(0), _mask(0)))          # the parent has drawn before it forks
    seen = [x for _ in range(2) for b in dls.train for x in b[0].cpu()]
    assert len(seen) == 32 and seen[0].shape[-2:] == (24,40)
    assert len({x.numpy().tobytes() for x in seen}) == 32

def test_albumentations_leave_validation_alone():
    xs = torch.cat([b[0].cpu() for b in _alb_dls(2).valid])
    assert (xs == xs[:1]).all()

def test_albumentations_is_imported_late_and_quietly(tmp_path):
    "In a fresh interpreter: not by importing us, and without asking the network, also when unpickled"
    A = get_albumentations()
    (tmp_path/'tfm.pkl').write_bytes(pickle.dumps(AlbumentationsTfm(A.RandomResizedCrop(size=(24,40)))))
    code = f"""
import os, pickle, sys, urllib.request
import cvnets_nb.data.sized, cvnets_nb.data.folder, cvnets_nb.data.digits
assert 'albumentations' not in sys.modules
def asked(*a, **k): raise SystemExit('albumentations asked the network')
urllib.request.build_opener = asked
tfm = pickle.load(open({str(tmp_path/'tfm.pkl')!r}, 'rb'))
assert 'albumentations' in sys.modules and 'NO_ALBUMENTATIONS_UPDATE' not in os.environ
tfm.set_size((32,24))
print(tfm.get_size())
"""
    env = {k:v for k,v in os.environ.items() if k != 'NO_ALBUMENTATIONS_UPDATE'}
    res = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, env=env)
    assert res.returncode == 0, res.stderr
    assert res.stdout.strip() == '(32, 24)'

def test_sized_pipeline_pickles_with_its_loader():
    "Under a start method that pickles, the copy in the worker sizes the worker's own transforms"
    dls = digits(bs=8)
    dl,sized = pickle.loads(pickle.dumps((dls.train.after_item, find_sized(dls.train.after_item, dls.train.after_batch))))
    sized.set((40,24))
    assert dl((_noise(0),))[0].shape[-2:] == (40,24)
    assert find_sized(dls.train.after_item).base == (32,32)

@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_file_cut_short_is_named_by_the_loader(tmp_path, num_workers):
    for c in 'ab':
        (tmp_path/c).mkdir()
        for i in range(5): _noise(i).resize((200,150)).save(tmp_path/c/f'{i}.jpg')
    bad = tmp_path/'b'/'3.jpg'
    bad.write_bytes(bad.read_bytes()[:2000])
    with pytest.raises(ValueError, match='1 of 10 images cannot be read.*3.jpg'): folder_dls(tmp_path, size=32)
    with pytest.raises(OSError, match='cannot read the image .*3.jpg'):
        dls = folder_dls(tmp_path, size=32, bs=8, num_workers=num_workers, verify=False)
        for dl in dls.loaders: list(dl)

def test_albumentations_follow_a_plan_with_masks():
    "Image and mask of every batch in the plan's size, not square, from a worker; validation stays at the base"
    A = get_albumentations()
    tfm = AlbumentationsTfm([A.SmallestMaxSize(72), A.RandomCrop(32,64)], [A.SmallestMaxSize(64), A.CenterCrop(32,64)])
    dls = DataBlock((ImageBlock, MaskBlock), get_x=_noise, get_y=_mask, splitter=IndexSplitter(range(40,44)), item_tfms=tfm).dataloaders(
        range(44), bs=4, num_workers=1).with_plan(MScVBS(size=(32,64), bs=4))
    plan = dls.train.plan
    assert len({(it.h,it.w) for it in plan}) > 1
    assert [(x.shape[-2:], y.shape[-2:]) for x,y in dls.train] == [((it.h,it.w),)*2 for it in plan]
    assert isinstance(dls.valid, PlanDL) and {tuple(b[0].shape[-2:]) for b in dls.valid} == {(32,64)}
    assert tfm.get_size() == (32,64)                  # the transform it was made from is untouched

# --- a large folder
def _random_tree(root, seed):
    "Folders and files with names of all kinds, hidden ones and links among them"
    rng = random.Random(seed)
    names = ['a', 'B', 'ä', 'a b', 'a-1', 'a.b', 'z', '.h', 'a!', 'x.jpg', '1.JPG', 'ü.png', 'a.jpeg', 'b.txt', '.h.jpg', 'jpg', 'a.jpg.bak', '日.webp']
    folders = [root]
    for _ in range(rng.randint(1, 40)):
        f = rng.choice(folders)/rng.choice(names)
        if f.exists(): continue
        if rng.random() < .4:
            f.mkdir()
            folders.append(f)
        else: f.touch()
    return root

@pytest.mark.parametrize('seed', range(20))
def test_a_listing_is_what_fastai_finds(tmp_path, seed):
    "The same files in the same order, from any folder in it; and again from its index, and when something has changed"
    _random_tree(tmp_path, seed)
    tree = listing.list_tree(tmp_path)
    for d in [tmp_path, *tree.subs(tmp_path)]: assert list(tree.files(d)) == get_image_files(d).sorted()
    listing.write_index(tmp_path, tree.folders)
    _random_tree(tmp_path, seed+100)
    found,_ = listing.read_tree(tmp_path, listing.read_index(tmp_path))
    assert list(listing.Tree(tmp_path, found).files()) == get_image_files(tmp_path).sorted()

def _list(path, log):
    "What each rank does"
    listing.index_from = 10
    write = listing.write_index
    def noted(*args):
        with open(log, 'a') as f: f.write('written\n')
        time.sleep(.2)                       # so that the others come while it is being made
        write(*args)
    listing.write_index = noted
    assert len(listing.list_tree(path).files()) == 30

def test_one_of_many_processes_makes_the_index(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))
    for i in range(30):
        f = tmp_path/'data'/f'class{i%3}'/f'{i}.jpg'
        f.parent.mkdir(parents=True, exist_ok=True)
        f.touch()
    with monkeypatch.context() as m:
        m.setattr(listing, '_settled', 0)    # as if the files were old
        ps = [multiprocessing.get_context('fork').Process(target=_list, args=(tmp_path/'data', tmp_path/'log')) for _ in range(3)]
        for p in ps: p.start()
        for p in ps: p.join()
    assert [p.exitcode for p in ps] == [0,0,0]
    assert (tmp_path/'log').read_text() == 'written\n'
    assert (tmp_path/'data'/listing.index_name).is_file()

def test_an_index_goes_to_the_cache_where_the_data_cannot_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))
    monkeypatch.setattr(listing, 'index_from', 2)
    for c in 'ab':
        (tmp_path/'data'/c).mkdir(parents=True)
        for i in range(3): _noise(i).save(tmp_path/'data'/c/f'{i}.jpg')
    (tmp_path/'data'/listing.index_name).mkdir()             # stands for a read-only folder, which is none to root
    dls = folder_dls(tmp_path/'data', size=32, bs=2, num_workers=0)
    beside,cached = listing.index_files(tmp_path/'data')
    assert cached.is_file() and not list(beside.iterdir()) and len(dls.train_ds) + len(dls.valid_ds) == 6
    seen = []
    monkeypatch.setattr(listing, 'check_images', lambda files: seen.append(len(files)) or [])
    folder_dls(tmp_path/'data', size=32, bs=2, num_workers=0)
    assert seen == []                                        # what was found good is known

def test_what_fastai_does_with_items(digit_files, tmp_path):
    "Items that are no list of paths do what a list does: losses, exports, other loaders, copies, a store"
    dls = folder_dls(digit_files, size=32, bs=16, num_workers=0).with_plan(MScVBS(size=32, bs=16), seed=1)
    items = dls.train_ds.items
    assert isinstance(items, Files) and sorted(items + dls.valid_ds.items) == get_image_files(digit_files).sorted()
    assert L(items)[:2] == list(items)[:2] and len(pickle.loads(pickle.dumps(dls.train)).dataset.items) == len(items)
    learn = Learner(dls, nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 3)), metrics=accuracy, path=tmp_path)
    inter = Interpretation.from_learner(learn)
    losses,ids,paths = inter.top_losses(3, items=True)
    assert list(paths) == [dls.valid_ds.items[i] for i in ids]
    inter.plot_top_losses(2)
    learn.show_results()
    learn.export('model.pkl')
    assert (tmp_path/'model.pkl').stat().st_size < 60_000     # without a path or an id of a sample
    preds = learn.get_preds(dl=learn.dls.test_dl(items[:5]))[0]
    again = load_learner(tmp_path/'model.pkl')
    assert torch.equal(again.get_preds(dl=again.dls.test_dl(list(items[:5])))[0], preds)
    read = folder_dls(digit_files, size=32, bs=16, num_workers=1).with_plan(MScVBS(size=32, bs=16), seed=1).train
    for _ in read: pass
    pool = read._workers[1]
    for _ in read: pass
    assert pool is not None and read._workers[1] is pool      # the items did not change
    stored = dls.cached(tmp_path/'store', progress=False)
    assert list(stored.train_ds.items) == list(items) and len(stored.train_ds) == len(items) and stored.one_batch()[0].shape[1] == 3

def test_labels_and_masks_are_held_once(tmp_path):
    "In arrays that workers share, and which leave the workers as they are from pass to pass"
    from cvnets_nb.data.files import ByPath
    from cvnets_nb.data.folder import table_dls
    from cvnets_nb.tasks.segmentation import mask_folder_dls
    names = [f'{i}.png' for i in range(12)]
    for d in ('images','labels'): (tmp_path/d).mkdir()
    for i,nm in enumerate(names):
        Image.new('RGB', (16,16), (9*i,0,0)).save(tmp_path/'images'/nm)
        Image.fromarray(np.full((16,16), i % 2, np.uint8)).save(tmp_path/'labels'/nm)
    (tmp_path/'codes.txt').write_text('one\ntwo\n')
    (tmp_path/'labels.csv').write_text('file,tags\n' + ''.join(f'{nm},{"a;b" if i % 2 else "a"}\n' for i,nm in enumerate(names)))
    masks = mask_folder_dls(tmp_path, size=16, bs=4, num_workers=1)
    table = table_dls(tmp_path, size=16, bs=4, num_workers=1)
    for dls,has in ((table, 'labels'), (masks, 'files')):
        held = next(getattr(t, has) for t in dls.train_ds.tls[1].tfms.fs if hasattr(t, has))
        assert isinstance(held, ByPath) and len(held) == 12
        read = dls.with_plan(MScVBS(size=32, bs=4), seed=1).train
        for _ in read: pass
        pool = read._workers[1]
        for _ in read: pass
        assert pool is not None and read._workers[1] is pool
    assert [table.vocab[int(y.argmax())] for _,y in table.valid_ds] == ['a']*len(table.valid_ds) and set(table.vocab) == {'a','b'}
