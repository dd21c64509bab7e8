"Detectors against CVNets' own outputs, on any backbone; boxes that stay on their objects, wrong annotations, and what users do with a detector"
import json, pickle, warnings
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from fastai.vision.all import (Normalize, imagenet_stats, BBoxBlock, BBoxLblBlock, CropPad, DataBlock, DihedralItem, Flip, FlipItem, ImageBlock, IndexSplitter, L,
                               RandomResizedCrop, RandomResizedCropGPU, Resize, aug_transforms, load_learner)
from cvnets_nb.all import *
from cvnets_nb.cli import cvnets_train
from cvnets_nb.models import create_model, list_models, list_weights, load_weights, save_weights
from cvnets_nb.data.image import open_image
from cvnets_nb.tasks.detection.boxes import unit_boxes
from cvnets_nb.tasks.detection.task import as_validated, in_image
from test_models import image

heads = 'ssd', 'fcos'
def quiet(learn, f, *args, **kwargs):
    with learn.no_bar(), learn.no_logging(): return getattr(learn, f)(*args, **kwargs)

# --- models; their numbers are in test_detectors.py
@pytest.mark.parametrize('head', heads)
def test_other_classes_keep_the_boxes(head):
    m = Detector(9, backbone='mobilenetv1_025', head=head).eval()
    with torch.no_grad(): before = m(image(64, 64))
    m.reset_classifier(3)
    with torch.no_grad(): after = m(image(64, 64))
    assert torch.allclose(before[1], after[1]) and probabilities_of(after).shape[-1] == 3 == m.num_classes
@pytest.mark.parametrize('name', ['ssd_mobilenetv1_025', 'ssd_resnet18', 'fcos_mobilenetv1_025'])
def test_a_checkpoint_of_other_classes(name, tmp_path):
    "As published ones have: 81 outputs, of which the boxes are kept"
    have = create_model(name, n_out=81).eval()
    file = save_weights(have, tmp_path/'m.pt')
    m = create_model(name, n_out=4, pretrained=file).eval()
    assert m.num_classes == 4
    with torch.no_grad(): assert torch.allclose(m(image(64, 64))[1], have(image(64, 64))[1], atol=1e-5)
    own = create_model(name.split('_', 1)[1], n_out=10)
    m = create_model(name, n_out=4, pretrained=own.state_dict())                  # of the backbone alone
    for k, v in m.encoder.state_dict().items(): assert torch.equal(v, own.state_dict()[k])

def test_published_detectors_are_listed():
    p = {p.arch: p for p in list_weights() if p.recipe == 'detection'}
    assert len(p) == 8 and set(p) <= set(list_models(task='detection')) and {o.n_out for o in p.values()} == {81}
    assert p['ssd_resnet50'].url.endswith('cvnets-v2/detection/coco-ssd-resnet-50.pt') and p['ssd_mobilevitv2_200'].top1 == 30.21

def probabilities_of(raw):
    from cvnets_nb.tasks.detection.models import probabilities
    return probabilities(raw)

@pytest.mark.parametrize('head', heads)
def test_timm_backbones(head):
    pytest.importorskip('timm')
    m = Detector(4, backbone='timm/resnet18', head=head).eval()
    with torch.no_grad(): assert len(m(image(96, 64))[0]) == 1

