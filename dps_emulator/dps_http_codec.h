/* Units:     lengths in bytes; caps below.
 * Ownership: spans point into the bytes that were parsed; a reader owns at most one head and one body.
 * Errors:    a value of dps_http_err; each has the status of the answer after which the connection is closed.
 * Threads:   pure functions (bytes in, struct out); a reader belongs to one connection.
 * Spec:      HTTP/1.1 (RFC 9110, RFC 9112), server side: requests with a body of known length or in chunks,
 * whatever the method. libwebsockets' own HTTP server takes no chunked requests, which the devices send. */
#ifndef DPS_HTTP_CODEC_H
#define DPS_HTTP_CODEC_H

#include "dps_buffer.h"
#include "dps_text.h"

enum {
    DPS_HTTP_HEAD_MAX = 16 * 1024,  /* bytes of request line and header fields */
    DPS_HTTP_TARGET_MAX = 4 * 1024, /* bytes of path and query */
    DPS_HTTP_FIELDS_MAX = 64,       /* header fields */
    DPS_HTTP_BODY_MAX = 320 * 1024, /* bytes; a message to the hub may have 256 KiB */
    DPS_HTTP_CHUNK_LINE_MAX = 256,  /* bytes of a chunk's size and extensions, or of a trailer field */
    DPS_HTTP_TRAILERS_MAX = 16,     /* lines */
};

typedef enum dps_http_err {
    DPS_HTTP_OK,
    DPS_HTTP_E_MALFORMED,
    DPS_HTTP_E_VERSION,
    DPS_HTTP_E_TARGET_LONG,
    DPS_HTTP_E_HEAD_LONG,
    DPS_HTTP_E_BODY_LONG,
    DPS_HTTP_E_LENGTH, /* Content-Length that is no number, given twice, or beside Transfer-Encoding */
    DPS_HTTP_E_CODING, /* a Transfer-Encoding other than chunked */
    DPS_HTTP_E_HOST,   /* none, or more than one */
    DPS_HTTP_E_EXPECT,
    DPS_HTTP_E_MEMORY,
} dps_http_err;

typedef struct dps_http_err_row {
    int status;
    const char *text;
} dps_http_err_row;

const dps_http_err_row *dps_http_err_info(dps_http_err err);

typedef struct dps_http_field {
    dps_span name; /* as sent; compared without case */
    dps_span value;
} dps_http_field;

typedef struct dps_http_head {
    dps_span method;
    dps_span path;  /* as sent, still percent-encoded; begins with '/' */
    dps_span query; /* without the '?'; empty when there is none */
    dps_http_field fields[DPS_HTTP_FIELDS_MAX];
    size_t field_count;
    size_t content_length;
    bool chunked;
    bool keep_alive;
    bool expects_continue;
} dps_http_head;

/* @text: everything up to and with the empty line. @ret_head is untouched on failure. */
DPS_MUST_CHECK dps_http_err dps_http_parse_head(dps_span text, dps_http_head *ret_head);

/* The value of the one field with that name, trimmed; an empty span when there is none. Two of them are none:
 * which one counts would be a guess. */
dps_span dps_http_field_get(const dps_http_head *head, const char *name);
/* Whether the comma-separated list of @value has @token, compared without case. */
bool dps_http_list_has(dps_span value, const char *token);

/* Decodes %xx. False for a broken escape, a NUL, or when it does not fit. */
DPS_MUST_CHECK bool dps_http_decode(dps_span text, char *out, size_t cap);
/* The decoded value of @name in a query; false when it is missing, given twice or broken. */
DPS_MUST_CHECK bool dps_http_query_get(dps_span query, const char *name, char *out, size_t cap);

typedef enum dps_http_state {
    DPS_HTTP_IN_HEAD,
    DPS_HTTP_IN_BODY,
    DPS_HTTP_IN_CHUNK_SIZE,
    DPS_HTTP_IN_CHUNK,
    DPS_HTTP_IN_CHUNK_END,
    DPS_HTTP_IN_TRAILER,
    DPS_HTTP_COMPLETE,
} dps_http_state;

/* Zero-initialise; dps_http_reader_free() returns its memory. */
typedef struct dps_http_reader {
    dps_http_state state;
    dps_buffer head_bytes;
    dps_buffer body;
    dps_http_head head; /* from DPS_HTTP_IN_BODY on */
    size_t wanted;      /* bytes of the body, or of this chunk, still to come */
    char line[DPS_HTTP_CHUNK_LINE_MAX];
    size_t line_len;
    unsigned trailers;
} dps_http_reader;

/* Reads from @bytes until a request is complete (state DPS_HTTP_COMPLETE) or they are used up. @ret_used says
 * how many were taken. @ret_continue: the client waits for "100 Continue" before it sends the body. */
DPS_MUST_CHECK dps_http_err dps_http_reader_feed(dps_http_reader *reader, const uint8_t *bytes, size_t n,
                                                 size_t *ret_used, bool *ret_continue);
/* Wipes it, for the next request. */
void dps_http_reader_free(dps_http_reader *reader);

#endif
