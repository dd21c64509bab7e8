"Recipes against a table of their own, short trainings by all of them, their parts, checkpoints and the command."
import dataclasses, json, math, tempfile, warnings
from pathlib import Path
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from fastai.vision.all import (accuracy, Callback, CategoryBlock, DataBlock, ImageBlock, IndexSplitter, load_learner,
                               PILImage, RandomResizedCrop, set_seed)
from cvnets_nb.all import *
from cvnets_nb.cli import cvnets_train
from cvnets_nb.data import digit_items
from cvnets_nb.recipes.train import recipe_mix, warm_cosine

# The published configurations (CVNets v0.4): epochs, batch, sampler, optimizer, weight decay, highest, last and first
# learning rate, warm-up updates, size, short side in validation, top-1. From the papers' tables, not the package.
columns = 'epochs bs sampler opt wd lr lr_min lr_start warmup size eval_resize top1'.split()
published = dict(
    mobilenetv1      = (300,  512, 'msc_vbs', 'sgd',   4e-5, .4,    2e-4,   .05,  7500,  224, 256, 74.04),
    mobilenetv2      = (300, 1024, 'msc_vbs', 'sgd',   4e-5, .4,    2e-4,   .05,  7500,  224, 256, 72.93),
    mobilenetv3      = (300, 2048, 'msc_vbs', 'sgd',   4e-5, .8,    4e-4,   .1,   3000,  224, 256, 75.13),
    resnet_simple    = (150, 1024, 'msc_vbs', 'sgd',   1e-4, .4,    2e-4,   .05,  7500,  224, 256, 78.44),
    resnet_advanced  = (600, 1024, 'msc_vbs', 'sgd',   4e-5, .4,    2e-4,   .05,  7500,  224, 256, 80.36),
    mobilevit        = (300, 1024, 'msc_vbs', 'adamw', .01,  2e-3,  2e-4,   2e-4, 20000, 256, 288, 78.3),
    mobilevitv2_200  = (300, 1024, 'ssc_fbs', 'adamw', .05,  2e-3,  2e-4,   1e-6, 20000, 256, 288, None),
    mobilevitv2_175  = (300, 1024, 'ssc_fbs', 'adamw', .039, .0026, .00026, 1e-6, 20000, 256, 288, None),
    mobilevitv2_150  = (300, 1024, 'ssc_fbs', 'adamw', .029, .0035, .00035, 1e-6, 20000, 256, 288, None),
    mobilevitv2_125  = (300, 1024, 'ssc_fbs', 'adamw', .020, .0049, .00049, 1e-6, 20000, 256, 288, None),
    mobilevitv2_100  = (300, 1024, 'ssc_fbs', 'adamw', .013, .0075, .00075, 1e-6, 20000, 256, 288, None),
    mobilevitv2_075  = (300, 1024, 'ssc_fbs', 'adamw', .008, .009,  .0009,  1e-6, 20000, 256, 288, None),
    mobilevitv2_050  = (300, 1024, 'ssc_fbs', 'adamw', .004, .009,  .0009,  1e-6, 20000, 256, 288, None),
    vit              = (300, 2048, 'msc_vbs', 'adamw', .2,   2e-3,  2e-5,   1e-6, 7500,  224, 232, None))
strong = dict(rand_augment=(2, 9), erase=.25, mixup=.2, cutmix=1., interpolation='bicubic')
others = {   # everything else, where it is not what all have
    **{f'mobilenetv{i}':dict(nesterov=True) for i in (1, 2, 3)}, 'resnet_simple':{}, 'resnet_advanced':strong,
    'mobilevit':dict(min_size=160, max_size=320, wd_1d=True),
    'vit':dict(auto_augment=True, mixup=.2, cutmix=1., clip=1.),
    **{f'mobilevitv2_{w}':dict(strong, clip=10.) for w in ('050','075','100','125','150','175','200')}}
common = dict(n=1281167, smoothing=.1, ema=5e-4, momentum=.9, beta2=.999, n_scales=5, min_size=None, max_size=None,
              crop=(.08, 1.), flip=.5, nesterov=False, wd_1d=False, clip=None, rand_augment=None, auto_augment=False,
              erase=0, grow=0, mixup=0, cutmix=0, interpolation='bilinear', head_lr=1, output_stride=None)

