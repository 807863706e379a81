/* Whole sessions of keynym-dps, as a stranger on the network reaches them: AMQP, MQTT and HTTP with
 * WebSocket, the hub included, from the first byte after the TLS handshake on. A store with one assigned
 * device is behind them, and the peer has that device's certificate or none. Nothing may crash, and no buffer
 * may pass its cap. */
#include "fuzz_driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dps_amqp.h"
#include "dps_http_session.h"
#include "dps_log.h"
#include "dps_mqtt_hub.h"
#include "dps_mqtt_session.h"
#include "dps_service.h"

static void check(int ok)
{
    if (!ok)
        abort();
}

static dps_transport_host host;
static dps_peer peer = {.address = "fuzz"};

/* Everything is in a folder that is gone from the file system as soon as it is open. */
static void prepare(void)
{
    static dps_hub hub;
    char dir[] = "/tmp/fuzz_dps.XXXXXX", path[64], command[96];
    dps_hubs hubs = {.count = 0};
    if (host.service != NULL)
        return;
    dps_log_set_level(DPS_LOG_ERROR);
    check(mkdtemp(dir) != NULL && dps_hubs_add(&hubs, dps_span_of("hub.test")));
    snprintf(path, sizeof(path), "%s/dps.db", dir);
    check(dps_store_open(path, true, &host.store, NULL) && dps_hub_store_open(dir, true, &hub.store, NULL));
    const dps_service_config config = {.hubs = &hubs};
    check(dps_service_new(host.store, &config, &host.service, NULL));
    hub.registrations = host.store;
    host.hub = &hub;
    dps_registration r = {.id = "dev1",
                          .device_id = "dev1",
                          .hub = "hub.test",
                          .substatus = "initialAssignment",
                          .attestation = DPS_ATTEST_SYMMETRIC};
    dps_operation operation = {.id = "5.0", .registration_id = "dev1"};
    check(dps_store_registration_save(host.store, &r, &operation) == DPS_STORE_OK);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    check(system(command) == 0);
}

static void run(dps_stream *stream, const uint8_t *data, size_t size, size_t piece)
{
    for (size_t at = 0; at < size && stream->kind->open(stream->self);) {
        size_t n = size - at < piece ? size - at : piece;
        size_t waiting = 0;
        stream->kind->input(stream->self, data + at, n);
        at += n;
        for (int i = 0; i < 64 && stream->kind->output(stream->self, &waiting) != NULL; i++) {
            check(waiting <= DPS_HTTP_OUTPUT_MAX);
            stream->kind->sent(stream->self, waiting < 1000 ? waiting : 1000);
        }
        (void)stream->kind->progress(stream->self);
        check(stream->kind->timeout_s(stream->self) > 0);
        if (stream->kind->tick_ms != NULL)
            (void)stream->kind->tick_ms(stream->self);
        if (stream->kind->wake != NULL)
            stream->kind->wake(stream->self);
    }
    dps_stream_free(stream);
}

static void look_at_names(const uint8_t *data, size_t size)
{
    dps_span text = {(const char *)data, size};
    dps_hub_username user;
    if (dps_hub_username_parse(text, &user))
        check(user.hub.len > 0 && user.device.len > 0 && user.hub.len + user.device.len < size);
    char *json = dps_hub_bag_to_json(text);
    char *bag = json != NULL ? dps_hub_bag_from_json(json) : NULL;
    char *again = bag != NULL ? dps_hub_bag_to_json(dps_span_of(bag)) : NULL;
    if (again != NULL)
        check(strcmp(again, json) == 0);
    free(json);
    free(bag);
    free(again);
}

/* The first byte says which protocol and the size of the pieces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dps_stream stream = {.kind = NULL};
    bool ok = false;
    if (size < 2)
        return 0;
    prepare();
    switch (data[0] & 3) { /* of four */
    case 0:
        ok = dps_amqp_stream_new(&host, &peer, "amqp", &stream);
        break;
    case 1:
        ok = dps_mqtt_stream_new(&host, &peer, "mqtt", &stream);
        break;
    case 2:
        ok = dps_http_session_new(&host, &peer, &stream);
        break;
    default:
        look_at_names(data + 1, size - 1);
        return 0;
    }
    check(ok);
    run(&stream, data + 1, size - 1, (size_t)(data[0] >> 2) + 1);
    return 0;
}

void fuzz_seeds(void (*add)(const void *data, size_t size))
{
    /* AMQP: SASL PLAIN; TPM; no SASL with OPEN, BEGIN and ATTACH to $cbs. */
    static const char plain[] = "\xfc"
                                "AMQP\3\1\0\0\0\0\0\x2b\2\1\0\0\0\x53\x41\xc0\x1e\2\xa3\5PLAIN\xa0\x14\0"
                                "0ne/registrations/d\0x";
    static const char tpm[] =
        "\xfc"
        "AMQP\3\1\0\0\0\0\0\x1f\2\1\0\0\0\x53\x41\xc0\x12\2\xa3\3TPM\xa0\x0a\0s\0id\0EKEK"
        "\0\0\0\x14\2\1\0\0\0\x53\x43\xc0\7\1\xa0\4\0SRK";
    static const char open[] = "\xfc"
                               "AMQP\0\1\0\0"
                               "\0\0\0\x1c\2\0\0\0\0\x53\x10\xc0\x0f\2\xa1\1c\xa1\x08hub.test"
                               "\0\0\0\x17\2\0\0\0\0\x53\x11\xc0\x0a\4\x40\x43\x52\x64\x52\x64\0\0\0";
    static const char mqtt[] = "\xfd\x10\x2a\0\4MQTT\4\x80\0\xb4\0\4dev1\0\x18hub.test/dev1/?api-version"
                               "\x82\x16\0\1\0\x11$iothub/twin/res/#\0";
    static const char dps[] = "\xfd\x10\x37\0\4MQTT\4\x82\0\x14\0\4dev1\0\x25"
                              "0ne1/registrations/dev1/api-version=20";
    static const char upgrade[] =
        "\xfe"
        "GET /$iothub/websocket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Protocol: AMQPWSB10\r\n\r\n\x82\x88\0\0\0\0AMQP\0\1\0\0";
    static const char event[] =
        "\xfePOST /devices/dev1/messages/events HTTP/1.1\r\nHost: hub.test\r\niothub-app-a: b\r\n"
        "Authorization: SharedAccessSignature sr=hub.test%2fdevices%2fdev1&sig=aaaa&se=9999999999\r\n"
        "Content-Length: 2\r\n\r\nhi";
    static const char service[] = "\xfePUT /enrollments/a?api-version=2021-10-01 HTTP/1.1\r\nHost: a\r\n"
                                  "Authorization: SharedAccessSignature sr=a&sig=b&se=9999999999&skn=x\r\n"
                                  "Content-Length: 2\r\n\r\n{}";
    static const char names[] = "\xffhub.test/dev1/?api-version=1&%24.ct=a%2Fb&k=v";
    add(plain, sizeof(plain) - 1);
    add(tpm, sizeof(tpm) - 1);
    add(open, sizeof(open) - 1);
    add(mqtt, sizeof(mqtt) - 1);
    add(dps, sizeof(dps) - 1);
    add(upgrade, sizeof(upgrade) - 1);
    add(event, sizeof(event) - 1);
    add(service, sizeof(service) - 1);
    add(names, sizeof(names) - 1);
}
