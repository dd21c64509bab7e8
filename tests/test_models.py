"The zoo against CVNets' own outputs, and what every registered backbone must be able to do"
import copy, json, pickle, zlib
from pathlib import Path
import numpy as np, pytest, torch, torchvision
from torch import nn
from cvnets_nb.models import create_model, list_models, load_weights, register_model
from cvnets_nb.models.weights import TORCHVISION
from cvnets_nb.models.registry import _models

parity = Path(__file__).parent/'fixtures'/'parity'
names  = list_models(task='classification')
small  = ['mobilenetv1_025', 'mobilenetv2_025', 'resnet18', 'resnet50', 'se_resnet50', 'mobilenetv3_small', 'mobilenetv3_small_tv', 'mobilevit_xxs', 'mobilevitv2_050']   # one of each block
gated  = [n for n in names if n.startswith(('mobilenetv3', 'se_'))]            # a gate's mean is of the whole map
basic  = [n for n in names if n.startswith(('resnet18', 'resnet34'))]
far    = [n for n in names if n.startswith('mobilevit')]                       # attention over the whole map
published = {   # our name: (CVNets', parameters, entries of the state dict)
    'mobilenetv1_025': ('mobilenetv1-0.25',   470_520, 164), 'mobilenetv1_050': ('mobilenetv1-0.5', 1_331_592, 164),
    'mobilenetv1_075': (None,               2_586_264, 164), 'mobilenetv1_100': ('mobilenetv1-1.0', 4_231_976, 164),
    'mobilenetv2_025': ('mobilenetv2-0.25', 1_520_264, 314), 'mobilenetv2_050': (None,              1_969_448, 314),
    'mobilenetv2_075': ('mobilenetv2-0.75', 2_636_872, 314), 'mobilenetv2_100': ('mobilenetv2-1.0', 3_504_872, 314),
    'resnet18': ('resnet-18', 11_682_536, 128), 'resnet34':  ('resnet-34', 21_790_696, 224),
    'resnet50': ('resnet-50', 25_550_056, 326), 'resnet101': (None,        44_542_184, 632),
    'se_resnet50': ('se-resnet-50', 28_081_048, 390),
    'mobilenetv3_small': (None, 2_508_712, 244), 'mobilenetv3_large': ('mobilenetv3-large', 5_437_728, 312),
    'mobilevit_xxs': ('mobilevit-xx_small', 1_272_024, 311), 'mobilevit_xs': (None, 2_317_848, 311), 'mobilevit_s': ('mobilevit-small', 5_578_632, 311),
    'mobilevitv2_050': ('mobilevitv2-0.5', 1_370_593, 269), 'mobilevitv2_075': (None, 2_866_009, 269), 'mobilevitv2_100': ('mobilevitv2-1.0', 4_901_841, 269),
    'mobilevitv2_125': (None, 7_478_089, 269), 'mobilevitv2_150': ('mobilevitv2-1.5', 10_594_753, 269), 'mobilevitv2_175': ('mobilevitv2-1.75', 14_251_833, 269),
    'mobilevitv2_200': ('mobilevitv2-2.0', 18_449_329, 269)}

def filled(key, shape):
    "Made-up weights that depend on the key alone: the rule the parity files were computed with"
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    last = key.rsplit('.', 1)[-1]
    if last == 'num_batches_tracked': v = np.int64(1)
    elif last in ('running_mean', 'bias'): v = (0.1*rng.standard_normal(shape)).astype('f4')
    elif last == 'running_var' or len(shape) == 1: v = rng.uniform(0.5, 1.5, shape).astype('f4')
    else: v = (rng.standard_normal(shape)*np.sqrt(1/np.prod(shape[1:]))).astype('f4')
    return torch.as_tensor(v)

def image(h, w, c=3, n=1): return torch.from_numpy(np.random.default_rng(h*1000+w).random((n,c,h,w), dtype=np.float32))
def run(m, x):
    with torch.no_grad(): return m(x)
def weights(name): return {k: filled(k, v.shape) for k,v in create_model(name).state_dict().items()}

@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield

