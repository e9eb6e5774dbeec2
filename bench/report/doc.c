#include "bench/report/doc.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char style[] =
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#57606a;--line:#d0d7de;--head:#f3f5f7;"
    "--link:#0969da;--mark:#fff3d6}\n"
    "@media (prefers-color-scheme:dark){:root{--bg:#11151a;--fg:#e3e7ec;--soft:#9aa4af;--line:#343c45;"
    "--head:#1c222a;--link:#6cb2ff;--mark:#3a3112}}\n"
    "body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,-apple-system,'Segoe UI',"
    "Roboto,'Helvetica Neue',Arial,sans-serif}\n"
    "main{max-width:1080px;margin:0 auto;padding:24px 20px 80px}\n"
    "h1{font-size:28px;line-height:1.25;margin:0 0 8px}h2{font-size:21px;margin:44px 0 10px;padding-top:10px;"
    "border-top:1px solid var(--line)}h3{font-size:17px;margin:26px 0 8px}\n"
    "a{color:var(--link)}p{margin:8px 0}.soft,figcaption{color:var(--soft);font-size:14px}\n"
    ".verdict{border-left:5px solid #0072B2;background:var(--head);padding:12px 16px;margin:14px 0;"
    "font-size:18px}.verdict b{display:block;font-size:14px;color:var(--soft);font-weight:600}\n"
    "figure{margin:18px 0;padding:0;overflow-x:auto}figure "
    "svg{display:block;box-sizing:border-box;width:100%;min-width:700px;height:auto;background:#fff;"
    "border:1px solid var(--line);border-radius:6px}figcaption{margin-top:6px}\n"
    ".scroll{overflow-x:auto;margin:12px 0}table{border-collapse:collapse;font-size:14px;min-width:50%}"
    "th,td{padding:5px 9px;border:1px solid var(--line);text-align:left;vertical-align:top}"
    "th{background:var(--head);font-weight:600}td.n{text-align:right;font-variant-numeric:tabular-nums;"
    "white-space:nowrap}td.w{min-width:230px}tr:target td{background:var(--mark)}\n"
    "details{margin:10px 0}summary{cursor:pointer;color:var(--link);font-size:14px}"
    "pre{overflow-x:auto;background:var(--head);padding:12px;border-radius:6px;font-size:13px}\n";

void doc_init(doc *d, const char *title, const char *figures) {
    PRE(d);
    PRE(title);
    PRE(figures);
    *d = (doc){.title = xstrdup(title), .figures = xstrdup(figures)};
}

void doc_done(doc *d) {
    PRE(d);
    free(d->title);
    free(d->figures);
    free(d->anchor);
    buf_done(&d->html);
    buf_done(&d->md);
    *d = (doc){0};
}

/* ---- escapes ---- */

static void html_text(buf *out, const char *text) {
    for (const char *c = text; *c; c++) {
        if (*c == '<')
            buf_adds(out, "&lt;");
        else if (*c == '>')
            buf_adds(out, "&gt;");
        else if (*c == '&')
            buf_adds(out, "&amp;");
        else if (*c == '"')
            buf_adds(out, "&quot;");
        else if ((unsigned char)*c >= ' ')
            buf_add(out, c, 1);
    }
}

/* As it stands */
static void md(doc *d, const char *text) {
    if (!d->page_only) buf_adds(&d->md, text);
}

static void md_text(doc *d, const char *text) {
    for (const char *c = text; *c && !d->page_only; c++) {
        if (strchr("\\`*_[]<>|#", *c)) buf_adds(&d->md, "\\");
        if ((unsigned char)*c >= ' ') buf_add(&d->md, c, 1);
    }
}

/* An id of HTML: letters, digits, '-', '_'; every other byte as ".XX", so that no two cells share one. */
static char *anchor_of(const char *cell) {
    buf out = {0};
    buf_adds(&out, "cell-");
    for (const char *c = cell; *c; c++) {
        if (isalnum((unsigned char)*c) || *c == '-' || *c == '_')
            buf_add(&out, c, 1);
        else
            buf_addf(&out, ".%02x", (unsigned char)*c);
    }
    return out.data;
}

/* ---- blocks ---- */

void doc_heading(doc *d, int level, const char *text) {
    PRE(d);
    PRE(level >= 1);
    PRE(level <= 3);
    PRE(text);
    buf_addf(&d->html, "<h%d>", level);
    html_text(&d->html, text);
    buf_addf(&d->html, "</h%d>\n", level);
    if (d->md.len) md(d, "\n");
    md(d, &"###"[3 - level]);
    md(d, " ");
    md_text(d, text);
    md(d, "\n\n");
}