ours = ['small_data', 'few_images', 'small_masks', 'small_boxes', 'small_videos']
others_warn = '.*lr_scheduler.*|.*is deprecated.*|.*pin_memory.*' # what torch and fastai warn of

# Segmentation: images, epochs, images of an update (16 on each of 4 devices and 2 steps in the first), optimizer,
# weight decay, highest, last and first learning rate, warm-up, head's learning rate, output stride, clipping, averaging,
# interpolation, decay of norms and biases, mean IoU
seg_columns = ('n epochs bs opt wd lr lr_min lr_start warmup head_lr output_stride clip ema interpolation wd_1d '
               'miou').split()
seg = dict(
    voc_mobilevit = (10582, 50, 128, 'adamw', .01, 9e-4, 1e-6, 9e-5, 500, 10, 8, None, 5e-4, 'bilinear', True, 79.44),
    voc_mobilevitv2    = (10582, 50, 128, 'adamw', .05, 5e-4, 1e-6, 5e-5, 500, 1, 16, 10, 5e-4, 'bicubic', False, None),
    ade20k_mobilenetv2 = (20210, 50, 16, 'sgd', 1e-4, .02, 1e-4, .02, 0, 1, 8, None, 1e-4, 'bilinear', False, 35.20),
    ade20k_resnet50    = (20210, 50, 16, 'sgd', 1e-4, .02, 1e-4, .02, 0, 1, 8, 10, 5e-4, 'bicubic', False, None),
    ade20k_mobilevitv2 = (20210, 120, 16, 'sgd', 1e-4, .02, 2e-4, .02, 0, 1, 8, 10, 5e-4, 'bicubic', False, None))
seg_common = dict(size=512, eval_resize=512, sampler='ssc_fbs', smoothing=0, momentum=.9, beta2=.999, nesterov=False,
                  crop=None, flip=.5, resize=(.5, 1.5), max_share=.75, rotate=10, distort=.5, blur=.5, mixup=0,
                  cutmix=0, erase=0, rand_augment=None, auto_augment=False, grow=0, top1=None)

_set_learner = set_learner
def set_learner(*args, **kw): return _set_learner(*args, **{'set':True, **kw})       # with SET, which is one word

def test_every_recipe_is_in_the_table():
    assert list_recipes() == sorted([*published, *seg, *det, 'kinetics_mobilevit_st', *ours])
    assert sorted(published) == sorted(others)

# of detectors, by CVNets' configurations: size, images of an update, epochs, optimiser, weight decay, of 1-D too, rates, warm-up, EMA, resampling
det_columns = 'size', 'bs', 'epochs', 'opt', 'nesterov', 'wd', 'wd_1d', 'lr', 'lr_min', 'lr_start', 'warmup', 'ema', 'interpolation', 'sampler', 'map'
det = dict(
    coco_resnet50=(384, 64, 200, 'sgd', True, 5e-4, False, .0052, 5e-5, 1e-6, 1800, 1e-4, 'bicubic', 'ssc_fbs', 29.98),
    coco_mobilevit=(320, 128, 200, 'adamw', False, .01, True, 9e-4, 1e-6, 9e-5, 500, 5e-4, 'bicubic', 'ssc_fbs', None),
    coco_mobilevitv2=(320, 128, 200, 'adamw', False, .05, False, 9e-4, 1e-6, 9e-5, 500, 5e-4, 'bilinear', 'ssc_fbs', None))

@pytest.mark.parametrize('name', sorted(det))
def test_recipes_for_boxes_equal_the_published(name):
    got = get_recipe(name).values()
    assert {k: got[k] for k in det_columns} == dict(zip(det_columns, det[name]))
    assert (got['box_crop'], got['flip'], got['momentum'], got['smoothing'], got['crop']) == ('ssd', .5, .9, 0, None)

@pytest.mark.parametrize('name', [*sorted(det), 'small_boxes'])
def test_recipes_for_boxes_train(name):
    learn = set_learner(box_scenes(64, bs=8, n=16), 'mobilenetv1_025', recipe=name)
    with learn.no_bar(), learn.no_logging(): learn.fit_recipe(2)
    assert np.isfinite(np.array(learn.recorder.values, dtype=float)).all() and learn.recorder.metric_names[3:5] == ['map50', 'map']
    assert any(isinstance(t, SSDCrop) for t in learn.dls.train.after_item) == (name != 'small_boxes')

