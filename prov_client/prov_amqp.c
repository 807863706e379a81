#include "prov_amqp.h"

#include "prov_amqp_sasl.h"
#include "prov_amqp_sasl_tpm.h"

#include <proton/connection.h>
#include <proton/connection_driver.h>
#include <proton/delivery.h>
#include <proton/disposition.h>
#include <proton/sasl.h>
#include <proton/session.h>
#include <proton/terminus.h>
#include <proton/transport.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FRAME_MAX 65536U

struct prov_amqp {
    prov_stream *stream;
    pn_connection_driver_t driver;
    pn_session_t *session;
    uint64_t tag; /* of the last delivery that was sent */
};

/* ---- conditions ---- */

typedef struct condition_row {
    const char *name;
    int status;
    kn_prov_code code; /* when a link or the connection is refused with it */
} condition_row;

static const condition_row conditions[] = {
    {.name = "amqp:unauthorized-access", .status = 401, .code = KN_PROV_E_UNAUTHORIZED},
    {.name = "amqp:not-found", .status = 404, .code = KN_PROV_E_NOT_ENROLLED},
    {.name = "com.microsoft:device-container-throttled", .status = 429, .code = KN_PROV_E_THROTTLED},
    {.name = "amqp:resource-limit-exceeded", .status = 429, .code = KN_PROV_E_THROTTLED},
    {.name = "amqp:internal-error", .status = 500, .code = KN_PROV_E_SERVICE},
    {.name = "com.microsoft:argument-error", .status = 400, .code = KN_PROV_E_REFUSED},
};

static const condition_row *row_of(const char *condition)
{
    static const condition_row other = {.status = 400, .code = KN_PROV_E_CONNECT_REFUSED};

    for (size_t i = 0; i < sizeof conditions / sizeof conditions[0]; i++) {
        if (strcmp(conditions[i].name, condition) == 0)
            return &conditions[i];
    }
    return &other;
}

int prov_amqp_status_of(const char *condition)
{
    return row_of(condition)->status;
}

static kn_prov_code fail_by_condition(pn_condition_t *condition, const char *what, const char *step,
                                      prov_error *error)
{
    const char *name = pn_condition_get_name(condition),
               *description = pn_condition_get_description(condition);

    if (!name)
        return prov_fail(error, KN_PROV_E_CLOSED, "%s: the service closed the AMQP %s", step, what);
    return prov_fail(error, row_of(name)->code, "%s: the service closed the AMQP %s with %.64s%s%.400s", step,
                     what, name, description ? ": " : "", description ? description : "");
}

/* ---- values ---- */

static bool same(pn_bytes_t bytes, const char *text)
{
    return bytes.size == strlen(text) && memcmp(bytes.start, text, bytes.size) == 0;
}

static uint32_t number_of_text(pn_bytes_t text)
{
    uint32_t number = 0;

    if (text.size == 0 || text.size > 6)
        return 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.start[i] < '0' || text.start[i] > '9')
            return 0;
        number = number * 10 + (uint32_t)(text.start[i] - '0');
    }
    return number;
}

static uint32_t number_of_value(pn_data_t *data)
{
    int64_t number = 0;

    switch (pn_data_type(data)) {
    case PN_INT:
        number = pn_data_get_int(data);
        break;
    case PN_LONG:
        number = pn_data_get_long(data);
        break;
    case PN_UINT:
        number = pn_data_get_uint(data);
        break;
    case PN_ULONG:
        number = pn_data_get_ulong(data) > 999999 ? 0 : (int64_t)pn_data_get_ulong(data);
        break;
    case PN_SHORT:
        number = pn_data_get_short(data);
        break;
    case PN_USHORT:
        number = pn_data_get_ushort(data);
        break;
    case PN_BYTE:
        number = pn_data_get_byte(data);
        break;
    case PN_UBYTE:
        number = pn_data_get_ubyte(data);
        break;
    case PN_STRING:
    case PN_SYMBOL:
        return number_of_text(pn_data_get_bytes(data));
    default: /* proton has thirty types; the others are no numbers of seconds */
        break;
    }
    return number > 0 && number <= 999999 ? (uint32_t)number : 0;
}

