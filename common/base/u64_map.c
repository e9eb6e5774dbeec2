#include "base/u64_map.h"

#include "base/mem.h"
#include "base/mix.h"
#include "base/status.h"

#include <stdlib.h>

#define SLOTS_MIN 8u
#define SLOTS_MAX (1u << 31)

/* The slot in which the search for a key begins. */
static uint32_t place_of(const u64_map *m, uint64_t key) {
    return (uint32_t)mix64(key) & (m->slot_count - 1);
}

/* The slot of the key, or the free one where it would be put. At least half of the slots are free, so there
 * is always an end. */
static uint32_t slot_of(const u64_map *m, uint64_t key) {
    uint32_t i = place_of(m, key);
    while (m->slots[i].value && m->slots[i].key != key) i = (i + 1) & (m->slot_count - 1);
    return i;
}

static void allocate(u64_map *m, uint32_t slot_count) {
    m->slots = xcalloc(slot_count, sizeof *m->slots);
    m->slot_count = slot_count;
}

void u64_map_init(u64_map *m, uint32_t capacity_hint) {
    PRE(m);
    PRE(capacity_hint <= SLOTS_MAX / 2);
    uint32_t slots = SLOTS_MIN;
    while (slots / 2 < capacity_hint) slots *= 2;
    *m = (u64_map){0};
    allocate(m, slots);
    POST(m->slot_count / 2 >= capacity_hint);
}

void u64_map_done(u64_map *m) {
    if (!m) return;
    free(m->slots);
    *m = (u64_map){0};
}

void *u64_map_get(const u64_map *m, uint64_t key) {
    PRE(m->slots);
    return m->slots[slot_of(m, key)].value;
}

static void grow(u64_map *m) {
    CHECK(m->slot_count < SLOTS_MAX);
    u64_map old = *m;
    allocate(m, 2 * old.slot_count);
    for (uint32_t i = 0; i < old.slot_count; i++)
        if (old.slots[i].value) m->slots[slot_of(m, old.slots[i].key)] = old.slots[i];
    free(old.slots);
}

void u64_map_put(u64_map *m, uint64_t key, void *value) {
    PRE(m->slots);
    PRE(value);
    if (m->count == m->slot_count / 2) grow(m);
    uint32_t i = slot_of(m, key);
    PRE(!m->slots[i].value);
    m->slots[i] = (u64_map_slot){.key = key, .value = value};
    m->count++;
}

void *u64_map_take(u64_map *m, uint64_t key) {
    PRE(m->slots);
    uint32_t hole = slot_of(m, key), mask = m->slot_count - 1;
    void *value = m->slots[hole].value;
    if (!value) return NULL;
    for (uint32_t i = (hole + 1) & mask; m->slots[i].value; i = (i + 1) & mask) {
        /* A key may move up to the hole when its place is not behind the hole. */
        uint32_t from_place = (i - place_of(m, m->slots[i].key)) & mask;
        if (from_place < ((i - hole) & mask)) continue;
        m->slots[hole] = m->slots[i];
        hole = i;
    }
    m->slots[hole] = (u64_map_slot){0};
    m->count--;
    return value;
}

uint32_t u64_map_count(const u64_map *m) {
    PRE(m);
    return m->count;
}

bool u64_map_check(const u64_map *m) {
    PRE(m);
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->slot_count; i++) {
        if (!m->slots[i].value) continue;
        count++;
        if (slot_of(m, m->slots[i].key) != i) return false; /* hidden behind a free slot, or a second time */
    }
    return count == m->count && m->count <= m->slot_count / 2;
}