def test_the_recipe_for_videos_equals_the_published():
    want = dict(epochs=200, bs=64*4*2, size=256, min_size=160, max_size=320, eval_resize=288, frames=8, clips=8, opt='adamw', wd=.01, wd_1d=False,
                lr=1e-3, lr_min=1e-4, lr_start=1e-4, warmup=5700, clip=10, ema=5e-4, smoothing=.1, beta2=.999, sampler='msc_vbs', kinetics=68.38)
    got = get_recipe('kinetics_mobilevit_st').values()
    assert {k:(got[k], want[k]) for k in want if got[k] != want[k]} == {}

@pytest.mark.parametrize('name', ['kinetics_mobilevit_st', 'small_videos'])
def test_recipes_for_videos_train(name):
    learn = set_learner(moving_digits(bs=4, frames=2, n=20), 'shift/mobilenetv1_025', recipe=name)
    with learn.no_bar(), learn.no_logging(): learn.fit_recipe(2)
    assert np.isfinite(np.array(learn.recorder.values, dtype=float)).all()
    s, clips = learn.dls.train.sampler, get_recipe(name).videos.clips
    assert (type(s), s.bs, s.frames, s.clips) == (VideoSSc if clips == 1 else VideoVBS, 4*clips, 2, clips) and learn.cost.totals['samples'] == 32

@pytest.mark.parametrize('name', sorted(seg))
def test_recipes_for_masks_equal_the_published(name):
    want = {**seg_common, **dict(zip(seg_columns, seg[name]))}
    got = get_recipe(name).values()
    assert {k:(got[k], want[k]) for k in want if got[k] != want[k]} == {}
    assert got.keys() - want.keys() == {'name', 'archs', 'min_size', 'max_size', 'n_scales'}

@pytest.mark.parametrize('name', [*sorted(seg), 'small_masks'])
def test_recipes_for_masks_train(name):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warnings.filterwarnings('ignore', message=f'{others_warn}|.*in no mask of the validation set.*')
        learn = set_learner(scenes((32, 48), bs=8, n=16), 'mobilenetv2_025', recipe=name, width=16)
        with learn.no_bar(), learn.no_logging(): learn.fit_recipe(2)
    r = learn.recipe
    assert np.isfinite(np.array(learn.recorder.values, dtype=float)).all()
    assert learn.recorder.metric_names[3:5] == ['miou', 'pixel_acc']
    assert learn.model.encoder.feature_info[-1]['reduction'] == r.output_stride
    assert hasattr(learn, 'ema') == bool(r.ema)
    assert len(learn.opt.hypers) == (3 if r.head_lr != 1 else 1)
    assert np.isclose(learn.opt.hypers[-1]['lr'], r.head_lr*learn.opt.hypers[0]['lr'])

def few_scenes(): return scenes((32, 48), bs=8, n=16)

def test_recipes_keep_to_their_task(few):
    for_masks = "recipe 'voc_mobilevit' is for segmentation, and the targets here are for classification"
    with pytest.raises(ValueError, match=for_masks): set_learner(few(), 'mobilenetv1_025', recipe='voc_mobilevit')
    with pytest.raises(ValueError, match="recipe 'few_images' crops or mixes images"):
        set_learner(few_scenes(), 'mobilenetv2_025', recipe='few_images')
    learn = set_learner(few_scenes(), 'mobilenetv2_025', recipe='small_data', width=16)     # it leaves images alone
    with learn.no_bar(), learn.no_logging(): learn.fit_recipe(1)
    own = get_recipe('voc_mobilevit').replace(resize=None).scaled(epochs=1, n=16, bs=8)
    learn = set_learner(few_scenes(), torch.nn.Conv2d(3, 11, 1))
    with pytest.raises(ValueError, match='head_lr 10.0 needs the head'), learn.no_bar(), learn.no_logging():
        learn.fit(1, cbs=RecipeSched(own))

# --- what only masks have is a part of the record
def test_a_recipe_for_masks_is_a_recipe_with_a_part():
    r = SegRecipe(rotate=5)
    assert type(r) is Recipe and r.masks == MaskRecipe(rotate=5)
    assert r == SegRecipe(rotate=5) and hash(r) == hash(SegRecipe(rotate=5))
    assert r != SegRecipe() and r != SegRecipe(rotate=5, lr=.1)
    assert r.replace(rotate=10) == SegRecipe() == r.replace(masks=MaskRecipe())
    assert r.replace(lr=.3, blur=0) == SegRecipe(lr=.3, rotate=5, blur=0)
    assert (r.task, r.replace(masks=None).task, Recipe().task) == ('segmentation', 'classification', 'classification')
    assert r.scaled(size=256, n=99).masks == r.masks

