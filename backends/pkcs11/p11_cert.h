/* Certificates and the list of objects of a token: members of the backend's contract (kn_backend.h). */
#ifndef KN_P11_CERT_H
#define KN_P11_CERT_H

#include "../kn_backend.h"

kn_err p11_cert_read_chain(void *state, const char *uri, kn_certs *ret_certs);
kn_err p11_cert_write_chain(void *state, const char *uri, const kn_certs *certs);
kn_err p11_cert_search(void *state, const char *uri, const kn_cert_query *query, kn_cert_list *ret_list);
kn_err p11_token_objects(void *state, const char *uri, void (*row)(const kn_object_info *info, void *arg),
                         void *arg);

#endif
