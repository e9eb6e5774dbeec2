#include "bench/report/plot.h"

#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define GNUPLOT_WITHIN_NS (60 * NS_PER_S)
#define SVG_MAX           (64u << 20) /* bytes */
#define LEGEND_ROW        22
#define LEGEND_SAMPLE     34
#define LEGEND_LETTER     7.3 /* px, a wide guess for 13 px text */

extern char **environ;

/* ---- styles ---- */

const char *plot_colour(uint32_t style) {
    /* Okabe and Ito, without yellow, which is too light on white */
    static const char *const all[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                      "#E69F00", "#56B4E9", "#000000", "#7F7F7F"};
    return all[style % ARRAY_LEN(all)];
}

int plot_shape(uint32_t style, bool hollow) {
    static const int hollow_of[] = {6, 4, 8, 12, 10, 14};
    return hollow_of[style % ARRAY_LEN(hollow_of)] + !hollow;
}

int plot_dash(uint32_t style) {
    return (int)(style % 5) + 1;
}

const char *plot_stage_colour(uint32_t i) {
    static const char *const all[] = {"#E69F00", "#0072B2", "#CC79A7", "#D55E00", "#56B4E9"};
    return all[i % ARRAY_LEN(all)];
}

/* ---- script ---- */

void plot_init(plot *p, const char *id, const char *title) {
    PRE(p);
    PRE(id);
    PRE(title);
    *p = (plot){.id = xstrdup(id), .title = xstrdup(title), .height = 400};
    for (char *c = p->id; *c; c++) {
        if (!isalnum((unsigned char)*c)) *c = '-';
    }
}

void plot_done(plot *p) {
    PRE(p);
    free(p->id);
    free(p->title);
    for (uint32_t i = 0; i < p->legend_count; i++) free(p->legend[i].text);
    free(p->legend);
    buf_done(&p->script);
    buf_done(&p->svg);
    *p = (plot){0};
}

void plot_add(plot *p, const char *fmt, ...) {
    PRE(p);
    va_list args;
    va_start(args, fmt);
    char *text;
    CHECK(vasprintf(&text, fmt, args) >= 0);
    va_end(args);
    buf_adds(&p->script, text);
    free(text);
}

void plot_quote(plot *p, const char *text) {
    PRE(p);
    PRE(text);
    buf_adds(&p->script, "'");
    for (const char *c = text; *c; c++) {
        if (*c == '\'')
            buf_adds(&p->script, "''");
        else if ((unsigned char)*c >= ' ')
            buf_add(&p->script, c, 1);
    }
    buf_adds(&p->script, "'");
}

/* ---- legend and panels ---- */

static double screen_x(int px) {
    return (double)px / PLOT_WIDTH;
}

static double screen_y(const plot *p, int px) {
    return 1 - (double)px / p->height;
}

static void legend_add(plot *p, const char *text, plot_entry e) {
    int width = LEGEND_SAMPLE + (int)(LEGEND_LETTER * (double)strlen(text)) + 22;
    if (p->legend_rows == 0 || p->legend_x + width > PLOT_WIDTH) {
        p->legend_rows++;
        p->legend_x = 20;
    }
    e.text = xstrdup(text);
    e.x = p->legend_x;
    e.y = 18 + (p->legend_rows - 1) * LEGEND_ROW;
    p->legend_x += width;
    p->legend = xrealloc(p->legend, p->legend_count + 1, sizeof *p->legend);
    p->legend[p->legend_count++] = e;
}

void plot_legend(plot *p, const char *text, const char *colour, int dash, int point) {
    PRE(p);
    PRE(text);
    PRE(colour);
    legend_add(p, text, (plot_entry){.colour = colour, .dash = dash, .point = point});
}

void plot_legend_box(plot *p, const char *text, const char *colour) {
    PRE(p);
    PRE(text);
    PRE(colour);
    legend_add(p, text, (plot_entry){.colour = colour, .point = -1, .box = true});
}

/* When the height is known, since gnuplot counts from below. */
static void legend_draw(plot *p) {
    for (uint32_t i = 0; i < p->legend_count; i++) {
        const plot_entry *e = &p->legend[i];
        double y = screen_y(p, e->y);
        if (e->box)
            plot_add(p,
                     "set object rectangle from screen %.5f, screen %.5f to screen %.5f, screen %.5f "
                     "fc rgb '%s' fs solid border lc rgb '#444444'\n",
                     screen_x(e->x + 6), screen_y(p, e->y + 7), screen_x(e->x + 28), screen_y(p, e->y - 7),
                     e->colour);
        if (e->dash > 0)
            plot_add(
                p,
                "set arrow from screen %.5f, screen %.5f to screen %.5f, screen %.5f nohead lw %.2f dt %d "
                "lc rgb '%s'\n", /* gnuplot joins lines that differ in dashes alone */
                screen_x(e->x), y, screen_x(e->x + LEGEND_SAMPLE - 6), y, 1.8 + 0.01 * i, e->dash, e->colour);
        if (e->point >= 0)
            plot_add(p, "set label '' at screen %.5f, screen %.5f point pt %d ps 0.9 lc rgb '%s'\n",
                     screen_x(e->x + LEGEND_SAMPLE / 2 - 3), y, e->point, e->colour);
        plot_add(p, "set label ");
        plot_quote(p, e->text);
        plot_add(p, " at screen %.5f, screen %.5f left front\n", screen_x(e->x + LEGEND_SAMPLE), y);
    }
}

