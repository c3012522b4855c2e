/* @MODEL@ for @TARGET@, compiled ahead of time by Lumen.

   Link with the object files that lie beside this header; the C library is all they need besides.
   `lumen_open` reads the image (packed weights, tables, and how memory is laid out), `lumen_prefill` puts
   tokens into the cache and returns the next one, `lumen_decode` takes one token and returns the next one.
   Sampling is greedy unless `lumen_settings` is changed. One thread runs the programs; to use up to
   LUMEN_THREADS, define LUMEN_RUN before this header so that it calls `program(frame, thread, threads)` on
   `threads` threads at once, numbered from 0, and returns when all have. Every run may have another number. */

#ifndef LUMEN_AHEAD_H
#define LUMEN_AHEAD_H

#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef LUMEN_RUN
#define LUMEN_RUN(program, frame) program(frame, 0, 1)
#endif

@CONSTANTS@
/* The programs: prefill a chunk, decode a token and sample, sample after a prefill, logits of a panel. */
@PROGRAMS@
struct lumen_settings { /* of sampling, as in `lumen run` */
    float penalty, top_p, min_p, temperature;
    int64_t top_k;
    uint64_t seed;
};

struct lumen_model {
    char *memory;
    int64_t position; /* tokens in the cache */
};

static inline int64_t *lumen_slot(struct lumen_model *model, int64_t place) {
    return (int64_t *)(model->memory + LUMEN_FRAME + place);
}

static inline struct lumen_settings *lumen_settings(struct lumen_model *model) {
    return (struct lumen_settings *)*lumen_slot(model, LUMEN_SLOT_SETTINGS);
}

/* Read the image; returns 0 if it cannot be read, does not belong to this header or does not fit memory. */
static inline int lumen_open(struct lumen_model *model, const char *path) {
    uint64_t head[4]; /* magic, bytes in the file, bytes in memory, relocations */
    FILE *file = fopen(path, "rb");
    memset(model, 0, sizeof *model);
    if (!file) return 0;
    int good = fread(head, sizeof head, 1, file) == 1 && head[0] == LUMEN_MAGIC && head[2] == LUMEN_MEMORY &&
               head[1] <= head[2];
    uint64_t *places = good ? malloc(8 * head[3]) : 0;
    good = places && fread(places, 8, head[3], file) == head[3];
    good = good && (model->memory = aligned_alloc(4096, head[2]));
    if (good) memset(model->memory + head[1], 0, head[2] - head[1]);
    good = good && fread(model->memory, 1, head[1], file) == head[1];
    for (uint64_t i = 0; good && i < head[3]; i++) {
        int64_t *word = (int64_t *)(model->memory + places[i]);
        *word += (int64_t)(intptr_t)model->memory;
    }
    if (good) *lumen_slot(model, LUMEN_SLOT_YIELD) = (int64_t)(intptr_t)sched_yield;
    if (!good) free(model->memory), model->memory = 0;
    free(places);
    fclose(file);
    return good;
}

static inline void lumen_close(struct lumen_model *model) {
    free(model->memory);
    memset(model, 0, sizeof *model);
}

static inline int64_t lumen_sampled(struct lumen_model *model) {
    return *(int64_t *)*lumen_slot(model, LUMEN_SLOT_SAMPLED);
}

/* The frame, for a run of any number of threads: they meet at barriers that count arrivals in turns of it. */
static inline void *lumen_frame(struct lumen_model *model) {
    *(int64_t *)*lumen_slot(model, LUMEN_SLOT_BARRIER) = 0;
    return lumen_slot(model, 0);
}

/* Say which tokens the next step takes, where they stand and where their keys and values go: one segment. */
static inline void lumen_place(struct lumen_model *model, const int32_t *ids, int64_t count) {
    static const int64_t pools[][2] = LUMEN_POOLS; /* slots, pages */
    int64_t *segment = (int64_t *)*lumen_slot(model, LUMEN_SLOT_SEGMENTS);
    int32_t *positions = (int32_t *)*lumen_slot(model, LUMEN_SLOT_POSITIONS);
    memcpy((void *)*lumen_slot(model, LUMEN_SLOT_IDS), ids, 4 * count);
    segment[0] = 0, segment[1] = count, segment[2] = model->position;
    for (int64_t i = 0; i < count; i++) positions[i] = (int32_t)(model->position + i);
    for (size_t pool = 0; pool < sizeof pools / sizeof *pools; pool++) {
        int32_t *slots = (int32_t *)*lumen_slot(model, pools[pool][0]);
        const int32_t *pages = *(const int32_t **)*lumen_slot(model, pools[pool][1]);
        for (int64_t i = 0; i < count; i++)
            slots[i] = pages[positions[i] / LUMEN_PAGE] * LUMEN_PAGE + positions[i] % LUMEN_PAGE;
    }
    *lumen_slot(model, LUMEN_SLOT_TOKENS) = count;
    *lumen_slot(model, LUMEN_SLOT_POSITION) = model->position;
    *lumen_slot(model, LUMEN_SLOT_HEAD) = *lumen_slot(model, LUMEN_SLOT_STATES);
}

/* Take tokens and return the one that follows; -1 if they do not fit the context. */
static inline int64_t lumen_prefill(struct lumen_model *model, const int32_t *ids, int64_t count) {
    if (count < 1 || model->position + count > LUMEN_CONTEXT) return -1;
    int64_t part = 0;
    for (int64_t start = 0; start < count; start += part) {
        part = count - start < LUMEN_CHUNK ? count - start : LUMEN_CHUNK;
        lumen_place(model, ids + start, part);
        void *frame = lumen_frame(model);
        LUMEN_RUN(prefill, frame);
        model->position += part;
    }
    *lumen_slot(model, LUMEN_SLOT_POSITION) = model->position - 1;
    *lumen_slot(model, LUMEN_SLOT_HEAD) += (part - 1) * LUMEN_STATE_BYTES;
    void *frame = lumen_frame(model);
    LUMEN_RUN(last, frame);
    return lumen_sampled(model);
}

/* Take one token and return the one that follows; -1 if it does not fit the context. */
static inline int64_t lumen_decode(struct lumen_model *model, int32_t token) {
    if (model->position >= LUMEN_CONTEXT) return -1;
    lumen_place(model, &token, 1);
    void *frame = lumen_frame(model);
    LUMEN_RUN(decode, frame);
    model->position++;
    return lumen_sampled(model);
}

#endif
