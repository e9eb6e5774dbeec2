"""Runs DistServe's own simulator (simdistserve, at 82831f1) on the cases of distserve_test.c and prints the
table of what it says. For people: wants its checkout, simpy, numpy and pandas.

    python3 tests/planner/distserve_golden.py PATH-OF-DISTSERVE
"""

import contextlib
import io
import marshal
import os
import sys
import tempfile
import warnings

sys.path.insert(0, sys.argv[1])
warnings.filterwarnings('ignore')

import simpy  # noqa: E402
from simdistserve.base.organize_data import (  # noqa: E402
    calculate_per_request_latency,
    organize_request_df,
    organize_request_event_df,
)
from simdistserve.base.request import Request  # noqa: E402
from simdistserve.base.scheduler import put_requests_with_interarrivals  # noqa: E402
from simdistserve.benchmarks.search_binary import run_binary_search  # noqa: E402
from simdistserve.benchmarks.search_configs import get_distserve_configs, get_vllm_config  # noqa: E402
from simdistserve.base.workload import get_poisson_interarrival  # noqa: E402
from simdistserve.clusters.disagg import DisaggCluster  # noqa: E402
from simdistserve.clusters.vllm import VLLMCluster  # noqa: E402
from simdistserve.constants import ModelTypes  # noqa: E402
from simdistserve.estimators.memory_estimator import max_num_tokens_data  # noqa: E402


def burst(n):
    """All at once, lengths of a small rule."""
    return [(0.0, 64 + 37 * i % 500, 1 + 11 * i % 40) for i in range(n)]


def spaced(n, gap_ms):
    return [(0.0 if i == 0 else gap_ms, 100 + 211 * i % 900, 1 + 7 * i % 60) for i in range(n)]


def poisson(n, rate):
    gaps = get_poisson_interarrival(n, rate, seed=0)
    return [(g, 1 + 733 * i % 1900, 1 + 37 * i % 250) for i, g in enumerate(gaps)]


def case(requests, vllm=False, n=(1, 1), tp=(1, 1), pp=(1, 1), model='opt_13b', chunked=0, most=66144):
    return dict(requests=requests, vllm=vllm, n=n, tp=tp, pp=pp, model=model, chunked=chunked, most=most)


one = [(0.0, 512, 64)]
CASES = {
    'one': case(one),
    'one_vllm': case(one, vllm=True),
    'burst': case(burst(6)),
    'burst_vllm': case(burst(6), vllm=True),
    'spaced_tp2': case(spaced(8, 50.0), tp=(2, 2)),
    'spaced_tp4_tp1': case(spaced(8, 50.0), tp=(4, 1)),
    'spaced_pp2': case(spaced(8, 50.0), pp=(2, 2)),
    'spaced_pp2_pp4': case(spaced(8, 50.0), pp=(2, 4)),
    'spaced_2p1d': case(spaced(12, 20.0), n=(2, 1)),
    'spaced_1p3d': case(spaced(12, 20.0), n=(1, 3)),
    'spaced_2p2d_pp2': case(spaced(12, 20.0), n=(2, 2), pp=(2, 2), tp=(2, 1)),
    'spaced_vllm': case(spaced(12, 50.0), vllm=True),
    'spaced_vllm_pp2_tp2': case(spaced(12, 50.0), vllm=True, pp=(2, 2), tp=(2, 2)),
    'spaced_vllm_2': case(spaced(12, 20.0), vllm=True, n=(2, 2)),
    'chunked_vllm': case(spaced(12, 50.0), vllm=True, chunked=1, most=256),
    'chunked_vllm_pp2': case(spaced(12, 50.0), vllm=True, chunked=1, most=256, pp=(2, 2)),
    'few_tokens': case(burst(12), most=700),
    'large_batch': case([(0.0, 10, 30)] * 120),
    'more_context_than_a_step': case([(0.0, 5000, 12)] * 14, most=163008),
    'opt_66b': case(spaced(8, 100.0), model='opt_66b', tp=(4, 2), pp=(1, 2)),
    'opt_66b_vllm': case(spaced(8, 100.0), vllm=True, model='opt_66b', tp=(8, 8)),
    'poisson': case(poisson(300, 4.0)),
    'poisson_2p1d_tp2': case(poisson(300, 16.0), n=(2, 1), tp=(2, 2)),
    'poisson_pp4_pp2': case(poisson(300, 8.0), pp=(4, 2)),
    'poisson_vllm': case(poisson(300, 2.0), vllm=True),
}