int plot_legend_height(const plot *p) {
    PRE(p);
    return p->legend_rows ? 12 + p->legend_rows * LEGEND_ROW : 0;
}

void plot_panel(plot *p, int left, int top, int right, int bottom, const char *title) {
    PRE(p);
    PRE(left < right);
    PRE(top < bottom);
    if (p->panels == 0) legend_draw(p);
    if (p->panels++ > 0)
        plot_add(p, "unset label\nunset arrow\nunset object\nunset title\nunset xlabel\nunset ylabel\nunset "
                    "logscale\n"
                    "set xtics auto format '%%h'\nset ytics auto format '%%h'\nset autoscale\n");
    plot_add(p, "set lmargin at screen %.5f\nset rmargin at screen %.5f\n", screen_x(left), screen_x(right));
    plot_add(p, "set tmargin at screen %.5f\nset bmargin at screen %.5f\n", screen_y(p, top),
             screen_y(p, bottom));
    if (title) {
        size_t width = (size_t)(right - left) / 7; /* letters */
        char *cut = strlen(title) > width ? xasprintf("%.*s...", (int)width - 3, title) : xstrdup(title);
        plot_add(p, "set title ");
        plot_quote(p, cut);
        plot_add(p, " offset 0,-0.5\n");
        free(cut);
    }
}

/* ---- gnuplot ---- */

static status write_file(const char *path, const char *head, const buf *body, errbuf *eb) {
    FILE *f = fopen(path, "we");
    if (!f) return errf(eb, ST_IO, "%s: %s", path, strerror(errno));
    bool ok = fputs(head, f) >= 0 && (body->len == 0 || fwrite(body->data, body->len, 1, f) == 1);
    if (fclose(f) != 0 || !ok) return errf(eb, ST_IO, "%s: %s", path, strerror(errno));
    return ST_OK;
}

static status read_file(buf *out, const char *path, errbuf *eb) {
    FILE *f = fopen(path, "re");
    if (!f) return errf(eb, ST_IO, "%s: %s", path, strerror(errno));
    char part[65536];
    for (size_t n; out->len < SVG_MAX && (n = fread(part, 1, sizeof part, f)) > 0;) buf_add(out, part, n);
    fclose(f);
    return ST_OK;
}

/* Reads until the child closes its end, or the deadline. */
static bool listen_to(int fd, buf *words) {
    uint64_t deadline = clock_now_ns() + GNUPLOT_WITHIN_NS;
    for (;;) {
        uint64_t now = clock_now_ns();
        if (now >= deadline) return false;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, (int)((deadline - now) / NS_PER_MS) + 1) <= 0) continue;
        char part[1024];
        ssize_t n = read(fd, part, sizeof part);
        if (n == 0 || (n < 0 && errno != EINTR)) return true;
        if (n > 0 && words->len < 4096) buf_add(words, part, (size_t)n);
    }
}

static int spawn_gnuplot(const char *script, int err_fd, pid_t *pid) {
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&files, err_fd, 2);
    char name[] = "gnuplot", flag[] = "--default-settings";
    char *argv[] = {name, flag, (char *)(uintptr_t)script, NULL};
    int e = posix_spawnp(pid, "gnuplot", &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    return e;
}

/* One line: gnuplot points with a caret at what it did not like, several lines long. */
static void squeeze(buf *words) {
    for (size_t i = 0; i < words->len; i++) {
        if (words->data[i] == '\n' || words->data[i] == '\t') words->data[i] = ' ';
    }
}

