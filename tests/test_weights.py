"Published weights: what is listed, how it is fetched, and how a model starts from it"
import errno, hashlib, http.server, io, re, subprocess, sys, threading, time
import pytest, torch
import cvnets_nb.tasks                # registers the segmenters, of which some weights are
from torch import nn
from cvnets_nb.models import create_model, list_models, list_weights, load_weights, weights as W
from cvnets_nb.models.weights import adapt_input, cvnets_weights, download, elsewhere, published, torchvision_weights

def saved(**kw):
    f = io.BytesIO()
    torch.save(kw, f)
    return f.getvalue()
body, newer = saved(a=torch.arange(250_000.)), saved(a=-torch.arange(250_000.))
half = len(body)//2
page = b'<!doctype html><html><body>Please log in</body></html>'

class Server(http.server.BaseHTTPRequestHandler):
    """Serves `body`, in part where asked to and its version is the one asked for. The first folder of a path says what is odd:
    `/403` refuses, `/short/…` breaks off half way the first time, `/deaf/…` does so and knows no ranges, `/slow/…` answers late and
    sends small pieces; `/swap/…` breaks off and has `newer` from then on, `/liar/…` so too, but answers as if nothing had changed;
    `/mute/…` breaks off and tells no version, `/page/…` and `/plain/…` send a web page, `/endless/…` announces no length and is cut,
    `/chunks/…` is cut between two chunks, `/shift/…` sends another range than it was asked for, `/rude/…` the rest of another version;
    `/more/…` goes on behind the end, `/number/…` announces a length that is none, `/circle/…` leads back to itself"""
    asked, cut = [], set()
    def log_message(self, *args): pass
    def do_GET(self):
        kind, want = self.path.split('/')[1], self.headers.get('Range')
        self.asked.append((self.path, want))
        again = self.path in self.cut
        data = newer if kind in ('swap','liar','rude') and again else page if kind in ('page','plain') else body
        if kind == '403': return self.send_error(403)
        if kind == 'circle':
            self.send_response(302), self.send_header('Location', self.path), self.send_header('Content-Length', '0')
            return self.end_headers()
        if kind in ('more','number'):
            self.send_response(200)
            if kind == 'number': self.send_header('Content-Length', 'many')
            self.end_headers()
            return self.wfile.write(body + b'x'*999*(kind == 'more'))
        tag = '"1"' if kind == 'liar' or data is body else '"2"'
        start = int(re.match(r'bytes=(\d+)-', want)[1]) if want and kind != 'deaf' and (self.headers['If-Range'] == tag or kind == 'rude') else 0
        if start >= len(data): return self.send_error(416)
        self.send_response(206 if start else 200)
        if kind not in ('endless','chunks'): self.send_header('Content-Length', str(len(data)-start))
        if kind == 'chunks': self.send_header('Transfer-Encoding', 'chunked')
        if kind == 'page': self.send_header('Content-Type', 'text/html; charset=utf-8')
        if start: self.send_header('Content-Range', f"bytes {start - 1000*(kind == 'shift')}-{len(data)-1}/{len(data)}")
        if kind != 'mute': self.send_header('ETag', tag)
        self.end_headers()
        part = data[start:]
        if kind in ('short','deaf','swap','liar','rude','mute','endless','chunks','shift') and not again: self.cut.add(self.path); part = part[:len(part)//2]
        if kind == 'chunks':
            self.wfile.write(b'%x\r\n' % len(part) + part + b'\r\n' + b'0\r\n\r\n'*again)
        elif kind != 'slow': self.wfile.write(part)
        else: self.slowly(part)
    def slowly(self, part):
        try:
            for i in range(0, len(part), 32000):
                time.sleep(.05)
                self.wfile.write(part[i:i+32000])
        except OSError: pass                 # who asked was killed

@pytest.fixture
def url():
    Server.asked, Server.cut = [], set()
    s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server)
    threading.Thread(target=s.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{s.server_port}'
    s.shutdown(); s.server_close()

# Fetching

def test_fetched_once(url, tmp_path):
    for _ in range(2): p = download(f'{url}/w.pt', tmp_path)
    assert p.read_bytes() == body and len(Server.asked) == 1 and [o.name for o in tmp_path.iterdir()] == ['w.pt']

@pytest.mark.parametrize('kind', ['short', 'deaf'])
def test_goes_on_where_it_broke_off(url, tmp_path, kind):
    with pytest.raises(ConnectionError, match=f'broke off after {half} of {len(body)} bytes; call again to go on'): download(f'{url}/{kind}/w.pt', tmp_path)
    assert not (tmp_path/'w.pt').exists() and (tmp_path/'w.pt.part').stat().st_size == half
    assert download(f'{url}/{kind}/w.pt', tmp_path).read_bytes() == body
    assert Server.asked[-1] == (f'/{kind}/w.pt', f'bytes={half}-') and [o.name for o in tmp_path.iterdir()] == ['w.pt']

@pytest.mark.parametrize('kind,asked', [('swap', 2), ('rude', 3), ('mute', 2), ('shift', 3), ('chunks', 2)])
def test_what_cannot_be_continued_begins_anew(url, tmp_path, kind, asked):
    "The file changed since, or nothing tells whether it did, or the server sends another piece than it was asked for"
    with pytest.raises(ConnectionError, match='broke off after .* bytes'): download(f'{url}/{kind}/w.pt', tmp_path)
    assert download(f'{url}/{kind}/w.pt', tmp_path).read_bytes() == (newer if kind in ('swap','rude') else body)
    assert len(Server.asked) == asked and [o.name for o in tmp_path.iterdir()] == ['w.pt']

@pytest.mark.parametrize('kind,why', [('page', 'answered with a web page in place of a file'), ('plain', 'it is a web page, so it was deleted'),
                                      ('endless', 'only a piece of one, so it was deleted')])
def test_what_is_no_whole_file_of_weights_is_not_kept(url, tmp_path, kind, why):
    with pytest.raises(ConnectionError, match=f'{why}; fetch the file by other means'): download(f'{url}/{kind}/w.pt', tmp_path)
    assert not list(tmp_path.iterdir())

def test_two_files_in_one_are_not_kept(url, tmp_path):
    "A server that says nothing of a change is found out by the check sums in the file"
    with pytest.raises(ConnectionError, match='broke off'): download(f'{url}/liar/w.pt', tmp_path)
    with pytest.raises(ConnectionError, match='it was deleted'): download(f'{url}/liar/w.pt', tmp_path)
    assert Server.asked[-1][1] == f'bytes={half}-' and not list(tmp_path.iterdir())
    assert download(f'{url}/liar/w.pt', tmp_path).read_bytes() == newer

def test_a_web_page_leaves_the_part_that_is_there(url, tmp_path, monkeypatch):
    with pytest.raises(ConnectionError): download(f'{url}/short/w.pt', tmp_path)
    def there(): return {o.name: o.read_bytes() for o in tmp_path.iterdir()}
    before = there()
    with pytest.raises(ConnectionError, match='a web page'): download(f'{url}/page/w.pt', tmp_path)
    assert there() == before and len(before) == 2

def test_a_full_disk_is_said_and_the_part_is_kept(url, tmp_path, monkeypatch):
    def full(r, part, lock, have, want):
        part.write_bytes(body[:1000])
        raise OSError(errno.ENOSPC, 'No space left on device')
    with monkeypatch.context() as m, pytest.raises(OSError, match='the weights cannot be kept in .*No space left.*TORCH_HOME'):
        m.setattr(W, '_copy', full)
        download(f'{url}/w.pt', tmp_path)
    assert download(f'{url}/w.pt', tmp_path).read_bytes() == body and Server.asked[-1][1] == 'bytes=1000-'

@pytest.mark.parametrize('left', [body+b'more', body])
def test_a_part_that_is_already_whole_is_fetched_anew(url, tmp_path, left):
    (tmp_path/'w.pt.part').write_bytes(left)
    assert download(f'{url}/w.pt', tmp_path).read_bytes() == body and Server.asked == [('/w.pt', None)]
    (tmp_path/'v.pt.part').write_bytes(left), (tmp_path/'v.pt.part.json').write_text('{"version": "\\"1\\"", "size": 9}')
    assert download(f'{url}/v.pt', tmp_path).read_bytes() == body and sorted(o.name for o in tmp_path.iterdir()) == ['v.pt', 'w.pt']

def test_a_hash_in_the_name_is_checked(url, tmp_path):
    good = hashlib.sha256(body).hexdigest()[:8]
    assert download(f'{url}/net-{good}.pth', tmp_path).exists()
    with pytest.raises(ConnectionError, match='another hash than 01234567, so it was deleted'): download(f'{url}/net-01234567.pth', tmp_path)
    assert [o.name for o in tmp_path.iterdir()] == [f'net-{good}.pth']

def test_a_refusal_says_what_to_do(url, tmp_path, monkeypatch):
    monkeypatch.setattr(W, 'CVNETS_URL', f'{url}/403')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    with pytest.raises(ConnectionError, match=r"answered 403 Forbidden; fetch the file by other means and give its path, load_weights\(model, path\); or take torchvision's: create_model\('resnet50_tv', pretrained='torchvision'\)"):
        create_model('resnet50', pretrained=True)
    with pytest.raises(ConnectionError, match=r"create_model\('timm/mobilevit_xxs', pretrained=True\)"): load_weights(create_model('mobilevit_xxs'), 'cvnets')

def test_an_unreachable_host_says_what_to_do(tmp_path):
    with pytest.raises(ConnectionError, match='could not be read .*give its path'): download('http://127.0.0.1:9/w.pt', tmp_path)

def test_a_file_that_is_no_checkpoint_is_refused(url, tmp_path, monkeypatch):
    monkeypatch.setattr(W, 'CVNETS_URL', url)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr('test_weights.body', b'PK no checkpoint')
    for _ in range(2):
        with pytest.raises(ConnectionError, match='it is no file of torch.save.*give its path'): load_weights(create_model('mobilenetv1_025'), 'cvnets')
    assert not list((tmp_path/'checkpoints').iterdir())

# Several processes

fetch = """
import hashlib, sys
from cvnets_nb.models.weights import download
print('ready', flush=True)
sys.stdin.readline()
print(hashlib.sha256(download(sys.argv[1], sys.argv[2]).read_bytes()).hexdigest(), flush=True)
"""

def start(n, url, folder):
    "`n` processes that have imported everything and wait for a line before they download `url`"
    ps = [subprocess.Popen([sys.executable, '-W', 'ignore', '-c', fetch, url, str(folder)], text=True,
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(n)]
    assert [p.stdout.readline() for p in ps] == ['ready\n']*n
    return ps

def go(ps):
    for p in ps: p.stdin.write('go\n'); p.stdin.flush()

def ended(ps): return [p.communicate(timeout=120)[0].strip() for p in ps]

@pytest.mark.parametrize('n', [3])
def test_processes_that_download_at_once(url, tmp_path, n):
    ps = start(n, f'{url}/slow/w.pt', tmp_path)
    go(ps)
    assert ended(ps) == [hashlib.sha256(body).hexdigest()]*n
    assert Server.asked == [('/slow/w.pt', None)], 'one downloads, the others wait'
    assert [o.name for o in tmp_path.iterdir()] == ['w.pt']

@pytest.mark.parametrize('side', ['[]', '5', '{"version": 5}', '{"version": "a\\nb"}', '{"version": "\u2013"}', '{"version": "\\"1\\"", "size": "x"}', '['*99_999])
def test_a_damaged_note_beside_a_part_is_no_obstacle(side, url, tmp_path):
    (tmp_path/'w.pt.part').write_bytes(body[:1000]), (tmp_path/'w.pt.part.json').write_text(side, encoding='utf-8')
    assert download(f'{url}/w.pt', tmp_path).read_bytes() == body and [o.name for o in tmp_path.iterdir()] == ['w.pt']

def test_an_empty_file_of_the_name_is_no_download(url, tmp_path):
    (tmp_path/'w.pt').touch()
    assert download(f'{url}/w.pt', tmp_path).read_bytes() == body

def test_bytes_behind_the_end_and_odd_answers_are_one_line(url, tmp_path):
    "A server that announces no length, or no number, and one that leads in a circle"
    assert download(f'{url}/number/w.pt', tmp_path).read_bytes() == body
    for kind, says in (('more', 'it goes on behind its end, so it was deleted'), ('circle', 'answered 302 ')):
        with pytest.raises(ConnectionError, match=says) as e: download(f'{url}/{kind}/v.pt', tmp_path)
        assert '\n' not in str(e.value) and [o.name for o in tmp_path.iterdir()] == ['w.pt']
    for odd in ('', 'w.pt', 'http://x/', None, 5):
        with pytest.raises(ValueError, match='url must be an address that ends in the name of a file'): download(odd, tmp_path)

@pytest.mark.long
def test_a_killed_download_is_resumed(url, tmp_path):
    first, other = start(2, f'{url}/slow/w.pt', tmp_path)
    go([first])
    part = tmp_path/'w.pt.part'
    until = time.monotonic() + 30
    while not part.exists() or part.stat().st_size < 100_000:
        assert time.monotonic() < until, 'nothing was written'
        time.sleep(.01)
    first.kill()
    first.wait()
    left = part.stat().st_size
    assert left < len(body)
    go([other])
    assert ended([other]) == [hashlib.sha256(body).hexdigest()]
    assert Server.asked == [('/slow/w.pt', None), ('/slow/w.pt', f'bytes={left}-')]
    assert [o.name for o in tmp_path.iterdir()] == ['w.pt']

# What is listed

def test_every_row_is_for_a_model_of_ours():
    rows = list_weights()
    assert {p.arch for p in rows} <= set(list_models()) and len({(p.arch, p.source) for p in rows}) == len(rows)
    assert {p.url.rsplit('/',1)[-1][-3:] for p in cvnets_weights()} == {'.pt'} and len({p.url for p in rows}) == len(rows)

@pytest.mark.parametrize('arch, source, top1, size, resize, end', [
    ('mobilenetv1_100', 'cvnets', 74.04, 224, 256, 'cvnets-v2/classification/mobilenetv1-1.00.pt'),
    ('mobilenetv2_025', 'cvnets', 53.57, 224, 256, 'cvnets-v2/classification/mobilenetv2-0.25.pt'),
    ('mobilenetv3_large', 'cvnets', 75.13, 224, 256, 'cvnets-v2/classification/mobilenetv3-large.pt'),
    ('resnet101', 'cvnets:advanced', 81.68, 224, 256, 'cvnets-v2/classification/advanced/resnet-101-adv.pt'),
    ('mobilevit_s', 'cvnets', 78.3, 256, 288, 'models/cvnets/classification/mobilevit_s.pt'),
    ('mobilevitv2_050', 'cvnets', 70.18, 256, 288, 'mobilevitv2/imagenet1k/256x256/mobilevitv2-0.5.pt'),
    ('mobilevitv2_200', 'cvnets:in21k-384', 83.41, 384, 384, 'mobilevitv2/imagenet21k_to_1k/384x384/mobilevitv2-2.0.pt'),
    ('se_resnet50', 'cvnets:range_augment', 80.8, 224, 232, 'examples/range_augment/classification/se_resnet_50.pt'),
    ('resnet50_tv', 'torchvision', 80.858, 224, 232, 'resnet50-11ad3fa6.pth'),
    ('resnet50_tv', 'torchvision:IMAGENET1K_V1', 76.13, 224, 256, 'resnet50-0676ba61.pth')])
def test_rows(arch, source, top1, size, resize, end):
    p = published(arch, source)
    assert (p.top1, p.size, p.resize) == (top1, size, resize) and p.url.endswith(end)

def test_only_the_first_mobilevits_are_bgr(): assert [p.arch for p in list_weights() if p.bgr] == ['mobilevit_xxs', 'mobilevit_xs', 'mobilevit_s']

def test_unknown_weights_are_refused():
    for src,said in (('cvnets:512', 'there are cvnets, cvnets:384'), ('torchvision', 'there are cvnets')):
        with pytest.raises(ValueError, match=f"no weights '{src}' for mobilevitv2_050: {said}"): load_weights(create_model('mobilevitv2_050'), src)
    with pytest.raises(ValueError, match='needs a model made by create_model'): load_weights(nn.Linear(2,2), 'cvnets')

def test_every_checkpoint_has_advice_or_is_elsewhere_itself():
    assert all(elsewhere(p) for p in cvnets_weights() if p.arch.startswith(('resnet','mobilevit','mobilenetv2_100','mobilenetv3')))
    assert not any(elsewhere(p) for p in torchvision_weights())

# Starting from them

@pytest.fixture
def served(monkeypatch, tmp_path):
    "Makes every published file be the one that is given"
    def serve(sd):
        torch.save(sd, tmp_path/'served.pt')
        monkeypatch.setattr(W.Published, 'get', lambda self: tmp_path/'served.pt')
    return serve

def out(m, x):
    with torch.no_grad(): return m.eval()(x)

def test_published_weights_bring_their_configuration(served):
    src = create_model('mobilevitv2_050')
    served(src.state_dict())
    m = load_weights(create_model('mobilevitv2_050'), 'cvnets:384')
    assert m.default_cfg['input_size'] == (3,384,384) and m.default_cfg['crop_pct'] == 1 and m.default_cfg['source'] == 'cvnets:384'
    assert torch.equal(out(m, x := torch.rand(1,3,64,64)), out(src, x))

def test_torchvision_weights_bring_theirs(served):
    import torchvision
    theirs = torchvision.models.resnet18()
    served(theirs.state_dict())
    m = create_model('resnet18_tv', n_out=5, in_chans=4, pretrained=True)
    assert m.default_cfg['mean'] == (.485,.456,.406,.485) and m.default_cfg['input_size'] == (4,224,224) and m.default_cfg['source'] == 'torchvision'
    assert out(m, torch.rand(1,4,64,64)).shape == (1,5)
    assert torch.equal(create_model('resnet18_tv', pretrained=True).get_classifier().weight, theirs.fc.weight)

def test_bgr_weights_answer_to_rgb(served):
    src = create_model('mobilevit_xxs')
    served(src.state_dict())
    m, x = load_weights(create_model('mobilevit_xxs'), 'cvnets'), torch.rand(1,3,64,64)
    torch.testing.assert_close(out(m, x), out(src, x.flip(1)))
    assert torch.equal(load_weights(create_model('mobilevit_xxs'), src.state_dict()).conv_1.block.conv.weight, src.conv_1.block.conv.weight)   # a file of one's own is taken as it is

@pytest.mark.parametrize('name', ['mobilenetv1_025', 'mobilenetv3_small', 'resnet18_tv', 'mobilevit_xxs', 'mobilevitv2_050'])
@pytest.mark.parametrize('in_chans', [1, 3, 4, 6])
def test_any_head_and_any_channels(name, in_chans, tmp_path):
    src = create_model(name, n_out=7).eval()
    torch.save(src.state_dict(), tmp_path/'w.pt')
    m = create_model(name, n_out=2, in_chans=in_chans, pretrained=tmp_path/'w.pt').eval()
    x = torch.rand(2,in_chans,64,64)
    assert out(m, x).shape == (2,2) and m.num_classes == 2 and len(m.default_cfg['std']) == in_chans
    grey = torch.rand(2,1,64,64)
    if in_chans in (1,3,6):   # a grey picture, however often repeated, is seen as the three-channel network saw it
        with torch.no_grad(): torch.testing.assert_close(m.forward_features(grey.expand(-1,in_chans,-1,-1)), src.forward_features(grey.expand(-1,3,-1,-1)), rtol=1e-3, atol=1e-4)
    same = create_model(name, n_out=7, pretrained=tmp_path/'w.pt')
    assert torch.equal(same.get_classifier().weight, src.get_classifier().weight)

def test_a_file_of_another_architecture_is_refused(tmp_path):
    torch.save(create_model('mobilenetv1_025').state_dict(), tmp_path/'w.pt')
    with pytest.raises(ValueError, match='not one of this MobileNetv2: .conv_1.block.conv.weight. is'): create_model('mobilenetv2_025', pretrained=tmp_path/'w.pt')
    with pytest.raises(ValueError, match='path or a state dict, got int'): create_model('mobilenetv2_025', pretrained=3)

def test_output_stride_with_weights(tmp_path):
    torch.save(create_model('mobilenetv2_025', n_out=4).state_dict(), tmp_path/'w.pt')
    assert create_model('mobilenetv2_025', n_out=0, pretrained=tmp_path/'w.pt', output_stride=8).eval().forward_features(torch.rand(1,3,64,64)).shape[-1] == 8

# timm

@pytest.mark.parametrize('name', ['resnet18', 'mobilenetv3_small_050', 'convnext_atto', 'mobilevitv2_050'])
def test_timm_models_speak_the_same_protocol(name):
    pytest.importorskip('timm')
    m = create_model(f'timm/{name}', n_out=3, in_chans=4).eval()
    x = torch.rand(1,4,64,64)
    with torch.no_grad(): last, maps = m.forward_intermediates(x)
    assert out(m, x).shape == (1,3) and len(maps) == len(m.feature_info)
    assert [tuple(o.shape[1:]) for o in maps] == [(i['num_chs'], 64//i['reduction'], 64//i['reduction']) for i in m.feature_info]
    assert {'input_size', 'mean', 'std', 'interpolation', 'crop_pct'} <= set(m.default_cfg)
    m.reset_classifier(5)
    assert out(m, x).shape == (1,5) and m.get_classifier().out_features == 5

def test_timm_names_that_do_not_exist():
    pytest.importorskip('timm')
    with pytest.raises(ValueError, match="unknown timm model 'resnet_18': did you mean timm/resnet18"): create_model('timm/resnet_18')
    with pytest.raises(ValueError, match="a set of weights is part of the name"): create_model('timm/resnet18', pretrained='a1_in1k')

def test_without_timm(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'timm', None)
    with pytest.raises(ImportError, match="'timm/resnet18' needs the package timm; install it"): create_model('timm/resnet18')

def test_a_learner_normalises_as_its_weights_want(served):
    "On a loader that has its plan already, which stays; the caller's data are left as they were"
    import torchvision
    from fastai.vision.all import Normalize, accuracy
    from cvnets_nb.all import MScVBS, digits, set_learner
    served(torchvision.models.resnet18().state_dict())
    dls = digits(64, 16).with_plan(MScVBS(64, 16), seed=1)
    learn = set_learner(dls, 'resnet18_tv', pretrained=True, metrics=accuracy)
    kinds = lambda d: [type(o) for o in d.train.after_batch.fs]
    assert Normalize not in kinds(dls) and Normalize in kinds(learn.dls) and Normalize in [type(o) for o in learn.dls.valid.after_batch.fs]
    assert learn.dls.train.sampler == dls.train.sampler and learn.dls.train.seed == 1
    (x0, _), (x1, _) = dls.valid.one_batch(), learn.dls.valid.one_batch()
    assert torch.allclose(x1[:,0], (x0[:,0]-.485)/.229, atol=1e-4)
    assert [any(p.requires_grad for p in g if p.ndim > 1) for g in learn.splitter(learn.model)] == [False, False, True]

# Backbones and wrappers

every = ['mobilenetv2_025', 'resnet18_tv', 'mobilevit_xxs', 'timm/mobilenetv2_050', 'timm/resnet18', 'timm/vit_tiny_patch16_224', 'timm/mobilenetv3_small_050', 'timm/convnext_atto']

@pytest.mark.parametrize('arch', every)
def test_a_checkpoint_without_a_head_gets_a_new_one(arch, tmp_path):
    if arch.startswith('timm'): pytest.importorskip('timm')
    src = create_model(arch, n_out=0)
    sd = {k: v + .01 if v.is_floating_point() else v for k, v in src.state_dict().items()}
    torch.save(dict(state_dict=sd), tmp_path/'w.pth')
    for source in (sd, tmp_path/'w.pth'):
        got = create_model(arch, n_out=5, pretrained=source)
        assert got.num_classes == 5 and all(torch.equal(got.state_dict()[k], v) for k,v in sd.items())
    assert load_weights(create_model(arch, n_out=0), sd) is not None
    with pytest.raises(ValueError, match="it has no head, so load it into a model with n_out=0"): load_weights(create_model(arch, n_out=5), sd)
    first = next(iter(sd))
    with pytest.raises(ValueError, match=re.escape(f"it has no {first!r}")) as e: create_model(arch, n_out=5, pretrained={k:v for k,v in sd.items() if k != first})
    assert 'reset_classifier' not in str(e.value) and 'no head' not in str(e.value)

def test_torchvisions_backbone_alone():
    import torchvision
    sd = {k:v for k,v in torchvision.models.resnet18().state_dict().items() if not k.startswith('fc.')}
    assert torch.equal(create_model('resnet18_tv', n_out=3, pretrained=sd).conv_1.block.conv.weight, sd['conv1.weight'])

@pytest.mark.parametrize('arch, prefix', [(every[0], p) for p in ('module.', '_orig_mod.', 'module._orig_mod.', '_orig_mod.module.', 'model.')] + [(a, 'module.') for a in every[1:4]])
def test_the_prefixes_of_wrappers_are_taken_off(arch, prefix, tmp_path):
    if arch.startswith('timm'): pytest.importorskip('timm')
    sd = create_model(arch, n_out=7).state_dict()
    torch.save(dict(model={f'{prefix}{k}':v for k,v in sd.items()}), tmp_path/'w.pt')
    for m in (create_model(arch, n_out=7, pretrained=tmp_path/'w.pt'), load_weights(create_model(arch, n_out=7), tmp_path/'w.pt')):
        assert all(torch.equal(v, m.state_dict()[k]) for k,v in sd.items())
    mixed = {k if i else f'{prefix}{k}':v for i,(k,v) in enumerate(sd.items())}
    with pytest.raises(ValueError, match='the checkpoint is not one of this'): create_model(arch, n_out=7, pretrained=mixed)

@pytest.mark.parametrize('head', [True, False])
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_a_segmenter_takes_the_weights_of_its_backbone(head, prefix, tmp_path):
    from cvnets_nb.all import scenes, set_learner
    sd = {f'{prefix}{k}':v for k,v in create_model('mobilenetv1_025', n_out=7*head).state_dict().items()}
    torch.save(sd, tmp_path/'w.pt')
    kw = dict(width=16, output_stride=16)
    for source in (sd, tmp_path/'w.pt'):
        m = set_learner(scenes((32,48), bs=4, n=8), 'deeplabv3_mobilenetv1_025', pretrained=source, **kw).model
        enc = m.encoder.state_dict()
        assert len(enc) > 50 and all(torch.equal(v, sd[f'{prefix}{k}']) for k,v in enc.items())
    whole = {f'{prefix}{k}':v + .01 if v.is_floating_point() else v for k,v in m.state_dict().items()}
    got = create_model('deeplabv3_mobilenetv1_025', n_out=11, pretrained=whole, **kw).state_dict()
    assert all(torch.equal(v, whole[f'{prefix}{k}']) for k,v in got.items())
    with pytest.raises(ValueError, match='not one of this MobileNetv1'): create_model('deeplabv3_mobilenetv1_025', pretrained=create_model('mobilenetv1_050').state_dict())
