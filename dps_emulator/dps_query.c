#include "dps_query.h"

#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

typedef enum op {
    OP_EQUAL,
    OP_DIFFERENT,
    OP_LESS,
    OP_LESS_EQUAL,
    OP_GREATER,
    OP_GREATER_EQUAL,
    OP_AND,
    OP_OR,
    OP_NOT,
} op;

typedef enum value_kind {
    VALUE_TEXT,
    VALUE_NUMBER,
    VALUE_BOOL,
} value_kind;

typedef struct node {
    op op;
    short left, right; /* of AND, OR, NOT: indices */
    dps_span path;
    value_kind kind;
    dps_span text;
    double number;
    bool truth;
} node;

struct dps_query {
    char *text;
    dps_query_source source;
    short root; /* -1: no condition */
    short count;
    node nodes[DPS_QUERY_NODES_MAX];
};

typedef enum token_kind {
    TOKEN_END,
    TOKEN_NAME,
    TOKEN_TEXT,
    TOKEN_NUMBER,
    TOKEN_SIGN, /* operators, '*', parentheses */
    TOKEN_BAD,
} token_kind;

typedef struct parser {
    dps_query *query;
    dps_span rest;
    token_kind kind; /* of the current token */
    dps_span token;
    unsigned depth;
    const char *problem;
} parser;

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '$';
}

static void take(parser *p, token_kind kind, size_t n)
{
    p->kind = kind;
    p->token = (dps_span){p->rest.at, n};
    p->rest = (dps_span){p->rest.at + n, p->rest.len - n};
}

static size_t sign_length(dps_span rest)
{
    if (rest.len >= 2 && (memcmp(rest.at, "!=", 2) == 0 || memcmp(rest.at, "<>", 2) == 0 ||
                          memcmp(rest.at, "<=", 2) == 0 || memcmp(rest.at, ">=", 2) == 0))
        return 2;
    return memchr("=<>*()", rest.at[0], 6) != NULL ? 1 : 0;
}

static void next(parser *p)
{
    while (p->rest.len > 0 && memchr(" \t\r\n", p->rest.at[0], 4) != NULL)
        p->rest = (dps_span){p->rest.at + 1, p->rest.len - 1};
    if (p->rest.len == 0) {
        take(p, TOKEN_END, 0);
        return;
    }
    char c = p->rest.at[0];
    size_t n = 1;
    if (c == '\'' || c == '"') {
        const char *end = memchr(p->rest.at + 1, c, p->rest.len - 1);
        if (end == NULL) {
            take(p, TOKEN_BAD, 0);
            return;
        }
        take(p, TOKEN_TEXT, (size_t)(end - p->rest.at) + 1);
        p->token = (dps_span){p->token.at + 1, p->token.len - 2};
        return;
    }
    if ((c >= '0' && c <= '9') || c == '-') {
        while (n < p->rest.len && ((p->rest.at[n] >= '0' && p->rest.at[n] <= '9') || p->rest.at[n] == '.'))
            n++;
        take(p, TOKEN_NUMBER, n);
        return;
    }
    if (is_name(c)) {
        while (n < p->rest.len && is_name(p->rest.at[n]))
            n++;
        take(p, TOKEN_NAME, n);
        return;
    }
    n = sign_length(p->rest);
    take(p, n > 0 ? TOKEN_SIGN : TOKEN_BAD, n);
}

static bool at_word(const parser *p, const char *word)
{
    return p->kind == TOKEN_NAME && dps_text_equal_nocase(p->token.at, p->token.len, word, strlen(word));
}

static bool at_sign(const parser *p, const char *sign)
{
    return p->kind == TOKEN_SIGN && dps_span_is(p->token, sign);
}

static bool expect_word(parser *p, const char *word)
{
    bool found = at_word(p, word);
    next(p);
    return found;
}

static short new_node(parser *p, op kind)
{
    if (p->query->count == DPS_QUERY_NODES_MAX) {
        p->problem = "the query has too many conditions";
        return -1;
    }
    p->query->nodes[p->query->count] = (node){.op = kind};
    return p->query->count++;
}

