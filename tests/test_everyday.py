"What users meet in their first week, tried through the functions that they call"
import ast, json, os, subprocess, sys, warnings
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from safetensors.torch import save_file
from fastai.vision.all import *
from fastai.callback import fp16
import fastai.interpret, fastai.learner
from cvnets_nb.all import *
from cvnets_nb.cli import cvnets_train, run_data, settings
from cvnets_nb.tasks.segmentation.data import OpenMaskIndices
from cvnets_nb.tasks.segmentation.loss import PixelLoss
from cvnets_nb.recipes import get_recipe
from cvnets_nb.tasks.segmentation.task import check_segmentation
for _n in [n for n in globals() if n.startswith('test')]: del globals()[_n]           # fastai's star brings fastcore's tests

_set_learner = set_learner
def set_learner(*args, **kw): return _set_learner(*args, **{'set':True, **kw})       # with SET, which is one word

quick = '--arch mobilenetv1_025 --size 32 --bs 16 --epochs 1 --workers 0'.split()

def quiet(f, *a, **k):
    learn = getattr(f, '__self__', None) or a[0]
    with learn.no_bar(), learn.no_logging(): return f(*a, **k)
def photo(i, size=(40, 48)): return Image.fromarray(np.random.default_rng(i).integers(0, 256, (*size, 3), dtype=np.uint8))
def collection(root, *folders, n=6):
    "Folders of images, which are all different"
    for k, d in enumerate(folders):
        (root/d).mkdir(parents=True, exist_ok=True)
        for i in range(n): photo(100*k + i).save(root/d/f'{i}.jpg')
    return root
def masked(root, n=8, vals=(0, 1), codes=('bg', 'obj'), size=(40, 40)):
    "A folder of images and masks, each with a rectangle of the second value on the first"
    for d in ('images', 'labels'): (root/d).mkdir(parents=True)
    for i in range(n):
        m = np.full(size, vals[0], np.uint8)
        m[5:20, 5+i:25] = vals[1]
        photo(i, size).save(root/f'images/i{i}.png')
        Image.fromarray(m).save(root/f'labels/i{i}.png')
    (root/'codes.txt').write_text('\n'.join(codes))
    return root
def repaint(root, f, names=None):
    "Replace masks by what `f` makes of their arrays"
    for file in sorted((root/'labels').iterdir()):
        if names is None or file.name in names: f(np.asarray(Image.open(file))).save(file)
    return root
def mask_learner(root, **kw): return set_learner(mask_folder_dls(root, size=32, bs=4, num_workers=0, **kw), 'deeplabv3_mobilenetv1_025', path=root)
def small_net(n=10): return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, n))

@pytest.fixture(scope='module')
def photos(tmp_path_factory): return collection(tmp_path_factory.mktemp('photos'), 'cat', 'dog', 'emu', n=10)

@pytest.fixture(scope='module')
def classifier(photos):
    learn = set_learner(folder_dls(photos, size=32, bs=8, num_workers=0), 'mobilenetv1_025', metrics=accuracy)
    quiet(learn.fit, 1)
    return learn

@pytest.fixture(scope='module')
def segmenter():
    learn = set_learner(scenes((32, 48), bs=4, n=8), 'mobilenetv2_025', width=16, output_stride=16)
    quiet(learn.fit, 1)
    return learn

# --- 1: whatever fastai passes to a loader
def passed_by_fastai():
    "Every keyword that fastai's own code passes to `test_dl`, to a loader's `new` or to `dataloaders`, outside of text and tables"
    root, found = Path(fastai.learner.__file__).parent, set()
    for f in root.rglob('*.py'):
        if {'tabular', 'text', 'medical', 'collab.py', 'fp16_utils.py'} & set(f.relative_to(root).parts): continue
        for n in ast.walk(ast.parse(f.read_text(encoding='utf-8'))):
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr in ('test_dl', 'new'): found |= {k.arg for k in n.keywords if k.arg}
    return found - {'with_labels', 'rm_type_tfms', 'dataset', 'cls', 'tfms', 'do_setup', 'to_layer'}

def test_every_keyword_of_fastai_is_taken(classifier):
    names = passed_by_fastai()
    assert {'process', 'shuffled', 'drop_last', 'get_idxs', 'num_workers', 'bs'} <= names, 'the scan finds nothing'
    own = dict(get_idxs=lambda: [0, 1, 2], bs=4, num_workers=0, after_item=classifier.dls.valid.after_item, after_batch=classifier.dls.valid.after_batch)
    for k in sorted(names):
        for dl in classifier.dls.loaders: assert type(dl.new(**{k: own.get(k, False)})).__name__ == 'PlanDL', k
    with pytest.raises(TypeError, match="unknown keyword 'proces'"): classifier.dls.valid.new(proces=True)

@pytest.mark.parametrize('ds_idx', [0, 1])
def test_interpretation_of_a_classifier(classifier, ds_idx):
    with classifier.no_bar(), classifier.no_logging():
        it = ClassificationInterpretation.from_learner(classifier, ds_idx=ds_idx)
        losses, idx = it.top_losses(4)
        it.plot_top_losses(4), it.show_results([0, 1]), it.plot_confusion_matrix(), it.print_classification_report()
        assert it.confusion_matrix().sum() == classifier.dls[ds_idx].n == len(it.losses)
        assert len(it.most_confused(0)) == 9 and (losses.diff() <= 0).all()
        dl = classifier.dls.test_dl(classifier.dls[ds_idx].items, with_labels=True, process=False)          # fastai's W&B callback
        preds, targs = classifier.get_preds(dl=dl)
    assert torch.allclose(F.cross_entropy(preds.log(), targs, reduction='none')[idx], losses, atol=1e-4)

@pytest.mark.parametrize('ds_idx', [0, 1])
def test_interpretation_of_a_segmenter(segmenter, ds_idx):
    with segmenter.no_bar(), segmenter.no_logging():
        it = SegmentationInterpretation.from_learner(segmenter, ds_idx=ds_idx)
        assert len(it.losses) == segmenter.dls[ds_idx].n and torch.isfinite(it.losses).all()
        it.plot_top_losses(2), it.show_results([0, 1])
    assert len(it.top_losses(2)[1]) == 2

# --- 2: callbacks that are there already
@pytest.fixture
def as_on_a_gpu(monkeypatch):
    "Autocast and the loss scaler, on the CPU; and the callbacks of a GPU"
    monkeypatch.setattr(fp16, 'autocast', lambda device, dtype: torch.autocast('cpu', dtype=torch.bfloat16))
    monkeypatch.setattr(fp16, 'GradScaler', lambda device, **kw: torch.amp.GradScaler('cpu', **kw))
    import cvnets_nb.learner as L_
    monkeypatch.setattr(L_, 'speed_cbs', lambda device: [ChannelsLast(), MixedPrecision()])
    yield
    torch.set_autocast_enabled('cpu', False), torch.clear_autocast_cache()        # a fit that failed left it on

def test_two_scalers_do_assert(as_on_a_gpu):
    "What the test below emulates is what happens"
    with pytest.raises(Exception): quiet(Learner(digits(32, bs=64), small_net(), cbs=[MixedPrecision(), MixedPrecision()]).fit, 1)