uint32_t prov_amqp_number(pn_data_t *properties, const char *name)
{
    uint32_t number = 0;

    pn_data_rewind(properties);
    if (!pn_data_next(properties) || pn_data_type(properties) != PN_MAP)
        return 0;
    (void)pn_data_enter(properties);
    while (pn_data_next(properties)) {
        bool is_it = (pn_data_type(properties) == PN_STRING || pn_data_type(properties) == PN_SYMBOL) &&
                     same(pn_data_get_bytes(properties), name);

        if (!pn_data_next(properties))
            break;
        if (is_it)
            number = number_of_value(properties);
    }
    (void)pn_data_exit(properties);
    return number;
}

bool prov_amqp_text(pn_data_t *data, char *ret_text, size_t capacity)
{
    pn_bytes_t bytes;

    pn_data_rewind(data);
    if (!pn_data_next(data))
        return false;
    if (pn_data_type(data) != PN_STRING && pn_data_type(data) != PN_BINARY && pn_data_type(data) != PN_SYMBOL)
        return false;
    bytes = pn_data_get_bytes(data);
    if (bytes.size >= capacity || (bytes.size && memchr(bytes.start, '\0', bytes.size)))
        return false;
    if (bytes.size)
        memcpy(ret_text, bytes.start, bytes.size);
    ret_text[bytes.size] = '\0';
    return true;
}

/* ---- the pump ---- */

/* Hands proton's output to the stream. Events are not used: what matters is read from the state of the
 * objects. */
static kn_prov_code flush(prov_amqp *amqp, const prov_deadline *deadline, prov_error *error)
{
    for (;;) {
        pn_bytes_t out;
        kn_prov_code code;

        while (pn_connection_driver_next_event(&amqp->driver))
            continue;
        out = pn_connection_driver_write_buffer(&amqp->driver);
        if (out.size == 0)
            return KN_PROV_OK;
        code = prov_stream_send(amqp->stream, (const uint8_t *)out.start, out.size, deadline, error);
        if (code)
            return code;
        (void)pn_connection_driver_write_done(&amqp->driver, out.size);
    }
}

static kn_prov_code ended(prov_amqp *amqp, const prov_deadline *deadline, prov_error *error)
{
    pn_transport_t *transport = amqp->driver.transport;
    pn_condition_t *condition = pn_transport_condition(transport);

    if (pn_condition_is_set(condition))
        return prov_fail(error, KN_PROV_E_PROTOCOL, "%s: %.64s: %.400s", deadline->step,
                         pn_condition_get_name(condition), pn_condition_get_description(condition));
    return prov_fail(error, KN_PROV_E_CLOSED, "%s: the AMQP connection has ended", deadline->step);
}

/* Has the peer given up the connection, the session or @link? */
static kn_prov_code check_peer(prov_amqp *amqp, pn_link_t *link, const prov_deadline *deadline,
                               prov_error *error)
{
    pn_connection_t *connection = amqp->driver.connection;

    if (pn_connection_state(connection) & PN_REMOTE_CLOSED)
        return fail_by_condition(pn_connection_remote_condition(connection), "connection", deadline->step,
                                 error);
    if (amqp->session && pn_session_state(amqp->session) & PN_REMOTE_CLOSED)
        return fail_by_condition(pn_session_remote_condition(amqp->session), "session", deadline->step,
                                 error);
    if (link && pn_link_state(link) & PN_REMOTE_CLOSED)
        return fail_by_condition(pn_link_remote_condition(link), "link", deadline->step, error);
    return KN_PROV_OK;
}