def run(c):
    env = simpy.Environment()
    config = dict(
        model_type=ModelTypes.model_str_to_object(c['model']),
        TP=c['tp'][0],
        TP_Prefill=c['tp'][0],
        TP_Decode=c['tp'][1],
        prefill_max_tokens=c['most'],
        decode_max_tokens=c['most'],
        enable_chunked_prefill=bool(c['chunked']),
        engine_type='vllm' if c['vllm'] else 'distserve',
    )
    if c['vllm']:
        cluster = VLLMCluster(env, N_instance=c['n'][0], PP=c['pp'][0], worker_configs=config)
    else:
        cluster = DisaggCluster(env, *c['n'], *c['pp'], worker_configs=config)
    cluster.run()
    requests = [
        Request(env=None, req_id=i, prefill_length=p, output_lens=o)
        for i, (_, p, o) in enumerate(c['requests'])
    ]
    put_requests_with_interarrivals(env, cluster.scheduler, [g for g, _, _ in c['requests']], requests)
    env.run()
    lens = organize_request_df(requests).output_lens
    return calculate_per_request_latency(organize_request_event_df(requests), lens)


for name, c in CASES.items():
    d = run(c)
    ttft, tpot = list(d.first_token_latency), list(d.tpot)
    sums = sum(ttft), sum(tpot)
    p90 = d.first_token_latency.quantile(0.9), d.tpot.quantile(0.9)
    print(
        '    {"%s", %d, %r, %r, %r, %r, %r, %r, %r},'
        % (name, len(d), *map(float, (ttft[0], ttft[-1], sums[0], tpot[-1], sums[1], *p90)))
    )


def mix(numbers):
    """One number of many, in their order."""
    h = 0
    for n in numbers:
        h = (h * 1000003 + int(n)) % 2**32
    return h


print('memory: rows, sum of tokens')
for model, rows in max_num_tokens_data.items():
    print('    {"%s", %d, %d},' % (model, len(rows), sum(rows.values())))

print('configs: model, algorithm, nodes, GPUs per node, how many, mixed')
for model in ('opt_13b', 'opt_66b', 'opt_175b'):
    m = ModelTypes.model_str_to_object(model)
    for nodes, gpus in ((1, 8), (4, 8), (2, 4)):
        for algorithm in (1, 2):
            c = get_distserve_configs(m, nodes, gpus, algorithm == 1)
            print(
                '    {"%s", %d, %d, %d, %d, %uu},' % (model, algorithm, nodes, gpus, len(c), mix(sum(c, ())))
            )
        c = get_vllm_config(m, nodes * gpus)
        print('    {"%s", 3, %d, %d, %d, %uu},' % (model, nodes, gpus, len(c), mix(sum(c, ()))))

print('searches: 300 requests of 512 + 64 tokens, TTFT 200 ms, TPOT 100 ms (32 ms for the last), 90 %')
SEARCHES = [
    ((1, 1, 1, 1, 1), 100, 'distserve'),
    ((1, 2, 1, 1, 1), 100, 'distserve'),
    ((1, 1, 2, 1, 1), 100, 'distserve'),
    ((2, 2, 1, 1, 2), 100, 'distserve'),
    ((1, 4, 1, 2, 1), 100, 'distserve'),
    ((1, 1), 100, 'vllm'),
    ((2, 2), 100, 'vllm'),
    ((1, 4, 2, 1, 1), 32, 'distserve'),
]
with tempfile.TemporaryDirectory() as d:
    os.environ['DATASET'] = d
    with open(os.path.join(d, 'sharegpt.ds'), 'wb') as f:
        marshal.dump({'reqs': [('', 512, 64)] * 300}, f)
    for config, tpot, backend in SEARCHES:
        with contextlib.redirect_stdout(io.StringIO()):
            best = run_binary_search(
                ModelTypes.opt_13b, config, backend, (200, tpot, 90, 90), max_per_gpu_rate=5, esp=0.01, N=300
            )
        full = config if backend == 'distserve' else (1, *config, 0, 0)
        print('    {{%s, %u, %u, %u, %u, %u}, %d, %r},' % (str(backend == 'vllm').lower(), *full, tpot, best))