@pytest.mark.parametrize('how', ['to_fp16', 'to_bf16', 'to_channelslast', 'cbs', 'add_cb', 'fit', 'to_fp32'])
def test_mixed_precision_twice_is_once(as_on_a_gpu, how):
    learn = set_learner(digits(32, bs=32, n=200), small_net(), cbs=MixedPrecision() if how == 'cbs' else None)
    if how.startswith('to_'): getattr(learn, how)()
    if how == 'add_cb': learn.add_cb(MixedPrecision())
    before = [p.clone() for p in learn.model.parameters()]
    quiet(learn.fit, 1, cbs=MixedPrecision() if how == 'fit' else None)
    assert any((a != b).any() for a, b in zip(before, learn.model.parameters()))
    assert hasattr(learn, 'mixed_precision') == (how not in ('to_fp32', 'fit'))
    quiet(learn.fit, 1)
    assert np.isfinite(learn.recorder.values[-1]).all() and learn.cost.totals['updates'] == 2*len(learn.dls.train)

def test_a_second_of_ours_takes_the_place_of_the_first():
    learn = set_learner(digits(32, bs=64), small_net(), recipe=get_recipe('small_data').replace(ema=.01, mixup=.2, epochs=2, n=1438, size=32, bs=64, eval_resize=32, warmup=1, min_size=None, max_size=None), set=SET(.8, every=1, source='pass'))
    first = {k: getattr(learn, k) for k in ('set', 'cost', 'ema')}
    new = dict(set=SET(.7, 1, every=1, source='pass'), cost=CostLedger(), ema=EMA(.1), mix_up=MixUp(.4))
    for cb in new.values(): learn.add_cb(cb)
    quiet(learn.fit, 1)
    assert learn.recorder.metric_names.count('ema_valid_loss') == 1
    assert (len(first['set'].history), len(new['set'].history)) == (0, 1) and (first['ema'].updates, new['ema'].updates) == (0, learn.cost.totals['updates'])
    assert first['cost'].totals['updates'] == 0 < new['cost'].totals['updates'] and learn.set is new['set']

# --- 3: predict on whatever an image comes as
def forms(f):
    im = Image.open(f).convert('RGB')
    yield from (f, str(f), f.read_bytes(), bytearray(f.read_bytes()), f.open('rb'), np.asarray(im), torch.tensor(np.asarray(im)), torch.tensor(np.asarray(im)).permute(2, 0, 1).contiguous(),
                im, PILImage.create(f), np.asarray(im)/255, np.asarray(im).astype(np.uint16)*257, im.convert('RGBA'))

@pytest.mark.parametrize('kind', ['folder', 'digits', 'masks'])
def test_predict_takes_what_a_web_form_gives(kind, tmp_path, classifier, segmenter):
    learn = classifier if kind == 'folder' else segmenter if kind == 'masks' else set_learner(digits(32, bs=64), small_net())
    learn.export(tmp_path/'m.pkl')
    learn, f = load_learner(tmp_path/'m.pkl'), tmp_path/'a.png'
    photo(3, (32, 48)).save(f)
    with learn.no_bar():
        ps = [learn.predict(o)[2] for o in forms(f)]
        many = learn.get_preds(dl=learn.dls.test_dl(list(forms(f))[:2]))[0]
    assert all(torch.allclose(p, ps[0], atol=1e-6) for p in [*ps, *many])
    with pytest.raises(OSError, match='cannot read the image'): learn.predict(b'no image')

# --- 4: names of classes by any list
@pytest.mark.parametrize('as_', [np.array, tuple, L, list, iter])
def test_codes_in_any_list(as_):
    items = [[np.zeros((8, 8, 3), np.uint8), np.eye(8, dtype=np.uint8)] for _ in range(4)]
    names = ['paper', 'ink', 'Void']
    dls = DataBlock((ImageBlock, SegBlock(as_(names))), get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=IndexSplitter([3]), item_tfms=Resize(8)).dataloaders(items, bs=1, num_workers=0)
    assert codes_of(dls) == (names, 2)
    if as_ is iter: return
    dls = DataBlock((ImageBlock, MaskBlock(as_(names))), get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=IndexSplitter([3]), item_tfms=Resize(8)).dataloaders(items, bs=1, num_workers=0)
    assert codes_of(dls) == (names, 2)
    learn = set_learner(dls, nn.Conv2d(3, 3, 1), SScFBS(8, 1))
    assert learn.metrics[0].n == 3 and learn.loss_func.void == 2

# --- 5: worker processes that start from nothing
command = '''
import multiprocessing, sys
if __name__ == '__main__':
    from cvnets_nb.cli import cvnets_train
    multiprocessing.set_start_method('forkserver')
    multiprocessing.set_forkserver_preload(['cvnets_nb.all'])
    from cvnets_nb.callback import CostLedger
    CostLedger.calibrate = lambda self, **kw: self.baseline          # one start of workers less; each imports fastai anew
    cvnets_train(['--data', *sys.argv[1:]])
'''
@pytest.mark.long
def test_the_command_with_workers_that_start_from_nothing(tmp_path):
    "By `forkserver`, as Python from 3.14 on; what is imported before stays imported (`spawn`: test_loader.py)"
    (tmp_path/'prog.py').write_text(command)
    photos = collection(tmp_path/'photos', 'cat', 'dog', n=22)
    args = [*quick[:-1], '1', '--bs', '2', '--no-set', '--out', str(tmp_path/'run')]
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(Path(__file__).resolve().parent.parent))
    r = subprocess.run([sys.executable, '-W', 'ignore', str(tmp_path/'prog.py'), str(photos), *args], capture_output=True, text=True, env=env, cwd=tmp_path, timeout=600)
    assert r.returncode == 0, r.stderr[-3000:]
    assert 'accuracy' in r.stdout

def part_of(o, i): return o[i]
class PartOf:
    "A callable without a name"
    def __init__(self, i): self.i = i
    def __call__(self, o): return o[self.i]

def test_all_of_our_transforms_pickle(photos, tmp_path):
    import pickle
    recipes = [get_recipe(n) for n in list_recipes()]
    masks, boxes = scenes((32, 48), bs=4, n=8), box_scenes(32, bs=4, n=8)
    data = dict(segmentation=(masks, nn.Conv2d(3, 11, 1)), detection=(boxes, 'mobilenetv1_025'), classification=(digits(32, bs=32), small_net()), video=(moving_digits(n=20), 'shift/mobilenetv1_025'))
    for r in recipes:
        learn = set_learner(*data[r.task], recipe=r.name)
        for dl in learn.dls.loaders: pickle.loads(pickle.dumps(dl))
    items = scene_items(8, (32, 48))
    pairs = lambda x, y: seg_dls(items, [*map(str, range(11))], [6, 7], (32, 48), 2, x, y, void=255, num_workers=0)
    makers = [lambda: folder_dls(photos, size=32, bs=8), lambda: mask_folder_dls(masked(tmp_path/'m'), size=32, bs=4), lambda: digits(32, bs=32), lambda: digit_traits(32, bs=32),
              lambda: tilted_digits(32, bs=32), lambda: masks, lambda: boxes, lambda: pairs(ItemGetter(0), ItemGetter(1)), lambda: pairs(partial(part_of, i=0), partial(part_of, i=1)), lambda: pairs(PartOf(0), PartOf(1))]
    for make in makers:
        for dl in make().loaders: pickle.loads(pickle.dumps(dl))

