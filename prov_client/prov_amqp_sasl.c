#include "prov_amqp_sasl.h"

#include "prov_amqp.h"

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
static bool offers(const char *offered, const char *wanted)
{
    size_t size = strlen(wanted);

    for (const char *at = offered; (at = strstr(at, wanted)); at += size) {
        if ((at == offered || at[-1] == ' ') && (at[size] == ' ' || at[size] == '\0'))
            return true;
    }
    return false;
}

static void send_first(pn_transport_t *transport, const char *mechanism, pn_bytes_t message)
{
    pnx_sasl_set_selected_mechanism(transport, mechanism);
    pnx_sasl_set_bytes_out(transport, message);
    pnx_sasl_set_desired_state(transport, SASL_POSTED_INIT);
}

static bool choose(pn_transport_t *transport, const char *offered)
{
    if (!offers(offered, mechanism_of(transport)))
        return false;
    send_first(transport, mechanism_of(transport), pn_bytes(0, ""));
    return true;
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

/* ---- TPM ---- */

static const char *tpm_mechanism(pn_transport_t *transport)
{
    (void)transport;
    return PROV_AMQP_TPM;
}

static void tpm_give_up(pn_transport_t *transport, prov_sasl_tpm *tpm, kn_prov_code code)
{
    tpm->code = code;
    pnx_sasl_set_failed(transport);
}

static bool tpm_choose(pn_transport_t *transport, const char *offered)
{
    prov_sasl_tpm *tpm = pnx_sasl_get_context(transport);
    kn_prov_code code;

    if (!offers(offered, PROV_AMQP_TPM))
        return false;
    code = prov_sasl_tpm_start(tpm, &tpm->error);
    if (code) {
        tpm->code = code;
        return false;
    }
    send_first(transport, PROV_AMQP_TPM, pn_bytes(tpm->answer_size, (const char *)tpm->answer));
    return true;
}

static void tpm_challenge(pn_transport_t *transport, const pn_bytes_t *said)
{
    prov_sasl_tpm *tpm = pnx_sasl_get_context(transport);
    kn_prov_code code = prov_sasl_tpm_next(tpm, (const unsigned char *)said->start, said->start ? said->size : 0, &tpm->error);

    if (code) {
        tpm_give_up(transport, tpm, code);
        return;
    }
    pnx_sasl_set_bytes_out(transport, pn_bytes(tpm->answer_size, (const char *)tpm->answer));
    pnx_sasl_set_desired_state(transport, SASL_POSTED_RESPONSE);
}

void prov_amqp_sasl_tpm(pn_transport_t *transport, prov_sasl_tpm *tpm)
{
    static const pnx_sasl_implementation client = {
        .free = nothing_to_free,
        .list_mechanisms = tpm_mechanism,
        .init_server = no_server,
        .init_client = init_client,
        .prepare_write = prepare_write,
        .process_mechanisms = tpm_choose,
        .process_challenge = tpm_challenge,
        .process_outcome = outcome,
        .can_encrypt = no_encryption,
    };

    pnx_sasl_set_implementation(transport, &client, tpm);
}
