/* replay - gives a fuzzer each file of the folders that are named, once. Each input lies in memory of its own
 * size, so that AddressSanitizer and valgrind see a byte read behind it. */
#include "base/mem.h"
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static void replay(const char *path) {
    FILE *f = fopen(path, "rb");
    CHECK(f);
    CHECK(fseek(f, 0, SEEK_END) == 0);
    long size = ftell(f);
    CHECK(size >= 0);
    rewind(f);
    uint8_t *data = xmalloc((size_t)size);
    CHECK(fread(data, 1, (size_t)size, f) == (size_t)size);
    fclose(f);
    (void)LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
}

int main(int argc, char **argv) {
    uint32_t count = 0;
    for (int i = 1; i < argc; i++) {
        DIR *d = opendir(argv[i]);
        if (!d) {
            fprintf(stderr, "%s: %m\n", argv[i]);
            return 1;
        }
        for (struct dirent *e; (e = readdir(d));) {
            if (e->d_name[0] == '.') continue;
            char *path = xasprintf("%s/%s", argv[i], e->d_name);
            fprintf(stderr, "%s\n", path); /* the last one is the one that failed */
            replay(path);
            free(path);
            count++;
        }
        closedir(d);
    }
    printf("%u inputs\n", count);
    return count == 0;
}