# --- 6: a test set with labels, anywhere
@pytest.mark.parametrize('relative', [False, True])
def test_a_labelled_test_set(photos, tmp_path, monkeypatch, relative):
    monkeypatch.chdir(photos.parent)
    dls = folder_dls(photos.name if relative else photos, size=32, bs=8, num_workers=0)
    learn = set_learner(dls, small_net(3), metrics=accuracy)
    away = collection(tmp_path/'elsewhere'/'deep', 'dog', 'emu', n=3)
    for files in (get_image_files(away), get_image_files(Path(os.path.relpath(away))), [str(f) for f in get_image_files(away)], get_image_files(photos.resolve())[:6]):
        dl = learn.dls.test_dl(files, with_labels=True)
        ys = torch.cat([y for _, y in dl])
        assert [dls.vocab[i] for i in ys] == [Path(f).parent.name for f in files]
        assert 0 <= quiet(learn.validate, dl=dl)[1] <= 1
    monkeypatch.chdir(tmp_path)                                       # the folder's name meant another place
    if relative: assert len(quiet(learn.validate, dl=learn.dls.test_dl(get_image_files(photos), with_labels=True))) == 2
    odd = collection(tmp_path/'more', 'gnu', 'dog', n=2)
    with pytest.raises(ValueError, match="gnu.*is of class 'gnu', which the training did not have; its classes are cat, dog, emu"):
        quiet(learn.validate, dl=learn.dls.test_dl(get_image_files(odd), with_labels=True))

# --- 7: losses of others
@pytest.mark.parametrize('loss', [CrossEntropyLossFlat(axis=1, weight=torch.ones(11)), FocalLoss(), FocalLossFlat(axis=1), DiceLoss(), LabelSmoothingCrossEntropyFlat(axis=1), nn.CrossEntropyLoss(), F.cross_entropy], ids=lambda l: getattr(l, '__name__', type(l).__name__))
def test_losses_of_fastai_and_torch_train_segmenters(loss):
    dls = scenes((32, 48), bs=4, n=8)
    learn = set_learner(dls, 'mobilenetv1_025', loss_func=loss, width=16, output_stride=16)
    x, y = dls.one_batch()
    main, aux = learn.model.train()(x)
    assert torch.isfinite(learn.loss_func((main, aux), y)) and torch.allclose(learn.loss_func((main, aux), y), learn.loss_func(main, y) + .4*learn.loss_func(aux, y))
    before = [p.clone() for p in learn.model.seg_head.aux_head.parameters()]
    quiet(learn.fit, 1)
    assert any((a != b).any() for a, b in zip(before, learn.model.seg_head.aux_head.parameters())), 'the auxiliary head learns too'
    assert np.isfinite(learn.recorder.values[-1]).all()
    if isinstance(loss, DiceLoss): assert learn.cost.calibrate(steps=1, warmup=0)['seconds'] > 0
    p, _, seen = quiet(learn.get_preds, with_decoded=True)
    assert torch.equal(p.argmax(1), seen) and torch.allclose(p.sum(1), torch.ones(1), atol=1e-4)
    assert set_learner(dls, nn.Conv2d(3, 11, 1), loss_func=SegmentationLoss()).loss_func.aux_weight == .4

# --- 8: everyday sizes (of samplers: test_samplers.py)
@pytest.mark.parametrize('size', [300, 100, 150, (36, 50)])
@pytest.mark.parametrize('recipe', [None, 'mobilenetv2', 'small_data'])
def test_everyday_sizes_train(photos, size, recipe):
    learn = set_learner(folder_dls(photos, size=size, bs=8, num_workers=0), small_net(3), None if recipe else MScVBS, recipe=recipe)
    s = learn.dls.train.sampler
    assert s.base == (size if isinstance(size, tuple) else (size, size)) and len(s.pairs) > 1
    quiet(learn.fit, 1)

def test_everyday_sizes_of_masks():
    learn = set_learner(scenes((36, 60), bs=4, n=8), 'mobilenetv2_025', recipe='small_masks', width=16, output_stride=16)
    quiet(learn.fit_recipe, 1)

def test_an_odd_size_is_refused_with_sizes_that_work(photos, tmp_path, capsys):
    with pytest.raises(ValueError, match='size 99 is odd.*take 98 or 100.*SScFBS'): set_learner(folder_dls(photos, size=99, bs=8, num_workers=0), small_net(3), MScVBS)
    with pytest.raises(SystemExit): cvnets_train(['--data', str(photos), '--size', '99', '--sampler', 'msc_vbs', '--out', str(tmp_path/'run')])
    assert 'take 98 or 100' in capsys.readouterr().err and not (tmp_path/'run').exists()

