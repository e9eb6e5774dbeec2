/* The live page. What it is told: coordinator/live_json.h. Names come from workers, so they are only ever set
 * as text. */
'use strict';

const KEEP_MS = 15 * 60000, KEEP_ROWS = 50000;
const SHARE_MS = 10000; // busy shares are of the last so many ms
const SHOWN = 20; // timelines
const MANY = 12; // more workers than that are drawn small
const BINS = 60;
const STAGES = [
  ['queue', 'queue'], ['prefill', 'prefill'], ['hand-off', 'handoff'], ['decode wait', 'wait'],
  ['decode', 'decode'],
];
const STAGE_CLASS = Object.fromEntries(STAGES);
const BUSY = [['prefill', 'prefill'], ['decode', 'decode'], ['mixed', 'mixed']];
const STATUS_SIGN = { ok: '●', degraded: '▲', stuck: '✕', unavailable: '✕', stopping: '■' };

let rows = []; // requests that have ended, oldest first
let known = 0; // since then all of them are told, or stood for by others; on the coordinator's clock
let state = null;
let busy = new Map(); // worker -> [{t, s: [prefill, decode, mixed]}], oldest first
let heard = 0; // when the last event came, by this page's clock
let source = null, tried = 0;

const $ = (id) => document.getElementById(id);

function el(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  e.append(...children.map((c) => (c instanceof Node ? c : String(c))));
  return e;
}

function svg(tag, attributes, text) {
  const e = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  return e;
}

function ms(v) {
  if (v === null || v === undefined || !isFinite(v)) return '–';
  if (v >= 9999.5) return (v / 1000).toFixed(1) + ' s';
  if (v >= 999.5) return (v / 1000).toFixed(2) + ' s';
  return (v >= 99.5 ? v.toFixed(0) : v >= 9.95 ? v.toFixed(1) : v.toFixed(2)) + ' ms';
}

/* numpy's percentile of sorted values */
function percentile(sorted, q) {
  if (!sorted.length) return null;
  const at = (sorted.length - 1) * q, i = Math.floor(at);
  return sorted[i] + (at - i) * ((i + 1 < sorted.length ? sorted[i + 1] : sorted[i]) - sorted[i]);
}

const ascending = (values) => values.filter((v) => v !== null).sort((a, b) => a - b);

function limits() {
  const number = (id, otherwise) => (Number($(id).value) > 0 ? Number($(id).value) : otherwise);
  const window_ms = Number($('minutes').value) * 60000;
  return { ttft: number('ttft', 1000), tpot: number('tpot', 100), window: window_ms };
}

/* Of a chart's axis: no zeros behind the point */
function tick(v, unit) {
  if (!v) return '0';
  if (unit === 'ms' && v >= 1000) return Number((v / 1000).toPrecision(3)) + ' s';
  return Number(v.toPrecision(3)) + ' ' + unit;
}

function bar(parts, label) {
  const b = el('span', { class: 'bar', role: 'img', 'aria-label': label });
  for (const [share, cls, title] of parts) {
    if (!(share > 0)) continue;
    const i = el('i', { class: 'c-' + cls, title: title });
    i.style.width = Math.min(100, share * 100) + '%';
    b.append(i);
  }
  return b;
}

function legend(id, entries) {
  $(id).replaceChildren(...entries.map(([name, cls]) => el('li', {}, el('i', { class: 'c-' + cls }), name)));
}

/* ---- what comes ---- */

/* Each stands for itself and for its share of those that were left out. */
function takeRows(list, left_out) {
  const weight = list.length ? (list.length + left_out) / list.length : 1;
  for (const r of list) {
    rows.push({
      req: r[0], ended: r[1], end: r[2], prompt: r[3], output: r[4], ttft: r[5], tpot: r[6], total: r[7],
      attempts: r[8], spans: r[9], weight: weight,
    });
  }
  const now = state ? state.t_ms : 0;
  let drop = Math.max(0, rows.length - KEEP_ROWS);
  if (drop) known = Math.max(known, rows[drop].ended);
  while (drop < rows.length && rows[drop].ended < now - KEEP_MS) drop++;
  rows.splice(0, drop);
}

function takeState(s) {
  state = s;
  takeRows(s.ended, s.left_out);
  const seen = new Map();
  for (const w of s.workers) {
    const past = busy.get(w.name) || [];
    past.push({ t: s.t_ms, s: w.busy_s });
    while (past.length > 2 && past[1].t <= s.t_ms - SHARE_MS) past.shift();
    seen.set(w.name, past);
  }
  busy = seen;
}

/* Shares of the last seconds: [prefill, decode, mixed] */
function shares(name) {
  const past = busy.get(name) || [];
  const first = past[0], last = past[past.length - 1];
  if (!first || last.t <= first.t) return [0, 0, 0];
  return last.s.map((v, i) => Math.max(0, Math.min(1, ((v - first.s[i]) * 1000) / (last.t - first.t))));
}

