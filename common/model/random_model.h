/* random_model - models without a file: the dimensions of known ones, seeded random weights, a vocabulary of
 * bytes.
 *
 * "random:NAME" or "random:NAME:SEED" in place of a path. For measuring where no checkpoint is, and for
 * tests. The metadata is written as a GGUF image in memory, so that dimensions, tokenizer and chat template
 * go through the code that reads files; the weights exist nowhere until a backend makes them (base/tensor.h).
 *
 * The vocabulary has the model's size: ids 0..255 are the bytes, then fillers that decode to " 256", " 257",
 * ..., then
 * <|im_start|> and, last, <|im_end|>, the only end of a generation. There are no merges, so a text has as
 * many tokens as bytes; chat is ChatML. */
#ifndef BATON_MODEL_RANDOM_MODEL_H
#define BATON_MODEL_RANDOM_MODEL_H

#include "base/mem.h"
#include "base/status.h"
#include "base/tensor.h"

typedef struct random_model {
    uint64_t seed;
    uint64_t hash; /* of name and seed */
    bool tied;     /* the output head is the embedding */
    buf image;     /* GGUF with the metadata, no tensors */
    float *ones;   /* [dim]: every norm */
} random_model;

/* Starts with "random:" */
bool random_model_is(const char *path);
/* ST_INVALID lists the names that are known, or says what a seed is. Free with random_model_done. */
status random_model_init(random_model *r, const char *path, errbuf *eb);
void random_model_done(random_model *r);
/* The matrix of this name: uniform weights with a standard deviation near 1 / sqrt(cols), so that a row of
 * unit size stays one of unit size through every layer. */
tensor random_model_tensor(const random_model *r, const char *name, uint32_t rows, uint32_t cols);

#endif