# --- 9: models of one size
class OneSizeNet(nn.Module):
    "A network that flattens its last map"
    def __init__(self, size=32):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, 2, 1), nn.Linear(4*(size//2)**2, 10)
    def forward(self, x): return self.head(self.conv(x).flatten(1))

def test_a_model_of_one_size_gets_a_plan_of_one_size():
    dls, large = digits(32, bs=64), digits(96, bs=64, n=200)
    with pytest.warns(UserWarning, match=r'takes images of 96x96, and not of 72x72: one size, SScFBS\(96, 64\)'): learn = set_learner(large, OneSizeNet(96))
    assert learn.dls.train.sampler == SScFBS(96, 64)
    quiet(learn.fit, 1)
    for kw in (dict(sampler=MScVBS(32, 64)), dict(sampler=MScVBS), {}):
        with pytest.raises(ValueError, match='one size, SScFBS'): set_learner(dls if kw else dls.with_plan(MScFBS(32, 64)), OneSizeNet(), **kw)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert set_learner(dls, OneSizeNet(), SScFBS(32, 64)).dls.train.bs == 64
        assert set_learner(dls, small_net()).dls.train.sampler == set_learner(dls, OneSizeNet()).dls.train.sampler == SScFBS(32, 64)
        assert set_learner(large, small_net()).dls.train.sampler == Progressive(96, 64)

def test_timms_models_of_one_size():
    pytest.importorskip('timm')
    kw = dict(embed_dim=12, depth=1, num_heads=1, img_size=64)
    with pytest.raises(ValueError, match=r'takes images of 64x64.*SScFBS\(64, 64\), or dynamic_img_size=True'): set_learner(digits(64, bs=64), 'timm/vit_tiny_patch16_224', MScVBS, **kw)
    assert set_learner(digits(64, bs=64), 'timm/vit_tiny_patch16_224', **kw).dls.train.sampler == SScFBS(64, 64)
    learn = set_learner(digits(64, bs=64), 'timm/vit_tiny_patch16_224', MScVBS(64, 64, divisor=16), dynamic_img_size=True, **kw)
    quiet(learn.fit, 1)
    assert len(learn.dls.train.sampler.pairs) > 1
    with pytest.raises(ValueError, match='takes images of 224x224, and the data have 64x64.*dynamic_img_size=True'):
        set_learner(digits(64, bs=64), 'timm/vit_tiny_patch16_224', embed_dim=12, depth=1, num_heads=1)

# --- 10: weights from a file, for every model that can be made
@pytest.mark.parametrize('arch, form', [(a, 'dict') for a in ('mobilenetv2_025', 'resnet18_tv', 'mobilevit_xxs', 'timm/mobilenetv2_050', 'timm/resnet18')] +
                         [(a, f) for a in ('mobilenetv2_025', 'timm/mobilenetv2_050') for f in ('.safetensors', '.pth')])
def test_weights_from_a_file(arch, form, tmp_path):
    if arch.startswith('timm'): pytest.importorskip('timm')
    from cvnets_nb.models import create_model
    sd = {k: v + .01 if v.is_floating_point() else v for k, v in create_model(arch, n_out=7).state_dict().items()}
    source = sd if form == 'dict' else tmp_path/f'w{form}'
    if form == '.pth': torch.save(sd, source)
    if form == '.safetensors': save_file(sd, source)
    learn = set_learner(digits(32, bs=64), arch, SScFBS(32, 64), pretrained=source)
    got = learn.model.state_dict()
    head = [k for k in sd if sd[k].shape != got[k].shape]
    assert 0 < len(head) <= 2 and all(torch.equal(got[k], sd[k]) for k in sd if k not in head)
    if form != 'dict': return
    with pytest.raises(ValueError, match="the checkpoint is not one of this"): set_learner(digits(32, bs=64), arch, pretrained={k: v for k, v in list(sd.items())[1:]})
    seg = set_learner(scenes((32, 48), bs=4, n=8), arch, pretrained=sd, width=16, output_stride=16 if 'resnet' not in arch else 32)
    k = next(k for k in sd if sd[k].ndim == 4)
    assert any(o.shape == sd[k].shape and torch.equal(o, sd[k]) for o in seg.model.encoder.state_dict().values())

# --- 11: masks of black and white
disc = np.hypot(*np.mgrid[-16:16, -16:16]) < 9
def painted(root, mode, n=8):
    "Images with masks, painted in `mode`"
    for i in range(n):
        im, m = Image.fromarray(np.where(disc[..., None], 220, 30).astype(np.uint8).repeat(3, 2)), np.roll(disc, i, 0)
        im.save(root/f'{i}.jpg')
        if mode == 'bit': Image.fromarray(m).save(root/f'{i}_mask.png')
        elif mode == 'jpeg': Image.fromarray(m.astype(np.uint8)*255).save(root/f'{i}_mask.jpeg')
        elif mode == 'colour': Image.fromarray((m.astype(np.uint8)*255)).convert('RGB').save(root/f'{i}_mask.png')
        else: Image.fromarray(m.astype(np.uint8)*(255 if mode == 'white' else 1)).save(root/f'{i}_mask.png')
    ext = 'jpeg' if mode == 'jpeg' else 'png'
    return L(root/f'{i}.jpg' for i in range(n)), lambda f: f.with_name(f'{f.stem}_mask.{ext}')

@pytest.mark.parametrize('mode,binary,trains', [('white', False, False), ('white', True, True), ('bit', False, True), ('bit', True, True), ('jpeg', False, False), ('jpeg', True, True),
                                                ('colour', False, False), ('colour', True, True), ('index', False, True)])
def test_black_and_white_masks(tmp_path, mode, binary, trains):
    files, of = painted(tmp_path, mode)
    dls = seg_dls(files, ['paper', 'disc'], range(6, 8), 32, 2, get_y=of, num_workers=0, binary=binary) if trains or mode != 'colour' else None
    if not trains:
        with pytest.raises((ValueError, OSError), match='binary=True'): set_learner(dls or seg_dls(files, ['paper', 'disc'], range(6, 8), 32, 2, get_y=of, num_workers=0), nn.Conv2d(3, 2, 1))
        return
    learn = set_learner(dls, nn.Conv2d(3, 2, 1))
    ys = torch.cat([y.flatten() for _, y in learn.dls.valid])
    assert set(ys.unique().tolist()) == {0, 1} and abs(ys.float().mean() - disc.mean()) < .02
    assert learn.validate_original()['classes'] == 2

def test_void_that_was_named_may_stand_beside_a_class_that_is_nowhere(tmp_path):
    root = repaint(masked(tmp_path/'d', codes=('paper', 'disc', 'ring')), lambda a: Image.fromarray(np.where(a.cumsum(1) == 1, 255, a).astype(np.uint8)))
    with pytest.warns(UserWarning, match="'ring' in no mask of the validation set: mean IoU will be over 2 classes"): check_segmentation(mask_folder_dls(root, 32, 4, void=255))
    with pytest.warns(UserWarning, match="'ring' in no mask of the training set: the model cannot learn it"): check_segmentation(mask_folder_dls(root, 32, 4, void=255))
    with pytest.raises(ValueError, match="class 'ring' is in no mask, and 255, which was taken for void, is in some"): check_segmentation(mask_folder_dls(root, 32, 4))

def test_fastais_own_masks_of_black_and_white_are_refused(tmp_path):
    files, of = painted(tmp_path, 'white')
    dls = SegmentationDataLoaders.from_label_func(tmp_path, files, of, bs=2, codes=np.array(['paper', 'disc']), item_tfms=Resize(32, 'squish'), num_workers=0)
    with pytest.raises(ValueError, match="class 'disc' is in no mask, and 255"): set_learner(dls, nn.Conv2d(3, 2, 1))

# --- 12: splits by other names, through the command
@pytest.mark.parametrize('train,valid', [('Training', 'Testing'), ('train', 'validation'), ('Train', 'Valid'), ('train', 'dev')])
def test_the_command_says_what_it_took_for_what(tmp_path, capsys, train, valid):
    collection(tmp_path/'d', *(f'{s}/{c}' for s in (train, valid) for c in ('cat', 'dog')), n=4)
    (tmp_path/'d'/'extra').mkdir()
    argv = [*quick, '--data', str(tmp_path/'d'), '--out', str(tmp_path/'run')]
    if train == 'Training': argv[argv.index('--size') + 1] = '300'
    cvnets_train(argv)
    assert f'{train}/ to train, {valid}/ to validate; extra/ not used: 8 images of 2 classes to train on, 8 to validate' in capsys.readouterr().out
    facts = json.loads((tmp_path/'run'/'run.json').read_text())['data']
    assert len(facts.pop('hash')) == 16 and facts == dict(train=8, valid=8, classes=['cat', 'dog'])

def test_splits_that_nobody_can_know_are_asked_for(tmp_path, capsys):
    collection(tmp_path/'d', *(f'{s}/{c}' for s in ('seen', 'unseen') for c in ('cat', 'dog')), n=4)
    argv = [*quick, '--data', str(tmp_path/'d'), '--out', str(tmp_path/'run')]
    with pytest.raises(SystemExit): cvnets_train(argv)
    assert "seen, unseen in " in capsys.readouterr().err and not (tmp_path/'run').exists()
    cvnets_train([*argv, '--train', 'seen', '--valid', 'unseen'])
    assert 'seen/ to train, unseen/ to validate' in capsys.readouterr().out
    assert folder_dls(tmp_path/'d', size=32, bs=4, num_workers=0, train='.').vocab == ['seen', 'unseen']

# --- 13: after an interrupt
class Break(Callback):
    order = 95
    def __init__(self, e, when): self.e, self.when = e, when
    def after_batch(self):
        if self.training and self.epoch == 2 and self.when == 'train': raise self.e
    def after_validate(self):
        if self.epoch == 2 and self.when == 'validate': raise self.e

@pytest.mark.parametrize('when', ['train', 'validate'])
@pytest.mark.parametrize('error', [KeyboardInterrupt(), MemoryError(), RuntimeError('CUDA out of memory')], ids=lambda e: type(e).__name__)
def test_a_fit_that_is_broken_off_leaves_the_data_whole(error, when):
    dls = digits(32, bs=32, n=320).with_plan(MScVBS(32, 32), seed=3)
    learn = Learner(dls, small_net(), cbs=[SET(0., 1, every=9, keep=.1), CostLedger(), Break(error, when)])       # everything right is easy at once
    learn.opt_func = SGD
    held = None
    try: quiet(learn.fit, 4, 5e-2)
    except BaseException as e: held = e                                # as a notebook holds the last traceback
    assert held is not None and learn.set.history[-1]['active'] < dls.train.n, 'nothing was left out: this test tests nothing'
    plain, seen = Learner(dls, small_net()), []
    class Ids(Callback):
        def after_batch(self):
            if self.training: seen.append((self.epoch, self.y.cpu()))
    quiet(plain.fit, 2, cbs=Ids())
    epochs = [torch.cat([y for e, y in seen if e == k]) for k in range(2)]
    assert [len(e) for e in epochs] == [dls.train.n]*2 and not torch.equal(*epochs)
    again = Learner(dls, small_net(), cbs=[SET(), CostLedger()])
    quiet(again.fit, 1)
    assert again.cost.totals['samples'] == dls.train.n
    del held

# --- 14: scores at the masks' own size, or none
@pytest.mark.parametrize('tfm,right', [(lambda: Resize((32, 48), 'squish'), True), (lambda: SegCrop((32, 48)), True), (lambda: Resize(32), False), (lambda: Resize(32, 'pad', pad_mode='zeros'), False),
                                       (lambda: RandomResizedCrop(32), False), (lambda: [Resize((32, 48)), Resize(32)], False)])
def test_a_perfect_model_has_a_perfect_score_or_none(tmp_path, tfm, right):
    items = []
    for i in range(6):
        m = np.zeros((64, 96), np.uint8)
        m[16:48, 8*i:8*i+40] = 1
        items.append([np.repeat(m[..., None]*255, 3, 2), m])
    dls = seg_dls(items, ['out', 'in'], [4, 5], 32, 2, ItemGetter(0), ItemGetter(1), item_tfms=tfm(), num_workers=0)
    net = nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        net.weight.zero_(), net.bias.copy_(torch.tensor([0., -50.]))
        net.weight[1, 0] = 100.
    learn = SegLearner(dls, net, loss_func=SegmentationLoss(), metrics=seg_metrics(dls))
    assert quiet(learn.validate)[1] > .97
    if right: assert learn.validate_original()['miou'] > .97
    else:
        with pytest.raises(ValueError, match='does not show the whole of an image of 64x96'): learn.validate_original()

# --- 15: pixels of 16 bits
@pytest.mark.parametrize('ext', ['png', 'tiff'])
def test_16_bits_are_scaled_and_not_cut(tmp_path, ext):
    grey = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))
    for c, a in (('deep', grey.astype(np.uint16)*257), ('flat', grey)):
        (tmp_path/c).mkdir()
        for i in range(4): Image.fromarray(a).save(tmp_path/c/f'{i}.{ext}')
    dls = folder_dls(tmp_path, size=32, bs=4, num_workers=0, item_tfms=Resize(32))
    xs = {dls.vocab[y]: x for x, y in dls.valid_ds}
    assert np.array_equal(np.asarray(xs['deep']), np.asarray(xs['flat'])) and np.array_equal(np.asarray(xs['deep'])[..., 0], grey)
    if ext == 'tiff':
        Image.fromarray(grey.astype(np.float32)).save(tmp_path/'deep'/'f.tiff')
        with pytest.raises(ValueError, match=r'f\.tiff \(ValueError: its pixels are floats from 0 to 248'): folder_dls(tmp_path, size=32)

