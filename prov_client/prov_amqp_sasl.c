#include "prov_amqp_sasl.h"

#include <proton/sasl.h>
#include <proton/sasl_plugin.h>
#include <stdbool.h>
#include <string.h>

static void nothing_to_free(pn_transport_t *transport)
{
    (void)transport;
}

static const char *mechanism_of(pn_transport_t *transport)
{
    return pnx_sasl_get_context(transport);
}

static bool no_server(pn_transport_t *transport)
{
    (void)transport;
    return false;
}

static bool init_client(pn_transport_t *transport)
{
    (void)transport;
    return true;
}

static void prepare_write(pn_transport_t *transport)
{
    (void)transport;
}

/* @offered: those of the server that pn_sasl_allowed_mechs() lets through, blanks between. */
static bool choose(pn_transport_t *transport, const char *offered)
{
    const char *wanted = mechanism_of(transport);
    size_t size = strlen(wanted);

    for (const char *at = offered; (at = strstr(at, wanted)); at += size) {
        if ((at == offered || at[-1] == ' ') && (at[size] == ' ' || at[size] == '\0')) {
            pnx_sasl_set_selected_mechanism(transport, wanted);
            pnx_sasl_set_bytes_out(transport, pn_bytes(0, ""));
            pnx_sasl_set_desired_state(transport, SASL_POSTED_INIT);
            return true;
        }
    }
    return false;
}

static void challenge(pn_transport_t *transport, const pn_bytes_t *bytes)
{
    (void)bytes;
    pnx_sasl_set_failed(transport); /* the mechanism has none */
}

static void outcome(pn_transport_t *transport, const pn_bytes_t *bytes)
{
    (void)transport;
    (void)bytes;
}

static bool no_encryption(pn_transport_t *transport)
{
    (void)transport;
    return false;
}

void prov_amqp_sasl_empty(pn_transport_t *transport, const char *mechanism)
{
    static const pnx_sasl_implementation client = {
        .free = nothing_to_free,
        .list_mechanisms = mechanism_of,
        .init_server = no_server,
        .init_client = init_client,
        .prepare_write = prepare_write,
        .process_mechanisms = choose,
        .process_challenge = challenge,
        .process_outcome = outcome,
        .can_encrypt = no_encryption,
    };

    pnx_sasl_set_implementation(transport, &client, (void *)(uintptr_t)mechanism);
}