static bool take_number(dps_span token, double *ret)
{
    char copy[32];
    char *end = NULL;
    if (token.len >= sizeof(copy))
        return false;
    memcpy(copy, token.at, token.len);
    copy[token.len] = '\0';
    *ret = strtod(copy, &end);
    return *end == '\0' && end != copy;
}

static bool take_value(parser *p, node *n)
{
    if (p->kind == TOKEN_TEXT) {
        n->kind = VALUE_TEXT;
        n->text = p->token;
    } else if (p->kind == TOKEN_NUMBER && take_number(p->token, &n->number)) {
        n->kind = VALUE_NUMBER;
    } else if (at_word(p, "true") || at_word(p, "false")) {
        n->kind = VALUE_BOOL;
        n->truth = at_word(p, "true");
    } else {
        return false;
    }
    next(p);
    return true;
}

static short comparison(parser *p)
{
    static const struct {
        const char *sign;
        op op;
    } signs[] = {{"=", OP_EQUAL},       {"!=", OP_DIFFERENT}, {"<>", OP_DIFFERENT},    {"<", OP_LESS},
                 {"<=", OP_LESS_EQUAL}, {">", OP_GREATER},    {">=", OP_GREATER_EQUAL}};
    dps_span path = p->token;
    bool named = p->kind == TOKEN_NAME;
    next(p);
    p->problem = "a condition is not: member, comparison, value";
    for (size_t i = 0; named && i < sizeof(signs) / sizeof(signs[0]); i++) {
        if (!at_sign(p, signs[i].sign))
            continue;
        next(p);
        short at = new_node(p, signs[i].op);
        if (at < 0)
            return -1;
        p->query->nodes[at].path = path;
        return take_value(p, &p->query->nodes[at]) ? at : -1;
    }
    return -1;
}

static short expression(parser *p);

static short factor(parser *p)
{
    short result = -1;
    if (++p->depth > DPS_QUERY_DEPTH_MAX) {
        p->problem = "the query is nested too deeply";
        return -1;
    }
    if (at_word(p, "not")) {
        next(p);
        short inner = factor(p);
        result = inner < 0 ? -1 : new_node(p, OP_NOT);
        if (result >= 0)
            p->query->nodes[result].left = inner;
    } else if (at_sign(p, "(")) {
        next(p);
        result = expression(p);
        if (result >= 0 && !at_sign(p, ")")) {
            p->problem = "a parenthesis is not closed";
            result = -1;
        }
        next(p);
    } else {
        result = comparison(p);
    }
    p->depth--;
    return result;
}

/* Left to right, one operator. */
static short chain(parser *p, const char *word, op kind, short (*operand)(parser *))
{
    short left = operand(p);
    while (left >= 0 && at_word(p, word)) {
        next(p);
        short right = operand(p);
        short both = right < 0 ? -1 : new_node(p, kind);
        if (both >= 0) {
            p->query->nodes[both].left = left;
            p->query->nodes[both].right = right;
        }
        left = both;
    }
    return left;
}

static short conjunction(parser *p)
{
    return chain(p, "and", OP_AND, factor);
}

static short expression(parser *p)
{
    return chain(p, "or", OP_OR, conjunction);
}

static bool take_source(parser *p)
{
    static const struct {
        const char *name;
        dps_query_source source;
    } sources[] = {{"enrollments", DPS_QUERY_ENROLLMENTS},
                   {"enrollmentGroups", DPS_QUERY_GROUPS},
                   {"registrations", DPS_QUERY_REGISTRATIONS},
                   {"deviceRegistrations", DPS_QUERY_REGISTRATIONS}};
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        if (at_word(p, sources[i].name)) {
            p->query->source = sources[i].source;
            next(p);
            return true;
        }
    }
    return false;
}

static bool parse(parser *p)
{
    p->problem = "the query does not begin with SELECT * FROM and a collection";
    if (!expect_word(p, "select") || !at_sign(p, "*"))
        return false;
    next(p);
    if (!expect_word(p, "from") || !take_source(p))
        return false;
    if (p->kind == TOKEN_END)
        return true;
    p->problem = "what follows the collection is not WHERE and a condition";
    if (!expect_word(p, "where"))
        return false;
    p->query->root = expression(p);
    if (p->query->root < 0)
        return false;
    p->problem = "something follows the condition";
    return p->kind == TOKEN_END;
}