static void paragraph(doc *d, const char *class, const char *text) {
    buf_addf(&d->html, "<p%s>", class);
    html_text(&d->html, text);
    buf_adds(&d->html, "</p>\n");
    md_text(d, text);
    md(d, "\n\n");
}

void doc_paragraph(doc *d, const char *text) {
    PRE(d);
    PRE(text);
    paragraph(d, "", text);
}

void doc_note(doc *d, const char *text) {
    PRE(d);
    PRE(text);
    paragraph(d, " class=\"soft\"", text);
}

void doc_verdict(doc *d, const char *what, const char *text) {
    PRE(d);
    PRE(what);
    PRE(text);
    buf_adds(&d->html, "<p class=\"verdict\"><b>");
    html_text(&d->html, what);
    buf_adds(&d->html, "</b>");
    html_text(&d->html, text);
    buf_adds(&d->html, "</p>\n");
    md(d, "> **");
    md_text(d, what);
    md(d, ".** ");
    md_text(d, text);
    md(d, "\n\n");
}

void doc_fold(doc *d, const char *summary) {
    PRE(d);
    PRE(summary);
    buf_adds(&d->html, "<details><summary>");
    html_text(&d->html, summary);
    buf_adds(&d->html, "</summary>\n");
    md(d, "<details><summary>");
    if (!d->page_only) html_text(&d->md, summary);
    md(d, "</summary>\n\n");
}

void doc_fold_end(doc *d) {
    PRE(d);
    buf_adds(&d->html, "</details>\n");
    md(d, "</details>\n\n");
}

void doc_code(doc *d, const char *text) {
    PRE(d);
    PRE(text);
    buf_adds(&d->html, "<pre>");
    for (const char *line = text; *line;) { /* html_text drops what breaks a line */
        char *one = xstrndup(line, strcspn(line, "\n"));
        html_text(&d->html, one);
        buf_adds(&d->html, "\n");
        line += strlen(one) + (line[strlen(one)] == '\n');
        free(one);
    }
    buf_adds(&d->html, "</pre>\n");
    md(d, "```\n");
    md(d, text);
    md(d, "\n```\n\n");
}

/* ---- tables ---- */

void doc_table(doc *d, const char *const *heads, uint32_t columns) {
    PRE(d);
    PRE(heads);
    PRE(columns > 0);
    buf_adds(&d->html, "<div class=\"scroll\"><table><thead><tr>");
    for (uint32_t i = 0; i < columns; i++) {
        buf_adds(&d->html, "<th>");
        html_text(&d->html, heads[i]);
        buf_adds(&d->html, "</th>");
        md(d, "| ");
        md_text(d, heads[i]);
        md(d, " ");
    }
    buf_adds(&d->html, "</tr></thead><tbody>\n");
    md(d, "|\n");
    for (uint32_t i = 0; i < columns; i++) md(d, "|---");
    md(d, "|\n");
    d->in_field = false;
}

void doc_row(doc *d, const char *anchor) {
    PRE(d);
    d->in_field = false;
    PRE(!d->anchor);
    if (anchor) d->anchor = anchor_of(anchor);
    if (d->anchor)
        buf_addf(&d->html, "<tr id=\"%s\">", d->anchor);
    else
        buf_adds(&d->html, "<tr>");
}

void doc_field(doc *d, bool number) {
    PRE(d);
    if (d->in_field) buf_adds(&d->html, "</td>");
    md(d, d->in_field ? " | " : "| ");
    if (d->anchor) { /* Markdown has no line to give it to */
        md(d, "<a id=\"");
        md(d, d->anchor);
        md(d, "\"></a>");
        free(d->anchor);
        d->anchor = NULL;
    }
    buf_adds(&d->html, number ? "<td class=\"n\">" : "<td>");
    d->in_field = true;
}

void doc_wide_field(doc *d) {
    doc_field(d, false);
    static const char narrow[] = "<td>";
    d->html.len -= strlen(narrow);
    buf_adds(&d->html, "<td class=\"w\">");
}

void doc_text(doc *d, const char *text) {
    PRE(d);
    PRE(text);
    html_text(&d->html, text);
    md_text(d, text);
}

void doc_link(doc *d, const char *text, const char *cell) {
    PRE(d);
    PRE(text);
    if (!cell) {
        doc_text(d, text);
        return;
    }
    char *id = anchor_of(cell);
    buf_addf(&d->html, "<a href=\"#%s\">", id);
    html_text(&d->html, text);
    buf_adds(&d->html, "</a>");
    md(d, "[");
    md_text(d, text);
    md(d, "](#");
    md(d, id);
    md(d, ")");
    free(id);
}