/* Sends what is due, and reads once. */
static kn_prov_code turn(prov_amqp *amqp, pn_link_t *link, const prov_deadline *deadline, prov_error *error)
{
    pn_rwbytes_t in;
    kn_prov_code code;
    size_t received = 0;

    (void)pn_transport_tick(amqp->driver.transport, prov_now_ms());
    if ((code = flush(amqp, deadline, error)) || (code = check_peer(amqp, link, deadline, error)))
        return code;
    in = pn_connection_driver_read_buffer(&amqp->driver);
    if (in.size == 0)
        return ended(amqp, deadline, error);
    code = prov_stream_recv(amqp->stream, (uint8_t *)in.start, in.size, deadline, &received, error);
    if (code)
        return code;
    pn_connection_driver_read_done(&amqp->driver, received);
    if ((code = flush(amqp, deadline, error)))
        return code;
    return check_peer(amqp, link, deadline, error);
}

/* ---- opening ---- */

static void amqp_free(prov_amqp *amqp)
{
    pn_connection_driver_destroy(&amqp->driver);
    prov_stream_close(&amqp->stream);
    free(amqp);
}

static void set_up_sasl(prov_amqp *amqp, const prov_amqp_config *config)
{
    pn_sasl_t *sasl = pn_sasl(amqp->driver.transport);

    pn_sasl_allowed_mechs(sasl, config->mechanism);
    if (strcmp(config->mechanism, PROV_AMQP_MSSBCBS) == 0)
        prov_amqp_sasl_empty(amqp->driver.transport, PROV_AMQP_MSSBCBS);
    if (config->tpm)
        prov_amqp_sasl_tpm(amqp->driver.transport, config->tpm);
    pn_sasl_set_allow_insecure_mechs(sasl, true); /* proton does not see that TLS carries it */
    if (config->user)
        (void)pn_connection_set_user(amqp->driver.connection, config->user);
    if (config->password)
        (void)pn_connection_set_password(amqp->driver.connection, config->password);
}

static kn_prov_code connect_amqp(prov_amqp *amqp, const prov_amqp_config *config,
                                 const prov_deadline *deadline, prov_error *error)
{
    pn_connection_t *connection = amqp->driver.connection;
    kn_prov_code code;

    while (!(pn_connection_state(connection) & PN_REMOTE_ACTIVE)) {
        code = turn(amqp, NULL, deadline, error);
        if (config->tpm && config->tpm->code)
            return (*error = config->tpm->error, config->tpm->code);
        if (config->mechanism && pn_sasl_outcome(pn_sasl(amqp->driver.transport)) == PN_SASL_AUTH)
            return prov_fail(error, KN_PROV_E_UNAUTHORIZED, "%s: SASL %s was refused", deadline->step,
                             config->mechanism);
        if (code)
            return code;
    }
    return KN_PROV_OK;
}

kn_prov_code prov_amqp_open(prov_stream *stream, const prov_amqp_config *config,
                            const prov_deadline *deadline, prov_amqp **ret_amqp, prov_error *error)
{
    prov_amqp *amqp = calloc(1, sizeof *amqp);
    pn_connection_t *connection;
    kn_prov_code code;

    if (!amqp || pn_connection_driver_init(&amqp->driver, NULL, NULL) != 0) {
        free(amqp);
        prov_stream_close(&stream);
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the AMQP connection");
    }
    amqp->stream = stream;
    connection = amqp->driver.connection;
    pn_connection_set_container(connection, config->container);
    pn_connection_set_hostname(connection, config->host);
    pn_transport_set_max_frame(amqp->driver.transport, FRAME_MAX);
    if (config->mechanism)
        set_up_sasl(amqp, config);
    (void)pn_connection_driver_bind(&amqp->driver);
    pn_connection_open(connection);
    amqp->session = pn_session(connection);
    pn_session_set_incoming_capacity(amqp->session, 2 * (size_t)PROV_AMQP_MESSAGE_MAX);
    pn_session_open(amqp->session);
    code = connect_amqp(amqp, config, deadline, error);
    if (code)
        amqp_free(amqp);
    else
        *ret_amqp = amqp;
    return code;
}

static void put_properties(pn_link_t *link, const prov_amqp_property *properties)
{
    pn_data_t *data = pn_link_properties(link);

    (void)pn_data_put_map(data);
    (void)pn_data_enter(data);
    for (; properties->name; properties++) {
        (void)pn_data_put_symbol(data, pn_bytes(strlen(properties->name), properties->name));
        (void)pn_data_put_string(data, pn_bytes(strlen(properties->value), properties->value));
    }
    (void)pn_data_exit(data);
}