dps_query *dps_query_parse(dps_span text, const char **ret_problem)
{
    dps_query *query = calloc(1, sizeof(*query));
    parser p = {.query = query, .problem = "the query is longer than 2048 bytes"};
    bool ok = query != NULL && text.len <= DPS_QUERY_MAX;
    if (ok) {
        p.problem = "out of memory";
        query->root = -1;
        query->text = malloc(text.len + 1);
        ok = query->text != NULL;
    }
    if (ok) {
        memcpy(query->text, text.at, text.len);
        p.rest = (dps_span){query->text, text.len};
        next(&p);
        ok = parse(&p);
    }
    if (!ok) {
        *ret_problem = p.problem;
        dps_query_free(&query);
    }
    return query;
}

void dps_query_free(dps_query **query)
{
    if (*query == NULL)
        return;
    free((*query)->text);
    free(*query);
    *query = NULL;
}

dps_query_source dps_query_from(const dps_query *query)
{
    return query->source;
}

static const cJSON *child(const cJSON *object, dps_span name)
{
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, object)
    {
        if (item->string != NULL &&
            dps_text_equal_nocase(item->string, strlen(item->string), name.at, name.len))
            return item;
    }
    return NULL;
}

static const cJSON *find(const cJSON *document, dps_span path)
{
    while (document != NULL) {
        const char *dot = memchr(path.at, '.', path.len);
        size_t n = dot != NULL ? (size_t)(dot - path.at) : path.len;
        document = cJSON_IsObject(document) ? child(document, (dps_span){path.at, n}) : NULL;
        if (dot == NULL)
            break;
        path = (dps_span){dot + 1, path.len - n - 1};
    }
    return document;
}

static int text_order(const char *text, dps_span value)
{
    size_t n = strlen(text);
    int order = memcmp(text, value.at, n < value.len ? n : value.len);
    return order != 0 ? order : (n > value.len) - (n < value.len);
}

static bool compare(const node *n, const cJSON *item)
{
    int order = 0;
    switch (n->kind) {
    case VALUE_TEXT:
        if (!cJSON_IsString(item))
            return false;
        order = text_order(item->valuestring, n->text);
        break;
    case VALUE_NUMBER:
        if (!cJSON_IsNumber(item))
            return false;
        order = (item->valuedouble > n->number) - (item->valuedouble < n->number);
        break;
    case VALUE_BOOL:
        if (!cJSON_IsBool(item))
            return false;
        order = (int)cJSON_IsTrue(item) - (int)n->truth;
        break;
    }
    switch (n->op) {
    case OP_EQUAL:
        return order == 0;
    case OP_DIFFERENT:
        return order != 0;
    case OP_LESS:
        return order < 0;
    case OP_LESS_EQUAL:
        return order <= 0;
    case OP_GREATER:
        return order > 0;
    case OP_GREATER_EQUAL:
        return order >= 0;
    case OP_AND:
    case OP_OR:
    case OP_NOT:
        break;
    }
    return false;
}

/* As deep as the query has nodes. */
static bool evaluate(const dps_query *query, short at, const cJSON *document)
{
    const node *n = &query->nodes[at];
    switch (n->op) {
    case OP_AND:
        return evaluate(query, n->left, document) && evaluate(query, n->right, document);
    case OP_OR:
        return evaluate(query, n->left, document) || evaluate(query, n->right, document);
    case OP_NOT:
        return !evaluate(query, n->left, document);
    case OP_EQUAL:
    case OP_DIFFERENT:
    case OP_LESS:
    case OP_LESS_EQUAL:
    case OP_GREATER:
    case OP_GREATER_EQUAL:
        break;
    }
    const cJSON *item = find(document, n->path);
    return item != NULL && compare(n, item);
}

bool dps_query_matches(const dps_query *query, const cJSON *document)
{
    return query->root < 0 || evaluate(query, query->root, document);
}
