/* Prints the greedy continuation of the ids on the command line: program IMAGE COUNT ID...
   Built with -DTHREADS=n, up to n threads run the model, in every step another number of them. */

#ifdef THREADS
#include <pthread.h>
#include <stdint.h>

static struct work {
    void (*program)(void *, int64_t, int64_t);
    void *frame;
    int64_t thread, threads;
} works[THREADS];

static void *work(void *given) {
    struct work *mine = given;
    mine->program(mine->frame, mine->thread, mine->threads);
    return 0;
}

static void run(void (*program)(void *, int64_t, int64_t), void *frame) {
    static int runs;
    int count = THREADS - runs++ % THREADS;
    pthread_t threads[THREADS];
    for (int i = 0; i < count; i++) {
        works[i] = (struct work){program, frame, i, count};
        pthread_create(&threads[i], 0, work, &works[i]);
    }
    for (int i = 0; i < count; i++) pthread_join(threads[i], 0);
}

#define LUMEN_RUN(program, frame) run(program, frame)
#endif

#include "model.h"

int main(int count, char **arguments) {
    struct lumen_model model;
    int32_t ids[256];
    if (count < 4 || count > 256 || !lumen_open(&model, arguments[1])) return 1;
    for (int i = 3; i < count; i++) ids[i - 3] = atoi(arguments[i]);
    int64_t token = lumen_prefill(&model, ids, count - 3);
    for (int left = atoi(arguments[2]); left > 0 && token >= 0; left--) {
        printf("%d\n", (int)token);
        token = lumen_decode(&model, (int32_t)token);
    }
    lumen_close(&model);
    return 0;
}
