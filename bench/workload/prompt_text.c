#include "bench/workload/prompt_text.h"

#include "bench/workload/prompt.h"

#include "base/mem.h"

#include <stdlib.h>

static const char *const candidates[] = {
    "the",       "and",         "that",       "have",      "for",         "not",       "with",
    "you",       "this",        "but",        "his",       "from",        "they",      "say",
    "her",       "she",         "will",       "one",       "all",         "would",     "there",
    "their",     "what",        "out",        "about",     "who",         "get",       "which",
    "when",      "make",        "can",        "like",      "time",        "just",      "him",
    "know",      "take",        "people",     "into",      "year",        "your",      "good",
    "some",      "could",       "them",       "see",       "other",       "than",      "then",
    "now",       "look",        "only",       "come",      "over",        "think",     "also",
    "back",      "after",       "use",        "two",       "how",         "our",       "work",
    "first",     "well",        "way",        "even",      "new",         "want",      "because",
    "any",       "these",       "give",       "day",       "most",        "water",     "place",
    "world",     "hand",        "part",       "life",      "child",       "eye",       "woman",
    "man",       "week",        "case",       "point",     "company",     "number",    "group",
    "problem",   "fact",        "home",       "room",      "area",        "money",     "story",
    "month",     "lot",         "right",      "study",     "book",        "word",      "business",
    "issue",     "side",        "kind",       "head",      "house",       "service",   "friend",
    "father",    "power",       "hour",       "game",      "line",        "end",       "member",
    "law",       "car",         "city",       "community", "name",        "president", "team",
    "minute",    "idea",        "kid",        "body",      "information", "parent",    "face",
    "others",    "level",       "office",     "door",      "health",      "person",    "art",
    "war",       "history",     "party",      "result",    "change",      "morning",   "reason",
    "research",  "girl",        "guy",        "moment",    "air",         "teacher",   "force",
    "education", "foot",        "boy",        "age",       "policy",      "music",     "market",
    "find",      "tell",        "ask",        "seem",      "feel",        "try",       "leave",
    "call",      "keep",        "let",        "begin",     "help",        "talk",      "turn",
    "start",     "show",        "hear",       "play",      "run",         "move",      "live",
    "believe",   "hold",        "bring",      "happen",    "write",       "provide",   "sit",
    "stand",     "lose",        "pay",        "meet",      "include",     "continue",  "set",
    "learn",     "lead",        "understand", "watch",     "follow",      "stop",      "create",
    "speak",     "read",        "allow",      "add",       "spend",       "grow",      "open",
    "walk",      "win",         "offer",      "remember",  "love",        "consider",  "appear",
    "buy",       "wait",        "serve",      "die",       "send",        "expect",    "build",
    "stay",      "fall",        "cut",        "reach",     "kill",        "remain",    "big",
    "high",      "small",       "large",      "next",      "early",       "young",     "important",
    "few",       "public",      "bad",        "same",      "able",        "last",      "long",
    "great",     "little",      "own",        "old",       "different",   "late",      "hard",
    "major",     "better",      "strong",     "free",      "true",        "full",      "special",
    "easy",      "clear",       "recent",     "certain",   "personal",    "red",       "black",
    "white",     "green",       "blue",       "short",     "single",      "medical",   "current",
    "wrong",     "private",     "past",       "foreign",   "fine",        "common",    "poor",
    "natural",   "significant", "similar",    "hot",       "dead",        "central",   "happy",
    "serious",   "ready",       "simple",     "left",      "physical",    "general",   "environmental",
    "financial", "town",        "road",       "river",     "field",       "tree",      "stone",
    "light",     "night",       "summer",     "winter",    "spring",      "fire",      "land",
    "sea",       "bird",        "fish",       "horse",     "dog",         "cat",       "bread",
    "milk",      "table",       "chair",      "window",    "wall",        "paper",     "letter",
    "test",      "plan",        "model",      "price",     "cost",        "value",     "rate",
    "term",      "space",       "record",     "report",    "film",        "picture",   "image",
    "sound",     "voice",       "song",       "dance",     "sport",       "player",    "coach",
    "season",    "school",      "class",      "student",   "college",
};

struct prompt_text {
    const char *words[ARRAY_LEN(candidates)]; /* [count] those that are one token */
    uint32_t count;
};

const char *const *prompt_text_candidates(uint32_t *count) {
    PRE(count);
    *count = ARRAY_LEN(candidates);
    return candidates;
}

status prompt_text_new(prompt_text **out, const bool *spaced, const bool *bare, errbuf *eb) {
    PRE(out);
    PRE(spaced);
    PRE(bare);
    prompt_text *p = xcalloc(1, sizeof *p);
    for (uint32_t i = 0; i < ARRAY_LEN(candidates); i++)
        if (spaced[i] && bare[i]) p->words[p->count++] = candidates[i];
    if (p->count < PROMPT_TEXT_WORDS_MIN) {
        uint32_t count = p->count;
        prompt_text_free(p);
        return errf(
            eb, ST_UNSUPPORTED,
            "%u of %zu common words are one token of this model, want at least %u for prompts of an exact "
            "length: use prompts of token ids (completions)",
            count, ARRAY_LEN(candidates), PROMPT_TEXT_WORDS_MIN);
    }
    *out = p;
    return ST_OK;
}

void prompt_text_free(prompt_text *p) {
    free(p);
}

uint32_t prompt_text_count(const prompt_text *p) {
    PRE(p);
    return p->count;
}

static prompt_range range_of(const prompt_text *p) {
    return (prompt_range){.id_min = 0, .id_max = (int32_t)p->count - 1};
}

uint32_t prompt_text_unique(const prompt_text *p) {
    PRE(p);
    return prompt_unique_tokens(range_of(p));
}

char *prompt_text_make(const prompt_text *p, uint64_t seed, uint32_t index, uint32_t tokens) {
    PRE(p);
    PRE(tokens >= 1);
    int32_t *ids = xcalloc(tokens, sizeof *ids);
    prompt_fill(ids, tokens, range_of(p), seed, index);
    buf text = {0};
    for (uint32_t i = 0; i < tokens; i++) {
        if (i) buf_adds(&text, " ");
        buf_adds(&text, p->words[ids[i]]);
    }
    free(ids);
    return text.data;
}
