/* rope - rotary embedding, with sine, cosine and power of its own.
 *
 * Angles are computed in double and rounded to float once. libm is not asked: its results may differ in the
 * last bit between versions and between CPUs, and a token's keys must have the same bytes on every worker.
 * One row's table of (cos, sin) serves all its heads. */
#include "base/mem.h"
#include "kernels/cpu/attend.h"
#include "kernels/cpu/cpu.h"

#include <stdlib.h>
#include <string.h>

/* log x for normal x > 0: x = m 2^e with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m - 1) / (m + 1)). */
static double log_of(double x) {
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    u += 0x3ff0000000000000 - 0x3fe6a09e667f3bcd;
    int64_t e = (int64_t)(u >> 52) - 1023;
    u = (u & 0xfffffffffffff) + 0x3fe6a09e667f3bcd;
    double m;
    memcpy(&m, &u, sizeof m);
    double s = (m - 1.0) / (m + 1.0), z = s * s, p = 0.0;
    for (int n = 25; n >= 1; n -= 2) p = p * z + 1.0 / n;
    return (double)e * 0x1.62e42fefa39efp-1 + 2.0 * s * p;
}

static const double round_to_int = 0x1.8p52; /* what is added to it loses its fraction */

/* e^x for |x| < 700. */
static double exp_of(double x) {
    double n = (x * 0x1.71547652b82fep0 + round_to_int) - round_to_int;
    double r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33;
    double p = 1.0;
    for (int i = 17; i >= 1; i--) p = 1.0 + p * r / i;
    uint64_t u = (uint64_t)((int64_t)n + 1023) << 52;
    double scale;
    memcpy(&scale, &u, sizeof scale);
    return p * scale;
}

/* Sine and cosine of 0 <= x < 2^26: x = n pi/2 + r, pi/2 in three parts of which n times the first two is
 * exact. */
static void sin_cos(double x, float *sine, float *cosine) {
    double n = (x * 0x1.45f306dc9c883p-1 + round_to_int) - round_to_int;
    double r = ((x - n * 0x1.921fb544p0) - n * 0x1.0b4611a6p-34) - n * 0x1.3198a2e037073p-69;
    double z = r * r;
    double s = 1.0 / 355687428096000;
    s = s * z - 1.0 / 1307674368000;
    s = s * z + 1.0 / 6227020800;
    s = s * z - 1.0 / 39916800;
    s = s * z + 1.0 / 362880;
    s = s * z - 1.0 / 5040;
    s = s * z + 1.0 / 120;
    s = s * z - 1.0 / 6;
    s = r + r * z * s;
    double c = -1.0 / 6402373705728000;
    c = c * z + 1.0 / 20922789888000;
    c = c * z - 1.0 / 87178291200;
    c = c * z + 1.0 / 479001600;
    c = c * z - 1.0 / 3628800;
    c = c * z + 1.0 / 40320;
    c = c * z - 1.0 / 720;
    c = c * z + 1.0 / 24;
    c = 1.0 - z * 0.5 + z * z * c;
    uint32_t quadrant = (uint32_t)(int64_t)n & 3;
    double a = quadrant & 1 ? c : s, b = quadrant & 1 ? s : c;
    *sine = (float)(quadrant & 2 ? -a : a);
    *cosine = (float)((quadrant + 1) & 2 ? -b : b);
}

/* [rope_dim / 2] radians per position */
static void frequencies(double *out, uint32_t rope_dim, float base, const float *factors) {
    double log_base = log_of(base);
    for (uint32_t i = 0; i < rope_dim / 2; i++) {
        out[i] = exp_of(log_base * (-2.0 * i / rope_dim));
        if (factors) out[i] /= factors[i];
    }
}

static void turns_at(uint32_t pos, const double *frequency, double magnitude, uint32_t rope_dim, float *out) {
    float *cosines = out, *sines = out + rope_dim / 2;
    for (uint32_t i = 0; i < rope_dim / 2; i++) {
        sin_cos(pos * frequency[i], &sines[i], &cosines[i]);
        sines[i] = (float)(sines[i] * magnitude);
        cosines[i] = (float)(cosines[i] * magnitude);
    }
}