/* ---- what is drawn ---- */

function drawHeader() {
  const s = $('status');
  s.textContent = (STATUS_SIGN[state.status] || '?') + ' ' + state.status;
  s.className = 'pill ' + state.status;
  $('facts').textContent = state.model + ' on ' + state.backend + ', Baton ' + state.version;
  document.title = 'Baton: ' + state.status;
}

function drawTiles() {
  const q = state.requests, h = state.handoffs;
  const tiles = [
    ['waiting in the queue', q.queued, 'queue'], ['in prefill', q.prefill, 'prefill'],
    ['waiting for KV at decode', q.wait_kv, 'handoff'], ['in decode', q.decode, 'decode'],
    ['oldest hand-off', h.oldest.length ? ms(h.oldest[0][3]) : '–', 'handoff'],
  ];
  $('tiles').replaceChildren(...tiles.map(([name, value, cls]) => {
    const d = el('div', {}, el('dt', {}, name), el('dd', {}, value));
    d.style.borderLeftColor = 'var(--' + cls + ')';
    return d;
  }));
}

function drawWorker(w) {
  const part = shares(w.name), sum = part.reduce((a, b) => a + b, 0), scale = sum > 1 ? 1 / sum : 1;
  const percent = Math.round(Math.min(1, sum) * 100) + ' %';
  const used = w.pages[1] ? w.pages[0] / w.pages[1] : 0;
  const state = w.state.toLowerCase();
  return el('li', { class: 'worker ' + w.role, title: w.name + ' on ' + w.host },
    el('div', { class: 'top' }, el('span', { class: 'name' }, w.name), el('span', { class: 'role' }, w.role),
      el('span', { class: 'load', title: 'running + waiting' }, w.running + '+' + w.waiting),
      el('span', { class: 'state ' + state }, state)),
    el('div', { class: 'line' }, el('span', {}, 'busy'),
      bar(BUSY.map(([name, cls], i) => [part[i] * scale, cls, name + ' ' + Math.round(part[i] * 100) + ' %']),
        'busy ' + percent),
      el('span', {}, percent)),
    el('div', { class: 'line' }, el('span', {}, 'pages'),
      bar([[used, 'pages', w.pages[0] + ' pages in use']], w.pages[0] + ' of ' + w.pages[1] + ' pages'),
      el('span', {}, w.pages[0] + ' / ' + w.pages[1])),
    el('div', { class: 'counts' }, w.running + ' running, ' + w.waiting + ' waiting' +
      (w.role === 'prefill' ? ', ' + w.parked + ' parked' : '')));
}

function drawWorkers() {
  const order = { prefill: 0, decode: 1, colocated: 2 };
  const list = [...state.workers].sort((a, b) => order[a.role] - order[b.role] ||
    a.name.localeCompare(b.name, 'en', { numeric: true }));
  const count = (role) => list.filter((w) => w.role === role).length;
  $('worker-count').textContent = Object.keys(order).filter(count).map((r) => count(r) + ' ' + r).join(', ');
  document.body.className = list.length > MANY ? 'many' : '';
  $('workers').replaceChildren(...(list.length ? list.map(drawWorker) :
    [el('li', { class: 'empty' },
      'No worker has joined. A prefill and a decode worker, or a colocated one, are needed.')]));
}

function drawHandoffs() {
  const h = state.handoffs;
  const some = h.count > h.oldest.length ? ', the oldest ' + h.oldest.length : '';
  $('handoff-count').textContent = h.count ? h.count + some : '';
  if (!h.count) {
    $('handoffs').replaceChildren(el('p', { class: 'empty' }, 'None.'));
    return;
  }
  const head = el('tr', {}, ...['request', 'from', 'to'].map((t) => el('th', { scope: 'col' }, t)),
    el('th', { scope: 'col', class: 'num' }, 'age'));
  const body = h.oldest.map(([req, from, to, age]) => el('tr', {}, el('td', {}, req), el('td', {}, from),
    el('td', {}, to === null ? 'parked: no room' : to), el('td', { class: 'num' }, ms(age))));
  $('handoffs').replaceChildren(el('table', {}, el('thead', {}, head), el('tbody', {}, ...body)));
}

/* A round number that is at least v */
function nice(v) {
  const p = Math.pow(10, Math.floor(Math.log10(v)));
  return [1, 1.5, 2, 3, 4, 5, 8, 10].map((k) => k * p).find((k) => k >= v * 0.999999);
}

