#include "kn_custody.h"

#include <stdio.h>
#include <string.h>

typedef struct row {
    const char *attribute;
    kn_fact is, must_be;
} row;

#define ROW_COUNT 6

static void fill(const kn_custody *c, row ret_rows[ROW_COUNT])
{
    const row rows[ROW_COUNT] = {
        {"CKA_SENSITIVE", c->sensitive, KN_FACT_YES},
        {"CKA_EXTRACTABLE", c->extractable, KN_FACT_NO},
        {"CKA_ALWAYS_SENSITIVE", c->always_sensitive, KN_FACT_YES},
        {"CKA_NEVER_EXTRACTABLE", c->never_extractable, KN_FACT_YES},
        {"CKA_LOCAL", c->local, KN_FACT_YES},
        {"CKA_KEY_GEN_MECHANISM", c->generated_here, KN_FACT_YES},
    };
    memcpy(ret_rows, rows, sizeof rows);
}

bool kn_custody_holds(const kn_custody *custody)
{
    row rows[ROW_COUNT];
    bool holds = true;
    fill(custody, rows);
    for (size_t i = 0; i < ROW_COUNT; i++)
        holds &= rows[i].is == rows[i].must_be;
    return holds;
}

static const char *word(kn_fact fact)
{
    return fact == KN_FACT_YES ? "yes" : fact == KN_FACT_NO ? "no" : "unknown";
}

void kn_custody_doubts(const kn_custody *custody, char *ret_text, size_t size)
{
    row rows[ROW_COUNT];
    size_t used = 0;
    fill(custody, rows);
    *ret_text = '\0';
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (rows[i].is == rows[i].must_be)
            continue;
        bool mechanism = i == ROW_COUNT - 1;
        int n = snprintf(ret_text + used, size - used, "%s%s is %s", used ? ", " : "", rows[i].attribute,
                         mechanism ? custody->mechanism : word(rows[i].is));
        if (n < 0 || (size_t)n >= size - used)
            return;
        used += (size_t)n;
    }
}

unsigned kn_custody_uses(const kn_custody *custody, const kn_alg *alg)
{
    unsigned uses = 0;
    if (custody->may_sign == KN_FACT_YES)
        uses |= KN_USE_SIGN;
    if (custody->may_decrypt == KN_FACT_YES || custody->may_unwrap == KN_FACT_YES)
        uses |= KN_USE_DECRYPT;
    if (custody->may_derive == KN_FACT_YES)
        uses |= KN_USE_DERIVE;
    return uses & alg->uses;
}
