/* Calls kernels for a test of another machine: reads commands from standard input, answers on standard output.

   L path symbol        load a shared object; answers the symbol's address
   C address count arguments...   call it; an argument is a number, or a buffer that begins `place` bytes into
                        its cache line and whose end touches a page that nobody may touch, or an array of
                        pointers to buffers that are only read, or a place in an earlier buffer;
                        answers the result and then every buffer's bytes
   Numbers are 64-bit, native. Built with the compiler for the emulated machine. */

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MOST = 40, PAGE = 65536 };

typedef int64_t kernel(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                       int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                       int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                       int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);

static void take(void *to, size_t bytes) {
    if (bytes && fread(to, 1, bytes, stdin) != bytes) exit(0);
}

static int64_t number(void) {
    int64_t value;
    take(&value, sizeof value);
    return value;
}

static char *text(void) {
    int64_t length = number();
    char *made = malloc(length + 1);
    take(made, length);
    made[length] = 0;
    return made;
}

struct buffer { char *map, *start; size_t room, size; };

static struct buffer place(size_t size, size_t offset) {
    struct buffer made;
    size_t pages = (size + 64) / PAGE + 1;
    made.size = size;
    made.room = (pages + 2) * PAGE;
    made.map = mmap(0, made.room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made.map == MAP_FAILED) exit(3);
    char *end = made.map + (pages + 1) * PAGE;
    mprotect(made.map, PAGE, PROT_NONE);
    mprotect(end, PAGE, PROT_NONE);
    char *start = end - size;
    start -= ((uintptr_t)start - offset) & 63;
    made.start = start;
    return made;
}

static struct buffer receive(void) {
    size_t size = number();
    struct buffer made = place(size, number());
    take(made.start, size);
    return made;
}

static void call(void) {
    kernel *function = (kernel *)number();
    int64_t count = number(), arguments[MOST] = {0};
    struct buffer buffers[MOST];
    int used = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t kind = number();
        if (kind == 0) {
            arguments[i] = number();
        } else if (kind == 1) {
            buffers[used] = receive();
            arguments[i] = (int64_t)buffers[used++].start;
        } else if (kind == 3) {
            int64_t whole = number();
            arguments[i] = arguments[whole] + number();
        } else {
            int64_t length = number();
            char **list = malloc(length * sizeof *list);
            for (int64_t j = 0; j < length; j++) list[j] = receive().start; /* a test's process ends soon */
            arguments[i] = (int64_t)list;
        }
    }
    int64_t *a = arguments;
    int64_t result = function(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13],
                              a[14], a[15], a[16], a[17], a[18], a[19], a[20], a[21], a[22], a[23], a[24], a[25],
                              a[26], a[27], a[28], a[29], a[30], a[31], a[32], a[33], a[34], a[35], a[36], a[37],
                              a[38], a[39]);
    fwrite(&result, sizeof result, 1, stdout);
    for (int i = 0; i < used; i++) {
        fwrite(buffers[i].start, 1, buffers[i].size, stdout);
        munmap(buffers[i].map, buffers[i].room);
    }
}

int main(void) {
    for (;;) {
        int64_t command = number();
        if (command == 'L') {
            char *path = text(), *symbol = text();
            void *library = dlopen(path, RTLD_NOW);
            if (!library) fprintf(stderr, "%s\n", dlerror());
            int64_t address = library ? (int64_t)dlsym(library, symbol) : 0;
            fwrite(&address, sizeof address, 1, stdout);
            free(path);
            free(symbol);
        } else if (command == 'C') {
            call();
        } else {
            return 2;
        }
        fflush(stdout);
    }
}
