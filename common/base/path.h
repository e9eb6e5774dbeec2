/* path - names of files as text. Pure. */
#ifndef BATON_BASE_PATH_H
#define BATON_BASE_PATH_H

/* The file's name without folders and without what follows the last dot: "models/SmolLM2.Q4_1.gguf" gives
 * "SmolLM2.Q4_1"; a name that only begins with a dot keeps it. Caller frees with free. */
char *path_stem(const char *path);

#endif