function drawLine(s, points, cls) {
  let path = '', alone = [];
  points.forEach((p, i) => {
    if (!p) return;
    if (!points[i - 1] && !points[i + 1]) alone.push(p);
    path += (points[i - 1] ? 'L' : 'M') + p[0].toFixed(1) + ' ' + p[1].toFixed(1);
  });
  s.append(svg('path', { class: 'l-' + cls, d: path }));
  for (const p of alone) s.append(svg('circle', { class: 'd-' + cls, cx: p[0], cy: p[1], r: 3.5 }));
}

/* Lines a (solid) and b (dashed) over the window; limit: a dashed line across, or null. unit: 'ms' or '/s' */
function drawChart(id, label, a, b, limit, unit) {
  const box = $(id), w = Math.max(200, box.clientWidth), h = 170, left = 58, right = 8, top = 12, bottom = 22;
  const s = svg('svg', { viewBox: '0 0 ' + w + ' ' + h, role: 'img', 'aria-label': label });
  const most = Math.max(0, ...a.filter((v) => v !== null), ...b.filter((v) => v !== null));
  const shown = limit && most && limit < most * 3 ? limit : 0;
  const max = nice(Math.max(most, shown) * 1.02 || 1);
  const x = (i) => left + ((i + 0.5) / BINS) * (w - left - right);
  const y = (v) => h - bottom - (v / max) * (h - top - bottom);
  for (const v of [0, max / 2, max]) {
    s.append(svg('line', { class: 'grid', x1: left, x2: w - right, y1: y(v), y2: y(v) }));
    s.append(svg('text', { x: left - 6, y: y(v) + 4, 'text-anchor': 'end' }, tick(v, unit)));
  }
  s.append(svg('text', { x: left, y: h - 5 }, '−' + limits().window / 60000 + ' min'));
  s.append(svg('text', { x: w - right, y: h - 5, 'text-anchor': 'end' }, 'now'));
  const points = (values) => values.map((v, i) => (v === null ? null : [x(i), y(v)]));
  drawLine(s, points(a), 'a');
  drawLine(s, points(b), 'b');
  if (shown) {
    s.append(svg('line', { class: 'limit', x1: left, x2: w - right, y1: y(shown), y2: y(shown) }));
    s.append(svg('text', { class: 'limit-text', x: left + 4, y: y(shown) - 4 }, 'limit'));
  }
  if (!most) {
    const place = { x: (w + left) / 2, y: y(max * 0.75) + 4, 'text-anchor': 'middle' };
    s.append(svg('text', place, 'no request ended in this time'));
  }
  box.replaceChildren(s);
}

function caption(id, name, facts, key) {
  $(id).replaceChildren(el('b', {}, name), ' ' + facts, el('br'), el('span', {}, key));
}

/* A single token has no TPOT and keeps to any limit of it. One that failed, or whose client left (most often
 * because it had waited long enough), is not good. */
const isGood = (r, l) =>
  r.end === 'done' && r.ttft !== null && r.ttft <= l.ttft && (r.tpot === null || r.tpot <= l.tpot);

const count = (list) => list.reduce((sum, r) => sum + r.weight, 0);

/* Of those that ended in the window; long: since when all are known, ms */
function goodput(recent, l, long) {
  const span = Math.min(l.window, Math.max(1000, long));
  const all = count(recent), good = count(recent.filter((r) => isGood(r, l)));
  const canceled = Math.round(count(recent.filter((r) => r.end === 'canceled')));
  return ((good / span) * 1000).toFixed(2) + ' requests/s' +
    (all ? ', ' + ((100 * good) / all).toFixed(1) + ' % of ' + Math.round(all) + ' within both limits' : '') +
    (canceled ? ', ' + canceled + ' canceled count as not' : '') +
    (recent.some((r) => r.weight > 1) ? ', estimated from a sample' : '');
}

function drawCharts() {
  const l = limits(), now = state.t_ms, begin = now - l.window;
  const recent = rows.filter((r) => r.ended >= begin);
  const bins = Array.from({ length: BINS }, () => []);
  const binOf = (r) => Math.floor(((r.ended - begin) / l.window) * BINS);
  for (const r of recent) bins[Math.max(0, Math.min(BINS - 1, binOf(r)))].push(r);
  for (const [key, name] of [['ttft', 'TTFT'], ['tpot', 'TPOT']]) {
    const all = ascending(recent.map((r) => r[key]));
    const sorted = bins.map((b) => ascending(b.map((r) => r[key])));
    const text = 'p50 ' + ms(percentile(all, 0.5)) + ', p99 ' + ms(percentile(all, 0.99));
    caption('cap-' + key, name, text, 'p50 solid, p99 dashed, per ' + l.window / BINS / 1000 + ' s');
    drawChart('chart-' + key, name + ' ' + text, sorted.map((v) => percentile(v, 0.5)),
      sorted.map((v) => percentile(v, 0.99)), l[key], 'ms');
  }
  const text = goodput(recent, l, now - known);
  caption('cap-good', 'Goodput', text, 'within both limits solid, all that ended dashed, requests/s');
  const rate = (keep) => bins.map((b, i) => {
    const long = begin + ((i + 1) / BINS) * l.window - Math.max(known, begin + (i / BINS) * l.window);
    return recent.length && long > 999 ? (count(b.filter(keep)) / long) * 1000 : null; // 1 s at least
  });
  drawChart('chart-good', 'Goodput ' + text, rate((r) => isGood(r, l)), rate(() => true), null, '/s');
}