# --- boxes that stay on their objects: coloured rectangles, found again by their colour
colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
def rectangles(n, seed=0, size=(120, 90)):
    "Images with up to three rectangles that do not touch, of one colour a class"
    rng, out = np.random.default_rng(seed), []
    w, h = size
    for _ in range(n):
        im, boxes, labels = Image.new('RGB', size, (40, 40, 40)), [], []
        for c in rng.permutation(3)[:rng.integers(1, 4)]:
            x, y = int(c)*w//3 + rng.integers(2, 8), rng.integers(4, h//2)
            box = [int(x), int(y), int(x + rng.integers(14, w//3-10)), int(y + rng.integers(14, h//2-4))]
            im.paste(colours[c], tuple(box))
            boxes.append(box), labels.append(f'c{c}')
        out.append([im, boxes, labels])
    return out
def first(o): return o[0]
def second(o): return o[1]
def third(o): return o[2]

def on_objects(x, boxes, labels, tol=1.):
    "How many boxes lie where their colour is, within `tol` pixels; all have to"
    n = 0
    unit, labels, real = unit_boxes(boxes, labels)
    h, w = x.shape[-2:]
    for im, bs, ls, r in zip(x.float(), unit, labels, real):
        for box, label in zip(bs[r]*torch.tensor([w, h, w, h]), ls[r]):
            c = int(label) - 1
            others = [i for i in range(3) if i != c]
            mask = (im[c] > .5) & (im[others].amax(0) < .35)
            ys, xs = mask.nonzero(as_tuple=True)
            found = torch.tensor([xs.min(), ys.min(), xs.max()+1, ys.max()+1]).float()
            assert (found - box).abs().max() <= tol + .51, (found, box)
            n += 1
    return n

ours = dict(crop=[BoxCrop(96, min_visible=.99)], whole=[BoxCrop((72, 96), scale=(1, 1), ratio=(1, 1))], ssd=[SSDCrop(96)])
fastais = dict(squish=[Resize((72, 96), method='squish')], pad=[Resize(96, method='pad', pad_mode='zeros')], crop=[Resize(96, method='crop')],
               resized=[RandomResizedCrop(96, min_scale=.6, ratio=(1., 1.4), val_xtra=0)])

@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('kind', ours)
def test_our_boxes_follow_the_plan(kind, workers):
    dls = items_dls(L(rectangles(40)), ['c0', 'c1', 'c2'], range(32, 40), 96, 8, item_tfms=ours[kind], getters=[first, second, third], num_workers=workers)
    dls = dls.with_plan(MScVBS(96 if kind != 'whole' else (72, 96), 8), seed=1)
    n, sizes = 0, set()
    for x, boxes, labels in dls.train:
        if kind == 'ssd': continue_partly(x, boxes, labels)
        else: n += on_objects(x, boxes, labels)
        sizes.add(x.shape[-2:])
    assert len(sizes) > 2 and (kind == 'ssd' or n > 20)
    assert sum(on_objects(*b) for b in dls.valid) == sum(len(o[1]) for o in rectangles(40)[32:])
def continue_partly(x, boxes, labels):
    "Boxes of objects that are partly cut: their colour fills them"
    unit, labels, real = unit_boxes(boxes, labels)
    h, w = x.shape[-2:]
    for im, bs, ls, r in zip(x.float(), unit, labels, real):
        for (x1, y1, x2, y2), c in zip((bs[r]*torch.tensor([w, h, w, h])).round().int().tolist(), ls[r]-1):
            part = im[c, y1+1:y2-1, x1+1:x2-1]
            assert not part.numel() or (part > .5).float().mean() > .9

@pytest.mark.parametrize('kind', fastais)
def test_fastais_boxes_follow_the_plan(kind):
    block = DataBlock((ImageBlock, BBoxBlock, BBoxLblBlock(vocab=['c0', 'c1', 'c2'])), n_inp=1, getters=[first, second, third],
                      splitter=IndexSplitter(range(32, 40)), item_tfms=fastais[kind], batch_tfms=[Flip(p=.5)])
    dls = block.dataloaders(rectangles(40), bs=8, num_workers=0).with_plan(MScVBS((72, 96) if kind == 'squish' else 96, 8), seed=1)
    n = 0
    for x, boxes, labels in dls.train: n += on_objects(x, boxes, labels) if kind in ('squish', 'pad') else (continue_partly(x, boxes, labels) or 1)
    assert n and task_of(dls).name == 'detection'

def test_aug_transforms_keep_boxes_around_objects():
    "Turned, warped and zoomed: each object lies in its box, and no box is counted beyond the image"
    batch = aug_transforms(max_rotate=30, max_lighting=0., pad_mode='zeros')
    dls = items_dls(L(rectangles(40)), ['c0', 'c1', 'c2'], range(32, 40), 96, 8, item_tfms=BoxCrop(96, scale=(1, 1), ratio=(1, 1)), batch_tfms=batch, getters=[first, second, third], num_workers=0)
    n, beyond = 0, 0
    for x, boxes, labels in dls.with_plan(MScVBS(96, 8), seed=1).train:
        unit, labels, real = unit_boxes(boxes, labels)
        beyond += int((boxes.abs() > 1).any())
        assert unit.min() >= 0 and unit.max() <= 1
        h, w = x.shape[-2:]
        for im, bs, ls, r in zip(x.float(), unit, labels, real):
            for (x1, y1, x2, y2), c in zip((bs[r]*torch.tensor([w, h, w, h])).tolist(), ls[r]-1):
                ys, xs = ((im[c] > .6) & (im[[i for i in range(3) if i != c]].amax(0) < .3)).nonzero(as_tuple=True)
                if not len(xs): continue
                assert xs.min() >= x1-1.5 and ys.min() >= y1-1.5 and xs.max()+1 <= x2+1.5 and ys.max()+1 <= y2+1.5
                n += 1
    assert n > 30 and beyond, 'fastai clips them itself now'
    learn = set_learner(dls, 'mobilenetv1_025', head='fcos', width=32)
    quiet(learn, 'fit', 1, 1e-3)

@pytest.mark.parametrize('tfm,remedy', [(FlipItem(), 'Flip'), (DihedralItem(), 'Dihedral'), (CropPad(64), 'Resize'), (RandomResizedCrop(64), 'val_xtra=0'), (RandomResizedCropGPU(64), 'BoxCrop')])
def test_transforms_that_lose_boxes_are_refused(tfm, remedy):
    batch = isinstance(tfm, RandomResizedCropGPU)
    with pytest.raises(ValueError, match=f'{type(tfm).__name__} loses or misplaces boxes.*{remedy}'):
        try: dls = items_dls(L(rectangles(10)), ['c0', 'c1', 'c2'], [8, 9], 64, 4, item_tfms=[BoxCrop(64)] + [tfm]*(not batch), batch_tfms=[tfm]*batch,
                             getters=[first, second, third], num_workers=0)
        except Exception: pytest.skip('fastai crashes before anybody can look')
        set_learner(dls, 'mobilenetv1_025')

# --- what trains
def trained(items, names, size=64, head='fcos', **kw):
    k = max(2, len(items)//5)
    dls = items_dls(L(items), names, range(len(items)-k, len(items)), size, 4, getters=[first, second, third], num_workers=0, drop_last=False, **kw)
    learn = set_learner(dls, 'mobilenetv1_025', head=head, set=SET(.9, 1, every=1))
    quiet(learn, 'fit', 2, 1e-3)
    *losses, ap50, ap = learn.recorder.values[-1]
    assert np.isfinite(losses).all() and np.isfinite([ap50, ap]).all() == any(len(o[1]) for o in items[-k:])     # a mean of nothing is nan
    assert all(p.isfinite().all() for p in learn.model.parameters())
    return learn
black = lambda: Image.new('RGB', (64, 48))
awkward = dict(
    no_boxes=[[black(), [[4, 4, 20, 20]] if i < 8 else [], ['a'] if i < 8 else []] for i in range(20)],
    nearly_none=[[black(), [[4, 4, 20, 20]] if i == 0 else [], ['a'] if i == 0 else []] for i in range(20)],
    one_pixel=[[black(), [[10, 10, 11, 11]], ['a']] for _ in range(20)],
    border=[[black(), [[0, 0, 64, 48], [60, 44, 64, 48]], ['a', 'b']] for _ in range(20)],
    many=[[black(), [[i % 50, i % 40, i % 50+9, i % 40+7] for i in range(100)], ['a', 'b']*50] for _ in range(20)],
    one_class=[[black(), [[8, 8, 30, 30]], ['a']] for _ in range(20)])

@pytest.mark.parametrize('head', heads)
@pytest.mark.parametrize('kind', awkward)
def test_awkward_boxes_train(kind, head):
    learn = trained(awkward[kind], ['a', 'b'] if kind in ('border', 'many') else ['a'], head=head)
    assert len(quiet(learn, 'get_preds')[0]) == learn.dls.valid.n

def test_all_boxes_cropped_away():
    tiny = [[Image.new('RGB', (200, 200)), [[0, 0, 3, 3]], ['a']] for _ in range(20)]
    trained(tiny, ['a'], item_tfms=BoxCrop(64, scale=(.3, .4), min_visible=1., tries=1))

# --- what users do
@pytest.fixture(scope='module')
def learn(): return trained(rectangles(30), ['c0', 'c1', 'c2'], 64)

def test_predict_in_the_originals_pixels(learn, tmp_path):
    im = rectangles(1)[0][0].resize((500, 300))
    im.save(tmp_path/'x.png')
    for o in (im, tmp_path/'x.png', str(tmp_path/'x.png'), (tmp_path/'x.png').read_bytes(), np.asarray(im)):
        found = learn.predict(o, score=0.)
        assert len(found.labels) == len(found.boxes) == len(found.scores) > 0
        assert found.boxes[:, [0, 2]].max() <= 500 and found.boxes[:, [1, 3]].max() <= 300 and found.boxes[:, [0, 2]].max() > 250
    learn.export(tmp_path/'m.pkl')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        again = load_learner(tmp_path/'m.pkl')
    assert torch.allclose(again.predict(im, score=0.).boxes, found.boxes, atol=1e-3)

@pytest.mark.parametrize('kind', [*fastais, 'ours'])
def test_predict_sees_what_validation_sees(kind):
    "The same pixels as in a batch, and the true boxes where they are in the original"
    tfms = fastais.get(kind, BoxCrop(64))
    dls = items_dls(L(rectangles(12)), ['c0', 'c1', 'c2'], range(8, 12), 64, 1, getters=[first, second, third], item_tfms=tfms, batch_tfms=[Flip(), Normalize.from_stats(*imagenet_stats)], num_workers=0)
    for (x, boxes, _), (image, true, _) in zip(dls.valid, rectangles(12)[8:]):
        got, whole = as_validated(dls.valid, open_image(image))
        assert torch.allclose(got, x, atol=1e-5)
        inside = in_image((boxes[0].as_subclass(torch.Tensor)+1)/2, whole, image.size[::-1])
        far = [min(float((b-torch.tensor(t)).abs().max()) for t in true) for b in inside]
        if kind != 'crop': assert max(far) < 1.5, far       # a crop cuts boxes

def test_pictures(learn):
    with learn.no_bar():
        learn.show_results(max_n=2, score=0.1)
        errors = learn.show_errors(n=3, score=0.1)
    assert len(errors) == 3 and errors[0].n >= errors[-1].n
    learn.dls.show_batch(max_n=2)

def test_loaders_pickle(learn):
    for dl in learn.dls.loaders: assert len(pickle.loads(pickle.dumps(dl)).dataset) == len(dl.dataset)

def test_head_names_that_contradict():
    dls = box_scenes(64, bs=4, n=8)
    with pytest.raises(ValueError, match="head='fcos' and 'ssd_mobilenetv1_025' name two heads"): set_learner(dls, 'ssd_mobilenetv1_025', head='fcos')
    with pytest.raises(ValueError, match='is for segmentation, not for detection'): set_learner(dls, 'deeplabv3_mobilenetv1_025')
    with pytest.raises(ValueError, match='a constructor makes no detector'): set_learner(dls, lambda *a, **k: None)

# --- annotations that no training can use, and the command
def coco(path, boxes, size=(64, 48), name='train.json', n=12, first_id=0, category=1):
    path.mkdir(exist_ok=True, parents=True)
    ids = range(first_id, first_id+n)
    for i in ids: Image.new('RGB', size, (i*9 % 255, 0, 0)).save(path/f'{i}.png')
    d = dict(images=[dict(id=i, file_name=f'{i}.png') for i in ids], categories=[dict(id=1, name='thing')],
             annotations=[dict(id=i, image_id=i, category_id=category, bbox=list(boxes)) for i in ids])
    (path/name).write_text(json.dumps(d))
    return path

@pytest.mark.parametrize('box,says', [((20, 5, -9, 9), 'right or lower side before the other'), ((50, 5, 40, 9), 'reaches outside of its image of 64x48'),
                                      ((.1, .2, .3, .4), 'multiply them by')])
def test_wrong_boxes_are_refused(box, says, tmp_path):
    with pytest.raises(ValueError, match=f'0.png.*{says}'): box_dls(coco(tmp_path, box), size=32)

def test_boxes_that_cannot_be_right_are_left_out_where_asked(tmp_path, capsys):
    "As in BCCD: one box without width among many, and one that is none; their image stays, and the command says it too"
    path = coco(tmp_path/'d', (8, 8, 30, 20))
    d = json.loads((path/'train.json').read_text())
    d['annotations'] += [dict(id=99, image_id=0, category_id=1, bbox=[5, 5, 0, 0]), dict(id=98, image_id=3, category_id=1, bbox=[50, 5, 40, 9])]
    (path/'train.json').write_text(json.dumps(d))
    with pytest.raises(ValueError, match=r'2 of 12 images.*or leave them out, skip=True'): box_dls(path, size=32)
    with pytest.raises(ValueError, match='too many to leave out'): box_dls(path, size=32, skip=True)
    d['annotations'][-1] = dict(id=97, image_id=0, category_id=1)
    (path/'train.json').write_text(json.dumps(d))
    with pytest.warns(UserWarning, match='1 of 12 images.*annotation 97 has the box None.*1 more of its boxes.*they are left out'): dls = box_dls(path, size=32, bs=4, skip=True, num_workers=0)
    assert sum(len(dl.dataset) for dl in dls.loaders) == 12 and all(len(b) == 1 for dl in dls.loaders for _, b, _ in dl.dataset)
    argv = ['--data', str(path), '--arch', 'fcos_mobilenetv1_025', '--size', '64', '--bs', '4', '--epochs', '1', '--workers', '0', '--out', str(tmp_path/'run')]
    with pytest.raises(SystemExit): cvnets_train(argv)
    assert 'or leave them out, --skip' in capsys.readouterr().err
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        cvnets_train([*argv, '--skip'])
    assert (tmp_path/'run'/'model.pkl').is_file()

@pytest.mark.parametrize('change,says', [(dict(images=[dict(id=0, file_name='0.png'), dict(id=0, file_name='1.png')]), "two images have the id 0"),
    (dict(images=[dict(id=0, file_name='0.png'), dict(id=1, file_name='0.png')]), "two images have the file_name '0.png'"),
    (dict(categories=[dict(id=1, name='thing'), dict(id=1, name='other')]), 'two categories have the id 1'),
    (dict(annotations=[dict(id=7, image_id=9, category_id=1, bbox=[4, 4, 9, 9])]), 'annotation 7 is of image 9'),
    (dict(annotations=None), "no list 'annotations'")])
def test_coco_that_contradicts_itself(change, says, tmp_path):
    path = coco(tmp_path, (4, 4, 9, 9), n=3)
    d = json.loads((path/'train.json').read_text())
    (path/'train.json').write_text('\ufeff' + json.dumps({**d, **change}), encoding='utf-8')
    with pytest.raises(ValueError, match=says): read_boxes(path)

def yolo(path, names, split=True):
    for d in (('train', 'val') if split else ('',)):
        for k in ('images', 'labels'): (path/k/d).mkdir(parents=True)
        Image.new('RGB', (64, 48)).save(path/'images'/d/'0001.png')
        (path/'labels'/d/'0001.txt').write_text('1 .5 .5 .2 .2')
    (path/('data.yaml' if ':' in names else 'classes.txt')).write_text(names)
    return path

@pytest.mark.parametrize('names,want', [('names: {1: dog, 0: cat}', 'dog'), ('names: [cat, dog]', 'dog'), ('cat\ndog\n\n', 'dog'),
                                        ('names: {1: dog, 2: cat}', 'have to count from 0'), ('cat\n\ndog', 'a name for each class'), ('names: cat', 'must be a list'), ('- names: x', 'have no names')])
def test_yolos_names_go_by_their_numbers(names, want, tmp_path):
    if want == 'dog': assert read_boxes(yolo(tmp_path, names)).train[0].labels == ('dog',)
    else:
        with pytest.raises(ValueError, match=want): read_boxes(yolo(tmp_path, names))

def test_an_image_never_gets_the_boxes_of_another(tmp_path):
    "YOLO without a text file, VOC with two of a name, and an image in both splits"
    yolo(tmp_path/'y', 'cat\ndog')
    (tmp_path/'y'/'labels'/'val'/'0001.txt').unlink()
    with pytest.raises(ValueError, match='1 of 2 images have no text file'): read_boxes(tmp_path/'y')
    for d in ('Annotations/a', 'JPEGImages', 'ImageSets/Main'): (tmp_path/'v'/d).mkdir(parents=True)
    for i in range(4):
        Image.new('RGB', (64, 48)).save(tmp_path/'v'/'JPEGImages'/f'{i}.jpg')
        (tmp_path/'v'/'Annotations'/f'{i}.xml').write_text('<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>')
    lists = tmp_path/'v'/'ImageSets'/'Main'
    (lists/'trainval.txt').write_text('0\n1\n2'), (lists/'test.txt').write_text('3')
    got = read_boxes(tmp_path/'v')
    assert (len(got.train), len(got.valid)) == (3, 1)
    (lists/'test.txt').write_text('2\n3')
    with pytest.raises(ValueError, match='2.jpg is in both splits'): read_boxes(tmp_path/'v')
    (tmp_path/'v'/'Annotations'/'a'/'0.xml').write_text('<annotation/>')
    with pytest.raises(ValueError, match='have the same name'): read_boxes(tmp_path/'v')

def test_a_category_without_a_name(tmp_path):
    with pytest.raises(ValueError, match='is of category 2, which has no name'): box_dls(coco(tmp_path, (4, 4, 9, 9), category=2), size=32)

def test_the_command_trains_a_folder_of_boxes(tmp_path, capsys):
    coco(tmp_path/'d', (8, 8, 30, 20))
    coco(tmp_path/'d', (8, 8, 30, 20), name='valid.json', n=4, first_id=12)
    cvnets_train(['--data', str(tmp_path/'d'), '--arch', 'fcos_mobilenetv1_025', '--size', '64', '--bs', '4', '--epochs', '1', '--workers', '0', '--out', str(tmp_path/'run')])
    out = capsys.readouterr().out
    assert 'COCO: 12 images to train, 4 to validate; 16 boxes of 1 classes' in out and 'map50' in out
    assert json.loads((tmp_path/'run'/'run.json').read_text())['map50'] >= 0