kn_prov_code prov_amqp_attach(prov_amqp *amqp, const char *name, const char *address, int credit,
                              const prov_amqp_property *properties, const prov_deadline *deadline,
                              pn_link_t **ret_link, prov_error *error)
{
    pn_link_t *link = credit ? pn_receiver(amqp->session, name) : pn_sender(amqp->session, name);
    kn_prov_code code;

    (void)pn_terminus_set_address(pn_link_source(link), address);
    (void)pn_terminus_set_address(pn_link_target(link), address);
    if (properties)
        put_properties(link, properties);
    if (credit)
        pn_link_set_max_message_size(link, PROV_AMQP_MESSAGE_MAX);
    pn_link_open(link);
    if (credit)
        pn_link_flow(link, credit);
    while (!(pn_link_state(link) & PN_REMOTE_ACTIVE)) {
        if ((code = turn(amqp, link, deadline, error)))
            return code;
    }
    *ret_link = link;
    return KN_PROV_OK;
}

/* ---- messages ---- */

static void read_outcome(pn_delivery_t *delivery, prov_amqp_outcome *ret_outcome)
{
    pn_disposition_t *remote = pn_delivery_remote(delivery);
    pn_condition_t *condition = pn_disposition_condition(remote);

    *ret_outcome = (prov_amqp_outcome){.accepted = pn_disposition_type(remote) == PN_ACCEPTED};
    if (!pn_condition_is_set(condition))
        return;
    (void)snprintf(ret_outcome->condition, sizeof ret_outcome->condition, "%s",
                   pn_condition_get_name(condition));
    if (pn_condition_get_description(condition))
        (void)snprintf(ret_outcome->description, sizeof ret_outcome->description, "%s",
                       pn_condition_get_description(condition));
    ret_outcome->retry_after_s = prov_amqp_number(pn_condition_info(condition), "retry-after");
}

static kn_prov_code put_message(prov_amqp *amqp, pn_link_t *sender, pn_message_t *message,
                                pn_delivery_t **ret_delivery, prov_error *error)
{
    pn_rwbytes_t buffer = {.start = NULL};
    uint64_t tag = ++amqp->tag;
    ssize_t size;

    *ret_delivery = pn_delivery(sender, pn_dtag((const char *)&tag, sizeof tag));
    size = pn_message_send(message, sender, &buffer);
    free(buffer.start);
    if (size < 0)
        return prov_fail(error, KN_PROV_E_ARGUMENT, "the AMQP message cannot be encoded");
    return KN_PROV_OK;
}

kn_prov_code prov_amqp_send(prov_amqp *amqp, pn_link_t *sender, pn_message_t *message,
                            const prov_deadline *deadline, prov_amqp_outcome *ret_outcome, prov_error *error)
{
    pn_delivery_t *delivery;
    kn_prov_code code;

    while (pn_link_credit(sender) <= 0) {
        if ((code = turn(amqp, sender, deadline, error)))
            return code;
    }
    if ((code = put_message(amqp, sender, message, &delivery, error)))
        return code;
    while (!pn_delivery_remote_state(delivery) && !pn_delivery_settled(delivery)) {
        if ((code = turn(amqp, sender, deadline, error)))
            return code;
    }
    read_outcome(delivery, ret_outcome);
    pn_delivery_settle(delivery);
    return flush(amqp, deadline, error);
}

static kn_prov_code decode(pn_link_t *receiver, pn_delivery_t *delivery, pn_message_t *message,
                           prov_error *error)
{
    size_t size = pn_delivery_pending(delivery);
    char *bytes = size <= PROV_AMQP_MESSAGE_MAX ? malloc(size + 1) : NULL;
    ssize_t received = bytes ? pn_link_recv(receiver, bytes, size) : -1;
    kn_prov_code code = KN_PROV_OK;

    if (size > PROV_AMQP_MESSAGE_MAX)
        code = prov_fail(error, KN_PROV_E_RESPONSE, "an AMQP message of %zu bytes, %u are allowed", size,
                         PROV_AMQP_MESSAGE_MAX);
    else if (!bytes)
        code = prov_fail(error, KN_PROV_E_MEMORY, "no memory for an AMQP message");
    else if (received < 0 || pn_message_decode(message, bytes, (size_t)received) != 0)
        code = prov_fail(error, KN_PROV_E_PROTOCOL, "an AMQP message that cannot be decoded");
    free(bytes);
    return code;
}

