"The samplers' contract, sentence by sentence, as properties"
import math, pickle, random, re, subprocess, sys, tracemalloc
from collections import Counter
from dataclasses import FrozenInstanceError, replace

import numpy as np, pytest
from hypothesis import assume, given as _given, settings, strategies as st

from cvnets_nb.samplers import *
from cvnets_nb.samplers.curriculum import window
from cvnets_nb.samplers.order import IdSet, places
from cvnets_nb.samplers.plan import Plan, make_plan, time_of, turns

def given(*args): return lambda f: settings(deadline=None, max_examples=60)(_given(*args)(f))

# ---- strategies

def fitting(sides):
    "The largest power of two up to a seventh of the longest side, at most 32, that divides all"
    return max(2**k for k in range(6) if k == 0 or 2**k <= max(sides)/7 and not any(v % 2**k for v in sides))

@st.composite
def multis(draw, max_bs=40):
    "A valid MScFBS or MScVBS"
    d = draw(st.sampled_from([None, 1, 4, 8, 16, 32]))
    side = draw(st.sampled_from([32, 64, 96, 128, 224, 256]))
    other = draw(st.sampled_from([side, side//2, side//4*3]))
    size = draw(st.sampled_from([side, (side,other), (other,side)])) if other != side else side
    step = d or fitting(size if isinstance(size, tuple) else (size,))
    assume(side % step == other % step == 0 and (step > 1 or d == 1 or side < 14))
    lo = draw(st.none() | st.integers(max(1, side//step//3), side//step).map(lambda k: k*step))
    hi = draw(st.none() | st.integers(side//step + 1, side//step*2).map(lambda k: k*step))
    return draw(st.sampled_from([MScFBS, MScVBS]))(size, draw(st.integers(1, max_bs)), lo, hi, draw(st.integers(2, 9)), d)

@st.composite
def videos(draw):
    "A valid VideoMSc or VideoVBS"
    s, clips = draw(multis(10)), draw(st.integers(1, 4))
    kw = dict(frames=draw(st.integers(1, 32)), min_size=s.min_size, max_size=s.max_size, n_scales=s.n_scales, divisor=s.divisor, clips=clips)
    if draw(st.booleans()): return VideoMSc(s.size, s.bs*clips, **kw)
    return VideoVBS(s.size, s.bs*clips, max_frames=draw(st.none() | st.integers(kw['frames'], 64)), **kw)

singles  = st.builds(SScFBS, st.integers(1, 300), st.integers(1, 40)) | st.builds(VideoSSc, st.integers(1, 300), st.integers(1, 40), st.integers(1, 32))
growings = st.builds(Growing, multis() | videos(), st.integers(2, 40), st.floats(.05, 1))
static   = singles | multis() | videos()

@st.composite
def progressives(draw):
    "A valid Progressive"
    side = draw(st.sampled_from([64, 96, 128, 224, (96,128), (224,192)]))
    hold,full = sorted(draw(st.tuples(st.floats(0, 1), st.floats(.05, 1))))
    return Progressive(side, draw(st.integers(1, 40)), draw(st.integers(2, 40)), draw(st.floats(.3, .8)), hold, full, constant_pixels=draw(st.booleans()))

samplers = static | growings | progressives()
counts   = st.integers(1, 60) | st.integers(1, 3000)
worlds   = st.integers(1, 9)
epochs   = st.integers(0, 50)
seeds    = st.integers(-9, 2**40)

def pairs_of(s, epoch=0): return s.pairs_at(epoch) if s.needs_epoch else s.pairs
def shapes(p): return [(o.h, o.w, *time_of(o), len(o.ids)) for o in p]
def per_step(s, pair):
    "(h, w, frames and clips where the pair has frames, ids) of a full step"
    h,w,*frames,b = pair
    return h, w, *frames, *([s.clips] if frames else []), max(2, b)
def all_ranks(s, n, world, **kw): return [s.plan(n, rank=r, world=world, **kw) for r in range(world)]

# ---- samplers as values

def test_the_papers_pairs():
    assert MScVBS(224, 128).pairs == [(128,128,392), (192,192,174), (224,224,128), (288,288,77), (320,320,62)]
    assert MScVBS(256, 128, 160, 320).pairs == [(160,160,327), (192,192,227), (256,256,128), (288,288,101), (320,320,81)]
    assert MScFBS(224, 128).pairs == [(h, w, 128) for h,w,_ in MScVBS(224, 128).pairs]
    assert SScFBS((160,224), 8).pairs == [(160,224,8)]
    assert (SScFBS().size, SScFBS().bs, MScVBS().n_scales) == (224, 64, 5)

@pytest.mark.parametrize('size', [300, 100, 150, 500, 250, 350, 450, 600, (360,480), (480,640), (100,150), (374,500), 299, (225,300), (375,500)])
@pytest.mark.parametrize('cls', [MScFBS, MScVBS])
def test_everyday_sizes_have_a_divisor_that_fits(cls, size):
    "The base stays what was asked for; only an odd side, which no even step fits, is refused, with sizes that work"
    sides = size if isinstance(size, tuple) else (size,)
    if odd := [v for v in sides if v % 2]:
        with pytest.raises(ValueError, match=f'size {odd[0]} is odd') as e: cls(size, 8)
        near = [int(v) for v in re.findall(r'take (\d+) or (\d+)', str(e.value))[0]]
        assert all(abs(v - odd[0]) == 1 for v in near) and cls(size, 8, divisor=1).base
        for v in near: cls(tuple(v if o == odd[0] else o + o%2 for o in sides) if len(sides) > 1 else v, 8)
        return
    s = cls(size, 8)
    assert s.step == fitting(sides) >= 2 and (*s.base, s.bs) in s.pairs and len(s.pairs) >= 4
    assert all(h % s.step == 0 == w % s.step for h,w,_ in s.pairs)
    assert cls(size, 8, divisor=s.step).pairs == s.pairs
    Growing(s, 4).plan(100, epoch=1)

@pytest.mark.parametrize('size,div', [(224,32), (1024,32), (128,16), (96,8), (64,8), (32,4)])
def test_small_images_keep_the_papers_ratios(size, div):
    s = MScVBS(size, 64)
    assert s == replace(s, divisor=None) and s.pairs == replace(s, divisor=div).pairs
    assert all(h % div == 0 for h,_,_ in s.pairs)
    assert abs(s.pairs[0][0] - size*4/7) <= div/2 + .1*size and abs(s.pairs[-1][0] - size*10/7) <= div/2 + .1*size

@given(multis())
def test_pairs_follow_the_formula(s):
    H,W = s.base
    L, d = max(H, W), s.divisor or fitting((H, W))
    lo, hi = s.min_size or L*4/7, s.max_size or L*10/7
    def fit(v):
        r = max(d, int((v + d/2)//d)*d)
        return r if r >= .9*v else r + d
    sides = sorted({fit(lo + (hi - lo)*i/(s.n_scales - 1)) for i in range(s.n_scales)} | {L})
    other = {L: min(H, W)} | {v: fit(v*min(H, W)/L) for v in sides if v != L}
    want = [(v, other[v]) if H >= W else (other[v], v) for v in sides]
    got = [p[:2] for p in s.pairs]
    assert got == want and (H,W) in got and got == sorted(set(got)) and len(got) > 1
    for h,w,b in s.pairs:
        assert h % d == w % d == 0
        assert b == (s.bs if isinstance(s, MScFBS) else max(1, int(round(H*W*s.bs/(h*w), 2))))
    if isinstance(s, MScVBS): assert all(h*w*b <= H*W*s.bs*1.01 or b == 1 for h,w,b in s.pairs)
    assert dict(((h,w),b) for h,w,b in s.pairs)[s.base] == s.bs

@given(samplers)
def test_samplers_are_frozen_values_that_pickle_and_show_themselves(s):
    assert pickle.loads(pickle.dumps(s)) == s and hash(s) == hash(replace(s))
    with pytest.raises(FrozenInstanceError): s.bs = 1
    bs = 7*s.clips
    assert s.with_bs(bs).bs == bs and s.with_bs(s.bs) == s and s.with_bs(bs).base == s.base
    assert s.single().base == s.base and s.single().bs == s.bs and len(s.single().pairs) == 1 and s.single().clips == s.clips
    assert type(s).__name__ in repr(s) and '\n' not in repr(s)
    assert s._repr_html_().count('<tr>') == len(s.pairs) + 1 and s._repr_markdown_().count('\n|') == len(s.pairs) + 2
    assert s.needs_epoch == isinstance(s, (Growing, Progressive))

@given(videos())
def test_pairs_of_clips_follow_the_formula(s):
    H,W = s.base
    images = MScFBS(s.size, s.bs, s.min_size, s.max_size, s.n_scales, s.divisor)
    assert [(h,w) for h,w,*_ in s.pairs] == [(h,w) for h,w,_ in images.pairs] and (H, W, s.frames, s.bs//s.clips) in s.pairs
    for h,w,f,b in s.pairs:
        want = max(1, int(round(H*W*s.frames/(h*w), 2))) if isinstance(s, VideoVBS) else s.frames
        assert f == min(want, getattr(s, 'max_frames', None) or want) and b*s.clips == s.bs
        if isinstance(s, VideoVBS): assert h*w*f*b*s.clips <= H*W*s.frames*s.bs*1.01 or f == 1

@given(progressives())
def test_a_progressive_sampler_grows_once_from_its_start_to_its_base(s):
    sides = [max(s.size_at(e)) for e in range(s.epochs)]
    assert sides == sorted(sides) and sides[-1] == max(s.base) == max(s.size_at(s.epochs+9))
    assert sides[0] < sides[-1] or s.hold*s.epochs < 1 and s.full*s.epochs < 1
    assert all(v % s.step == 0 for e in range(s.epochs) for v in s.size_at(e))
    assert s.pairs[-1] == (*s.base, s.bs)
    for e in range(s.epochs):
        if e < s.hold*s.epochs - 1e-9 and e < s.epochs-1: assert abs(sides[e] - s.start*max(s.base)) <= s.step/2 + 1e-6 or sides[e] == s.step
        if e >= s.full*s.epochs: assert s.size_at(e) == s.base
        [(h,w,b)] = s.pairs_at(e)
        assert b == s.bs if not s.constant_pixels else h*w*b <= s.base[0]*s.base[1]*s.bs*1.01

def test_a_square_is_one_value_however_it_is_written():
    assert MScVBS((224,224), 64) == MScVBS([224,224], 64) == MScVBS(np.int64(224), 64) == MScVBS(224, 64)
    assert MScVBS(224, 64) != MScFBS(224, 64) != SScFBS(224, 64)

@pytest.mark.parametrize('make,words', [
    (lambda: SScFBS(0),                                      'size must be a whole number of at least 1, got 0'),
    (lambda: SScFBS(224, 0),                                 'bs must be a whole number of at least 1, got 0'),
    (lambda: SScFBS(224, 2.5),                               'bs must be a whole number of at least 1, got 2.5'),
    (lambda: MScVBS(300, divisor=32),                        'size 300 is no multiple of divisor 32; take 288 or 320, or a divisor that fits, e.g. divisor=4'),
    (lambda: MScVBS((224,200), divisor=32),                  'size 200 is no multiple of divisor 32; take 192 or 224'),
    (lambda: MScVBS(224, min_size=130),                      'min_size 130 is no multiple of divisor 32; take 128 or 160'),
    (lambda: MScVBS(224, max_size=300),                      'max_size 300 is no multiple of divisor 32; take 288 or 320'),
    (lambda: MScVBS(224, min_size=288, max_size=256),        'min_size 288 is more than max_size 256'),
    (lambda: MScVBS(224, min_size=256),                      'size 224 is outside min_size 256 to max_size 320'),
    (lambda: MScVBS(224, max_size=192),                      'size 224 is outside min_size 128 to max_size 192'),
    (lambda: MScVBS(224, min_size=224, max_size=224),        'one size only; widen the range, lower divisor, or use SScFBS'),
    (lambda: MScVBS(224, n_scales=1),                        'n_scales must be a whole number of at least 2, got 1; for one size use SScFBS'),
    (lambda: MScVBS(224, min_size=0),                        'min_size must be a whole number of at least 1, got 0'),
    (lambda: MScVBS(224, divisor=0),                         'divisor must be a whole number of at least 1, got 0'),
    (lambda: MScVBS(224, min_size=(128,128)),                'min_size must be a whole number of at least 1, got (128, 128)'),
    (lambda: VideoVBS(224, 8, frames=0),                     'frames must be a whole number of at least 1, got 0'),
    (lambda: VideoMSc(224, 8, clips=0),                      'clips must be a whole number of at least 1, got 0'),
    (lambda: VideoSSc(224, 8, clips=3),                      'bs 8 is no multiple of clips 3: a step has bs clips, of bs/clips videos; take bs 6 or 9'),
    (lambda: VideoVBS(224, 8, max_frames=7),                 'max_frames 7 is less than the frames 8 of the base'),
    (lambda: Growing(SScFBS(224), 10),                       'give MScFBS(...) or MScVBS(...)'),
    (lambda: Growing(MScVBS(224), 0),                        'epochs must be a whole number of at least 2, got 0'),
    (lambda: Growing(MScVBS(224), 10, until=0),              'until must be more than 0 and at most 1, got 0'),
    (lambda: MScVBS(224).plan(0),                            'n must be a whole number of at least 1, got 0'),
    (lambda: MScVBS(224).plan(9, epoch=-1),                  'epoch must be a whole number of at least 0, got -1'),
    (lambda: Growing(MScVBS(224), 10).plan(9, epoch=-1),     'epoch must be a whole number of at least 0, got -1'),
    (lambda: MScVBS(224).plan(9, seed=.5),                   'seed must be a whole number'),
    (lambda: MScVBS(224).plan(9, rank=2, world=2),           'rank must be less than world'),
    (lambda: MScVBS(224).plan(9, rank=-1, world=2),          'rank must be a whole number of at least 0, got -1'),
    (lambda: MScVBS(224).plan(9, world=0),                   'world must be a whole number of at least 1, got 0'),
    (lambda: MScVBS(224).plan(9, ids=[]),                    'ids is empty'),
    (lambda: MScVBS(224).plan(9, ids=[1,9]),                 'ids holds 9, which is outside range(9)'),
    (lambda: MScVBS(224).plan(9, ids=[-1]),                  'ids holds -1, which is outside range(9)'),
    (lambda: MScVBS(224).plan(9, ids=[3,1,3]),               'ids holds 3 more than once'),
    (lambda: MScVBS(224).plan(9, ids=[.5]),                  'ids must be whole numbers'),
    (lambda: MScVBS(224).plan(9, ids=[True]*9),              'np.flatnonzero(mask)'),
    (lambda: MScVBS(224).plan(9, ids=[[1,2]]),               'ids must be 1-D'),
    (lambda: MScVBS(224, 64).plan(9, drop_last=True),        'lower bs or give drop_last=False'),
])
def test_refusals_name_the_value_and_the_remedy(make, words):
    with pytest.raises(ValueError) as e: make()
    assert words in str(e.value)

# ---- one process

@given(samplers, counts, epochs, seeds, st.booleans())
def test_an_epoch_holds_every_id_once_at_the_samplers_sizes(s, n, epoch, seed, shuffle):
    p = s.plan(n, epoch=epoch, seed=seed, shuffle=shuffle)
    assert sorted(p.ids.tolist()) == list(range(n)) and p.n_samples == n
    assert {o[:2] for o in p} <= {q[:2] for q in pairs_of(s, epoch)}
    assert all(o.n_real == len(o.ids) and o.ids.dtype == np.int64 for o in p)
    if not shuffle: assert p.ids.tolist() == list(range(n))

@given(samplers, st.data(), st.integers(1, 500), epochs, st.booleans())
def test_only_the_active_ids_are_planned(s, data, n, epoch, shuffle):
    ids = data.draw(st.lists(st.integers(0, n-1), min_size=1, unique=True))
    p = s.plan(n, epoch=epoch, ids=ids, shuffle=shuffle)
    assert sorted(p.ids.tolist()) == sorted(ids)
    if not shuffle: assert p.ids.tolist() == ids
    assert s.plan(n, epoch=epoch, ids=np.array(ids), shuffle=shuffle) == p
    assert s.plan(n, epoch=epoch, ids=range(n), shuffle=shuffle) == s.plan(n, epoch=epoch, shuffle=shuffle)

@given(samplers, counts, epochs, seeds, worlds, st.data())
def test_a_plan_is_a_pure_function_and_leaves_global_random_alone(s, n, epoch, seed, world, data):
    kw = dict(epoch=epoch, seed=seed, world=world, rank=data.draw(st.integers(0, world-1)))
    before = random.getstate(), np.random.get_state()[1].tolist()
    p = s.plan(n, **kw)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    random.random(); np.random.rand()
    assert s.plan(n, **kw) == p == pickle.loads(pickle.dumps(p))
    ids = list(range(n)); s.plan(n, ids=ids, **kw)
    assert ids == list(range(n))

def test_a_plan_does_not_hold_on_to_the_ids_it_was_given():
    ids = np.arange(100)
    p = MScVBS(32, 8).plan(100, ids=ids, shuffle=False)
    ids[:] = 0
    assert p.ids.tolist() == list(range(100))

def test_seed_and_epoch_decide_the_order():
    s = MScVBS(224, 16)
    ps = [s.plan(2000, epoch=e, seed=k) for e in range(4) for k in range(4)]
    assert all(a != b for i,a in enumerate(ps) for b in ps[:i])
    assert len({tuple(p.hws[:,0]) for p in ps}) == len(ps)            # the order of sizes, too
    assert len({frozenset(p[0].ids.tolist()) for p in ps}) == len(ps) # and who shares a batch

@given(static, st.integers(1, 800), worlds, st.lists(st.tuples(epochs, seeds), min_size=2, max_size=4), st.booleans(), st.data())
def test_composition_is_the_same_in_every_epoch(s, n, world, keys, drop_last, data):
    n_all = n + data.draw(st.integers(0, 50))
    try: plans = [s.plan(n_all, epoch=e, seed=k, ids=data.draw(st.permutations(range(n_all)))[:n], world=world, drop_last=drop_last) for e,k in keys]
    except ValueError as e: assert drop_last and 'drop_last' in str(e); return
    plans.append(s.plan(n_all, ids=range(n), world=world, shuffle=False, drop_last=drop_last))
    assert len({tuple(sorted(shapes(p))) for p in plans}) == 1

@given(samplers, st.integers(2, 3000), worlds, epochs, st.booleans())
def test_each_pair_equally_often_and_never_a_single_id(s, n, world, epoch, drop_last):
    try: p = s.plan(n, epoch=epoch, world=world, drop_last=drop_last)
    except ValueError: assert drop_last; return
    full = {(h,w): max(2, b) for h,w,*_,b in pairs_of(s, epoch)}
    often = Counter(o[:2] for o in p)
    assert max(often.values()) - min(often[k] for k in full) <= 1
    assert min(len(o.ids) for o in p) >= 2
    short = [full[o[:2]] - len(o.ids) for o in p if len(o.ids) < full[o[:2]]]
    over  = [len(o.ids) - full[o[:2]] for o in p if len(o.ids) > full[o[:2]]]
    if drop_last: assert not short and not over
    else: # one short step; or the one and the step that gave it an id; or a full pair of two that took a third in
        assert len(short) <= 1 or (len(short) == 2 and 1 in short and 2 in [len(o.ids) for o in p if len(o.ids) < full[o[:2]]])
        assert over in ([], [1]) and not (over and short)
        if over: assert 3 in [len(o.ids) for o in p]

@given(samplers, st.integers(2, 2000), worlds, epochs)
def test_composition_against_a_loop_in_plain_python(s, n, world, epoch):
    "The words of the contract, one step at a time, over ids per process"
    pairs = pairs_of(s, epoch)
    areas = [h*w for h,w,*_ in pairs]
    c = min(range(len(pairs)), key=lambda i: abs(areas[i] - s.base[0]*s.base[1]))
    order = [pairs[c]]
    for d in range(1, len(pairs)): order += [pairs[i] for i in (c-d, c+d) if 0 <= i < len(pairs)]
    left, steps = max(2, -(-n//world)), []
    while left:
        *size,b = per_step(s, order[len(steps) % len(order)])
        steps.append([*size, min(b, left)])
        left -= steps[-1][-1]
    if steps[-1][-1] == 1:
        if steps[-2][-1] > 2: steps[-2][-1] -= 1; steps[-1][-1] = 2
        else: steps.pop(); steps[-1][-1] += 1
    steps = [tuple(o) for o in steps]
    assert shapes(s.plan(n, epoch=epoch, world=world, shuffle=False)) == steps
    assert Counter(shapes(s.plan(n, epoch=epoch, world=world))) == Counter(steps)

def test_remaining_ids_go_to_the_base_first():
    assert [o.h for o in MScVBS(224, 128).plan(60, shuffle=False)] == [224]
    assert [o.h for o in MScVBS(224, 128).plan(833, shuffle=False)] == [224,192,288,128,320]
    assert [o.h for o in MScVBS(224, 128).plan(833 + 302, shuffle=False)] == [224,192,288,128,320,224,192]

def test_one_id_is_one_id():
    for s in SScFBS(32, 4), MScVBS(32, 4), Growing(MScVBS(32, 4), 5):
        assert [o.ids.tolist() for o in s.plan(9, ids=[5])] == [[5]]
        p = all_ranks(s, 1, 3)
        assert [shapes(o) for o in p] == [shapes(p[0])]*3 and [o.n_samples for o in p] == [1,0,0]

@given(samplers, st.integers(1, 3000), worlds, epochs)
def test_drop_last_leaves_out_short_steps_only(s, n, world, epoch):
    b = {q[:2]: max(2, q[-1]) for q in pairs_of(s, epoch)}
    whole = s.plan(n, epoch=epoch, world=world, shuffle=False)
    try: p = s.plan(n, epoch=epoch, world=world, shuffle=False, drop_last=True)
    except ValueError as e:
        assert 'drop_last leaves no step' in str(e) and n < b[whole[0][:2]]*world; return
    assert all(len(o.ids) == o.n_real == b[o[:2]] for o in p)
    assert len(p) <= len(whole) <= len(p) + 1
    assert 0 <= n - p.n_samples*world < max(b.values())*world
    assert sum(x.n_samples for x in all_ranks(s, n, world, epoch=epoch, drop_last=True)) == p.n_samples*world

# ---- several processes

@given(samplers, counts, worlds, epochs, seeds, st.booleans())
def test_ranks_agree_on_shapes_and_cover_every_id_once(s, n, world, epoch, seed, shuffle):
    ps = all_ranks(s, n, world, epoch=epoch, seed=seed, shuffle=shuffle)
    assert all(shapes(p) == shapes(ps[0]) for p in ps)
    real = [i for p in ps for o in p for i in o.ids[:o.n_real].tolist()]
    assert sorted(real) == list(range(n)) and sum(p.n_samples for p in ps) == n
    assert all(0 <= o.n_real <= len(o.ids) for p in ps for o in p)
    repeats = len(ps[0].ids)*world - n
    if n >= 2*world: # only where the count does not divide: fewer than `world`, in one step, no rank without a real id, no id twice on a rank
        assert repeats == -n % world
        assert sum(any(p[t].n_real < len(p[t].ids) for p in ps) for t in range(len(ps[0]))) <= 1
        assert all(o.n_real >= 1 and len(set(o.ids.tolist())) == len(o.ids) for p in ps for o in p)
    elif n > 1: assert [(*o[:2], len(o.ids)) for o in ps[0]] == [(*ps[0][0][:2], 2)]
    if n > 1: assert min(len(o.ids) for o in ps[0]) >= 2

@given(samplers, counts, worlds, epochs, seeds)
def test_a_rank_takes_every_worldth_of_the_padded_global_batch(s, n, world, epoch, seed):
    ps = all_ranks(s, n, world, epoch=epoch, seed=seed)
    for t in range(len(ps[0])):
        slots = np.stack([p[t].ids for p in ps], 1).ravel()                   # g, in the order it was dealt
        m = sum(p[t].n_real for p in ps)
        assert len(set(slots[:m].tolist())) == m
        assert slots.tolist() == np.resize(slots[:m], len(slots)).tolist()    # repeats from its own start
        for r,p in enumerate(ps): assert p[t].n_real == len(range(r, m, world))

# ---- the plan

@given(samplers, counts, epochs, st.data())
def test_a_plan_is_a_sequence_of_items(s, n, epoch, data):
    p = s.plan(n, epoch=epoch)
    items = list(p)
    assert len(items) == len(p) and [p[t] for t in range(len(p))] == items and [p[t-len(p)] for t in range(len(p))] == items
    assert all(isinstance(o, PlanItem) for o in items) and items[0] in p and p.index(items[-1]) == len(p) - 1
    sl = data.draw(st.slices(len(p)))
    assert list(p[sl]) == items[sl] and isinstance(p[sl], Plan) and p[:] == p
    assert p[sl].n_samples == sum(o.n_real for o in items[sl])
    h,w,ids,n_real = items[0]
    assert np.array_equal(np.concatenate([o.ids for o in items]), p.ids) and p.share is not None
    given = Plan(p.hws, p.starts, p.ids, p.n_real, p.frames, p.clips)         # over an array: items are views of it
    assert given == p and all(np.shares_memory(o.ids, given.ids) for o in given)
    with pytest.raises(IndexError): p[len(p)]

@given(samplers, counts, worlds, epochs)
def test_counts_leave_repeats_out(s, n, world, epoch):
    for p in all_ranks(s, n, world, epoch=epoch):
        assert p.n_samples == sum(o.n_real for o in p)
        assert p.n_pixels == sum(o.n_real*o.h*o.w*math.prod(time_of(o)) for o in p)
        assert p.hws.shape == (len(p),2) and p.starts.shape == (len(p)+1,) and p.n_real.shape == (len(p),)
        assert p.starts[0] == 0 and p.starts[-1] == len(p.ids)

@given(samplers, counts, epochs, worlds)
def test_a_plan_shows_itself(s, n, epoch, world):
    p = s.plan(n, epoch=epoch, world=world)
    assert '\n' not in repr(p) and f'{len(p):,} step' in repr(p)
    html, md, sizes = p._repr_html_(), p._repr_markdown_(), len({o[:2] for o in p})
    assert html.count('<tr>') == sizes + 1 and md.count('\n|') == sizes + 2 and '<svg' in html
    assert html.count('<rect') == min(len(p), 60) and ('first 60 of' in html) == (len(p) > 60)
    assert repr(p[:0]).startswith('Plan(0 steps') and '<svg' in p[:0]._repr_html_()

def test_plans_are_compared_by_value():
    a, b = MScVBS(32, 8).plan(99), MScVBS(32, 8).plan(99)
    assert a == b and a is not b and a != a[1:] and a != list(a) and a[0] == b[0] and a[0] != a[1] and hash(a[0]) == hash(b[0])

def test_plot_draws_a_box_per_step():
    plt = pytest.importorskip('matplotlib.pyplot')
    plt.switch_backend('agg')
    ax = plt.subplots()[1]
    assert MScVBS(224, 16).plan(3000).plot(ax=ax) is ax and len(ax.patches) == 60
    plt.close('all')

def test_planning_imagenet_is_small():       # how quick it is, nbs/benchmarks/planning.ipynb measures
    s, n = MScVBS(224, 128), 1_281_167
    p = s.plan(n)
    for kw in dict(), dict(rank=3, world=8), dict(ids=np.arange(n)[::-1]):
        tracemalloc.start(); s.plan(n, **kw); peak = tracemalloc.get_traced_memory()[1]; tracemalloc.stop()
        assert peak <= 100e6, (kw, peak)
    assert len(p) == 7691 and len(pickle.dumps(p)) < 400e3                    # a worker gets the recipe, not the ids

# ---- plans that are never held whole

def mixed(ids):
    "A number for each id that says nothing of its neighbours (the end of MurmurHash3)"
    h = np.asarray(ids).astype(np.uint64)
    for c in 0xff51afd7ed558ccd, 0xc4ceb9fe1a85ec53: h = (h ^ (h >> np.uint64(33)))*np.uint64(c)
    return h ^ (h >> np.uint64(33))

def fingerprint(parts):
    "How many ids, the sum and the exclusive or of their hashes: the same for the same ids in any order"
    n, total, xor = 0, 0, 0
    for ids in parts:
        h = mixed(ids)
        n, total, xor = n + len(h), (total + int(h.sum(dtype=np.uint64))) % 2**64, xor ^ int(np.bitwise_xor.reduce(h))
    return n, total, xor

@pytest.mark.parametrize('n,world', [(100_003, 7), (400_000, 64), (1_000_003, 64), (300_007, 1024)])
@pytest.mark.parametrize('some', [False, True])
def test_every_id_exactly_once_over_all_ranks(n, world, some):
    s = MScVBS(64, 8)
    mask = np.random.default_rng(n).random(n) < .3 if some else np.ones(n, bool)
    ids = IdSet.of_mask(mask) if some else None
    def real(r):
        p = s.plan(n, epoch=3, seed=5, ids=ids, rank=r, world=world)
        own = np.ones(len(p.ids), bool)
        for t in np.flatnonzero(p.n_real < np.diff(p.starts)): own[p.starts[t]+p.n_real[t]:p.starts[t+1]] = False
        return p.ids[own]
    assert fingerprint(real(r) for r in range(world)) == fingerprint([np.flatnonzero(mask)])

def test_a_fingerprint_tells_a_missing_and_a_double_id():
    a = fingerprint([np.arange(1000)])
    assert a == fingerprint([np.arange(500, 1000)[::-1], np.arange(500)])
    assert a != fingerprint([np.arange(999)]) and a != fingerprint([np.r_[0:500, 0:500]]) and a != fingerprint([np.r_[0:999, 998]])

def test_a_rank_of_a_billion_ids():
    n, world, ranks = 10**9, 1024, (0, 1, 511, 1023)
    s, seen = MScVBS(224, 128), []
    tracemalloc.start()
    for r in ranks:
        p = s.plan(n, epoch=7, seed=1, rank=r, world=world)
        for t in 0, len(p)//2, len(p)-1: p[t]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6 and len(pickle.dumps(p)) < 400e3, (peak, len(pickle.dumps(p)))
    for r in ranks:
        p = s.plan(n, epoch=7, seed=1, rank=r, world=world)
        seen += [o.ids[:o.n_real] for o in p]
        assert len(p) == len(s.plan(n, rank=5, world=world)) and abs(p.n_samples - n/world) < 400
    seen = np.sort(np.concatenate(seen))
    assert seen[0] >= 0 and seen[-1] < n and (np.diff(seen) > 0).all(), 'no id twice, on one rank or on two'
    assert len(seen) > len(ranks)*(n//world - 400) and abs(seen.mean()/n - .5) < .002 and s.plan(n, world=world).real.sum() == n

def test_a_large_active_set_is_bits():
    n = 9_000_000
    odd = IdSet.of_mask(np.arange(n) % 2 == 1)
    s = MScVBS(224, 128)
    p = s.plan(n, ids=odd, rank=3, world=8)
    assert odd.nbytes < 1.2*n/8 and p.share.order.ids is odd
    assert p == s.plan(n, ids=np.arange(1, n, 2), rank=3, world=8)            # an array of many ascending ids is one, too
    q = s.plan(n, ids=np.arange(1, n, 2)[::-1], rank=3, world=8, shuffle=False)
    assert np.array_equal(p[5].ids % 2, np.ones(len(p[5].ids))) and q[0].ids[:3].tolist() == [n-7, n-23, n-39]

@given(samplers, counts, worlds, epochs, st.booleans(), st.data())
def test_places_lead_back_to_every_rank(s, n, world, epoch, drop_last, data):
    some = data.draw(st.none() | st.lists(st.integers(0, n-1), min_size=1, unique=True))
    try: ps = all_ranks(s, n, world, epoch=epoch, ids=some, drop_last=drop_last)
    except ValueError: assert drop_last; return
    found = [(int(i), int(r), int(o)) for part in places(ps[0].share, 7) for i,r,o in zip(*part)]
    want = [(i, r, o) for r,p in enumerate(ps) for t,it in enumerate(p) for o,i in enumerate(it.ids[:it.n_real].tolist(), p.starts[t])]
    assert sorted(found) == sorted(want)
    if some is None: assert [i for i,*_ in found] == sorted(i for i,*_ in found)
    assert sum(p.n_real for p in ps).tolist() == ps[0].real.tolist()

# ---- what the reference gave

@pytest.mark.parametrize('s,updates,pixels', [
    (MScVBS(224, 128),                             .768, .765),
    (MScVBS(256, 128, 160, 320),                   .741, None),
    (MScVBS(224, 128, 128, 320, n_scales=10),      .759, None),
    (MScVBS(1024, 4, 512, 1280, n_scales=10),      .635, .570),
    (MScVBS(224, 128, 160, 288),                   .880, None),
    (MScVBS(224, 16),                              .784, None),
    (MScVBS(224, 8),                               .816, None),
])
def test_the_measured_effect(s, updates, pixels):
    one, many = SScFBS(s.size, s.bs).plan(1_281_167), s.plan(1_281_167)
    assert round(len(many)/len(one), 3) == updates
    if pixels: assert round(many.n_pixels/one.n_pixels, 3) == pixels

# ---- growing

@given(st.integers(1, 20), st.floats(0, 1), st.floats(0, 1), st.integers(2, 20))
def test_the_window_grows_to_the_largest(n, p, q, w):
    lo,hi = window(n, p, w)
    assert 0 <= lo < hi <= n and hi-lo <= w and window(n, 1, w) == (max(0, n-w), n) and window(n, 0, w) == (0, 1)
    assert window(n, min(p, q), w) <= window(n, max(p, q), w)

@given(growings, st.integers(0, 60))
def test_growing_uses_its_samplers_pairs(g, epoch):
    assert g.pairs == g.sampler.pairs and (g.base, g.bs, g.size) == (g.sampler.base, g.sampler.bs, g.sampler.size)
    now, nxt = g.pairs_at(epoch), g.pairs_at(epoch + 1)
    assert now == sorted(now) and set(now) <= set(g.pairs) and now[0] <= nxt[0] and now[-1] <= nxt[-1]
    if epoch >= g.until*g.epochs: assert now[-1] == g.pairs[-1] and any(p[:2] == g.base for p in now)

@given(growings, st.integers(1, 800), worlds, seeds)
def test_growing_past_its_window_keeps_the_last_one(g, n, world, seed):
    last = g.pairs_at(g.epochs)
    assert all(g.pairs_at(e) == last for e in (g.epochs + 1, g.epochs + 7))
    shared = {(h,w) for h,w,*_ in last}
    assert {(i.h,i.w) for i in g.plan(n, epoch=g.epochs, seed=seed, world=world)} <= shared

@given(growings, st.integers(1, 800), epochs, seeds, seeds)
def test_growings_composition_depends_on_the_epoch_alone(g, n, epoch, a, b):
    assert sorted(shapes(g.plan(n, epoch=epoch, seed=a))) == sorted(shapes(g.plan(n, epoch=epoch, seed=b)))

# ---- a plain torch loader

@given(samplers, counts, seeds, worlds, st.lists(epochs, min_size=1, max_size=3), st.booleans(), st.data())
def test_plan_batch_sampler_reads_the_plans(s, n, seed, world, es, shuffle, data):
    kw = dict(seed=seed, shuffle=shuffle, rank=data.draw(st.integers(0, world-1)), world=world)
    bs = plan_batch_sampler(s, n, **kw)
    for e in es:
        bs.set_epoch(e)
        assert list(bs) == [[(o.h, o.w, *time_of(o), i) for i in o.ids.tolist()] for o in s.plan(n, epoch=e, **kw)]
        assert len(bs) == len(list(bs)) and all(type(v) is int for v in next(iter(bs))[0])

def test_plan_batch_sampler_feeds_a_torch_loader():
    data = pytest.importorskip('torch.utils.data')
    class Keys(data.Dataset):
        def __getitem__(self, key): return key
    bs = plan_batch_sampler(MScVBS(64, 8), 203, ids=range(3, 203))
    dl = data.DataLoader(Keys(), batch_sampler=bs, collate_fn=list)
    assert len(dl) == len(bs) and list(dl) == list(bs)
    assert sorted(i for b in dl for *_,i in b) == list(range(3, 203))

def test_plan_batch_sampler_asks_for_the_epoch():
    bs = plan_batch_sampler(Growing(MScVBS(64, 8), 10), 100)
    with pytest.raises(ValueError, match='call set_epoch'): iter(bs)
    bs.set_epoch(0)
    assert {k[:2] for b in bs for k in b} == {(40,40)}
    with pytest.raises(ValueError, match='epoch must be'): bs.set_epoch(-1)
    with pytest.raises(TypeError): plan_batch_sampler(MScVBS(64, 8), 100, nonsense=1)

# ---- the room

def test_the_room_is_arithmetic():
    code = "import sys, cvnets_nb.samplers; print(*[m for m in ('torch','fastai','fastcore','matplotlib','pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == ''

def test_turns_places_every_id():
    for m in range(2, 300):
        for bss in ([4], [1], [2], [2,9], [9,2], [3,2,1], [7,12,3]):
            which, k = turns(bss, m)
            assert k.sum() == m and k.min() >= 2 and len(which) == len(k)
