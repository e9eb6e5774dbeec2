/* engine - the loaded model, its page memory, and the sequences that are being computed: a step goes in,
 * tokens come out.
 *
 * A sequence is opened in a slot with its ids and its pages (ids of the worker's kv_pool; the engine never
 * decides which pages are whose), fed by steps, and closed. One step is any mixture of rows: chunks of
 * prompts and single decode rows, up to max_rows. A row's result does not depend on the mixture (ops.h), so a
 * decode step is a chunk of one row.
 *
 * Thread: everything here belongs to the device thread, except engine_kv(), whose gather and scatter the
 * transfer thread calls. */
#ifndef BATON_ENGINE_ENGINE_H
#define BATON_ENGINE_ENGINE_H

#include "engine/engine_types.h"
#include "model/model.h"

typedef struct engine engine;

/* Opens the backend, loads the weights, allocates pages and activations (ST_NOMEM names the size, and the log
 * says what was asked for and what there is). Borrows `m` until engine_free. */
status engine_new(engine **out, const model *m, const engine_options *opt, errbuf *eb);
void engine_free(engine *e);

engine_kv engine_kv_of(const engine *e);
/* Bytes of weights, KV pages and activations, wherever they are: what the log's lines sum to */
uint64_t engine_memory(const engine *e);
/* "cpu/avx2" */
const char *engine_path(const engine *e);

/* slot: 0..max_seqs-1, closed. */
status engine_seq_open(engine *e, uint32_t slot, const seq_start *init, errbuf *eb);
void engine_seq_close(engine *e, uint32_t slot);

/* Runs one step. results: [count], in the order of items. ST_DEVICE is fatal. Sum of item counts <= max_rows.
 */
status engine_step(engine *e, const step_item *items, uint32_t count, const engine_hook *hook,
                   step_result *results, errbuf *eb);

/* Logits of given rows for tests and tools: like a step without sampling, but writes all rows' logits [rows,
 * vocab]. */
status engine_logits(engine *e, const step_item *item, float *logits, errbuf *eb);

#endif