/* A whole message that was not taken. */
static pn_delivery_t *ready(pn_link_t *receiver)
{
    pn_delivery_t *delivery = pn_link_current(receiver);

    return delivery && pn_delivery_readable(delivery) && !pn_delivery_partial(delivery) ? delivery : NULL;
}

static bool is_too_large(pn_link_t *receiver)
{
    pn_delivery_t *delivery = pn_link_current(receiver);

    return delivery && pn_delivery_pending(delivery) > PROV_AMQP_MESSAGE_MAX;
}

/* A turn that may be cut short by a heartbeat that is due; only @deadline itself is a time-out. */
static kn_prov_code patient_turn(prov_amqp *amqp, pn_link_t *link, const prov_deadline *deadline,
                                 prov_error *error)
{
    int64_t now = prov_now_ms(), due = pn_transport_tick(amqp->driver.transport, now);
    prov_deadline part = *deadline;
    kn_prov_code code;

    if (due > now && due < part.at_ms)
        part.at_ms = due;
    code = turn(amqp, link, &part, error);
    return code == KN_PROV_E_TIMEOUT && prov_deadline_left_ms(deadline) > 0 ? KN_PROV_OK : code;
}

kn_prov_code prov_amqp_wait(prov_amqp *amqp, pn_link_t *const *receivers, size_t count,
                            const prov_deadline *deadline, size_t *ret_index, prov_error *error)
{
    for (;;) {
        kn_prov_code code;

        for (size_t i = 0; i < count; i++) {
            if (is_too_large(receivers[i]))
                return prov_fail(error, KN_PROV_E_RESPONSE, "an AMQP message of over %u bytes",
                                 PROV_AMQP_MESSAGE_MAX);
            if (ready(receivers[i])) {
                *ret_index = i;
                return KN_PROV_OK;
            }
        }
        for (size_t i = 0; i < count; i++) {
            if ((code = check_peer(amqp, receivers[i], deadline, error)))
                return code;
        }
        if ((code = patient_turn(amqp, NULL, deadline, error)))
            return code;
    }
}

kn_prov_code prov_amqp_receive(prov_amqp *amqp, pn_link_t *receiver, const prov_deadline *deadline,
                               pn_message_t *message, prov_error *error)
{
    size_t index;
    kn_prov_code code = prov_amqp_wait(amqp, &receiver, 1, deadline, &index, error);
    pn_delivery_t *delivery = code ? NULL : ready(receiver);

    if (code || (code = decode(receiver, delivery, message, error)))
        return code;
    pn_delivery_update(delivery, PN_ACCEPTED);
    pn_delivery_settle(delivery);
    pn_link_flow(receiver, 1);
    return flush(amqp, deadline, error);
}

kn_prov_code prov_amqp_idle(prov_amqp *amqp, const prov_deadline *deadline, prov_error *error)
{
    kn_prov_code code;

    while ((code = patient_turn(amqp, NULL, deadline, error)) == KN_PROV_OK)
        continue;
    return code == KN_PROV_E_TIMEOUT ? KN_PROV_OK : code;
}

void prov_amqp_close(prov_amqp **amqp)
{
    prov_limits limits = prov_limits_start(1000, 1000, NULL);
    prov_deadline deadline = prov_deadline_of_step(&limits, "the AMQP farewell");
    prov_error ignored;

    if (!*amqp)
        return;
    pn_connection_close((*amqp)->driver.connection);
    if (flush(*amqp, &deadline, &ignored) == KN_PROV_OK)
        pn_connection_driver_write_close(&(*amqp)->driver);
    amqp_free(*amqp);
    *amqp = NULL;
}