# --- 16: damaged images
def damage(f, rng):
    "Some bytes of a JPEG changed, its ends as they should be"
    b = bytearray(f.read_bytes())
    for k in rng.integers(300, len(b) - 10, 12): b[k] = rng.integers(256)
    return bytes(b)

def test_the_check_finds_what_would_stop_the_training(tmp_path):
    rng, files = np.random.default_rng(0), []
    photo(0, (64, 64)).save(tmp_path/'good.jpg', quality=90)
    for i in range(150):
        files.append(tmp_path/f'{i}.jpg')
        files[-1].write_bytes(damage(tmp_path/'good.jpg', rng))
    bad = {f for f, _ in check_images(files)}
    def opens(f):
        try: PILImage.create(f); return True
        except Exception: return False
    assert bad == {f for f in files if not opens(f)} and 5 < len(bad) < 145

def test_the_command_skips_what_it_is_told_to_skip(tmp_path, capsys):
    d = collection(tmp_path/'d', 'cat', 'dog', n=10)
    (d/'cat'/'3.jpg').write_bytes((d/'cat'/'3.jpg').read_bytes()[:-300])
    argv = [*quick, '--data', str(d), '--out', str(tmp_path/'run')]
    with pytest.raises(SystemExit): cvnets_train(argv)
    assert '3.jpg' in capsys.readouterr().err
    cvnets_train([*argv, '--skip'])
    out, err = capsys.readouterr()
    assert '1 of 20 images cannot be read' in err and '3.jpg' in err and '15 images of 2 classes to train on, 4 to validate' in out

@pytest.mark.parametrize('workers', [0, 2])
def test_an_image_that_goes_bad_is_replaced_and_counted_where_asked(tmp_path, workers):
    d = collection(tmp_path/'d', 'cat', 'dog', n=10)
    dls = folder_dls(d, size=32, bs=4, num_workers=workers)
    bad = dls.train_ds.items[2]
    bad.write_bytes(bad.read_bytes()[:-300])
    with pytest.raises(OSError, match=str(bad)): quiet(set_learner(dls, small_net(2)).fit, 1)
    learn = set_learner(dls.with_plan(MScVBS(32, 4), replace=True), small_net(2), set=SET(0., 1, every=1, until=1))
    with pytest.warns(UserWarning, match=f'1 of 16 training samples cannot be read, others take their places: {bad}'): quiet(learn.fit, 2)
    assert learn.dls.train.unreadable == [bad] and np.isfinite(learn.recorder.values[-1]).all()

# --- 17: names that fit the task
def test_names_are_those_of_the_task(tmp_path, capsys):
    out = tmp_path/'run'
    with pytest.raises(SystemExit): cvnets_train(['--arch', 'deeplabv3_mobilenetv1_025', '--out', str(out)])
    err = capsys.readouterr().err
    assert 'is for segmentation, not for classification: did you mean mobilenetv1_025' in err and 'deeplabv3_' not in err.split('did you mean')[1] and not out.exists()
    for arch in ('deeplabv3_mobilenetv1_025', 'pspnet_resnet18', 'deeplabv3_mobilenetv9'):
        with pytest.raises(ValueError, match='did you mean') as e: set_learner(digits(32, bs=64), arch)
        assert not {'deeplabv3', 'pspnet'} & {o.split('_')[0] for o in str(e.value).split('did you mean ')[1].split(', ')}

def test_a_run_that_crashes_at_once_leaves_its_folder_free(tmp_path, monkeypatch):
    def crash(self): raise RuntimeError('out of memory')
    argv = [*'--arch mobilenetv1_025 --size 32 --bs 64 --epochs 1'.split(), '--out', str(tmp_path/'run')]
    with monkeypatch.context() as m, pytest.raises(RuntimeError):
        m.setattr(CheckpointCallback, 'before_batch', crash, raising=False)
        cvnets_train(argv)
    assert not (tmp_path/'run').exists()
    cvnets_train(argv)
    assert (tmp_path/'run'/'model.pkl').is_file()

