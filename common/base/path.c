#include "base/path.h"

#include "base/mem.h"
#include "base/status.h"

#include <string.h>

char *path_stem(const char *path) {
    PRE(path);
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    return xstrndup(name, dot && dot != name ? (size_t)(dot - name) : strlen(name));
}
