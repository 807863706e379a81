#include "p11_backend.h"

#include "p11_cert.h"
#include "p11_hmac.h"
#include "p11_key.h"

const kn_backend kn_p11_backend = {
    .scheme = "pkcs11",
    .uri_check = p11_uri_check,
    .uri_complete = p11_uri_complete,
    .uri_with_label = p11_uri_with_label,
    .state_new = p11_state_new,
    .state_free = p11_state_free,
    .state_rest = p11_state_rest,
    .key_open = p11_key_open,
    .key_generate = p11_key_generate,
    .key_free = p11_key_free,
    .public_find = p11_public_find,
    .key_sign = p11_key_sign,
    .key_decrypt = p11_key_decrypt,
    .key_derive = p11_key_derive,
    .key_inspect = p11_key_inspect,
    .key_delete = p11_key_delete,
    .cert_read_chain = p11_cert_read_chain,
    .cert_write_chain = p11_cert_write_chain,
    .cert_search = p11_cert_search,
    .token_list = p11_token_list,
    .token_init = p11_token_init,
    .token_wants_pin = p11_token_wants_pin,
    .token_login = p11_token_login,
    .token_objects = p11_token_objects,
    .hmac = &kn_p11_hmac,
};