function drawTimeline(r, scale) {
  const parts = r.spans.map(([stage, begin, worker], i) => {
    const long = (i + 1 < r.spans.length ? r.spans[i + 1][1] : r.total) - begin;
    const title = stage + ' ' + ms(long) + (worker ? ' on ' + worker : '');
    return [long / scale, STAGE_CLASS[stage] || 'queue', title];
  });
  const at = (stage) => (r.spans.filter((s) => s[0] === stage).pop() || [])[2];
  const p = at('prefill'), d = at('decode');
  const where = [p, d].filter((n, i, all) => n && all.indexOf(n) === i).join(' → ');
  const more = r.attempts > 1 ? ', ' + r.attempts + ' attempts' : '';
  return el('li', { class: r.end },
    el('span', { class: 'what', title: where }, '#' + r.req + ' ', r.prompt + '+' + r.output, more + ' ',
      el('span', { class: 'where' }, where)),
    bar(parts, parts.map((x) => x[2]).join(', ')),
    el('span', { class: 'total' }, (r.end === 'done' ? '' : r.end + ' ') + ms(r.total)));
}

function drawLast() {
  const list = rows.filter((r) => r.spans).slice(-SHOWN).reverse();
  if (!list.length) {
    $('last').replaceChildren(el('li', { class: 'empty' }, 'None has ended yet. Send one: ',
      el('code', {}, 'curl ' + location.origin + "/v1/completions -d '{\"prompt\": \"Hello\"}'")));
    return;
  }
  const scale = Math.max(...list.map((r) => r.total)) || 1;
  $('last').replaceChildren(...list.map((r) => drawTimeline(r, scale)));
}

function draw() {
  if (!state) return;
  for (const part of [drawHeader, drawTiles, drawWorkers, drawHandoffs, drawCharts, drawLast]) part();
}

/* ---- the connection ---- */

function tellLink(text, lost) {
  if ($('link').textContent !== text) $('link').textContent = text;
  $('link').className = lost ? 'lost' : '';
  $('main').className = lost ? 'stale' : '';
}

function lost() {
  const since = heard ? ' for ' + Math.round((Date.now() - heard) / 1000) + ' s' : '';
  tellLink('✕ no connection to the coordinator' + since + ', trying again', true);
}

function connect() {
  if (source) source.close();
  tried = Date.now();
  source = new EventSource('events');
  source.addEventListener('history', (e) => {
    const history = JSON.parse(e.data);
    rows = [];
    busy = new Map();
    state = null;
    takeRows(history.ended, 0);
    if (!rows.length) known = history.t_ms;
    else known = history.left_out ? rows[0].ended : rows[0].ended - rows[0].total;
  });
  source.addEventListener('state', (e) => {
    heard = Date.now();
    takeState(JSON.parse(e.data));
    tellLink('live', false);
    draw();
  });
  source.onerror = lost;
}

/* The browser tries again by itself, but not after a refusal, and not when the other end is silent. */
setInterval(() => {
  if (document.hidden) return;
  const silent = Date.now() - Math.max(heard, tried);
  if (silent > 4000) lost();
  if (silent > 10000 || source.readyState === EventSource.CLOSED) connect();
}, 2000);

document.addEventListener('visibilitychange', () => {
  if (!document.hidden) connect();
  else if (source) source.close();
});

/* ---- limits: kept in the address, so that a link carries them ---- */

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  $('ttft').value = given.get('ttft') || 1000;
  $('tpot').value = given.get('tpot') || 100;
  if (['1', '5', '15'].includes(given.get('minutes'))) $('minutes').value = given.get('minutes');
}

$('limits').addEventListener('input', () => {
  const l = limits();
  history.replaceState(null, '', '#ttft=' + l.ttft + '&tpot=' + l.tpot + '&minutes=' + l.window / 60000);
  draw();
});
$('limits').addEventListener('submit', (e) => e.preventDefault());
window.addEventListener('resize', draw);
readAddress();
legend('busy-legend', [...BUSY.map(([name, cls]) => ['busy with ' + name, cls]), ['pages in use', 'pages']]);
legend('stage-legend', STAGES);
connect();