@pytest.mark.parametrize('own,says', [
    (dict(mixup=.2), 'mixup must be 0 in a recipe for masks'),
    (dict(crop=(.5, 1.)), 'crop must be None in a recipe for masks'),
    (dict(auto_augment=True), 'auto_augment must be False in'),
    (dict(rotate=-1), 'rotate must be an angle'),
    (dict(rotate='far'), "rotate must be an angle between 0 and 180, got 'far'"),
    (dict(blur=2), 'blur must be a number between'),
    (dict(resize=(2, 1)), 'resize must be two multiples'),
    (dict(resize=('a', 'b')), 'resize must be two multiples'),
    (dict(max_share=0), 'max_share must be in'),
    (dict(masks=dict(rotate=5)), 'masks must be a MaskRecipe or None'),
    (dict(rotat=5), "no field 'rotat': did you mean rotate"),
    (dict(max_shar=.5), 'did you mean max_share'),
    (dict(output_stride=4), 'output_stride must be 8, 16, 32 or None, got 4')])
def test_what_masks_cannot_have_is_refused(own, says):
    with pytest.raises(ValueError, match=says): SegRecipe(**own)
    with pytest.raises(ValueError, match=says): SegRecipe().replace(**own)

def test_a_flat_file_of_the_earlier_form_reads(tmp_path):
    "It names the task and has all fields side by side; what it leaves out has the defaults for masks"
    f = tmp_path/'old.yaml'
    f.write_text('task: segmentation\nlr: 0.1\nrotate: 5\nresize: [1, 2]\noutput_stride: 16\nmiou: 50.0\n')
    want = SegRecipe('old', lr=.1, rotate=5, resize=(1, 2), output_stride=16, miou=50.)
    assert read_recipe(f) == want
    assert (want.size, want.masks.blur) == (512, .5)
    f.write_text('task: segmentation\nmixup: 0.2\n')
    with pytest.raises(ValueError, match='old.yaml: mixup must be 0 in a recipe for masks'): read_recipe(f)

@pytest.mark.parametrize('text,says', [
    ('archs: mobilenetv1', 'archs must be a list of names'), ('wd_1d: "no"', 'wd_1d must be true or false'), ('min_size: 10\nmax_size: 5', 'min_size 10 must not be over'),
    ('rand_augment: [a, b]', 'rand_augment must be'), ('lr_min: 1e-4', "got '1e-4'; YAML takes 1e-4 for text, write 1.0e-4"),
    ('rotate: 5', "a recipe has no field 'rotate'"),
    ('task: poetry', "task must be one of classification, segmentation, got 'poetry'"),
    ('masks: [1]', 'masks must be a mapping with fields of MaskRecipe'),
    ('crop: null\nmasks: {rotat: 5}', "masks has no field 'rotat': did you mean rotate"),
    ('masks: {rotate: 5}', 'crop must be None in a recipe for masks'),
    ('crop: null\nmasks: {max_share: 2}', 'max_share must be in')])
def test_files_that_no_training_can_use(text, says, tmp_path):
    f = tmp_path/'r.yaml'
    f.write_text(text)
    with pytest.raises(ValueError, match=f'r.yaml: .*{says}'): read_recipe(f)

def test_another_task_adds_its_part_in_a_few_lines(monkeypatch):
    "With nothing else changed: the record's own functions go by the table of parts"
    from cvnets_nb.recipes import record
    @dataclasses.dataclass(frozen=True)
    class ClipRecipe:
        overlap:float = .5
        changes_images = True
        def check(self, r):
            if not 0 < self.overlap < 1: raise ValueError(f"overlap must be between 0 and 1, got {self.overlap!r}")
    New = dataclasses.make_dataclass('Recipe', [('clips', ClipRecipe, None)], bases=(Recipe,), frozen=True)
    monkeypatch.setattr(record, 'Recipe', New)
    monkeypatch.setitem(record.recipe_parts, 'video', 'clips')
    r = New(crop=None, clips=ClipRecipe(.7))
    assert (r.task, r.changes_images, r.replace(clips=None).task) == ('video', True, 'classification')
    assert r.replace(overlap=.6, lr=1.) == New(crop=None, lr=1., clips=ClipRecipe(.6))
    assert r.diff(r.replace(overlap=.6)).index.tolist() == ['overlap']
    assert 'clips:\n  overlap: 0.7\n' in r.to_yaml(whole=False)
    with pytest.raises(ValueError, match='overlap must be between 0 and 1, got 2'): r.replace(overlap=2)
    with pytest.raises(ValueError, match='masks and clips exclude each other'): r.replace(masks=MaskRecipe())