static status run_script(const char *script, errbuf *eb) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return errf(eb, ST_IO, "pipe: %s", strerror(errno));
    pid_t pid = 0;
    int e = spawn_gnuplot(script, ends[1], &pid);
    close(ends[1]);
    if (e) {
        close(ends[0]);
        if (e == ENOENT)
            return errf(eb, ST_UNSUPPORTED,
                        "gnuplot is not there: figures are made by it; install it (Debian: apt-get install "
                        "gnuplot-nox) or put it on PATH");
        return errf(eb, ST_IO, "gnuplot: %s", strerror(e));
    }
    buf words = {0};
    bool ended = listen_to(ends[0], &words);
    if (!ended) kill(pid, SIGKILL);
    close(ends[0]);
    int code = 0;
    while (waitpid(pid, &code, 0) < 0 && errno == EINTR) continue;
    status st = ST_OK;
    squeeze(&words);
    if (!ended)
        st = errf(eb, ST_TIMEOUT, "gnuplot did not end within %llu s", GNUPLOT_WITHIN_NS / NS_PER_S);
    else if (!WIFEXITED(code) || WEXITSTATUS(code) != 0)
        st = errf(eb, ST_IO, "gnuplot failed: %s", words.data ? words.data : "it says nothing");
    buf_done(&words);
    return st;
}

/* Length of a group at the text that has nothing in it, of which gnuplot writes one per stroke; 0 = none. */
static size_t empty_group(const char *at) {
    if (strncmp(at, "<g ", 3) != 0) return 0;
    const char *end = strchr(at, '>');
    if (!end) return 0;
    end += 1 + strspn(end + 1, " \t\n");
    return strncmp(end, "</g>\n", 5) == 0 ? (size_t)(end + 5 - at) : 0;
}

/* Several figures stand in one page: each id, and what refers to it, gets the figure's own prefix. The title
 * is what a pointer over the figure, and a screen reader, say. */
static void own_ids(plot *p, const char *from) {
    static const struct {
        const char *find, *with;
    } ids[] = {{"id='", "id='"}, {"id=\"", "id=\""}, {"href='#", "href='#"}, {"url(#", "url(#"}};
    const char *start = strstr(from, "<svg");
    const char *at = start ? start : from;
    while (*at) {
        const char *title = "<title>";
        if (strncmp(at, title, strlen(title)) == 0) {
            const char *end = strstr(at, "</title>");
            buf_adds(&p->svg, title);
            for (const char *c = p->title; *c; c++) {
                if (*c == '<')
                    buf_adds(&p->svg, "&lt;");
                else if (*c == '&')
                    buf_adds(&p->svg, "&amp;");
                else
                    buf_add(&p->svg, c, 1);
            }
            at = end ? end : at + strlen(at);
            continue;
        }
        size_t empty = empty_group(at);
        if (empty) {
            at += empty;
            continue;
        }
        size_t i = 0;
        while (i < ARRAY_LEN(ids) && strncmp(at, ids[i].find, strlen(ids[i].find)) != 0) i++;
        if (i < ARRAY_LEN(ids)) {
            buf_addf(&p->svg, "%s%s-", ids[i].with, p->id);
            at += strlen(ids[i].find);
        } else {
            buf_add(&p->svg, at++, 1);
        }
    }
}

static void preamble(const plot *p, const char *svg, buf *out) {
    buf_addf(out,
             "set encoding utf8\nset terminal svg size %d,%d dynamic noenhanced font 'sans-serif,13' "
             "background rgb 'white' linewidth 1\n",
             PLOT_WIDTH, p->height);
    buf_addf(out, "set output '%s'\n", svg);
    buf_adds(out,
             "set border lc rgb '#555555'\nset tics out scale 0.5 textcolor rgb '#222222' nomirror\n"
             "set grid lc rgb '#dddddd' lt 1 lw 0.6\nunset key\n"
             "set dashtype 1 solid\nset dashtype 2 (9,4)\nset dashtype 3 (2,3)\nset dashtype 4 (9,3,2,3)\n"
             "set dashtype 5 (14,4,2,4,2,4)\nset multiplot\n");
}

status plot_run(plot *p, const char *folder, errbuf *eb) {
    PRE(p);
    char dir[] = "/tmp/baton-report-XXXXXX";
    if (!mkdtemp(dir)) return errf(eb, ST_IO, "%s: %s", dir, strerror(errno));
    char *script = xasprintf("%s/plot.gp", dir), *svg = xasprintf("%s/plot.svg", dir);
    buf head = {0}, raw = {0};
    preamble(p, svg, &head);
    buf_addf(&p->script, "\nunset multiplot\n");
    status st = write_file(script, head.data, &p->script, eb);
    if (st == ST_OK) st = run_script(script, eb);
    if (st == ST_OK) st = read_file(&raw, svg, eb);
    if (st == ST_OK) {
        own_ids(p, raw.data ? raw.data : "");
        if (folder) {
            char *path = xasprintf("%s/%s.svg", folder, p->id);
            st = write_file(path, "", &p->svg, eb);
            free(path);
        }
    } else if (st == ST_IO) {
        err_prefix(eb, st, "figure %s", p->id);
    }
    unlink(script);
    unlink(svg);
    rmdir(dir);
    free(script);
    free(svg);
    buf_done(&head);
    buf_done(&raw);
    return st;
}