void doc_link_figure(doc *d, const char *text, const char *figure) {
    PRE(d);
    PRE(text);
    PRE(figure);
    buf_addf(&d->html, "<a href=\"#%s\">", figure);
    html_text(&d->html, text);
    buf_adds(&d->html, "</a>");
    md_text(d, text);
}

void doc_row_end(doc *d) {
    PRE(d);
    buf_adds(&d->html, d->in_field ? "</td></tr>\n" : "</tr>\n");
    md(d, " |\n");
    d->in_field = false;
}

void doc_table_end(doc *d) {
    PRE(d);
    buf_adds(&d->html, "</tbody></table></div>\n");
    md(d, "\n");
}

/* ---- figures, files ---- */

status doc_figure(doc *d, plot *p, const char *caption, errbuf *eb) {
    return doc_cell_figure(d, p, caption, NULL, eb);
}

status doc_cell_figure(doc *d, plot *p, const char *caption, const char *cell, errbuf *eb) {
    PRE(d);
    PRE(p);
    PRE(caption);
    status st = plot_run(p, d->page_only ? NULL : d->figures, eb);
    if (st == ST_OK) {
        buf_addf(&d->html, "<figure id=\"%s\">\n", p->id);
        buf_add(&d->html, p->svg.data, p->svg.len);
        md(d, "![");
        md_text(d, p->title);
        md(d, "](");
        md(d, p->id);
        md(d, ".svg)\n\n");
        buf_adds(&d->html, "<figcaption>");
        doc_link(d, caption, cell);
        buf_adds(&d->html, "</figcaption></figure>\n");
        md(d, "\n\n");
    }
    plot_done(p);
    return st;
}

#define MD_COLUMNS 120

/* One line in lines of at most MD_COLUMNS characters, where it has blanks; a quotation's go on as quotations.
 */
static void wrap_line(const char *line, size_t bytes, buf *out) {
    bool quote = bytes > 1 && line[0] == '>';
    size_t column = 0;
    for (size_t i = 0; i < bytes;) {
        size_t word = 0, wide = 0; /* with the blank before it */
        do {
            wide += ((unsigned char)line[i + word] & 0xC0) != 0x80;
            word++;
        } while (i + word < bytes && line[i + word] != ' ');
        if (column > 0 && column + wide > MD_COLUMNS) {
            buf_adds(out, quote ? "\n>" : "\n");
            column = quote;
            if (!quote && line[i] == ' ') i++, word--, wide--;
        }
        buf_add(out, line + i, word);
        column += wide;
        i += word;
    }
}

/* Tables, headings, HTML and code stay as they are: a line's end means something there. */
static void wrap(const char *text, buf *out) {
    bool code = false;
    while (*text) {
        size_t bytes = strcspn(text, "\n");
        code ^= strncmp(text, "```", 3) == 0;
        if (code || (bytes && strchr("|#<", text[0])))
            buf_add(out, text, bytes);
        else
            wrap_line(text, bytes, out);
        buf_adds(out, "\n");
        text += bytes + (text[bytes] == '\n');
    }
}

/* Whole or not at all: written beside and renamed. */
static status put_file(const char *path, const buf *text, errbuf *eb) {
    char *beside = xasprintf("%s.part", path);
    status st = ST_OK;
    FILE *f = fopen(beside, "we");
    if (!f) {
        st = errf(eb, ST_IO, "%s: %s", beside, strerror(errno));
    } else {
        bool ok = text->len == 0 || fwrite(text->data, text->len, 1, f) == 1;
        if (fclose(f) != 0 || !ok || rename(beside, path) != 0)
            st = errf(eb, ST_IO, "%s: %s", path, strerror(errno));
    }
    if (f && st != ST_OK) remove(beside);
    free(beside);
    return st;
}

status doc_write(const doc *d, const char *path, errbuf *eb) {
    PRE(d);
    PRE(path);
    buf page = {0};
    buf_adds(&page,
             "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta name=\"viewport\" "
             "content=\"width=device-width,initial-scale=1\">\n<title>");
    html_text(&page, d->title);
    buf_addf(&page, "</title>\n<style>\n%s</style></head>\n<body><main>\n", style);
    buf_add(&page, d->html.data, d->html.len);
    buf_adds(&page, "</main></body></html>\n");
    status st = put_file(path, &page, eb);
    char *md_path = xasprintf("%s/report.md", d->figures);
    buf lines = {0};
    if (d->md.data) wrap(d->md.data, &lines);
    if (st == ST_OK) st = put_file(md_path, &lines, eb);
    buf_done(&lines);
    free(md_path);
    buf_done(&page);
    return st;
}