@pytest.mark.parametrize('name', sorted(published))
def test_equals_the_published(name):
    want = {**common, **others[name], **dict(zip(columns, published[name]))}
    got = {k:v for k, v in get_recipe(name).values().items() if k not in ('name', 'archs')}
    assert got.keys() == want.keys()
    assert {k:(got[k], want[k]) for k in want if got[k] != want[k]} == {}

@pytest.fixture(scope='module')
def few():
    "`n` digits at 64 pixels to train on, half as many to validate"
    items = digit_items()[:96]
    ims = [PILImage.create(np.stack([a]*3, -1)) for a, _ in items]
    def make(n=64):
        block = DataBlock((ImageBlock, CategoryBlock), get_x=lambda i: ims[i], get_y=lambda i: items[i][1],
                          splitter=IndexSplitter(range(n, n*3//2)), item_tfms=RandomResizedCrop(64, min_scale=0.5))
        return block.dataloaders(range(n*3//2), bs=16, num_workers=0)
    return make

@pytest.mark.parametrize('name', sorted(published))
def test_trains_without_a_warning(name, few):
    "Two epochs, by name and in one line"
    archs = dict(mobilenetv1='mobilenetv1_025', mobilenetv2='mobilenetv2_025', mobilenetv3='mobilenetv3_small',
                 resnet_simple='resnet18', resnet_advanced='resnet18', mobilevit='mobilevit_xxs')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warnings.filterwarnings('ignore', message=others_warn)
        learn = set_learner(few(32), archs.get(name, 'mobilevitv2_050'), recipe=name, metrics=accuracy)
        with learn.no_bar(), learn.no_logging(): learn.fit_recipe(2)
    vals = learn.recorder.values
    assert len(vals) == 2 and np.isfinite(np.array(vals, dtype=float)).all()
    assert len(vals[0]) == 5                                            # the average is evaluated beside the weights
    assert learn.ema.updates == len(learn.recorder.hps['lr'])
    assert (learn.set.cfg.source == 'pass') == bool(recipe_mix(learn.recipe))
    kind = SScFBS if learn.recipe.sampler == 'ssc_fbs' else MScVBS
    assert isinstance(learn.dls.train.sampler, kind)

# --- scaling
recipes = st.sampled_from(sorted(published)).map(get_recipe)
sides = st.sampled_from([32, 64, 96, 128, 160, 224, 256, 384])
@given(recipes, st.integers(1, 600), st.integers(1, 2_000_000), st.integers(1, 4096), sides)
@settings(max_examples=200, deadline=None)
def test_scaled(r, epochs, n, bs, size):
    s = r.scaled(epochs=epochs, n=n, bs=bs, size=size)
    k = bs/r.bs if r.opt == 'sgd' else math.sqrt(bs/r.bs)
    assert np.allclose([s.lr, s.lr_min, s.lr_start], [k*o for o in (r.lr, r.lr_min, r.lr_start)])
    def total(o): return o.epochs*o.n/o.bs
    assert abs(s.warmup - r.warmup*total(s)/total(r)) <= 0.5
    assert s.ema >= r.ema and (s.ema == r.ema or s.ema <= bs/n + 1e-12 or s.ema == 1)
    assert s.eval_resize >= s.size
    follow = {'epochs','n','bs','size','lr','lr_min','lr_start','warmup','ema','eval_resize','min_size','max_size'}
    rest = r.values().keys() - follow
    assert rest and all(s.values()[k] == r.values()[k] for k in rest)

@given(st.sampled_from(sorted([*published, *seg, *ours])).map(get_recipe))
@settings(max_examples=40, deadline=None)
def test_yaml_there_and_back(r):
    for whole in (True, False):
        with tempfile.TemporaryDirectory() as d:
            r.to_yaml(Path(d)/'r.yaml', whole=whole)
            assert read_recipe(Path(d)/'r.yaml') == r

@given(st.floats(0, 1), st.floats(0, .99), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_learning_rates_stay_between_their_ends(pct, warm, start, end):
    assert -1e-12 <= warm_cosine(pct, warm, start, 1., end) <= 1 + 1e-12

# --- a whole workflow
def weights(learn): return torch.cat([p.detach().flatten() for p in learn.model.parameters()])

@pytest.mark.parametrize('name', ['mobilenetv1', 'resnet_advanced', 'small_data', 'few_images'])
def test_stopped_and_resumed_is_the_same(name, few, tmp_path):
    "Optimizer, average, schedule, mixing and SET go on where they stood"
    r = get_recipe(name).scaled(epochs=4, n=64, bs=16, size=64)
    def make(*cbs):
        set_seed(3, reproducible=True)
        dls = few()
        if not r.grow: dls = dls.with_plan(MScVBS(64, 16), seed=1)      # a plan that grows has to be the recipe's own
        checkpoint = CheckpointCallback(tmp_path, monitor='ema_accuracy' if r.ema else 'accuracy')
        return set_learner(dls, 'mobilenetv1_025', recipe=r, metrics=accuracy, cbs=[checkpoint, *cbs])
    class Stop(Callback):
        order = 99
        def before_epoch(self):
            if self.epoch == 2: raise KeyboardInterrupt
    def fit(learn, **kw):
        with learn.no_bar(), learn.no_logging(): learn.fit_recipe(4, **kw)
        return learn
    whole = fit(make())
    with pytest.raises(KeyboardInterrupt): fit(make(Stop()))
    learn = make()
    fit(learn, start_epoch=load_checkpoint(learn, tmp_path/'last.pth'))
    assert torch.equal(weights(whole), weights(learn))
    if r.ema:
        assert all(torch.equal(a, b) for a, b in zip(whole.ema.avg, learn.ema.avg))
        assert whole.ema.updates == learn.ema.updates

def test_growing_sizes_follow_the_fit(few):
    "The recipe's sizes grow over the epochs of the fit, more or fewer than its own; a sampler of the user's stays"
    learn = set_learner(few(), 'mobilenetv1_025', recipe='small_data')
    seed = learn.dls.train.seed
    for n in (2, 3, 1):
        with learn.no_bar(), learn.no_logging(): learn.fit_recipe(n)
        s = learn.dls.train.sampler
        assert (s.epochs == n if n > 1 else isinstance(s, MScVBS)) and learn.dls.train.seed == seed
    mine = Growing(MScFBS(64, 16, max_size=64), 9)
    learn = set_learner(few(), 'mobilenetv1_025', mine, recipe='small_data')
    with learn.no_bar(), learn.no_logging(): learn.fit_recipe(2)
    assert learn.dls.train.sampler == mine

def test_the_command(digit_files, tmp_path, capsys):
    get_recipe('mobilenetv1').replace(flip=0.).to_yaml(tmp_path/'mine.yaml')
    for recipe, out in (('mobilenetv1', 'a'), (str(tmp_path/'mine.yaml'), 'b')):
        cvnets_train(['--data', str(digit_files), '--arch', 'mobilenetv1_025', '--recipe', recipe, '--size', '32',
                      '--epochs', '1', '--out', str(tmp_path/out), '--workers', '0'])
        run = json.loads((tmp_path/out/'run.json').read_text(encoding='utf-8'))
        assert run['args']['recipe'] == recipe and run['args']['lr'] is None
        assert f"accuracy {run['accuracy']:.2%}" in capsys.readouterr().out
    learn = load_learner(tmp_path/'b'/'model.pkl')
    assert learn.recipe.flip == 0 and learn.recipe.epochs == 1
    assert 'FlipItem' not in [type(o).__name__ for o in learn.dls.valid.after_item.fs]

def test_numbers_of_numpy_are_written():
    r = Recipe(lr=np.float64(.5), epochs=np.int64(3))
    assert (r, type(r.lr), type(r.epochs)) == (Recipe(lr=.5, epochs=3), float, int) and 'lr: 0.5' in r.to_yaml()

def test_a_recipe_for_masks_is_for_masks():
    with pytest.raises(ValueError, match='is for segmentation'): set_learner(digits(32, bs=32, n=60), 'mobilenetv1_025', recipe='small_masks')