/* --- of a step --- */

static void table_done(cpu_turn_table *t) {
    free(t->frequency);
    free(t->values);
    free(t->pos);
    *t = (cpu_turn_table){0};
}

void cpu_turns_done(device *d) {
    PRE(d);
    for (size_t i = 0; i < ARRAY_LEN(d->turns); i++) table_done(&d->turns[i]);
}

static void turn_row(void *ctx, uint32_t row, uint32_t thread) {
    const cpu_turn_table *t = ctx;
    (void)thread;
    turns_at(t->pos[row], t->frequency, t->magnitude, t->rope_dim, t->values + (size_t)row * t->rope_dim);
}

/* 1 where none is set */
static double magnitude_of(float magnitude) {
    return magnitude != 0 ? (double)magnitude : 1.0;
}

static bool grow_turns(cpu_turn_table *t, const attend_setup *s, uint32_t rows, bool local) {
    if (t->capacity >= rows) return true;
    table_done(t);
    t->frequency = calloc(s->rope_dim / 2, sizeof *t->frequency);
    t->values = calloc((size_t)rows * s->rope_dim, sizeof *t->values);
    t->pos = calloc(rows, sizeof *t->pos);
    if (!t->frequency || !t->values || !t->pos) {
        table_done(t);
        return false;
    }
    t->capacity = rows;
    t->rope_dim = s->rope_dim;
    t->magnitude = local ? 1.0 : magnitude_of(s->rope_magnitude);
    frequencies(t->frequency, s->rope_dim, local ? s->rope_local_base : s->rope_base,
                local ? NULL : s->rope_factors);
    return true;
}

const float *cpu_turns(device *d, uint32_t rows, bool local) {
    PRE(d);
    PRE(rows > 0);
    PRE(d->host.attention.rope_dim > 0);
    PRE(rows <= d->host.row_capacity);
    cpu_turn_table *t = &d->turns[local];
    if (!grow_turns(t, &d->host.attention, MAX(rows, d->host.row_capacity), local)) return NULL;
    size_t bytes = rows * sizeof *t->pos;
    if (t->rows >= rows && memcmp(t->pos, d->host.pos, bytes) == 0) return t->values;
    memcpy(t->pos, d->host.pos, bytes);
    t->rows = rows;
    team_run(d->team, rows, turn_row, t);
    return t->values;
}

/* --- the small operation --- */

typedef struct rope_job {
    const host_rope *op;
    const double *frequency; /* [rope_dim / 2] */
    device *dev;
} rope_job;

static void rotate_row(void *ctx, uint32_t row, uint32_t thread) {
    const rope_job *job = ctx;
    const host_rope *a = job->op;
    float *turns = job->dev->scratch[thread];
    turns_at(a->pos[row], job->frequency, magnitude_of(a->magnitude), a->rope_dim, turns);
    for (uint32_t h = 0; h < a->heads; h++) {
        float *x = a->x + ((size_t)row * a->heads + h) * a->head_dim;
        cpu_rotate(x, x, a->head_dim, turns, a->rope_dim, ROPE_PAIRS);
    }
}

status cpu_rope(device *d, const host_rope *a) {
    PRE(d);
    PRE(a->rope_dim <= a->head_dim);
    PRE(a->rope_dim % 2 == 0);
    double *frequency = cpu_scratch_shared(d, a->rope_dim / 2 * sizeof *frequency);
    if (!frequency || !cpu_scratch_threads(d, a->rope_dim * sizeof(float))) return ST_DEVICE;
    frequencies(frequency, a->rope_dim, a->base, a->factors);
    rope_job job = {.op = a, .frequency = frequency, .dev = d};
    team_run(d->team, a->rows, rotate_row, &job);
    return ST_OK;
}