@pytest.fixture(scope='module')
def nets():
    "Each network once, with ten classes, in evaluation mode"
    made = {}
    def get(name):
        if name not in made: made[name] = create_model(name, n_out=10).eval()
        return made[name]
    return get

@pytest.fixture(scope='module')
def dicts(nets):
    "The state dicts of one network of each block"
    return {n: nets(n).state_dict() for n in small}

# Parity

def test_every_architecture_has_its_figures(): assert set(published) == {n for n in names if not n.endswith('_tv')}
def test_every_parity_file_is_used(): assert {v[0] for v in published.values()} - {None} == {p.stem for p in parity.glob('*.json')}

@pytest.mark.parametrize('name', published)
def test_parameters_and_keys(name):
    m = create_model(name)
    assert (sum(p.numel() for p in m.parameters()), len(m.state_dict())) == published[name][1:]

@pytest.mark.parametrize('name', [n for n,v in published.items() if v[0]])
def test_same_numbers_as_cvnets(name):
    ref = json.loads((parity/f'{published[name][0]}.json').read_text())
    m = create_model(name)
    assert {k: list(v.shape) for k,v in m.state_dict().items()} == ref['keys']
    load_weights(m, {k: filled(k, s) for k,s in ref['keys'].items()}).eval()
    for o in ref['outputs']:
        y = run(m, image(*o['size'])).double().flatten()
        assert [1, len(y)] == o['shape']
        have = [y.mean(), y.std(), *y[:16], *y[-16:]]
        want = [o['mean'], o['std'], *o['first'], *o['last']]
        np.testing.assert_allclose(have, want, rtol=0, atol=1e-4*o['std'])

def test_the_parity_test_would_notice_an_activation():
    "MobileNetv1 with the paper's ReLU after the depthwise convolution takes the same keys and answers otherwise"
    ref = json.loads((parity/'mobilenetv1-0.25.json').read_text())
    m = load_weights(create_model('mobilenetv1_025'), weights('mobilenetv1_025')).eval()
    for b in m.modules():
        if hasattr(b, 'dw_conv'): b.dw_conv.block.add_module('act', nn.ReLU())
    o = ref['outputs'][0]
    assert abs(run(m, image(*o['size'])).std().item() - o['std']) > .01*o['std']

@pytest.mark.parametrize('name', TORCHVISION)
def test_same_numbers_as_torchvision(name):
    "torchvision's state dict, in any order of its keys"
    theirs = torchvision.models.get_model(TORCHVISION[name], num_classes=10)
    sd = {k: filled(k, v.shape) for k,v in theirs.state_dict().items()}
    theirs.load_state_dict(sd)
    ours, x = load_weights(create_model(name, n_out=10), dict(sorted(sd.items(), reverse=True))).eval(), image(64,96)
    torch.testing.assert_close(run(ours, x), run(theirs.eval(), x), rtol=1e-4, atol=1e-4)

@pytest.mark.parametrize('name, theirs', [('mobilenetv1_100_tv', 'mobilenetv1_100'), ('se_resnet50_tv', 'seresnet50'), *((f'resnet{d}_tv', f'resnet{d}') for d in (18,34,50,101))])
def test_same_numbers_as_timm(name, theirs):
    theirs = pytest.importorskip('timm').create_model(theirs, num_classes=10)
    sd = {k: filled(k, v.shape) for k,v in theirs.state_dict().items()}
    theirs.load_state_dict(sd)
    ours, x = load_weights(create_model(name, n_out=10), sd).eval(), image(64,96)
    torch.testing.assert_close(run(ours, x), run(theirs.eval(), x), rtol=1e-4, atol=1e-4)

# What a backbone can do

@pytest.mark.parametrize('name', names)
def test_trains_at_several_sizes(name):
    m = create_model(name, n_out=3)
    for hw in ((32,32), (64,64), (32,64)):
        m.zero_grad()
        y = m(image(*hw, n=2))
        assert y.shape == (2,3) and torch.isfinite(y).all()
        nn.functional.cross_entropy(y, torch.tensor([0,2])).backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in m.parameters())
        assert m.get_submodule(m.default_cfg['first_conv']).weight.grad.abs().sum() > 0

