/* u64_map - from a 64-bit key (a request, an incarnation) to a pointer, in constant time.
 *
 * An index beside a table that owns the values: the map neither owns nor follows what it points to. One array
 * of slots, at most half of them full; a key stands at its place or behind it, with no free slot between:
 *
 *     place of A and C       place of B
 *         |                      |
 *   free  A     C     free  free  B     free      C is found by walking from its place to the first free slot
 *
 * u64_map_take moves later keys up into the hole, so there are no tombstones, and a map that lives for years
 * costs what a fresh one does. Keys are spread by mix64: counted keys are as good as random ones, and nobody
 * outside the cluster chooses one.
 *
 * No malloc per key: the array grows only when the map holds more keys than ever before, by doubling. A map
 * that is told the largest number of keys at the start never grows. uthash would put its links into each
 * value and take an array of buckets as well; values here stand in more than one table.
 *
 * Thread: whoever owns the table. Invariant: u64_map_check. */
#ifndef BATON_BASE_U64_MAP_H
#define BATON_BASE_U64_MAP_H

#include <stdbool.h>
#include <stdint.h>

typedef struct u64_map_slot {
    uint64_t key;
    void *value; /* NULL: the slot is free */
} u64_map_slot;

typedef struct u64_map {
    u64_map_slot *slots; /* [slot_count]. Owned */
    uint32_t slot_count; /* a power of two */
    uint32_t count;      /* keys */
} u64_map;

/* Empty, with room for so many keys before it grows. Freed with u64_map_done. */
void u64_map_init(u64_map *m, uint32_t capacity_hint);
/* Also legal for a zeroed map. */
void u64_map_done(u64_map *m);

/* The value of the key, or NULL. */
void *u64_map_get(const u64_map *m, uint64_t key);
/* The key is not there yet; value is not NULL. */
void u64_map_put(u64_map *m, uint64_t key, void *value);
/* Removes the key; its value, or NULL when it was not there. */
void *u64_map_take(u64_map *m, uint64_t key);
/* Keys in the map. */
uint32_t u64_map_count(const u64_map *m);

/* Each key can be found, none is there twice, and `count` is right. Linear: for tests. */
bool u64_map_check(const u64_map *m);

#endif