# --- what a first user met
def test_sizes_of_a_recipe_grow_over_every_fit():
    "The base size is reached by whatever fit, however short; too short a plan of one's own is told"
    learn = set_learner(digits(32, bs=32, n=320), small_net(), recipe='small_data')
    seen = []
    class Seen(Callback):
        def before_batch(self):
            if self.training: seen.append((self.epoch, self.xb[0].shape[-1]))
    for fit, n in ((learn.fit_one_cycle, 3), (learn.fit, 2), (learn.fit_recipe, 3)):
        seen.clear()
        quiet(fit, n, cbs=Seen())
        assert max(s for e, s in seen if e == n-1) == 32 and max(s for e, s in seen if e == 0) < 32
    with pytest.warns(UserWarning, match='these sizes grow over 30 epochs and this fit has 2'): quiet(set_learner(digits(32, bs=32, n=100), small_net(), Growing(MScFBS(32, 32, max_size=32), 30)).fit, 2)

def test_a_loss_that_leaves_void_out_by_itself():
    items = [[a, np.where(m == 255, 11, m).astype(np.uint8)] for a, m in scene_items(8, (32, 48))]
    dls = seg_dls(items, [*map(str, range(11)), 'Void'], [6, 7], (32, 48), 2, ItemGetter(0), ItemGetter(1), num_workers=0)
    learn = set_learner(dls, nn.Conv2d(3, 12, 1), loss_func=CrossEntropyLossFlat(axis=1, ignore_index=11))
    quiet(learn.fit, 1)
    x, y = dls.one_batch()
    want = F.cross_entropy(learn.model.cpu()(x.cpu().as_subclass(torch.Tensor)), y.cpu().as_subclass(torch.Tensor).long(), ignore_index=11)
    assert torch.allclose(learn.loss_func(learn.model(x.cpu()), y.cpu()), want, atol=1e-5)

def test_binary_for_masks_that_hold_0_and_1_already(tmp_path):
    files, of = painted(tmp_path, 'index')
    with pytest.raises(OSError, match=r'_mask\.png: with binary=True .* the largest value of this one is 1; if the values are the indices .* leave binary=True out'):
        seg_dls(files, ['paper', 'disc'], range(6, 8), 32, 2, get_y=of, num_workers=0, binary=True)

def test_statistics_follow_the_weights(tmp_path):
    import torchvision
    tv = torchvision.models.resnet18(num_classes=7).state_dict()
    norm = lambda learn: next((t for t in learn.dls.train.after_batch.fs if isinstance(t, Normalize)), None)
    assert torch.allclose(norm(set_learner(digits(32, bs=64), 'resnet18_tv', SScFBS(32, 64), pretrained=tv)).mean.flatten().cpu(), torch.tensor([.485, .456, .406]))
    mine = digits(32, bs=64, batch_tfms=Normalize.from_stats([.5]*3, [.5]*3, cuda=False))
    assert norm(set_learner(mine, 'resnet18_tv', SScFBS(32, 64), pretrained=tv)).mean.flatten()[0] == .5            # a file's own are yours to say
    timm = pytest.importorskip('timm')
    seg = set_learner(scenes((32, 48), bs=4, n=8), 'timm/tf_efficientnet_lite0', width=8, output_stride=16, pretrained=timm.create_model('tf_efficientnet_lite0').state_dict())
    assert norm(seg).mean.flatten()[0] == .5

