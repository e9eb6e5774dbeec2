/* graph - a language of bytes as rules of nodes: what schemas and patterns are compiled to, and what a run
 * walks.
 *
 *   rule 3:  "[" ws -> CALL value -> SPLIT -> "," ws -> CALL value ...
 *                                       `--> "]" -> RETURN
 *
 * A node takes a byte of a set, splits in two, calls a rule, or returns to where its rule was called. So
 * loops are regular and nesting is not. It is built from the end to the beginning: every function takes the
 * node that follows and returns the node that begins. Private to this folder. */
#ifndef BATON_GRAMMAR_GRAPH_H
#define BATON_GRAMMAR_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GRAPH_SETS_MAX  1024u
#define GRAPH_NODES_MAX (1u << 18)
/* Nothing begins here: a language without a word. */
#define NODE_NONE UINT32_MAX

typedef enum node_kind { NODE_BYTE, NODE_SPLIT, NODE_CALL, NODE_RETURN } node_kind;

typedef struct byte_set {
    uint64_t bits[4];
} byte_set;

typedef struct node {
    node_kind kind;
    uint32_t of;    /* BYTE: the number of its set; CALL: of the rule */
    uint32_t next;  /* NODE_NONE: dead */
    uint32_t other; /* SPLIT: the second way */
} node;

typedef struct graph {
    node *nodes; /* [count]; owned */
    uint32_t count, capacity;
    byte_set *sets; /* [set_count]; owned, no two are equal */
    uint32_t set_count, set_capacity;
    uint32_t *rules; /* [rule_count] node that begins each; owned */
    uint32_t rule_count, rule_capacity;
    bool full; /* more nodes or sets than the limit were wanted: it says nothing */
} graph;

void graph_done(graph *g);

static inline bool byte_set_has(const byte_set *s, uint8_t byte) {
    return s->bits[byte / 64] >> (byte % 64) & 1;
}
void byte_set_add(byte_set *s, uint8_t first, uint8_t last);

/* --- from the end to the beginning --- */

uint32_t graph_set(graph *g, const byte_set *s, uint32_t next);
uint32_t graph_range(graph *g, uint8_t first, uint8_t last, uint32_t next);
uint32_t graph_literal(graph *g, const char *text, size_t len, uint32_t next);
/* Either; NODE_NONE is none. */
uint32_t graph_either(graph *g, uint32_t a, uint32_t b);
/* A node whose first way is filled in later, so that what it begins can come back to it. */
uint32_t graph_loop(graph *g, uint32_t next);
void graph_loop_body(graph *g, uint32_t loop, uint32_t body);
uint32_t graph_return(graph *g);
uint32_t graph_call(graph *g, uint32_t rule, uint32_t next);
/* A rule without a begin yet. */
uint32_t graph_rule(graph *g);
void graph_rule_begin(graph *g, uint32_t rule, uint32_t begin);

/* One of `count` texts, with their beginnings shared. Sorts the lists. */
typedef struct graph_text {
    const char *data;
    size_t len;
} graph_text;
uint32_t graph_texts(graph *g, graph_text *texts, size_t count, uint32_t next);

/* Cuts off every way that has no finite word, so that whoever can take a byte can also end, and says whether
 * `rule` has one. To be done once, when all rules have their begin. */
bool graph_prune(graph *g, uint32_t rule);

#endif