@pytest.mark.parametrize('output_stride', [8,16,32])
@pytest.mark.parametrize('name', names)
def test_feature_info_tells_the_shapes(name, output_stride):
    m = create_model(name, n_out=0, output_stride=output_stride).eval()
    with torch.no_grad(): last, maps = m.forward_intermediates(image(32,64))
    assert [i['reduction'] for i in m.feature_info] == [min(r, output_stride) for r in (2,4,8,16,32)]
    assert [tuple(o.shape) for o in maps] == [(1, i['num_chs'], 32//i['reduction'], 64//i['reduction']) for i in m.feature_info]
    assert all(hasattr(m, i['module']) for i in m.feature_info)
    assert last.shape[1:] == (m.num_features, 32//output_stride, 64//output_stride)

@pytest.mark.parametrize('name', [n for n in names if n not in basic+gated+far])   # basic blocks: the next test
def test_a_dilated_network_computes_the_same_on_a_finer_grid(name, nets):
    "Every fourth pixel of the map at stride 8 is the map at stride 32: true only if each dilation is right"
    m, x = nets(name), image(64,32)
    want = run(m.forward_features, x)
    for s in (8,16):
        f = load_weights(create_model(name, n_out=10, output_stride=s), m.state_dict()).eval()
        torch.testing.assert_close(run(f.forward_features, x)[...,::32//s,::32//s], want, rtol=1e-3, atol=1e-4*want.abs().max().item())

@pytest.mark.parametrize('name', basic)
def test_dilation_of_basic_blocks_is_cvnets(name):
    "Both convolutions of a dilated stage's first block keep the previous dilation"
    m = create_model(name, n_out=0, output_stride=8)
    for layer,(first,rest) in dict(layer_3=(1,1), layer_4=(1,2), layer_5=(2,4)).items():
        for j,b in enumerate(getattr(m, layer)):
            assert {c.dilation[0] for c in b.block.modules() if isinstance(c, nn.Conv2d)} == {rest if j else first}

@pytest.mark.parametrize('name', names)
def test_forward_is_features_then_head(name, nets):
    m, x = nets(name), image(64,64)
    f = run(m.forward_features, x)
    assert torch.equal(run(m.forward_head, f), run(m, x))
    assert m.forward_head(f, pre_logits=True).shape == (1, m.head_hidden_size)

@pytest.mark.parametrize('name', names)
def test_reset_classifier(name, nets):
    m, x = copy.deepcopy(nets(name)), image(64,64)
    m.double().reset_classifier(4)
    assert run(m, x.double()).shape == (1,4) and m.num_classes == m.default_cfg['num_classes'] == m.get_classifier().out_features == 4
    m.reset_classifier(0)
    assert run(m, x.double()).shape == (1, m.head_hidden_size)
    assert nets(name).num_classes == nets(name).default_cfg['num_classes'] == 10

@pytest.mark.parametrize('name', names)
def test_default_cfg_is_cvnets(name, nets):
    cfg = nets(name).default_cfg
    size, resize = (256, 288) if name in far else (224, 256)
    assert (cfg['input_size'], cfg['mean'], cfg['std'], cfg['crop_pct']) == ((3,size,size), (0,0,0), (1,1,1), size/resize)
    assert cfg['interpolation'] == ('bicubic' if name.startswith('mobilevitv2') else 'bilinear') and cfg['architecture'] == name
    parts = dict(nets(name).named_modules())
    assert isinstance(parts[cfg['first_conv']], nn.Conv2d) and isinstance(parts[cfg['classifier']], nn.Linear)

@pytest.mark.parametrize('in_chans', [1,4])
@pytest.mark.parametrize('name', small)
def test_any_number_of_channels(name, in_chans):
    m = create_model(name, n_out=2, in_chans=in_chans).eval()
    assert run(m, image(64,64,in_chans)).shape == (1,2)
    assert len(m.default_cfg['mean']) == m.default_cfg['input_size'][0] == in_chans

@pytest.mark.parametrize('name', small)
def test_odd_sizes(name, nets): assert run(nets(name), image(45,71)).shape == (1,10)

@pytest.mark.parametrize('name', names)
def test_channels_last(name, nets):
    m, x = copy.deepcopy(nets(name)).to(memory_format=torch.channels_last), image(64,96,n=2)
    xl = x.contiguous(memory_format=torch.channels_last)
    assert name in far or run(m.forward_features, xl).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(run(m, xl), run(nets(name), x), rtol=1e-3, atol=1e-5)

@pytest.mark.parametrize('name', small)
def test_copied_pickled_and_traced(name, nets):
    m, x = nets(name), image(64,64)
    want = run(m, x)
    assert torch.equal(run(copy.deepcopy(m), x), want)
    assert torch.equal(run(pickle.loads(pickle.dumps(m)), x), want)
    traced = torch.jit.trace(m, x, check_trace=False)
    torch.testing.assert_close(run(traced, x), want)
    if name not in far: torch.testing.assert_close(run(traced, image(96,64)), run(m, image(96,64)))   # a transformer's patches are counted when traced

@pytest.mark.parametrize('name', small)
def test_exported(name, nets):
    m, x = nets(name), image(64,64,n=2)
    ep = torch.export.export(m, (x,), dynamic_shapes=({0: torch.export.Dim('b', min=1, max=64)},))
    torch.testing.assert_close(run(ep.module(), image(64,64,n=3)), run(m, image(64,64,n=3)))

@pytest.mark.parametrize('name', ['mobilenetv1_100', 'mobilenetv2_050', 'resnet18'])
def test_starts_from_a_guess(name):
    "Fresh weights: outputs near zero, so the first loss is that of a guess, and none of the maps dies or explodes"
    m = create_model(name, n_out=10)
    y, maps = m(image(64,64,n=8)), m.forward_intermediates(image(64,64,n=8), intermediates_only=True)
    assert abs(nn.functional.cross_entropy(y, torch.arange(8)).item() - np.log(10)) < .3
    assert all(.05 < o.std() < 20 for o in maps)

# Weights

@pytest.mark.parametrize('name, ext', [(n,'.safetensors') for n in small] + [(n,e) for n in small[:3] for e in ('.pt','.pth')])
def test_saved_and_loaded(name, ext, nets, tmp_path):
    m, p = nets(name), tmp_path/f'w{ext}'
    if ext == '.safetensors': pytest.importorskip('safetensors.torch').save_file(m.state_dict(), p)
    else: torch.save(m.state_dict(), p)
    for src in (p, str(p)): assert torch.equal(run(load_weights(create_model(name, n_out=10), src).eval(), image(64,64)), run(m, image(64,64)))

@pytest.mark.parametrize('name', names)
def test_every_other_architecture_is_refused(name, nets, dicts):
    m = nets(name)
    before = {k: v.clone() for k,v in m.state_dict().items()}
    for n,sd in dicts.items():
        if n == name: continue
        with pytest.raises(ValueError, match=f'not one of this {type(m).__name__}: '): load_weights(m, sd)
    assert all(torch.equal(v, before[k]) for k,v in m.state_dict().items())

def test_the_first_difference_is_named():
    m = create_model('mobilenetv1_025', n_out=10)
    sd = dict(m.state_dict())
    with pytest.raises(ValueError, match="has no 'layer_3.0.dw_conv.block.conv.weight'"): load_weights(m, {k:v for k,v in sd.items() if 'layer_3' not in k})
    with pytest.raises(ValueError, match="the model has no 'extra'"): load_weights(m, {**sd, 'extra': torch.ones(1)})
    with pytest.raises(ValueError, match="classifier_fc.weight' is .*reset_classifier"): load_weights(create_model('mobilenetv1_025', n_out=3), sd)

def test_augmentation_keys_are_dropped_and_training_checkpoints_unwrapped(tmp_path):
    m = create_model('mobilenetv1_025', n_out=10)
    load_weights(m, {**m.state_dict(), 'neural_augmentor.noise._low': torch.tensor(0.)})
    torch.save(dict(model=m.state_dict(), opt=dict(state=[], hypers=[dict(lr=.1)])), tmp_path/'l.pth')
    load_weights(m, tmp_path/'l.pth')

class Evil:
    "A pickle that would write a file when it is opened"
    def __init__(self, path): self.path = path
    def __reduce__(self): return Path.touch, (self.path,)

def test_code_in_a_checkpoint_is_not_run(tmp_path):
    m, out = create_model('mobilenetv1_025'), tmp_path/'written'
    for obj in (Evil(out), dict(model=Evil(out)), {**m.state_dict(), 'x': Evil(out)}):
        torch.save(obj, tmp_path/'e.pt')
        with pytest.raises(ValueError, match='unpickling runs code'): load_weights(m, tmp_path/'e.pt')
    (tmp_path/'raw.pth').write_bytes(pickle.dumps(Evil(out)))
    with pytest.raises(ValueError, match='unpickling runs code'): load_weights(m, tmp_path/'raw.pth')
    assert not out.exists()

def test_sources_that_are_refused(tmp_path):
    m = create_model('mobilenetv1_025')
    with pytest.raises(FileNotFoundError, match='no such file'): load_weights(m, tmp_path/'none.pt')
    with pytest.raises(ValueError, match='must end in'): load_weights(m, 'weights.h5')
    with pytest.raises(ValueError, match='path or a state dict, got int'): load_weights(m, 3)
    with pytest.raises(ValueError, match="'lr', which is no tensor"): load_weights(m, dict(lr=3))
    (tmp_path/'torn.pt').write_bytes(b'PK\x03\x04 torn')
    with pytest.raises(ValueError, match='torn.pt'): load_weights(m, tmp_path/'torn.pt')
    (tmp_path/'torn.safetensors').write_bytes(b'torn')
    pytest.importorskip('safetensors')
    with pytest.raises(ValueError, match='torn.safetensors'): load_weights(m, tmp_path/'torn.safetensors')

# The registry

def test_listing():
    assert list_models('mobilenetv1_*') == [f'mobilenetv1_{w}{t}' for w in ('025','050','075','100') for t in ('','_tv')]
    assert set(names) <= set(list_models(task='classification'))
    assert list_models('nothing*') == []
    with pytest.raises(ValueError, match="unknown task 'class'"): list_models(task='class')

@pytest.mark.parametrize('args, kw, said', [
    (('mobilenet2_100',), {}, 'did you mean mobilenetv2_100'),
    (('resnet50',), dict(num_classes=10), "unknown keyword 'num_classes'; it takes drop, output_stride"),
    (('resnet50',), dict(depth=18), "depth is 50 by the name"),
    (('resnet18',), dict(output_stride=4), "output_stride must be 8, 16 or 32, got 4"),
    (('resnet18',), dict(pretrained=True), "no weights for resnet18: there are none; resnet18_tv has torchvision's"),
    (('resnet18',), dict(n_out=-1), "n_out must be a whole number of at least 0"),
    (('resnet18',), dict(n_out=2.), "got 2.0"),
    (('resnet18',), dict(in_chans=0), "in_chans must be a whole number of at least 1"),
    (('mobilenetv1_025',), dict(drop=1.), r"drop must be in \[0, 1\), got 1.0")])
def test_bad_arguments_are_refused(args, kw, said):
    with pytest.raises(TypeError if 'keyword' in said else ValueError, match=said): create_model(*args, **kw)

def test_a_model_of_ones_own():
    try:
        @register_model('own_net', task='toy', width=2)
        def own_net(n_out, in_chans, width=1): return nn.Linear(in_chans*width, n_out)
        assert create_model('own_net', n_out=5, in_chans=4).weight.shape == (5,8)
        assert list_models(task='toy') == ['own_net']
        with pytest.raises(ValueError, match='the name is taken by'): register_model('resnet18', own_net)
        with pytest.raises(ValueError, match='must take in_chans'): register_model('bad', lambda n_out: 0)
    finally: _models.pop('own_net', None)