def test_the_runs_of_the_command_are_no_class(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(collection(tmp_path, 'cat', 'dog', n=6))
    for out in ('cvnets_run', 'second'): cvnets_train([*quick, '--data', '.', '--out', out])
    assert '10 images of 2 classes to train on' in capsys.readouterr().out
    cvnets_train(['--resume', '--out', 'second'])
    assert 'single-scale' in (out := capsys.readouterr().out) and ',' not in out.split('single-scale')[0].split('\n')[-1]

def test_messages_of_the_command_name_options(tmp_path, capsys):
    d = collection(tmp_path/'d', 'cat', 'dog', n=6)
    (d/'cat'/'3.jpg').write_bytes(b'no image')
    for argv, says, not_ in (([], '--skip', 'skip=True'), (['--size', '99', '--sampler', 'msc_vbs', '--skip'], '--sampler ssc_fbs', 'SScFBS')):
        with pytest.raises(SystemExit): cvnets_train(['--data', str(d), '--arch', 'mobilenetv1_025', '--out', str(tmp_path/'run'), *argv])
        err = capsys.readouterr().err
        assert says in err and not_ not in err

# --- 20: folders of masks
def nested(root):
    "Images of the same names in two sub-folders, with the masks of each as large as its number"
    for k, d in enumerate(('one', 'two')):
        for i in range(4):
            for part in ('images', 'labels'): (root/part/d).mkdir(parents=True, exist_ok=True)
            photo(i).save(root/'images'/d/f'{i}.png')
            Image.fromarray((np.arange(40*48).reshape(40, 48) < 300*(k+1)).astype(np.uint8)).save(root/'labels'/d/f'{i}.png')
    (root/'codes.txt').write_text('bg\nobj')
    return root

def test_masks_of_sub_folders_belong_to_the_images_of_the_same_ones(tmp_path):
    root = nested(tmp_path/'d')
    dls = mask_folder_dls(root, size=32, bs=2, num_workers=0)
    for ds in (dls.train_ds, dls.valid_ds):
        for f, m in zip(ds.items, ds.tls[1]): assert (np.asarray(m) == 1).sum() == 300*(1 + (f.parent.name == 'two'))
    for f in (root/'labels'/'two').iterdir(): f.rename(root/'labels'/f.name)
    with pytest.raises(ValueError, match='two.0.png have the same name, and .*labels.0.png could be'): mask_folder_dls(root, size=32, bs=2)
    for f in (root/'labels'/'one').iterdir(): f.unlink()
    with pytest.raises(ValueError, match='two/0.png have the same name.*same sub-folders as the images'): mask_folder_dls(root, size=32, bs=2)

@pytest.mark.parametrize('image,mask', [('x{}_L', 'x{}_L'), ('x{}_mask', 'x{}_mask'), ('x{}', 'x{}_Mask'), ('x{}', 'x{}_segmentation'), ('x{}', 'x{}_Seg'), ('x{}', 'x{}_labels'), ('x{}', 'mask_x{}'), ('x{}', 'Mask_x{}'), ('x{}_L', 'x{}_L_gt')])
def test_names_of_masks(tmp_path, image, mask):
    root = masked(tmp_path/'d', codes=('bg', 'obj'))
    for i in range(8):
        (root/f'images/i{i}.png').rename(root/'images'/f'{image.format(i)}.png')
        (root/f'labels/i{i}.png').rename(root/'labels'/f'{mask.format(i)}.png')
    dls = mask_folder_dls(root, size=32, bs=2, num_workers=0)
    for f, m in zip(dls.train_ds.items, dls.train_ds.tls[1]): assert np.flatnonzero(np.asarray(m)[5])[0] == 5 + int(re.search(r'\d', f.name)[0])

@pytest.mark.parametrize('relative', [False, True])
def test_a_labelled_test_set_of_masks(tmp_path, monkeypatch, relative):
    monkeypatch.chdir(tmp_path)
    root = masked(Path('d') if relative else tmp_path/'d')
    away = repaint(masked(tmp_path/'away'/'deep', n=5), lambda a: Image.fromarray(1 - a))
    learn = mask_learner(root)
    quiet(learn.fit, 1)
    for files in (get_image_files(away/'images'), get_image_files(Path('away/deep/images')), [str(f) for f in get_image_files(away/'images')]):
        dl = learn.dls.test_dl(files, with_labels=True)
        ys = torch.cat([y for _, y in dl])
        assert len(ys) == 5 and (ys[:, 0] == 1).all()                             # not the masks of the same names that it was trained on
        assert len(quiet(learn.validate, dl=dl)) == 3 and learn.validate_original(dl=dl)['classes'] == 2
    monkeypatch.chdir(away)                                                        # a relative path meant another place
    dl = learn.dls.test_dl(get_image_files(tmp_path/'d'/'images'), with_labels=True)
    assert all((y[:, 0] == 0).all() for _, y in dl) and learn.validate_original(dl=dl)['classes'] == 2
    more = masked(tmp_path/'more', n=5)
    (more/'labels'/'i3.png').unlink()
    with pytest.raises(ValueError, match=r'i3\.png has no mask'): learn.validate_original(dl=learn.dls.test_dl(get_image_files(more/'images'), with_labels=True))
    assert sum(len(b[0]) for b in learn.dls.test_dl(get_image_files(more/'images'))) == 5      # without labels no mask is looked for

@pytest.mark.parametrize('text', ['i1.png\ni4.png', '\ufeffi1.png\ni4.png\n', 'i1\r\ni4\r\n', 'images/i1.png\n./images/i4.png', 'images\\i1.png\n\n i4.png '], ids=range(5))
def test_forms_of_valid_txt(tmp_path, text):
    root = masked(tmp_path/'d')
    (root/'valid.txt').write_bytes(text.encode('utf-8'))
    assert [f.name for f in mask_folder_dls(root, size=32, bs=2).valid_ds.items] == ['i1.png', 'i4.png']

@pytest.mark.parametrize('text,says', [('\n'.join(f'i{i}.png' for i in range(8)), 'names all 8 images, so none is left for training'), ('i1.png\nx9.png\ny.png', r'names what is not in .*images: x9\.png, y\.png'), ('\n', 'names no image')], ids=range(3))
def test_a_valid_txt_that_cannot_be_is_refused(tmp_path, text, says):
    root = masked(tmp_path/'d')
    (root/'valid.txt').write_text(text)
    with pytest.raises(ValueError, match=r'valid\.txt ' + says): mask_folder_dls(root, size=32, bs=2)

def test_codings_of_codes_txt(tmp_path):
    root = masked(tmp_path/'d')
    (root/'codes.txt').write_bytes('\ufeffbg\nfenêtre'.encode('utf-8'))
    assert codes_of(mask_folder_dls(root, size=32, bs=2))[0] == ['bg', 'fenêtre']
    (root/'codes.txt').write_bytes('bg\nfenêtre'.encode('latin-1'))
    with pytest.raises(ValueError, match=r'codes\.txt is not UTF-8 .*; save it as UTF-8'): mask_folder_dls(root, size=32, bs=2)

# --- 21: masks that are not what binary=True, or its absence, says
refused = (ValueError, OSError)
def in_alpha(a): return Image.fromarray(np.dstack([np.full((*a.shape, 3), 255), a*255]).astype(np.uint8))
def voc(a):
    im = Image.fromarray(a)
    im.putpalette([0, 0, 0, 128, 0, 0])
    return im
def red(a): return Image.fromarray((a[..., None]*[255, 0, 0]).astype(np.uint8))
def trimap(a): return Image.fromarray(np.where(a.cumsum(1) == 1, 128, a*255).astype(np.uint8))
def index_and_void(a): return Image.fromarray(np.where(a.cumsum(1) == 1, 255, a).astype(np.uint8))

@pytest.mark.parametrize('paint,says', [(in_alpha, 'drawn in the alpha channel'), (voc, 'the indices of its palette are the classes'), (red, 'convert each colour to the index'), (trimap, 'this one holds 128 too'), (Image.fromarray, 'largest value of this one is 1'), (index_and_void, 'this one holds 1 too'), (lambda a: Image.fromarray(a.astype(np.uint16)), 'largest value of this one is 1')])
@pytest.mark.parametrize('which', [None, ['i2.png']])
def test_masks_that_are_not_black_and_white_are_refused_by_name(tmp_path, paint, says, which):
    "All of them, or one among those that are"
    root = repaint(masked(tmp_path/'d'), lambda a: Image.fromarray(a*255))
    repaint(root, lambda a: paint((a > 127).astype(np.uint8)), which)
    with pytest.raises(refused, match=says) as e: mask_learner(root, binary=True)
    assert 'i2.png' in str(e.value) if which else '.png' in str(e.value)

@pytest.mark.parametrize('value,binary', [(0, False), (0, True), (255, True), (1, False)])
def test_a_training_set_of_one_class_is_refused(tmp_path, value, binary):
    root = repaint(masked(tmp_path/'d'), lambda a: Image.fromarray(np.full_like(a, value)))
    (root/'valid.txt').write_text('i0')
    repaint(root, lambda a: Image.fromarray(np.where(np.arange(40) < 20, 0, 255 if binary else 1).astype(np.uint8).repeat(40).reshape(40, 40)), ['i0.png'])
    with pytest.raises(ValueError, match=f"training set hold class '{'obj' if value else 'bg'}' only: '{'bg' if value else 'obj'}' in none of them"): mask_learner(root, binary=binary)

def test_index_masks_saved_as_jpeg_are_refused(tmp_path):
    root = masked(tmp_path/'d')
    for f in sorted((root/'labels').iterdir()):
        Image.open(f).save(f.with_suffix('.jpg'), quality=50)
        f.unlink()
    with pytest.raises(ValueError, match="hold class 'bg' only.*JPEG"): mask_learner(root)

def test_masks_painted_in_two_ways_are_refused(tmp_path):
    root = repaint(masked(tmp_path/'d'), lambda a: Image.fromarray(a*255), [f'i{i}.png' for i in range(4)])
    with pytest.raises(ValueError, match=r'some masks hold 0 and 255, such as .*i[0-3]\.png, and others 0 and 1, such as .*i[4-7]\.png'): mask_learner(root)
    with pytest.raises(refused, match=r'i[4-7]\.png: with binary=True'): mask_learner(root, binary=True)
    mask_learner(root, void=255)                                     # it was said what 255 is
    mask_learner(repaint(masked(tmp_path/'e'), index_and_void))      # void beside both classes

@pytest.mark.parametrize('paint,binary', [(lambda a: Image.fromarray(a.astype(np.uint16)), False), (lambda a: Image.fromarray(a.astype(np.uint16)*65535), True), (lambda a: Image.fromarray(a.astype(np.uint16)*255), True), (voc, False),
                                          (lambda a: Image.fromarray(a*255).resize((80, 80), Image.Resampling.BICUBIC).resize((40, 40), Image.Resampling.BILINEAR), True), (lambda a: Image.fromarray(a*255).convert('RGBA'), True), (lambda a: Image.fromarray(a*250 + 2), True)])
def test_masks_of_other_kinds_are_read(tmp_path, paint, binary):
    root = repaint(masked(tmp_path/'d'), paint)
    dls = mask_folder_dls(root, 32, 4, binary=binary)
    check_segmentation(dls)
    for f, m in zip(dls.train_ds.items, dls.train_ds.tls[1]): assert (np.asarray(m) == 1).sum() == 15*(20 - int(f.stem[1]))

def test_masks_of_another_size_are_named(tmp_path):
    "When the data of a folder are made; of other data, the first then, and any when the Learner is made"
    root = masked(tmp_path/'d')
    (root/'valid.txt').write_text('i6\ni7')
    smaller = lambda a: Image.fromarray(a[:30])
    says = r'i{}\.png: the mask is 30x40 and its image 40x40'
    others = lambda **kw: seg_dls(get_image_files(root/'images').sorted(), ['bg', 'obj'], [6, 7], 32, 4, get_y=lambda f: root/'labels'/f.name, num_workers=0, **kw)
    repaint(root, smaller, ['i4.png'])
    with pytest.raises(ValueError, match=says.format(4)): mask_folder_dls(root, 32, 4)
    with pytest.raises(ValueError, match=says.format(4)): set_learner(others(), nn.Conv2d(3, 2, 1))
    with pytest.raises(ValueError, match=says.format(4)): set_learner(mask_folder_dls(root, 32, 4, item_tfms=Resize(32)), nn.Conv2d(3, 2, 1))
    repaint(root, smaller, ['i0.png', 'i7.png'])
    for make in (others, lambda: mask_folder_dls(root, 32, 4)):
        with pytest.raises(ValueError, match=f'{says.format(0)}; .*{says.format(4)}; .*{says.format(7)}. Save each mask at the size of its image') as e: make()
        assert 'check_masks' not in str(e.value)

def test_the_command_is_told_what_void_is(tmp_path, capsys):
    "A class that is nowhere beside void 255; its messages are in the command's words"
    root = repaint(masked(tmp_path/'d', codes=('bg', 'obj', 'rare')), index_and_void)
    argv = [*quick, '--arch', 'deeplabv3_mobilenetv1_025', '--data', str(root), '--out', str(tmp_path/'run')]
    def refusal(*more):
        with pytest.raises(SystemExit): cvnets_train([*argv, *more])
        err = capsys.readouterr().err
        assert not re.search(r'\w=|\(', err), 'Python'
        return err
    assert 'if 255 is void, say --void 255' in refusal() and 'say --binary;' in refusal()
    assert '--binary is for masks of two classes' in refusal('--binary')
    assert "void 'sky' is no class of bg, obj, rare" in refusal('--void', 'sky')
    cvnets_train([*argv, '--void', '255'])
    run = json.loads((tmp_path/'run'/'run.json').read_text())
    assert run['args']['void'] == 255 and np.isfinite(run['miou'])
    for given, index in ((0, 0), ('rare', 2)): assert codes_of(run_data(settings(dict(data=str(root), void=given, size=32, bs=4, workers=0))))[1] == index
    repaint(root, lambda a: Image.fromarray(np.minimum(a, 100)), ['i1.png'])
    assert 'it has class 100' in refusal('--void', '255', '--out', str(tmp_path/'other'))
    with pytest.raises(SystemExit): cvnets_train([*quick, '--data', str(collection(tmp_path/'c', 'a', 'b')), '--void', '255', '--out', str(tmp_path/'c_run')])
    assert '--void does not apply to classification' in capsys.readouterr().err

# --- what a tester broke: folders
@pytest.mark.parametrize('folders', ['train_data/a train_data/b test_data/a test_data/b test_data/unknown', 'set1/a set1/b set2/a set2/b set2/c',
                                     'train_data/a train_data/b test_data', '1_valid/a 1_valid/b 2_train/a 2_train/b 3_test/a'])
def test_splits_that_are_not_quite_alike_are_no_classes(tmp_path, folders):
    collection(tmp_path, *folders.split(), n=2)
    (tmp_path/'set2'/'empty').mkdir(parents=True)
    with pytest.raises(ValueError, match='splits') as e: folder_dls(tmp_path, size=32)
    if '_train' in folders: assert "train='2_train', valid='1_valid'" in str(e.value) or "train='2_train', valid='3_test'" in str(e.value)
    assert folder_dls(tmp_path, size=32, bs=2, num_workers=0, train='.').c == len({f.split('/')[0] for f in folders.split()})

def test_the_refusal_names_the_splits_the_right_way_round(tmp_path):
    collection(tmp_path, *(f'{s}_set/{c}' for s in ('test', 'train') for c in 'ab'), n=2)
    with pytest.raises(ValueError, match="train='train_set', valid='test_set'"): folder_dls(tmp_path, size=32)

def test_runs_in_a_folder_of_their_own_are_no_class(tmp_path, capsys):
    d = collection(tmp_path/'d', 'cat', 'dog', n=6)
    for out in ('runs/a', 'runs/b', 'cat/run'): cvnets_train([*quick, '--data', str(d), '--out', str(d/out)])
    assert capsys.readouterr().out.count('10 images of 2 classes to train on') == 3
    assert folder_dls(d, size=32, bs=4, num_workers=0).vocab == ['cat', 'dog']

def test_a_test_loader_without_paths_or_items(photos):
    dls = folder_dls(photos, size=32, bs=8, num_workers=0)
    for learn_dls in (dls, set_learner(dls, small_net(3), recipe='small_data', pretrained=False).dls):
        with pytest.raises(ValueError, match='this Image has no path, and the label'): learn_dls.test_dl([photo(1)], with_labels=True).one_batch()
        with pytest.raises(ValueError, match='there are no items'): learn_dls.test_dl([])

@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_floats_of_any_width_are_images(dtype):
    a = torch.tensor(np.asarray(photo(2)) > 127).to(dtype)
    assert np.array_equal(np.asarray(open_image(a)), (a*255).to(torch.uint8).numpy())

# --- what a tester broke: models and loaders
def test_a_dynamic_transformer_gets_sizes_in_steps_of_its_patch():
    pytest.importorskip('timm')
    kw = dict(embed_dim=12, depth=1, num_heads=1, dynamic_img_size=True)
    for arch, size, step in (('timm/vit_tiny_patch16_224', 96, 16), ('timm/vit_small_patch14_dinov2', 112, 14)):
        dls = digits(size, bs=32, n=80)
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            learn = set_learner(dls, arch, **kw)
        assert all(v%step == 0 for p in learn.dls.train.sampler.pairs for v in p[:2]) and len(learn.dls.train.sampler.pairs) > 1
        quiet(learn.fit, 1)
        with pytest.raises(ValueError, match=rf'the sizes of MScVBS\({size}, 32, divisor={step}\)') as e: set_learner(dls, arch, MScVBS(size, 32), **kw)
        assert 'dynamic_img_size' not in str(e.value)
    with pytest.raises(ValueError, match='multiples of 16, and the data have 100x100: give them such a size, 96x96$'): set_learner(digits(100, bs=32, n=80), 'timm/vit_tiny_patch16_224', **kw)

def test_fastais_own_loader_is_fitted_without_set():
    dls = digits(32, bs=32, n=100)
    for recipe in (None, 'resnet_advanced'):
        learn = set_learner(dls, small_net(), sampler=False, recipe=recipe)
        quiet(learn.fit, 1)
        assert not hasattr(learn, 'set') and type(learn.dls.train).__name__ == 'TfmdDL'
    for kw in (dict(set=SET()), dict(cbs=SET()), dict(set=InfoBatch())):
        with pytest.raises(ValueError, match='sampler=False leaves fastai.s loader, which has none: leave sampler=False out'): set_learner(dls, small_net(), sampler=False, **kw)
    learn = set_learner(dls, small_net(), sampler=False, set=SelectiveBackprop())          # chooses within a batch
    quiet(learn.fit, 1)
    assert hasattr(set_learner(dls.with_plan(MScVBS(32, 32)), small_net(), sampler=False), 'set')

@pytest.mark.parametrize('kw', [{}, dict(sampler=False), dict(recipe='small_data'), dict(set=False)])
def test_lazy_layers_train(kw):
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(10))
    learn = set_learner(digits(32, bs=32, n=100), net, **kw)
    quiet(learn.fit, 1)
    assert np.isfinite(learn.recorder.values[-1]).all() and learn.cost.totals['flops'] > 0
